"""Learning tensors of any irreps: one loss, masked, in which every irrep of a target counts by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tesseral.graph import Graph
from tesseral.o3 import Irreps
from tesseral.train.admission import TrainingError
from tesseral.train.prediction import Graphs
from tesseral.train.task import Sums

Kind: TypeAlias = Literal["squared", "norm"]
"""What counts of an irrep's error: its squared norm, or its norm (the absolute value of a scalar), which outliers move less."""


class Answer(NamedTuple):
    """A target: what the model says and what the label is, as features (rows, dim), and their difference in components."""

    predicted: Tensor
    label: Tensor
    mask: Tensor
    error: Tensor


class TensorTask:
    r"""Learns targets by name with the weights :math:`w_t` of errors in the units of the labels, squared or of other ``kinds``.

    ``model(graph)`` gives targets by name as features (rows, dim), ``model.as_labelled(name, features)`` what labels tell of
    them, of irreps ``irreps``, and ``model.cartesian(name, features)`` and ``model.from_cartesian(name, labels)`` go to the
    components of the labels and back, as those of :class:`tesseral.models.tensor.TensorModel`. The loss is that of
    :func:`typed_loss`, with the weights of the frames; errors are reported per component of the label (``dipole_rmse``).
    """

    def __init__(self, irreps: Mapping[str, Any], weights: Mapping[str, float], kinds: Mapping[str, Kind] | None = None) -> None:
        self.irreps = {name: Irreps(given) for name, given in irreps.items()}
        self.weights, self.kinds = dict(weights), dict(kinds or {})

    def check(self, frames: Graphs) -> None:
        """Raises ``TrainingError`` for a target that no frame has."""
        if len(frames) == 0:
            raise TrainingError("there are no training frames")
        found = sorted({key for index in range(len(frames)) for key in frames[index].labels})
        for name in self.irreps:
            if name not in found:
                raise TrainingError(
                    f"no training frame has the target {name!r} (found: {', '.join(found) or 'no labels'}); name its key in "
                    f"data.keys, as in data.keys.extra={{{name}: KEY}}, or leave the target out"
                )

    def predict(self, model: Any, graph: Graph, *, create_graph: bool) -> dict[str, Answer]:
        found, answers = model(graph), {}
        for name in self.irreps:
            if name not in graph.labels:
                continue
            predicted, given = model.as_labelled(name, found[name]), graph.labels[name].to(torch.float64)
            mask = graph.masks.get(name)
            mask = (
                torch.ones(len(given), dtype=torch.bool, device=given.device)
                if mask is None
                else mask.reshape(len(given), -1).all(1)
            )
            label = model.from_cartesian(name, given)
            error = model.cartesian(name, predicted.detach() - torch.where(mask[:, None], label.reshape(predicted.shape), 0.0))
            answers[name] = Answer(predicted, label.reshape(predicted.shape), mask, error)
        return answers

    def loss_sums(self, prediction: Mapping[str, Answer], graph: Graph) -> Sums:
        errors, counts = [], []
        for name, kinds in self.irreps.items():
            if name not in prediction:
                errors.append(torch.zeros(len(kinds), dtype=torch.float64, device=graph.positions.device))
                counts.append(errors[-1])
                continue
            answer = prediction[name]
            weight = graph.weight
            if weight is not None and len(answer.mask) == graph.num_nodes != graph.num_graphs:
                weight = weight[graph.batch]
            sums = typed_sums(answer.predicted, answer.label, answer.mask, kinds, weight, self.kinds.get(name, "squared"))
            errors.append(sums.errors)
            counts.append(sums.counts)
        return Sums(torch.cat(errors), torch.cat(counts))

    def label_counts(self, graph: Graph | None, device: torch.device) -> Tensor:
        counts = []
        for name, kinds in self.irreps.items():
            known = 0.0
            if graph is not None and name in graph.labels:
                rows = len(graph.labels[name])
                mask = graph.masks.get(name)
                known = float(rows if mask is None else mask.reshape(rows, -1).all(1).sum())
            counts.append(torch.full((len(kinds),), known, dtype=torch.float64, device=device))
        return torch.cat(counts)

    def combine(self, sums: Sums, counts: Tensor) -> Tensor:
        weights = [self.weights[name] for name, kinds in self.irreps.items() for _ in kinds]
        return (torch.tensor(weights, dtype=torch.float64, device=counts.device) * sums.errors / counts.clamp(min=1)).sum()

    def aside(self, model: torch.nn.Module, progress: float, device: torch.device) -> Tensor | None:
        return None

    def error_sums(self, prediction: Mapping[str, Answer], graph: Graph) -> Tensor:
        rows = self.no_errors(graph.device)
        for index, name in enumerate(self.irreps):
            if name in prediction:
                error = prediction[name].error[prediction[name].mask]
                rows[index] = torch.stack([error.abs().sum(), error.square().sum(), error.new_tensor(error.numel())])
        return rows

    def no_errors(self, device: torch.device) -> Tensor:
        return torch.zeros(len(self.irreps), 3, dtype=torch.float64, device=device)

    def summarise(self, sums: Tensor) -> dict[str, float]:
        result: dict[str, float] = {}
        for name, (size, square, count) in zip(self.irreps, sums.tolist(), strict=True):
            if count:
                result |= {f"{name}_mae": size / count, f"{name}_rmse": (square / count) ** 0.5}
        return result


