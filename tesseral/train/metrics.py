"""Errors of predictions: MAE and RMSE, overall, per element and per configuration type.

Sums are collected in eV, eV/Å and eV/Å³; tables are in meV, meV/atom, meV/Å and meV/Å³. Responses to a field keep
their units: e·Å, Å³ and e.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tesseral.graph import Graph
from tesseral.physics.electric import RESPONSES, Responses
from tesseral.physics.forces import Prediction
from tesseral.train.losses import EnergyOnly, labelled_error

ROWS = ("energy", "energy_per_atom", "forces", "stress")
FIELD_ROWS = (*ROWS, *RESPONSES)
"""The rows of error sums, without responses and with them.

The columns are the sum of sizes, the sum of squares, and the number of labelled components.
"""


def error_sums(prediction: Prediction | EnergyOnly | Responses, graph: Graph, rows: Sequence[str] = ROWS) -> Tensor:
    """Error sums of a batch, a float64 tensor of shape (rows, 3): (Σ|e|, Σe², number) of each. Frame weights play no part."""
    sums = torch.zeros(len(rows), 3, dtype=torch.float64, device=graph.positions.device)
    for quantity in (row for row in rows if row != "energy_per_atom"):
        predicted = getattr(prediction, quantity, None)
        if predicted is None or quantity not in graph.labels:
            continue
        error, mask = labelled_error(predicted.detach(), graph, quantity)
        error = error.to(torch.float64)
        sums[rows.index(quantity)] = _sums(error, mask)
        if quantity == "energy":
            sums[rows.index("energy_per_atom")] = _sums(error / graph.nodes_per_graph()[:, None], mask)
    return sums


def _sums(error: Tensor, mask: Tensor) -> Tensor:
    return torch.stack([error.abs().sum(), error.square().sum(), mask.sum().to(torch.float64)])


def summarise(sums: Tensor, rows: Sequence[str] = ROWS) -> dict[str, float]:
    """MAE and RMSE of every row that has labels: energy in meV, energy_per_atom in meV/atom, forces in meV/Å, stress in meV/Å³,
    dipole in e·Å, polarizability in Å³, born_charges in e.

    >>> summarise(torch.tensor([[0.3, 0.05, 2.0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]))
    {'energy_mae': 150.0, 'energy_rmse': 158.1}
    """
    result: dict[str, float] = {}
    for name, (size, square, count) in zip(rows, sums.tolist(), strict=True):
        if count:
            unit = 1.0 if name in RESPONSES else 1000.0
            result[f"{name}_mae"] = unit * size / count
            result[f"{name}_rmse"] = unit * (square / count) ** 0.5
    return result


UNITS: Mapping[str, str] = {
    "energy_mae": "meV", "energy_rmse": "meV",
    "energy_per_atom_mae": "meV/atom", "energy_per_atom_rmse": "meV/atom",
    "forces_mae": "meV/Å", "forces_rmse": "meV/Å",
    "stress_mae": "meV/Å³", "stress_rmse": "meV/Å³",
    "dipole_mae": "e·Å", "dipole_rmse": "e·Å",
    "polarizability_mae": "Å³", "polarizability_rmse": "Å³",
    "born_charges_mae": "e", "born_charges_rmse": "e",
}  # fmt: skip
"""The unit of every entry of :func:`summarise`."""
