r"""How sure a model is of its energies and forces, from the geometry of its last layer.

An energy :math:`E = w\cdot F` is linear in the weights of its last layer, with features :math:`F`. Training on rows :math:`F_n`
(structures) and :math:`\partial F_n/\partial r` (forces) leaves to the weights the covariance
:math:`C = (\sum F F^T + ς^2)^{-1}`, so that

.. math:: σ_E^2 = α_E^2\,F^T C F, \qquad σ_{f}^2 = α_f^2\,(\partial F/\partial r)^T C\,(\partial F/\partial r).

Rows of energies (per atom) count w times those of forces, the ratio of their noise: without it, what all structures have in
common would make nearly all of :math:`σ_E`. The scales α, the prior ς and w are calibrated on validation data. Nothing is
retrained, and the energies stay as they are.
Source: Bigi, Chong, Ceriotti, Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.graph import Graph, collate

PRIORS = tuple(10.0**power for power in range(-9, 1))  # ς² to choose from, in units of the mean eigenvalue
WEIGHTS = tuple(10.0**power for power in range(9))  # w to choose from, (eV/Å)² over (eV/atom)²
LEVELS = (0.5, 0.6827, 0.9, 0.9545)


@runtime_checkable
class Graphs(Protocol):
    """Graphs by number: a list, ``tesseral.data.Graphs``, or anything else with a length and integer indices."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Graph: ...


