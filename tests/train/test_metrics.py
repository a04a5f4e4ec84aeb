"""Error sums against errors worked out by hand."""

import torch

from tesseral.graph import collate
from tesseral.physics.forces import Prediction
from tesseral.train.metrics import UNITS, error_sums, summarise
from tests.train.toy import frames


def test_errors_in_milli_units():
    graph = collate(frames(2, labels=("energy", "forces")))
    labels = {name: torch.zeros_like(value) for name, value in graph.labels.items()}
    masks = graph.masks | {"forces": torch.arange(9) > 0}
    graph = graph.replace(labels=labels, masks=masks, weight=torch.tensor([9.0, 9.0], dtype=torch.float64))
    force = torch.zeros(9, 3, dtype=torch.float64)
    force[0] = 100.0  # masked
    force[1, 0] = -0.24
    prediction = Prediction(torch.tensor([0.4, -1.0], dtype=torch.float64), force)
    summary = summarise(error_sums(prediction, graph))
    expected = {
        "energy_mae": 700.0,
        "energy_rmse": 1000 * (1.16 / 2) ** 0.5,
        "energy_per_atom_mae": 150.0,
        "energy_per_atom_rmse": 1000 * (0.05 / 2) ** 0.5,
        "forces_mae": 10.0,
        "forces_rmse": 1000 * (0.24**2 / 24) ** 0.5,
    }
    assert summary.keys() == expected.keys()
    for name, value in expected.items():
        assert abs(summary[name] - value) < 1e-9, name
        assert name in UNITS


def test_sums_of_parts_are_sums_of_the_whole():
    graphs = frames(4, labels=("energy", "forces", "stress"))
    zero = [Prediction(0 * g.labels["energy"], 0 * g.labels["forces"], 0 * g.labels["stress"]) for g in graphs]
    parts = sum(error_sums(p, g) for p, g in zip(zero, graphs))
    whole = collate(graphs)
    total = error_sums(Prediction(*(0 * whole.labels[name] for name in ("energy", "forces", "stress"))), whole)
    torch.testing.assert_close(parts, total)
