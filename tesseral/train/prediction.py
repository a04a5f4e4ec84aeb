"""A model on many frames: predictions beside their labels, and the tables of errors that a report shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from ase.data import chemical_symbols
from rich.console import Console
from rich.progress import track

from tesseral.graph import Graph, collate
from tesseral.physics.electric import RESPONSES, energy_and_responses, reads_field
from tesseral.physics.forces import Prediction, energy_and_forces

QUANTITIES = ("energy", "forces", "stress")


@runtime_checkable
class Graphs(Protocol):
    """Graphs by number: a list, ``tesseral.data.Graphs``, or anything else with a length and integer indices."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Graph: ...


@dataclass(frozen=True)
class Predictions:
    """Predictions for a set of frames and their labels, as arrays.

    ``energy`` is (frames,) in eV, ``forces`` (atoms, 3) in eV/Å, ``stress`` (frames, 3, 3) in eV/Å³, and so are their labels; a
    missing label is NaN. ``frame`` tells the frame of every atom, ``species`` its atomic number, ``config_types`` the kind of
    every frame. ``seconds`` is what the model took, neighbour lists excluded. ``responses`` are those of a model that reads a
    field, by name as (predictions, labels): dipole (frames, 3) in e·Å, polarizability (frames, 3, 3) in Å³, born_charges
    (atoms, 3, 3) in e; NaN where there is no label, or where a prediction has no meaning or was not asked for.
    """

    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray
    energy_label: np.ndarray
    forces_label: np.ndarray
    stress_label: np.ndarray
    species: np.ndarray
    frame: np.ndarray
    config_types: list[str] = field(repr=False)
    seconds: float = 0.0
    responses: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @property
    def atoms_per_frame(self) -> np.ndarray:
        """The number of atoms of every frame."""
        return np.bincount(self.frame, minlength=len(self.energy))


def evaluate(
    model: Callable[[Graph], torch.Tensor],
    graphs: Graphs,
    *,
    config_types: Sequence[str] | None = None,
    stress: bool | None = None,
    responses: Collection[str] | None = None,
    max_edges: int = 20_000,
    device: torch.device | str = "cpu",
    predict: Callable[..., Prediction] = energy_and_forces,
    show_progress: bool = False,
) -> Predictions:
    """Energies, forces and stresses of a model for every frame, in batches of up to ``max_edges`` edges.

    Frames need no labels. Stress is computed for periodic frames when ``stress`` is true, or, by default, in batches where one is
    labelled with it; it is NaN elsewhere. Models that read a field also give ``responses`` (of
    :data:`tesseral.physics.electric.RESPONSES`), by default those that are labelled somewhere, in the batches where they are.
    """
    if config_types is not None and len(config_types) != len(graphs):
        raise ValueError(f"{len(config_types)} config_types for {len(graphs)} frames")
    training = getattr(model, "training", False)
    if isinstance(model, torch.nn.Module):
        model.eval()
    parts: dict[str, list[np.ndarray]] = {
        name: [] for name in (*QUANTITIES, *(f"{q}_label" for q in QUANTITIES), "species", "atoms")
    }
    seconds = 0.0
    answered: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in RESPONSES}
    for batch in _bar(_batches(graphs, max_edges), show_progress, len(graphs)):
        batch = batch.to(device)
        wanted = ("stress" in batch.labels if stress is None else stress) and bool((batch.volume > 0).any())
        begun = time.perf_counter()
        asked = [name for name in RESPONSES if reads_field(model) and name in (batch.labels if responses is None else responses)]
        prediction: Any = (
            energy_and_responses(model, batch, asked, stress=wanted) if asked else predict(model, batch, stress=wanted)
        )
        values = {"energy": prediction.energy.cpu(), "forces": prediction.forces.cpu()}
        seconds += time.perf_counter() - begun
        values["stress"] = (
            torch.full((batch.num_graphs, 3, 3), torch.nan) if prediction.stress is None else prediction.stress.cpu()
        )
        for name, value in values.items():
            parts[name].append(value.detach().to(torch.float64).numpy())
            parts[f"{name}_label"].append(_label(batch, name, value).numpy())
        for name in RESPONSES:
            rows = batch.num_nodes if name == "born_charges" else batch.num_graphs
            value = getattr(prediction, name, None) if name in asked else None
            value = torch.full((rows, 3) if name == "dipole" else (rows, 3, 3), torch.nan) if value is None else value.cpu()
            value = value.detach().to(torch.float64)
            answered[name].append((value.numpy(), _label(batch, name, value).numpy()))
        parts["species"].append(batch.species.cpu().numpy())
        parts["atoms"].append(batch.nodes_per_graph().cpu().numpy())
    if isinstance(model, torch.nn.Module):
        model.train(training)
    shapes = {"energy": (0,), "forces": (0, 3), "stress": (0, 3, 3)}
    joined = {
        name: np.concatenate(arrays) if arrays else np.zeros(shapes.get(name.removesuffix("_label"), (0,)), dtype=np.float64)
        for name, arrays in parts.items()
    }
    atoms = joined.pop("atoms").astype(np.int64)
    return Predictions(
        **joined,
        frame=np.repeat(np.arange(len(atoms)), atoms),
        config_types=list(config_types) if config_types is not None else [""] * len(atoms),
        seconds=seconds,
        responses=_answers(answered),
    )


