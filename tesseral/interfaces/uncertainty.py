"""How sure a model is, where people meet it: computed at the end of training, shown by evaluate, watched during dynamics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tesseral.data import Frames, Graphs
from tesseral.graph import Graph, collate
from tesseral.models.files import Metadata
from tesseral.physics.uncertainty import LEVELS, LastLayer, auroc, binned, calibrate, coverage
from tesseral.train.prediction import Predictions, errors, evaluate

FRAMES, ATOMS = 100, 3_000  # enough for a covariance of some tens of features, and a few seconds of work
EDGES = 5_000
CURVE = tuple(np.linspace(0.0, 1.0, 51).round(2).tolist())  # nominal levels of the calibration curve
WATCHED = 4  # random last layers for the watch over dynamics: a backward pass each


class UncertaintyError(ValueError):
    """Dynamics that left what the model knows; the message says where."""


def stored(metadata: Metadata | None) -> LastLayer | None:
    """The uncertainty in a model file, or None where it has none."""
    values = getattr(metadata, "uncertainty", None)
    return LastLayer.of(values) if isinstance(values, Mapping) else None


def calibrate_frames(
    model: torch.nn.Module, training: Frames, validation: Frames, cutoff: float, console: Console
) -> dict[str, Any] | None:
    """The uncertainty of a trained model as plain data for its file; None, with a note, for a model that has none."""
    chosen = [_sample(frames) for frames in (training, validation)]
    total = sum(len(frames) for frames in chosen)
    bar = iter(track(range(total), "uncertainty", console=console, transient=True))
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        for _ in range(count - done):
            next(bar, None)
        done = count

    try:
        layer = calibrate(model, *(Graphs(frames, cutoff) for frames in chosen), max_edges=EDGES, progress=advance)
    except ValueError as error:
        console.print(f"note: no uncertainty: {error}", highlight=False, soft_wrap=True, markup=False)
        return None
    finally:
        for _ in bar:
            pass
    return layer.plain() | {"training_frames": len(chosen[0]), "validation_frames": len(chosen[1])}


def assess(model: torch.nn.Module, layer: LastLayer, frames: Frames, cutoff: float, predictions: Predictions) -> dict[str, Any]:
    """Predicted standard deviations beside the errors of a set: coverage of intervals, and whether large errors are foreseen.

    ``energy`` (meV) and ``forces`` (meV/Å) hold the mean deviation, the error, coverage by nominal level, the same on a fine grid
    (``curve``), root mean squares of both by increasing deviation (``bins``), and for forces ``auroc``: the probability that an
    atom among the 5 % of largest errors is less sure than one of the others. ``frame_scores`` are the frames' root mean square
    force uncertainties in eV/Å.
    """
    graphs, edges = Graphs(frames, cutoff), 0
    waiting: list[Graph] = []
    energies, forces, scores = [], [], []

    def flush() -> None:
        batch = collate(waiting)
        energies.append(layer.energy(model, batch).cpu().numpy())
        deviation = layer.forces(model, batch)
        forces.append(deviation.cpu().numpy())
        squared = deviation.square().mean(1)
        summed = squared.new_zeros(batch.num_graphs).index_add(0, batch.batch, squared)
        scores.append((summed / batch.nodes_per_graph()).sqrt().cpu().numpy())

    for index in track(range(len(graphs)), "uncertainty", console=Console(stderr=True), transient=True):
        waiting.append(graphs[index])
        edges += waiting[-1].num_edges
        if edges > EDGES or index == len(graphs) - 1:
            flush()
            waiting, edges = [], 0
    error = errors(predictions)
    sigma_energy, sigma_forces = np.concatenate(energies), np.concatenate(forces)
    result: dict[str, Any] = {"frame_scores": np.concatenate(scores).tolist()}
    for name, deviation in (("energy", sigma_energy), ("forces", sigma_forces)):
        known = np.isfinite(error[name])
        if known.any():
            curve = coverage(error[name], deviation, CURVE)
            by_size = binned(1000 * error[name], 1000 * deviation)
            result[name] = {
                "deviation_rms": float(1000 * np.sqrt((deviation[known] ** 2).mean())),
                "error_rms": float(1000 * np.sqrt((error[name][known] ** 2).mean())),
                "coverage": coverage(error[name], deviation),
                "curve": {"nominal": list(curve), "observed": list(curve.values())},
                "bins": {"deviation": by_size[0].tolist(), "error": by_size[1].tolist()},
            }
    if "forces" in result:
        size, sure = np.linalg.norm(error["forces"], axis=1), np.linalg.norm(sigma_forces, axis=1)
        size, sure = size[np.isfinite(size)], sure[np.isfinite(size)]
        large = size > np.quantile(size, 0.95)
        result["forces"]["auroc"] = auroc(sure[~large], sure[large])
    return result


def assess_samples(
    model: torch.nn.Module, uncertainty: Mapping[str, Any] | None, sets: Mapping[str, Frames], cutoff: float
) -> dict[str, dict[str, Any]]:
    """What :func:`assess` says of a sample of each set, as large as those of the calibration; empty without an uncertainty."""
    if uncertainty is None:
        return {}
    layer, results = LastLayer.of(uncertainty), {}
    for name, frames in sets.items():
        chosen = _sample(frames)
        if any(frame.labels.keys() & {"energy", "forces"} for frame in chosen):
            results[name] = assess(model, layer, chosen, cutoff, evaluate(model, Graphs(chosen, cutoff)))
    if results:
        compare(results)
    return results


def compare(results: dict[str, dict[str, Any]]) -> None:
    """Add to each set but the first the AUROC with which its frames are told from the first set's by their uncertainty."""
    first, *others = results.values()
    for other in others:
        other["auroc_against_first"] = auroc(np.array(first["frame_scores"]), np.array(other["frame_scores"]))


