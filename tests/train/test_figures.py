"""Figures are inline, take their ink from the page, and cope with odd data."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from tesseral.train.figures import INK, calibration, curves, learning_curves, parity
from tesseral.train.prediction import evaluate
from tests.train.toy import PairPotential, frames

HISTORY = [
    {
        "epoch": n,
        "step": n,
        "seconds": n,
        "lr": 0.01 / n,
        "train_loss": 1 / n,
        "validation_loss": 2 / n,
        "validation_forces_rmse": 9.0 / n,
    }
    for n in range(1, 6)
]


def assert_inline(svg):
    ElementTree.fromstring(svg)
    assert INK not in svg
    assert "currentColor" in svg
    assert "<metadata" not in svg
    assert "http" not in svg.replace("http://www.w3.org/", "")


def test_learning_curves():
    svg = learning_curves(HISTORY)
    assert_inline(svg)
    for text in ("Loss", "Forces, validation", "meV/Å", "Learning rate"):
        assert text in svg
    assert "Stress" not in svg


def test_learning_curves_of_one_epoch_without_validation():
    assert_inline(learning_curves([{"epoch": 1, "lr": 0.0, "train_loss": 0.5}]))


def test_parity_by_element_and_type():
    predictions = evaluate(PairPotential(), frames(9), config_types=["cold", "hot", ""] * 3)
    svg = parity(predictions, "test <1>")
    assert_inline(svg)
    for text in ("Forces by element", "Energy by configuration type", "cold", "(none)", "reference (eV/Å)"):
        assert text in svg


def test_parity_of_energies_alone_and_of_nothing():
    some = parity(evaluate(PairPotential(), frames(4, labels=("energy",))), "a")
    assert_inline(some)
    assert "Forces" not in some
    assert parity(evaluate(PairPotential(), frames(4, labels=())), "a") == ""


def test_perfect_predictions_do_not_break_logarithms():
    assert_inline(parity(evaluate(PairPotential(seed=99), frames(4)), "teacher"))


def test_curves():
    x = np.arange(5.0)
    svg = curves("A scan", "angle", "energy", {"model": (x, x), "reference": (x, x**2)})
    assert_inline(svg)
    assert "reference" in svg


def row(observed, error):
    """What is known of a quantity: coverage, and errors beside deviations of 1, 2 and 4."""
    return {
        "curve": {"nominal": [0.0, 0.5, 1.0], "observed": observed},
        "bins": {"deviation": [1.0, 2.0, 4.0], "error": error},
    }


def ends(svg):
    """Height of the last point of every curve of three points, in the figure's coordinates (down is positive)."""
    paths = [path.split() for path in re.findall(r'<path d="([^"]*)" clip-path', svg)]
    return [float(words[-1]) for words in paths if len(words) == 9]


def test_calibration_draws_a_curve_a_set_and_quantity():
    sure, unsure = row([0.0, 0.2, 1.0], [2.0, 4.0, 8.0]), row([0.0, 0.8, 1.0], [0.5, 1.0, 2.0])
    svg = calibration({"300 K": {"energy": unsure, "forces": unsure}, "600 <K>": {"energy": sure, "forces": sure}})
    assert_inline(svg)
    for text in ("Calibration, energy", "Size of σ, forces", "σ, RMS of a bin (meV/Å)", "300 K", "600 &lt;K&gt;"):
        assert text in svg
    curves = ends(svg)
    assert len(curves) == 8
    low, high = curves[2:4]
    assert high < low  # the larger errors are drawn higher up


def test_calibration_of_forces_alone_of_zeros_and_of_nothing():
    only = calibration({"a": {"forces": row([0.0, 0.5, 1.0], [0.0, 0.0, 0.0])}})
    assert_inline(only)
    assert "energy" not in only
    assert calibration({"a": {"frame_scores": []}}) == calibration({}) == ""