def _answers(parts: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Those of which something is known."""
    joined = {
        name: (np.concatenate([p for p, _ in pairs]), np.concatenate([q for _, q in pairs]))
        for name, pairs in parts.items()
        if pairs
    }
    return {name: pair for name, pair in joined.items() if np.isfinite(pair[0]).any()}


def _batches(graphs: Graphs, max_edges: int) -> Iterator[Graph]:
    waiting: list[Graph] = []
    edges = 0
    for index in range(len(graphs)):
        graph = graphs[index]
        if waiting and edges + graph.num_edges > max_edges:
            yield collate(waiting)
            waiting, edges = [], 0
        waiting.append(graph)
        edges += graph.num_edges
    if waiting:
        yield collate(waiting)


def _bar(batches: Iterable[Graph], show: bool, frames: int) -> Iterable[Graph]:
    if not show:
        return batches
    total = max(1, frames)
    return _count(track(range(total), "evaluate", console=Console(stderr=True), transient=True), batches)


def _count(bar: Iterable[int], batches: Iterable[Graph]) -> Iterator[Graph]:
    ticks = iter(bar)
    for batch in batches:
        yield batch
        for _ in range(batch.num_graphs):
            next(ticks, None)
    for _ in ticks:
        pass


def _label(batch: Graph, name: str, like: torch.Tensor) -> torch.Tensor:
    if name not in batch.labels:
        return torch.full(like.shape, torch.nan, dtype=torch.float64)
    label = batch.labels[name].cpu().to(torch.float64)
    mask = batch.masks.get(name)
    if mask is None:
        return label
    mask = mask.cpu()
    return torch.where(mask.reshape(mask.shape + (1,) * (label.ndim - mask.ndim)), label, torch.nan)


def errors(predictions: Predictions) -> dict[str, np.ndarray]:
    """Prediction minus label (NaN without one): energy, energy_per_atom (frames,), forces (atoms, 3), stress (frames, 3, 3).

    And the responses.
    """
    energy = predictions.energy - predictions.energy_label
    return {
        "energy": energy,
        "energy_per_atom": energy / np.maximum(predictions.atoms_per_frame, 1),
        "forces": predictions.forces - predictions.forces_label,
        "stress": predictions.stress - predictions.stress_label,
    } | {name: predicted - label for name, (predicted, label) in predictions.responses.items()}


def error_row(values: dict[str, np.ndarray], predictions: Predictions, frames: np.ndarray, atoms: np.ndarray) -> dict[str, Any]:
    """MAE and RMSE over chosen frames and atoms (boolean arrays), with the numbers of both.

    In meV, meV/atom, meV/Å, meV/Å³; responses in e·Å, Å³ and e.
    """
    row: dict[str, Any] = {"frames": int(frames.sum()), "atoms": int(atoms.sum())}
    for name, value in values.items():
        unit = 1.0 if name in RESPONSES else 1000.0
        chosen = unit * value[atoms if name in ("forces", "born_charges") else frames]
        chosen = chosen[np.isfinite(chosen)]
        if chosen.size:
            row[f"{name}_mae"] = float(np.abs(chosen).mean())
            row[f"{name}_rmse"] = float(np.sqrt((chosen**2).mean()))
    labels = predictions.forces_label[atoms]
    labels = labels[np.isfinite(labels)]
    if labels.size:
        row["forces_rms"] = float(1000.0 * np.sqrt((labels**2).mean()))
    return row


def tables(predictions: Predictions) -> dict[str, Any]:
    """Errors overall, per element, and per configuration type (where there are several), and the speed; ready for JSON.

    Energies in meV and meV/atom, forces in meV/Å (``forces_rms`` is the RMS of the labels, the scale of the errors), stress in
    meV/Å³. Rows per element have forces only.
    """
    values = errors(predictions)
    frames, atoms = np.ones(len(predictions.energy), dtype=bool), np.ones(len(predictions.species), dtype=bool)
    forces_only = {"forces": values["forces"]}
    kinds = sorted(set(predictions.config_types))
    of_frame = np.array(predictions.config_types)
    per_type = {}
    for kind in kinds if len(kinds) > 1 else []:
        chosen = of_frame == kind
        per_type[kind or "(none)"] = error_row(values, predictions, chosen, chosen[predictions.frame])
    per_element = {}
    for number in np.unique(predictions.species):
        chosen = predictions.species == number
        touched = np.zeros_like(frames)
        touched[predictions.frame[chosen]] = True
        per_element[chemical_symbols[int(number)]] = error_row(forces_only, predictions, touched, chosen)
    count = max(1, len(predictions.energy))
    return {
        "overall": error_row(values, predictions, frames, atoms),
        "per_element": per_element,
        "per_config_type": per_type,
        "speed": {
            "seconds": predictions.seconds,
            "ms_per_frame": 1000.0 * predictions.seconds / count,
            "us_per_atom": 1e6 * predictions.seconds / max(1, len(predictions.species)),
        },
    }