def say_uncertainty(console: Console, results: dict[str, dict[str, Any]]) -> None:
    """The calibration: a row a set and quantity, with the percentage of errors inside each nominal interval."""
    table = Table(box=None, pad_edge=False)
    table.add_column("uncertainty", no_wrap=True)
    table.add_column("of", no_wrap=True)
    for title in ("σ", "error", *(f"{100 * level:.0f} %" for level in LEVELS), "large", "strange"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, result in results.items():
        for quantity in ("energy", "forces"):
            if quantity in result:
                row = result[quantity]
                inside = [f"{100 * value:.0f}" for value in row["coverage"].values()]
                large = f"{row['auroc']:.3f}" if "auroc" in row else ""
                against = result.get("auroc_against_first") if quantity == "forces" else None
                sizes = (f"{row['deviation_rms']:.3g}", f"{row['error_rms']:.3g}")
                table.add_row(name, quantity, *sizes, *inside, large, "" if against is None else f"{against:.3f}")
    console.print(table)
    console.print(
        "σ and error: RMS in meV, meV/Å. Columns in %: how many errors lie inside the central interval that should hold so many. "
        "large: AUROC for the atoms of the 5 % largest errors; strange: AUROC for telling frames of a set from the first set.",
        style="dim", highlight=False,
    )  # fmt: skip


class Watch:
    """Looks at the kept frames of a run: counts those with an atom whose force is less sure than ``threshold`` (eV/Å)."""

    def __init__(self, calculator: Any, threshold: float | None = None, stop: bool = False) -> None:
        self.calculator, self.layer, self.stop = calculator, calculator.uncertainty, stop
        if threshold is not None and not 0 < threshold < np.inf:
            raise UncertaintyError(f"--max-uncertainty is {threshold}, expected a positive number in eV/Å")
        if self.layer is None and (stop or threshold is not None):
            raise UncertaintyError(
                "the model file holds no uncertainty, so a run cannot be watched: train the model anew, or leave the option away"
            )
        self.threshold = threshold if threshold is not None or self.layer is None else self.layer.threshold
        self.frames, self.flagged, self.first = 0, 0, -1

    def __call__(self, step: int) -> None:
        """Look at the present frame; :class:`UncertaintyError` beyond the threshold, where the run shall stop."""
        if self.layer is None or self.threshold is None:
            return
        graph = self.calculator.graph(self.calculator.atoms)
        deviation = torch.linalg.vector_norm(self.layer.forces(self.calculator.model, graph, members=WATCHED), dim=1)
        self.frames += 1
        if float(deviation.max()) <= self.threshold:
            return
        self.flagged += 1
        self.first = step if self.first < 0 else self.first
        if self.stop:
            atom = int(deviation.argmax())
            raise UncertaintyError(
                f"the run stopped at step {step}: the force on atom {atom} is uncertain by {float(deviation.max()):.3f} eV/Å, "
                f"more than {self.threshold:.3f}; the model does not know this structure: add such frames to its training"
            )

    @property
    def sentence(self) -> str:
        """What was seen, or an empty text when nothing was watched."""
        if not self.frames:
            return ""
        if not self.flagged:
            return f"forces are known to {self.threshold:.3f} eV/Å or better in all {self.frames} frames"
        return (
            f"warning: in {self.flagged} of {self.frames} frames, first at step {self.first}, a force is uncertain by more than "
            f"{self.threshold:.3f} eV/Å"
        )


def _sample(frames: Frames) -> Frames:
    """Some frames, always the same, of no more than a number of atoms."""
    order = np.random.default_rng(0).permutation(len(frames))[:FRAMES].tolist()
    chosen: list[int] = []
    atoms = 0
    for index in order:
        atoms += len(frames[index])
        if chosen and atoms > ATOMS:
            break
        chosen.append(index)
    return frames.subset(sorted(chosen))