class TargetStatistics(NamedTuple):
    """What is to be expected of a target: what each species adds to its invariant parts, and the spread of the rest."""

    references: Float[Tensor, "species dim"]
    spread: float


def target_statistics(
    labels: Float[Tensor, "rows dim"], counts: Float[Tensor, "rows species"], irreps: Irreps, *, composition: bool = True
) -> TargetStatistics:
    """A least-squares fit of the invariant parts by the species, ``counts`` being how much of each a row has.

    With ``composition=False`` nothing is explained by the species: references are zero.

    >>> labels = torch.tensor([[2.0], [4.0], [6.1]], dtype=torch.float64)
    >>> counts = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    >>> round(target_statistics(labels, counts, Irreps("0e")).references.item(), 2)
    2.02
    """
    invariant = torch.cat([torch.full((mul * ir.dim,), float(ir.l == 0 and ir.p == 1)) for mul, ir in irreps]).bool()
    references = labels.new_zeros(counts.shape[1], irreps.dim)
    if composition and invariant.any():  # gelsd gives the smallest solution, where compositions do not tell the species apart
        references[:, invariant] = torch.linalg.lstsq(counts, labels[:, invariant], driver="gelsd").solution
    rest = (labels - counts @ references).square().mean().sqrt().item()
    size = labels.square().mean().sqrt().item()
    return TargetStatistics(references, rest if rest > 1e-6 * size else size or 1.0)


def fit_charges(
    moments: Float[Tensor, "rows species 3"], labels: Float[Tensor, "rows dim"], passes: int = 20
) -> Float[Tensor, " species"]:
    r"""Charges of the species whose dipoles :math:`\sum_z q_z m_z` come nearest to the labels: vectors, or their lengths (dim 1).

    Lengths do not tell a dipole from its opposite. To begin with, :math:`\mu^2 = \sum_{zz'} q_z q_{z'} m_z \cdot m_{z'}` is
    linear in the products of charges, of which the nearest ones of rank one are taken; then the directions are kept and lengths
    fitted along them, in turns. The sign that is left is arbitrary, but one for all rows.

    >>> moments = torch.randn(50, 2, 3, dtype=torch.float64)
    >>> charges = torch.tensor([0.5, -0.2], dtype=torch.float64)
    >>> lengths = torch.einsum("rsx,s->rx", moments, charges).norm(dim=1, keepdim=True)
    >>> [round(abs(q), 6) for q in fit_charges(moments, lengths).tolist()]
    [0.5, 0.2]
    """
    if labels.shape[1] == 3:
        return _solve(moments.transpose(1, 2).flatten(0, 1), labels.flatten())
    a, b = torch.triu_indices(moments.shape[1], moments.shape[1], device=moments.device)
    products = (moments[:, a] * moments[:, b]).sum(2) * torch.where(a == b, 1.0, 2.0)
    square = moments.new_zeros(moments.shape[1], moments.shape[1])
    square[a, b] = square[b, a] = _solve(products, labels[:, 0].square())
    sizes, vectors = torch.linalg.eigh(square)
    charges = vectors[:, -1] * sizes[-1].clamp(min=0).sqrt()
    for _ in range(passes):
        directions = torch.nn.functional.normalize(torch.einsum("rsx,s->rx", moments, charges), dim=1)
        charges = _solve(torch.einsum("rsx,rx->rs", moments, directions), labels[:, 0])
    return charges


