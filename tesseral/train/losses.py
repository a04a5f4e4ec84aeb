"""Losses of energies, their derivatives and responses to a field, as sums of errors and counts of labels.

A loss is :math:`L = \\sum_q w_q S_q / C_q` over the quantities q: :math:`S_q` is the sum of the errors of all labelled entries of
a batch, each times the weight of its frame, and :math:`C_q` the number of these entries. Sums and counts, not means, are what
processes exchange: the loss of a batch is then the same however it is divided among them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tesseral.graph import Graph
from tesseral.physics.electric import RESPONSES, Responses
from tesseral.physics.forces import Prediction
from tesseral.train.settings import LossSettings, TermSettings
from tesseral.train.task import Sums

QUANTITIES = ("energy", "forces", "stress", *RESPONSES)


class EnergyOnly(NamedTuple):
    """A prediction without derivatives: what training on energies alone needs."""

    energy: Tensor
    forces: None = None
    stress: None = None


def loss_sums(prediction: Prediction | EnergyOnly | Responses, graph: Graph, settings: LossSettings) -> Sums:
    """The sums of the errors of every labelled entry, and how many entries there are.

    Energies in eV (or eV/atom with ``energy.per_atom``), forces in eV/Å, stress in eV/Å³, dipoles in e·Å, polarizabilities in Å³,
    Born charges in e. A quantity counts where the graph
    carries its label, where its mask (if any) is true, and where its weight is not zero.

    A frame's weight multiplies its errors and leaves the count alone: it then acts in a batch of one frame, too.
    """
    zero = torch.zeros((), dtype=torch.float64, device=graph.positions.device)
    errors, counts = [], []
    for quantity in QUANTITIES:
        term: TermSettings = getattr(settings, quantity)
        predicted = getattr(prediction, quantity, None)
        if term.weight == 0 or predicted is None or quantity not in graph.labels:
            errors.append(zero)
            counts.append(zero)
            continue
        error, mask = labelled_error(predicted, graph, quantity)
        if quantity == "energy" and settings.energy.per_atom:
            error = error / graph.nodes_per_graph()[:, None]
        total, count = _sum(error, mask, frame_weights(graph, quantity), term)
        errors.append(total)
        counts.append(count)
    return Sums(torch.stack(errors), torch.stack(counts))


def label_counts(graph: Graph | None, settings: LossSettings, device: torch.device) -> Tensor:
    """The counts that :func:`loss_sums` would find, without a prediction: float64 (6,); zeros without a graph."""
    counts = torch.zeros(len(QUANTITIES), dtype=torch.float64, device=device)
    if graph is None:
        return counts
    for index, quantity in enumerate(QUANTITIES):
        term: TermSettings = getattr(settings, quantity)
        if term.weight > 0 and quantity in graph.labels:
            _, mask = labelled_error(torch.zeros_like(graph.labels[quantity]), graph, quantity)
            counts[index] = (mask.any(dim=1) if term.kind == "l2" else mask).sum()
    return counts


def combine(sums: Sums, counts: Tensor, settings: LossSettings) -> Tensor:
    """The loss from error sums of one process and the label counts of all processes.

    >>> settings = LossSettings.model_validate({"energy": {"weight": 1.0}, "forces": {"weight": 10.0}, "stress": {"weight": 0.0}})
    >>> sums = Sums(torch.tensor([2.0, 6.0, 0.0, 0.0, 0.0, 0.0]), torch.tensor([4.0, 3.0, 0.0, 0.0, 0.0, 0.0]))
    >>> combine(sums, sums.counts, settings).item()
    20.5
    """
    weights = torch.tensor([getattr(settings, quantity).weight for quantity in QUANTITIES], dtype=torch.float64)
    return (weights.to(sums.errors.device) * sums.errors / counts.clamp(min=1)).sum()


def labelled_error(predicted: Tensor, graph: Graph, quantity: str) -> tuple[Tensor, Tensor]:
    """Prediction minus label as (rows, components), zero where there is no label, and the mask of labelled entries.

    Unlabelled entries of either may hold NaN; they never enter the arithmetic.
    """
    label = graph.labels[quantity].to(predicted.dtype)
    mask = graph.masks.get(quantity)
    if mask is None:
        mask = torch.ones_like(label, dtype=torch.bool)
    else:
        mask = mask.reshape(mask.shape + (1,) * (label.ndim - mask.ndim)).expand(label.shape)
    error = torch.where(mask, predicted - torch.where(mask, label, 0.0), 0.0)
    rows = label.shape[0]
    return error.reshape(rows, -1) if rows else error.reshape(0, 1), mask.reshape(rows, -1) if rows else mask.reshape(0, 1)


def frame_weights(graph: Graph, quantity: str) -> Tensor | None:
    """The weight of the frame of every row of a quantity; None without weights.

    (nodes,) for forces and Born charges, (graphs,) otherwise.
    """
    if graph.weight is None:
        return None
    weight = graph.weight.to(torch.float64)
    return weight[graph.batch] if quantity in ("forces", "born_charges") else weight


def _sum(error: Tensor, mask: Tensor, weight: Tensor | None, term: TermSettings) -> tuple[Tensor, Tensor]:
    error = error.to(torch.float64)
    match term.kind:
        case "mse":
            value = error.square()
        case "mae":
            value = error.abs()
        case "huber":
            size = error.abs()
            value = torch.where(size < term.delta, 0.5 * error.square(), term.delta * (size - 0.5 * term.delta))
        case "l2":  # a vector counts once
            value = torch.linalg.vector_norm(error, dim=1, keepdim=True)
            mask = mask.any(dim=1, keepdim=True)
    if weight is not None:
        value = value * weight[:, None]
    return value.sum(), mask.sum().to(torch.float64)
