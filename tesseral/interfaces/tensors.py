"""Learning dipoles, polarizabilities and other tensors of labelled frames: ``tesseral tensors``, and what its models predict."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import ase.io
import numpy as np
import torch
from pydantic import Field
from rich.console import Console
from rich.table import Table

from tesseral.data import DataError, Frames, Graphs
from tesseral.data.doctor import DoctorSettings
from tesseral.data.statistics import AtomicEnergies
from tesseral.graph import Graph, build_graph, collate
from tesseral.interfaces.console import say_complaints
from tesseral.interfaces.simulation import read_structures
from tesseral.interfaces.training_data import Data, check_folder, examine_data, read_data
from tesseral.models.nequip import NequIPSettings
from tesseral.models.tensor import (
    BodySettings,
    Pool,
    Target,
    TensorModel,
    TensorSettings,
    check_target,
    features_of,
    pooled,
    species_moments,
)
from tesseral.models.tensor_files import save_tensors
from tesseral.o3 import Irreps, rand_matrix
from tesseral.train.checkpoints import write_atomically
from tesseral.train.figures import tensor_parity
from tesseral.train.loop import FitResult, TrainingError, fit
from tesseral.train.report import Report, installed_versions, write_report
from tesseral.train.settings import DataSettings, RunSettings, Strict
from tesseral.train.settings_file import SettingsError, commented_yaml
from tesseral.train.tensors import Kind, TensorTask, fit_charges, target_statistics

MODEL, METRICS, REPORT, SETTINGS, SPLIT = "tensors.safetensors", "metrics.json", "report.html", "settings.yaml", "split.json"
KNOWN: Mapping[str, Mapping[str, Any]] = {
    "dipole": {"irreps": "1o", "charges": True},
    "polarizability": {"irreps": "0e+2e"},
    "charges": {"irreps": "0e", "per": "atom"},
}
UNITS = {"dipole": "e·Å", "polarizability": "Å³", "charges": "e"}


class TargetSettings(Strict):
    """One quantity to learn."""

    irreps: str | None = Field(
        default=None,
        description="how it transforms: 1o a vector, 0e+2e a symmetric tensor; dipole, polarizability and charges know theirs",
    )
    per: Literal["structure", "atom"] = Field(default="structure", description="what has it")
    pool: Pool = Field(
        default="sum",
        description="how atoms make that of a structure: sum (an energy), mean (a gap), extent (about the centre of mass)",
    )
    charges: bool = Field(default=False, description="a dipole of a molecule: charges times positions, and atomic dipoles")
    length: bool = Field(default=False, description="the labels are lengths, such as dipole moments without a direction")
    loss: Kind = Field(
        default="squared",
        description="squared errors; or norm: lengths of errors, absolute values of scalars, which outliers move less",
    )
    weight: float = Field(default=1.0, gt=0, description="weight of its loss; errors count in units of the labels' spread")


class TensorTrainingSettings(RunSettings):
    """The settings file of ``tesseral tensors``."""

    data: DataSettings = Field(..., description="where the frames are")
    targets: dict[str, TargetSettings] = Field(
        ...,
        min_length=1,
        description="what to learn, by the name of the label: {dipole: {}, polarizability: {}}, or of data.keys.extra; keys of "
        "each: irreps, per (structure, atom), pool (sum, mean, extent), charges, length, loss, weight",
    )
    model: BodySettings = Field(
        default=NequIPSettings(layers=2, lmax=2, parity=False, radial_knots=128),
        description="the layers below the heads, of nequip or l1net",
    )
    precision: Literal["float32", "float64"] = Field(default="float32", description="inside the network; sums are float64")


def learn_tensors(
    settings: TensorTrainingSettings,
    folder: Path,
    *,
    data: Data | None = None,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
    level_of_theory: str = "",
    backend: str = "auto",
) -> TensorModel:
    """Train on the labels named by ``settings.targets``; write ``tensors.safetensors``, ``metrics.json`` and ``report.html``.

    ``data`` are frames in memory instead of the files that the settings name. Raises ``DataError``, ``SettingsError``,
    ``RunFolderError``, ``CheckpointError`` or ``TrainingError``, each with a sentence that says what to do.
    """
    console, started = console or Console(stderr=True), time.monotonic()
    console.rule("data", align="left")
    data = data or read_data(settings.data, AtomicEnergies(source="least_squares"), console)
    check_folder(folder, (MODEL, METRICS, REPORT, SETTINGS, SPLIT), resume=resume, overwrite=overwrite, console=console)
    if settings.data.examine:
        _examine(settings, data, console)
    training = _graphs(data.training, settings.model.cutoff, settings.targets)
    model, spreads = _new_model(settings, training, backend)
    for name, spread in spreads.items():
        count = sum(name in graph.labels for graph in training)
        unit = UNITS.get(name, "")
        console.print(
            f"{name}: {model.irreps[name]}, {count} of {len(training)} frames, spread {spread:.3g} {unit}", highlight=False
        )

    console.rule("training", align="left")
    console.print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {settings.precision}", highlight=False)
    powers: dict[Kind, int] = {"squared": 2, "norm": 1}
    weights = {name: target.weight / spreads[name] ** powers[target.loss] for name, target in settings.targets.items()}
    kinds = {name: target.loss for name, target in settings.targets.items()}
    result = fit(
        model, training, _graphs(data.validation, settings.model.cutoff, settings.targets), settings, folder,
        task=TensorTask(model.label_irreps, weights, kinds), resume=resume, overwrite=overwrite, started=started,
        metadata={"settings": settings.model_dump(mode="json")},
    )  # fmt: skip
    write_atomically(folder / SETTINGS, commented_yaml(settings).encode())
    if data.split is not None:
        data.split.write(folder / SPLIT)
    if result.stopped == "signal":
        raise TrainingError(f"stopped by a signal after {result.epochs} epochs; continue with --resume")
    model = model.eval().requires_grad_(False)

    console.rule("evaluation", align="left")
    sets = {"training": data.training, "validation": data.validation, **data.tests}
    pairs = {name: compare(model, frames) for name, frames in sets.items() if len(frames)}
    errors = {name: {target: _errors(*found) for target, found in of.items()} for name, of in pairs.items()}
    _say(console, errors)
    broken = equivariance(model, data.validation if len(data.validation) else data.training)
    console.print(f"rotations and the inversion are kept to {broken:.1e} of each target's size", highlight=False)
    _write(settings, folder, model, result, pairs, errors, broken, level_of_theory, started)
    console.print(f"written to [bold]{folder}[/bold]: {MODEL}, {METRICS}, {REPORT}", highlight=False, soft_wrap=True)
    return model


def _examine(settings: TensorTrainingSettings, data: Data, console: Console) -> None:
    complaints = examine_data(data, DoctorSettings(keys=settings.data.keys, cutoff=settings.model.cutoff, required=()))
    say_complaints(console, complaints)
    fatal = sum(complaint.severity == "error" for complaint in complaints)
    if fatal:
        raise DataError(
            f"the data have {fatal} error{'s' if fatal > 1 else ''}, listed above; correct them, or set data.examine=false "
            "if you know better"
        )


def _new_model(settings: TensorTrainingSettings, training: Sequence[Graph], backend: str) -> tuple[TensorModel, dict[str, float]]:
    """The model with the invariant parts that composition explains, and the size of the rest of each target."""
    torch.manual_seed(settings.seed)
    everything = collate(list(training))
    species = settings.model.species or tuple(everything.species.unique().tolist())
    filled = {"species": species, "num_neighbors": settings.model.num_neighbors or everything.num_edges / everything.num_nodes}
    body = settings.model.model_copy(update=filled)
    targets, references, spreads = {}, {}, {}
    for name, given in settings.targets.items():
        target = _target(name, given)
        labels, counts = _labelled(name, target, everything, species)
        irreps = Irreps("1x0e" if target.length else target.irreps)
        found = target_statistics(labels, counts, irreps, composition=not target.length)
        spreads[name] = found.spread
        size = counts.sum(1).square().mean().sqrt().item() if target.pool == "extent" else 1.0
        targets[name] = target.model_copy(update={"scale": found.spread / size})
        references[name] = found.references / targets[name].scale
    model = TensorModel(TensorSettings(body=body, targets=targets), backend=backend, dtype=getattr(torch, settings.precision))
    with torch.no_grad():
        for name, values in references.items():
            if not targets[name].length:
                model.references[name].copy_(values)
            if targets[name].charges:
                _start_from_charges(model, name, everything)
    return model, spreads


def _start_from_charges(model: TensorModel, name: str, graph: Graph) -> None:
    """Give a dipole the charges of the species that explain the labels best, beside which its heads begin small.

    Labels that are lengths do not tell a dipole from its opposite: kinds of molecules would settle on different signs.
    """
    label, mask = graph.labels[name].to(torch.float64).reshape(graph.num_graphs, -1), graph.masks.get(name)
    known = torch.ones(len(label), dtype=torch.bool) if mask is None else mask.reshape(len(label), -1).all(1)
    model.species_charges[name].copy_(fit_charges(species_moments(graph, model.species)[known], label[known]))
    for head in (model.heads[name], model.charges[name]):
        for weight in head.parameters():
            weight.mul_(0.1)


def _target(name: str, given: TargetSettings) -> Target:
    """A target with the irreps that its name or its settings give it."""
    chosen = given.model_dump(exclude={"weight", "loss"}, exclude_none=True)
    if given.irreps is None:
        if name not in KNOWN:
            raise SettingsError(
                f"targets.{name} needs irreps, such as 0e for a number, 1o for a vector, 0e+2e for a symmetric tensor"
            )
        chosen |= KNOWN[name]
    target = Target.model_validate(chosen)
    try:
        Irreps(target.irreps)
    except ValueError as error:
        raise SettingsError(f"targets.{name}.irreps: {error}") from None
    check_target(name, target)
    return target


def _labelled(name: str, target: Target, graph: Graph, species: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The known labels as features, and what atoms of each species weigh in them: how many there are, where they are summed."""
    irreps = Irreps("1x0e" if target.length else target.irreps)
    if name not in graph.labels:
        raise DataError(
            f"no training frame has the target {name!r}; say where it is in data.keys, as in data.keys.extra={{{name}: KEY}}"
        )
    given = graph.labels[name].to(torch.float64)
    rows, expected = len(given), graph.num_nodes if target.per == "atom" else graph.num_graphs
    size = given.numel() // max(rows, 1)
    if rows != expected or size not in ({6, 9} if str(irreps) == "1x0e+1x2e" else {irreps.dim}):
        raise DataError(
            f"the target {name!r} is {irreps} per {target.per}, {irreps.dim} numbers for each of {expected}, but its labels are "
            f"{tuple(given.shape)}; correct targets.{name}.irreps or targets.{name}.per"
        )
    one_hot = (graph.species[:, None] == torch.tensor(species)).to(torch.float64)
    if target.per == "structure":
        one_hot = pooled(one_hot, target.pool, graph)
    mask = graph.masks.get(name)
    known = torch.ones(rows, dtype=torch.bool) if mask is None else mask.reshape(rows, -1).all(1)
    return features_of(irreps, given).reshape(rows, -1)[known], one_hot[known]


