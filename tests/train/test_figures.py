"""Figures are inline, take their ink from the page, and cope with odd data."""

import xml.etree.ElementTree as ElementTree

import numpy as np

from tesseral.train.figures import INK, curves, learning_curves, parity
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
