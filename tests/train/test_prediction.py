"""Predictions for many frames, and their tables."""

import json

import numpy as np
import pytest
import torch

from tesseral.physics.forces import energy_and_forces
from tesseral.train.prediction import Predictions, evaluate, tables
from tests.train.toy import PairPotential, frames


def test_batches_do_not_change_predictions():
    model, graphs = PairPotential(), frames(7, labels=("energy", "forces", "stress"))
    one, many = evaluate(model, graphs, max_edges=1), evaluate(model, graphs, max_edges=10**6)
    for name in ("energy", "forces", "stress", "energy_label", "forces_label", "stress_label"):
        np.testing.assert_allclose(getattr(one, name), getattr(many, name), atol=1e-12)
    direct = energy_and_forces(model, graphs[3], stress=True)
    np.testing.assert_allclose(many.forces[many.frame == 3], direct.forces.numpy(), atol=1e-12)
    np.testing.assert_allclose(many.stress[3], direct.stress[0].numpy(), atol=1e-12)


def test_the_teacher_makes_no_error():
    graphs = frames(5, labels=("energy", "forces", "stress"))
    overall = tables(evaluate(PairPotential(seed=99), graphs))["overall"]
    assert overall["frames"] == 5
    for name in ("energy_rmse", "energy_per_atom_mae", "forces_mae", "stress_rmse"):
        assert overall[name] < 1e-9
    assert overall["forces_rms"] > 1.0


def test_tables_by_hand():
    predictions = Predictions(
        energy=np.array([1.0, 2.0, 3.0]),
        energy_label=np.array([1.0, 2.5, np.nan]),
        forces=np.array([[0.1, 0, 0], [0, 0.2, 0], [0, 0, 0], [1, 1, 1.0]]),
        forces_label=np.array([[0.0, 0, 0], [0, 0, 0], [0, 0, 0.3], [np.nan] * 3]),
        stress=np.full((3, 3, 3), np.nan),
        stress_label=np.full((3, 3, 3), np.nan),
        species=np.array([1, 1, 8, 8]),
        frame=np.array([0, 1, 1, 2]),
        config_types=["cold", "hot", "hot"],
    )
    table = tables(predictions)
    json.dumps(table, allow_nan=False)
    overall = table["overall"]
    assert overall["energy_rmse"] == pytest.approx(1000 * (0.25 / 2) ** 0.5)
    assert overall["energy_per_atom_mae"] == pytest.approx(1000 * 0.25 / 2)
    assert overall["forces_mae"] == pytest.approx(1000 * 0.6 / 9)
    assert overall["forces_rms"] == pytest.approx(1000 * (0.09 / 9) ** 0.5)
    assert "stress_mae" not in overall
    assert table["per_element"]["H"]["forces_mae"] == pytest.approx(50.0)
    assert table["per_element"]["O"] == pytest.approx(
        {"frames": 2, "atoms": 2, "forces_mae": 100.0, "forces_rmse": 1000 * 0.03**0.5, "forces_rms": 1000 * 0.03**0.5}
    )
    assert table["per_config_type"]["hot"]["energy_mae"] == pytest.approx(500.0)
    assert table["per_config_type"]["hot"]["frames"] == 2


def test_frames_without_labels_are_predicted_too():
    graphs = [graph.replace(labels={}, masks={}) for graph in frames(3)]
    predictions = evaluate(PairPotential(), graphs, stress=True)
    assert np.isfinite(predictions.stress).all()
    assert np.isnan(predictions.energy_label).all()
    assert set(tables(predictions)["overall"]) == {"frames", "atoms"}


def test_no_frames():
    assert tables(evaluate(PairPotential(), []))["overall"] == {"frames": 0, "atoms": 0}


def test_the_mode_of_the_model_comes_back():
    model = PairPotential(dropout=0.5).train()
    first, second = evaluate(model, frames(2)), evaluate(model, frames(2))
    assert model.training
    np.testing.assert_array_equal(first.energy, second.energy)


def test_kinds_must_match_the_frames():
    with pytest.raises(ValueError, match="1 config_types for 2 frames"):
        evaluate(PairPotential(), frames(2), config_types=["cold"])


def test_weights_of_float32_are_served():
    assert evaluate(PairPotential(dtype=torch.float32), frames(2)).energy.dtype == np.float64