def _solve(matrix: Tensor, values: Tensor) -> Tensor:
    return torch.linalg.lstsq(matrix, values[:, None], driver="gelsd").solution[:, 0]  # the smallest where several fit


def typed_sums(
    predicted: Float[Tensor, "rows dim"],
    label: Float[Tensor, "rows dim"],
    mask: Bool[Tensor, " rows"],
    irreps: Irreps,
    weight: Float[Tensor, " rows"] | None = None,
    kind: Kind = "squared",
) -> Sums:
    r"""Of each irrep k the sum :math:`\sum_r w_r \|\Delta_{rk}\|^2 / \dim k` over known rows r, and how many there are.

    With ``kind="norm"`` it is :math:`\sum_r w_r \|\Delta_{rk}\|`. Of several channels the mean counts.
    """
    error = masked_error(predicted, label, mask)
    if weight is not None:
        scale = weight.to(error.dtype)[:, None]
        error = error * (scale if kind == "norm" else scale.sqrt())
    sums = []
    for block, (mul, ir) in zip(_blocks(error, irreps), irreps, strict=True):
        square = block.unflatten(1, (ir.dim, mul)).square().sum(1)
        # the slope of a root at zero is infinite
        size = square / ir.dim if kind == "squared" else torch.where(square > 0, square, 1.0).sqrt() * (square > 0)
        sums.append(size.sum() / mul)
    return Sums(torch.stack(sums), mask.sum().to(torch.float64).expand(len(sums)))


def typed_loss(
    predicted: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    irreps: Mapping[str, Any],
    weights: Mapping[str, float],
) -> Float[Tensor, ""]:
    r"""The sum :math:`\sum_t w_t \sum_k \langle \|\Delta t_k\|^2 / \dim k \rangle` over targets t and their irreps k.

    Tensors are features (rows, irreps.dim) in ``ir_mul``, a row for each structure or atom; the mean is over the rows where the
    mask (rows,) is true, and labels elsewhere may hold NaN. Targets without a label are left out. The norm of an irrep does not
    depend on the axes, so neither does the loss; a loss on Cartesian components of chosen axes, or an l1 of components, would.
    Raises ``ValueError`` where a dimension does not fit the irreps.

    >>> one = {"mu": torch.tensor([[1.0, 0.0, 0.0], [9.0, 9.0, 9.0]])}
    >>> zero = {"mu": torch.tensor([[0.0, 0.0, 0.0], [torch.nan] * 3])}
    >>> typed_loss(one, zero, {"mu": torch.tensor([True, False])}, {"mu": "1o"}, {"mu": 6.0}).item()
    2.0
    """
    total = torch.zeros((), dtype=torch.float64)
    for name, weight in weights.items():
        if name not in labels or weight == 0:
            continue
        kinds = Irreps(irreps[name])
        value, label, mask = predicted[name], labels[name], masks[name]
        if value.shape[1:] != (kinds.dim,) or label.shape != value.shape:
            raise ValueError(
                f"{name!r} is {kinds} of dimension {kinds.dim}, but the prediction has shape {tuple(value.shape)} "
                f"and the label {tuple(label.shape)}: give both as features (rows, {kinds.dim})"
            )
        sums = typed_sums(value, label, mask, kinds)
        total = total.to(value.device) + weight * (sums.errors / sums.counts.clamp(min=1)).sum()
    return total


def masked_error(
    predicted: Float[Tensor, "rows dim"], label: Float[Tensor, "rows dim"], mask: Bool[Tensor, " rows"]
) -> Float[Tensor, "rows dim"]:
    """Prediction minus label, zero where the label is unknown, float64; no NaN of an unknown label enters."""
    known = mask[:, None]
    return torch.where(known, predicted - torch.where(known, label.to(predicted.dtype), 0.0), 0.0).to(torch.float64)


def _blocks(features: Tensor, irreps: Irreps) -> tuple[Tensor, ...]:
    return features.split([mul * ir.dim for mul, ir in irreps], dim=1)