@dataclass(frozen=True, eq=False)
class LastLayer:
    """A calibrated covariance of the last layer: ``factor`` L with C = L Lᵀ, and the scales of energies and forces.

    ``threshold`` is the largest force uncertainty of any atom of the validation frames, in eV/Å: beyond it, a structure is unlike
    everything the model was tested on.
    """

    factor: Float[Tensor, "features features"]
    energy_scale: float
    forces_scale: float
    threshold: float

    def energy(self, model: Callable[[Graph], Tensor], graph: Graph) -> Float[Tensor, " graphs"]:
        """Standard deviations of the energies, in eV."""
        features, _ = last_features(model, graph, slopes=False)
        return self.energy_scale * torch.linalg.vector_norm(features @ self.factor.to(features.device), dim=1)

    def forces(self, model: Callable[[Graph], Tensor], graph: Graph, members: int | None = None) -> Float[Tensor, "nodes 3"]:
        """Standard deviations of the components of the forces, in eV/Å.

        Exact at the cost of one backward pass a feature; with ``members``, estimated from so many random last layers (always the
        same), with a relative standard error of 1/√(2 members).
        """
        factor = self.factor.to(graph.device)
        if members is not None and members < len(factor):
            draw = torch.randn(len(factor), members, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
            factor = factor @ draw.to(graph.device) / math.sqrt(members)
        _, slopes = last_features(model, graph, directions=factor)
        assert slopes is not None
        return self.forces_scale * torch.linalg.vector_norm(slopes, dim=2)

    def plain(self) -> dict[str, Any]:
        """The same as plain data, for the description in a model file."""
        scales = {"energy_scale": self.energy_scale, "forces_scale": self.forces_scale, "threshold": self.threshold}
        return {"method": "last layer", "factor": self.factor.tolist(), **scales}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> LastLayer:
        """From what :meth:`plain` gives; ``ValueError`` for a method that this version does not know."""
        if values.get("method") != "last layer":
            raise ValueError(f"the uncertainty of the model is of the kind {values.get('method')!r}: update tesseral")
        scales = (float(values[name]) for name in ("energy_scale", "forces_scale", "threshold"))
        return cls(torch.tensor(values["factor"], dtype=torch.float64), *scales)


def last_features(
    model: Callable[[Graph], Tensor],
    graph: Graph,
    slopes: bool = True,
    directions: Float[Tensor, "features directions"] | None = None,
) -> tuple[Float[Tensor, "graphs features"], Float[Tensor, "nodes 3 directions"] | None]:
    r"""What the last layers multiply by their weights, summed over each structure, and its derivatives with respect to positions.

    Last layers are the modules whose output is a single scalar, ``1x0e``; their inputs, weighted by ∂E/∂output, are the features.
    ``directions`` combine features before they are differentiated (each feature by itself when left out).
    Raises ``ValueError`` for a model without such a module.
    """
    captured: list[tuple[Tensor, Tensor]] = []
    layers = _last_layers(model)
    hooks = [layer.register_forward_hook(lambda _, x, y: captured.append((x[0], y))) for layer in layers]
    try:
        with torch.enable_grad():
            positions = graph.positions.detach().requires_grad_()
            energy = model(graph.replace(positions=positions))
    finally:
        for hook in hooks:
            hook.remove()
    with torch.enable_grad():
        outputs = [output for _, output in captured]
        strengths = torch.autograd.grad(energy.sum(), outputs, retain_graph=True, allow_unused=True, materialize_grads=True)
        parts = [x.to(torch.float64) * strength.detach().to(torch.float64) for (x, _), strength in zip(captured, strengths)]
        by_node = torch.cat(parts, 1)
        features = by_node.new_zeros(graph.num_graphs, by_node.shape[1]).index_add(0, graph.batch, by_node)
        if not slopes:
            return features.detach(), None
        combined = features if directions is None else features @ directions
        columns = [
            torch.autograd.grad(column, positions, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
            for column in combined.sum(0)
        ]
    return features.detach(), torch.stack(columns, 2).to(torch.float64)


def calibrate(
    model: Callable[[Graph], Tensor],
    training: Graphs,
    validation: Graphs,
    *,
    max_edges: int = 5_000,
    progress: Callable[[int], None] | None = None,
) -> LastLayer:
    """The last layer's covariance from training graphs, calibrated on labelled validation graphs.

    Prior and weight are those under which the validation errors are most likely, and the scales make the mean of (error/σ)²
    one, for energies and for forces. ``progress`` is called with the number of graphs done. Raises ``ValueError`` without labels.
    """
    count = 0

    def rows(graphs: Graphs) -> Iterable[tuple[Graph, Tensor, Tensor]]:
        nonlocal count
        for batch in _batches(graphs, max_edges):
            features, slopes = last_features(model, batch)
            assert slopes is not None
            yield batch, features, slopes.flatten(0, 1)
            count += batch.num_graphs
            if progress is not None:
                progress(count)

    by_energies: Tensor | None = None
    by_forces: Tensor | None = None
    for batch, features, slopes in rows(training):
        per_atom = features / batch.nodes_per_graph()[:, None].to(torch.float64)
        energy_gram, force_gram = per_atom.T @ per_atom, slopes.T @ slopes
        by_energies = energy_gram if by_energies is None else by_energies + energy_gram
        by_forces = force_gram if by_forces is None else by_forces + force_gram
    if by_energies is None or by_forces is None:
        raise ValueError("an uncertainty needs training graphs, got none")
    energies, forces, energy_rows, force_rows = [], [], [], []
    for batch, features, slopes in rows(validation):
        energy_error, force_error = _errors(model, batch)
        energies.append(energy_error)
        forces.append(force_error)
        energy_rows.append(features)
        force_rows.append(slopes)
    if not energies:
        raise ValueError("an uncertainty is calibrated on labelled validation graphs, got none")
    return _choose(by_energies, by_forces, *(torch.cat(parts) for parts in (energy_rows, force_rows, energies, forces)))


def coverage(error: np.ndarray, deviation: np.ndarray, levels: Sequence[float] = LEVELS) -> dict[float, float]:
    """The fraction of errors inside the central interval of a normal distribution, for each nominal level.

    >>> errors = np.random.default_rng(0).normal(size=100_000)
    >>> {level: round(found, 2) for level, found in coverage(errors, np.ones(100_000)).items()}
    {0.5: 0.5, 0.6827: 0.68, 0.9: 0.9, 0.9545: 0.95}
    """
    known = np.isfinite(error) & np.isfinite(deviation)
    ratio = np.abs(error[known]) / np.maximum(deviation[known], 1e-300)
    widths = [math.sqrt(2) * float(torch.erfinv(torch.tensor(level, dtype=torch.float64))) for level in levels]
    return {level: float((ratio < width).mean()) if ratio.size else math.nan for level, width in zip(levels, widths)}


def binned(error: np.ndarray, deviation: np.ndarray, bins: int = 12, smallest: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Root mean squares of σ and of the error, in bins of equal numbers, at least ``smallest``, by increasing σ.

    Equal where σ is true; a slope below one says that σ differs more from case to case than the errors do.

    >>> deviation = np.repeat([1.0, 3.0], 50_000)
    >>> errors = 2 * deviation * np.random.default_rng(0).normal(size=100_000)  # twice as large as foreseen
    >>> [values.round(1).tolist() for values in binned(errors, deviation, bins=2)]
    [[1.0, 3.0], [2.0, 6.0]]
    """
    error, deviation = np.ravel(error), np.ravel(deviation)
    known = np.flatnonzero(np.isfinite(error) & np.isfinite(deviation))
    order = known[np.argsort(deviation[known], kind="stable")]
    parts = np.array_split(order, max(1, min(bins, len(order) // smallest))) if len(order) else []
    sizes = [[np.sqrt((values[part] ** 2).mean()) for part in parts] for values in (deviation, error)]
    return np.array(sizes[0]), np.array(sizes[1])


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """The probability that a score of ``outside`` exceeds one of ``inside``; ties count half (Mann and Whitney 1947).

    >>> auroc(np.array([1.0, 2, 3]), np.array([2.5, 4, 5])), auroc(np.ones(3), np.ones(2))
    (0.8888888888888888, 0.5)
    """
    if not (len(inside) and len(outside)):
        return math.nan
    ordered = np.sort(inside)
    below, up_to = np.searchsorted(ordered, outside, "left"), np.searchsorted(ordered, outside, "right")
    return float((below + up_to).mean() / (2 * len(inside)))


def _last_layers(model: Any) -> list[torch.nn.Module]:
    modules = model.modules() if isinstance(model, torch.nn.Module) else ()
    found = [module for module in modules if str(getattr(module, "irreps_out", "")) == "1x0e" and _is_linear(module)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no linear last layer (to 1x0e), on which an uncertainty could rest")
    return found


def _is_linear(module: torch.nn.Module) -> bool:
    return type(module).__name__ == "Linear"


def _batches(graphs: Graphs, max_edges: int) -> Iterable[Graph]:
    waiting: list[Graph] = []
    for index in range(len(graphs)):
        graph = graphs[index]
        if waiting and sum(one.num_edges for one in waiting) + graph.num_edges > max_edges:
            yield collate(waiting)
            waiting = []
        waiting.append(graph)
    if waiting:
        yield collate(waiting)


def _errors(model: Callable[[Graph], Tensor], batch: Graph) -> tuple[Tensor, Tensor]:
    """Errors of energies (graphs,) and forces (3 nodes,), NaN without a label."""
    positions = batch.positions.detach().requires_grad_()
    with torch.enable_grad():
        energy = model(batch.replace(positions=positions))
        forces = -torch.autograd.grad(energy.sum(), positions)[0]
    errors = []
    for name, value in (("energy", energy.detach()), ("forces", forces)):
        if name not in batch.labels:
            errors.append(torch.full_like(value, torch.nan).flatten().to(torch.float64))
            continue
        mask = batch.masks[name].reshape(-1, *[1] * (value.ndim - 1))
        errors.append(torch.where(mask, value - batch.labels[name], torch.nan).flatten().to(torch.float64))
    return errors[0], errors[1]


def _choose(
    by_energies: Tensor, by_forces: Tensor, energy_rows: Tensor, force_rows: Tensor, energies: Tensor, forces: Tensor
) -> LastLayer:
    known_energies, known_forces = torch.isfinite(energies), torch.isfinite(forces)
    if not (known_energies.any() or known_forces.any()):
        raise ValueError("the validation graphs have neither energies nor forces to calibrate an uncertainty on")
    best: tuple[float, LastLayer] | None = None
    for factor in _factors(by_energies, by_forces):
        energy_scale, energy_loss = _scale(energies[known_energies], (energy_rows @ factor)[known_energies])
        deviations = torch.linalg.vector_norm(force_rows @ factor, dim=1)
        forces_scale, forces_loss = _scale(forces[known_forces], deviations[known_forces, None])
        # One covariance serves both: where one kind of label is absent, the other's scale holds.
        energy_scale, forces_scale = (
            b if math.isnan(a) else a for a, b in ((energy_scale, forces_scale), (forces_scale, energy_scale))
        )
        threshold = float(forces_scale * torch.linalg.vector_norm(deviations.reshape(-1, 3), dim=1).max())
        candidate = LastLayer(factor, energy_scale, forces_scale, threshold)
        loss = energy_loss + forces_loss
        if best is None or loss < best[0]:
            best = (loss, candidate)
    assert best is not None
    return best[1]


def _factors(by_energies: Tensor, by_forces: Tensor) -> Iterable[Tensor]:
    """L with C = L Lᵀ for every weight and prior."""
    for weight in WEIGHTS:
        eigenvalues, vectors = torch.linalg.eigh(weight * by_energies + by_forces)
        mean = eigenvalues.clamp(min=0).mean().clamp(min=1e-300)
        for prior in PRIORS:
            yield vectors / torch.sqrt(eigenvalues.clamp(min=0) + prior * mean)


def _scale(errors: Tensor, rows: Tensor) -> tuple[float, float]:
    """The most likely scale of the deviations |rows| for these errors, and the mean negative log likelihood at it."""
    if not len(errors):
        return math.nan, 0.0
    deviation = torch.linalg.vector_norm(rows, dim=1).clamp(min=1e-300)
    scale = float((errors / deviation).square().mean().sqrt())
    return scale, 0.5 + math.log(max(scale, 1e-300)) + float(deviation.log().mean())