def compare(model: TensorModel, frames: Frames) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Labels and predictions of every target that the frames have, (values, components)."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for batch in _batches(_graphs(frames, model.cutoff, model.irreps)):
        with torch.no_grad():
            answers = model(batch)
        for name, label in batch.labels.items():
            mask = batch.masks.get(name)
            known = torch.ones(len(label), dtype=torch.bool) if mask is None else mask.reshape(len(label), -1).all(1)
            predicted = model.cartesian(name, model.as_labelled(name, answers[name])).reshape(len(label), -1)
            given = label.reshape(len(label), -1)
            found.setdefault(name, []).append((given[known].numpy(), predicted[known].numpy()))
    return {name: (np.concatenate([a for a, _ in of]), np.concatenate([b for _, b in of])) for name, of in found.items()}


def _graphs(frames: Frames, cutoff: float, targets: Iterable[str]) -> list[Graph]:
    graphs = Graphs(frames, cutoff, labels=tuple(targets))
    return [graphs[index] for index in range(len(graphs))]


def _batches(graphs: list[Graph], size: int = 32) -> list[Graph]:
    return [collate(graphs[start : start + size]) for start in range(0, len(graphs), size)]


def _errors(label: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Errors of components, the spread of the labels, and their number."""
    error = predicted - label
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mae": float(np.mean(np.abs(error))),
        "spread": float(np.sqrt(np.mean((label - label.mean(0)) ** 2))),
        "labels": len(label),
    }


def _say(console: Console, errors: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("set", "target", "labels", "RMSE", "MAE", "spread", ""):
        table.add_column(title, justify="left" if title in ("set", "target", "") else "right", no_wrap=True)
    for name, of in errors.items():
        for target, row in of.items():
            numbers = (f"{row[key]:.3g}" for key in ("rmse", "mae", "spread"))
            table.add_row(name, target, str(row["labels"]), *numbers, UNITS.get(target, ""))
    console.print(table)


def equivariance(model: TensorModel, frames: Frames) -> float:
    """Largest error of a target of the first frame under a rotation and the inversion, relative to the target's size."""
    atoms = frames[0].atoms()
    matrix = -rand_matrix(dtype=torch.float64)  # a rotation and the inversion
    turned = atoms.copy()
    turned.positions = atoms.positions @ matrix.numpy().T
    turned.cell = atoms.cell.array @ matrix.numpy().T
    worst = 0.0
    with torch.no_grad():
        before, after = (model(build_graph(one, model.cutoff)) for one in (atoms, turned))
    for name, irreps in model.irreps.items():
        expected = before[name] @ irreps.D_from_matrix(matrix).to(torch.float64).T
        scale = max(expected.abs().max().item(), model.settings.targets[name].scale)
        worst = max(worst, (after[name] - expected).abs().max().item() / scale)
    return worst


def _write(
    settings: TensorTrainingSettings, folder: Path, model: TensorModel, result: FitResult,
    pairs: Mapping[str, Any], errors: Mapping[str, Any], broken: float, level_of_theory: str, started: float,
) -> None:  # fmt: skip
    notes = {"level_of_theory": level_of_theory, "errors": errors, "training": settings.model_dump(mode="json")}
    save_tensors(model, folder / MODEL, notes)
    run = {name: value for name, value in asdict(result).items() if name != "history"}
    seconds = time.monotonic() - started
    metrics = {"errors": errors, "fit": run, "equivariance": broken, "seconds": seconds}
    write_atomically(folder / METRICS, json.dumps(metrics, indent=1).encode())
    report = Report(
        title="Tensors: " + ", ".join(settings.targets),
        subtitle=level_of_theory,
        facts={
            "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
            "best epoch": f"{result.best_epoch} of {result.epochs}",
            "time": f"{seconds:.0f} s",
            "rotations and inversion": f"kept to {broken:.1e}",
            **{
                f"{name}, {target}": f"RMSE {row['rmse']:.3g} of a spread of {row['spread']:.3g} {UNITS.get(target, '')}"
                for name, of in errors.items()
                for target, row in of.items()
            },
        },
        history=result.history,
        settings=commented_yaml(settings),
        versions=installed_versions(),
        extra={f"Parity, {name}": tensor_parity(of, UNITS, name) for name, of in reversed(list(pairs.items())) if of},
    )
    write_report(report, folder / REPORT)


def predict_tensors(model: TensorModel, path: Path, output: Path) -> None:
    """The targets of the structures of ``path`` as extended XYZ in ``output``: in the header, or beside the atoms."""
    structures = read_structures(path)
    written = []
    for number, original in enumerate(structures):
        unknown = sorted({atom.symbol for atom in original if atom.number not in model.species})
        if unknown:
            raise DataError(f"{path}, structure {number}: the model does not know {', '.join(unknown)}")
        atoms = ase.Atoms(original.numbers, original.positions, cell=original.cell, pbc=original.pbc)
        with torch.no_grad():
            found = model(build_graph(atoms, model.cutoff))
        for name, values in found.items():
            array = model.cartesian(name, model.as_labelled(name, values)).numpy()
            if model.settings.targets[name].per == "atom":
                atoms.arrays[name] = array.squeeze(-1) if array.shape[-1] == 1 else array.reshape(len(atoms), -1)
            else:
                atoms.info[name] = array[0].item() if array[0].size == 1 else array[0]
        written.append(atoms)
    text = io.StringIO()
    ase.io.write(text, written, format="extxyz")
    write_atomically(output, text.getvalue().encode())
    Console(stderr=True).print(f"{len(written)} structures in {output}", highlight=False)
