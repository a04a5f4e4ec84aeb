"""The main job: read, examine, split, count, train, evaluate, self-test, and leave a model file and a report."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ase
import torch
from ase.data import chemical_symbols
from rich.console import Console

from tesseral.data import DataError, Frames, Graphs, Statistics, compute_statistics
from tesseral.data.doctor import Complaint, DoctorSettings
from tesseral.data.statistics import isolated_energies
from tesseral.interfaces.console import say_complaints, say_errors, say_selftest
from tesseral.interfaces.finetuning import prepare, replayed_frames
from tesseral.interfaces.hessian_files import read_hessians
from tesseral.interfaces.labelled import examine_files as examine_files
from tesseral.interfaces.labelled import read_labelled as read_labelled
from tesseral.interfaces.labelled import require_labels as require_labels
from tesseral.interfaces.responses import start_responses, unweighted_labels
from tesseral.interfaces.training_data import Data as Data
from tesseral.interfaces.training_data import check_folder, examine_data, read_data
from tesseral.interfaces.training_settings import TrainingSettings as TrainingSettings
from tesseral.interfaces.uncertainty import assess_samples, calibrate_frames
from tesseral.models import Denoiser, FieldEnergy, build, cast, files
from tesseral.models.dens import Denoisable
from tesseral.models.files import Metadata
from tesseral.physics.electric import reads_field
from tesseral.physics.forces import energy_and_forces
from tesseral.physics.precision import BFloat16Products, dtype_of
from tesseral.physics.selftest import Check, selftest
from tesseral.train.checkpoints import write_atomically
from tesseral.train.denoising import denoised_prediction
from tesseral.train.energies import EnergyTask
from tesseral.train.figures import calibration
from tesseral.train.finetune import merge_corrections
from tesseral.train.loop import FitResult, TrainingError, fit
from tesseral.train.losses import QUANTITIES
from tesseral.train.prediction import Predictions, evaluate, tables
from tesseral.train.replay import Replaying, Together
from tesseral.train.report import Movie, Report, installed_versions, write_report
from tesseral.train.responses import ResponseTask
from tesseral.train.settings_file import SettingsError, commented_yaml

MODEL, METRICS, REPORT, SETTINGS, SPLIT = "model.safetensors", "metrics.json", "report.html", "settings.yaml", "split.json"
OLD_HEAD = "replay.safetensors"
FILES = (MODEL, METRICS, REPORT, SETTINGS, SPLIT, OLD_HEAD)


@dataclass(frozen=True)
class Trained:
    """What the main job leaves behind."""

    model: torch.nn.Module
    metadata: Metadata
    metrics: dict[str, Any]
    checks: list[Check]
    folder: Path
    report: Report


def train(
    settings: TrainingSettings,
    folder: Path,
    *,
    data: Data | None = None,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
    level_of_theory: str = "",
    backend: str = "auto",
) -> Trained:
    """Do the whole job and write ``model.safetensors``, ``metrics.json``, ``report.html``, ``settings.yaml`` and ``split.json``.

    ``data`` are frames in memory instead of the files that the settings name. Raises :class:`~tesseral.data.DataError`,
    ``SettingsError``, ``RunFolderError``, ``CheckpointError`` or ``TrainingError``, each with a sentence that says what to do.
    """
    console = console or Console(stderr=True)
    started = time.monotonic()
    console.rule("data", align="left")
    data = data or read_data(settings.data, settings.atomic_energies, console)
    check_folder(folder, FILES, resume=resume, overwrite=overwrite, console=console)
    console.print(_describe(data), highlight=False, soft_wrap=True)
    cutoff = settings.model.cutoff
    complaints = _examine(settings, data, console) if settings.data.examine else []
    statistics = compute_statistics(data.training, cutoff, settings.atomic_energies, data.isolated or ())
    for note in statistics.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
    if settings.start_from is None:
        model = _new_model(settings, data.training, statistics, backend)
    else:
        model = prepare(settings, data.training, statistics, backend, console)
    if settings.denoising is not None:
        model = _denoiser(settings, model, statistics)

    console.rule("training", align="left")
    numel = sum(p.numel() for p in model.parameters())
    console.print(f"{numel:,} parameters, {torch.get_num_threads()} threads, {settings.precision}", highlight=False)
    replayed = None
    if isinstance(model, Replaying) and settings.replay is not None:
        replayed = replayed_frames(settings, model, console)
    result = _fit(settings, data, model, replayed, folder, resume=resume, overwrite=overwrite, started=started)
    write_atomically(folder / SETTINGS, commented_yaml(settings).encode())
    if data.split is not None:
        data.split.write(folder / SPLIT)
    if result.stopped == "signal":
        raise TrainingError(f"stopped by a signal after {result.epochs} epochs; continue with --resume")
    old = None
    if isinstance(model, Replaying):
        model, old = model.separated()
        old.eval()
    if isinstance(model, Denoiser):
        model = model.model
    merge_corrections(model)

    judged = _judge(model, old, replayed, data, cutoff, console)
    return _write(settings, data, statistics, complaints, result, judged, folder, level_of_theory, started, console)


def _fit(
    settings: TrainingSettings, data: Data, model: torch.nn.Module, replayed: Frames | None, folder: Path,
    *, resume: bool, overwrite: bool, started: float,
) -> FitResult:  # fmt: skip
    """The weights; frames that are replayed take part in every batch."""
    cutoff = settings.model.cutoff
    training: Any = Graphs(data.training, cutoff)
    if replayed is not None and settings.replay is not None:
        training = Together(training, Graphs(replayed, cutoff), settings.replay.weight)
    function = energy_and_forces if settings.denoising is None else denoised_prediction
    energy = BFloat16Products if settings.precision == "bf16-products" else None
    energies = EnergyTask(settings, function, read_hessians(settings.data.hessians, cutoff), energy)
    return fit(
        model,
        training,
        Graphs(data.validation, cutoff),
        settings,
        folder,
        resume=resume,
        overwrite=overwrite,
        metadata={"settings": settings.model_dump(mode="json")},
        started=started,
        task=ResponseTask(energies) if reads_field(model) else energies,
    )


@dataclass(frozen=True)
class Judged:
    """A trained model, the old one that replay has kept beside it, and what is to be said of them."""

    model: torch.nn.Module
    old: torch.nn.Module | None
    predictions: dict[str, Predictions]
    errors: dict[str, Any]
    checks: list[Check]
    examples: list[ase.Atoms]
    uncertainty: dict[str, Any] | None
    confidence: dict[str, dict[str, Any]]
    """By set of frames, how well the uncertainty foresees the errors."""


def _judge(
    model: torch.nn.Module, old: torch.nn.Module | None, replayed: Frames | None, data: Data, cutoff: float, console: Console
) -> Judged:
    """Errors on all frames, the self-test, and the calibration of the uncertainty."""
    console.rule("evaluation", align="left")
    model.eval()
    sets = {"training": data.training, "validation": data.validation, **data.tests}
    predictions = {name: evaluate_frames(model, frames, cutoff, show_progress=True) for name, frames in sets.items()}
    if old is not None and replayed is not None:
        predictions["replay"] = evaluate_frames(old, replayed, cutoff, show_progress=True)
    errors = {name: tables(predicted) for name, predicted in predictions.items()}
    say_errors(console, errors)

    console.rule("self-test", align="left")
    examples = _examples(data.validation)
    checks = selftest(model, examples, other=cast(model, torch.float64)) if examples else []
    say_selftest(console, checks)
    uncertainty = calibrate_frames(model, data.training, data.validation, cutoff, console)
    confidence = assess_samples(model, uncertainty, {"validation": data.validation, **data.tests}, cutoff)
    return Judged(model, old, predictions, errors, checks, examples, uncertainty, confidence)


def _write(
    settings: TrainingSettings, data: Data, statistics: Statistics, complaints: Sequence[Complaint], result: FitResult,
    judged: Judged, folder: Path, level_of_theory: str, started: float, console: Console,
) -> Trained:  # fmt: skip
    """The model file, the metrics and the report."""
    dumped = settings.model_dump(mode="json")
    about = {
        "level_of_theory": level_of_theory,
        "errors": {name: table["overall"] for name, table in judged.errors.items()},
        "training": dumped,
        "examples": [_plain(atoms) for atoms in judged.examples],
    } | ({} if judged.uncertainty is None else {"uncertainty": judged.uncertainty})
    stored = files.save(judged.model, folder / MODEL, about)
    (folder / OLD_HEAD).unlink(missing_ok=True)
    if judged.old is not None:
        files.save(judged.old, folder / OLD_HEAD, {"level_of_theory": "", "training": dumped})
    metrics = {
        "errors": judged.errors,
        "fit": {name: value for name, value in asdict(result).items() if name != "history"},
        "selftest": [asdict(check) | {"passed": check.passed} for check in judged.checks],
        "statistics": asdict(statistics),
        "uncertainty": judged.confidence,
        "seconds": time.monotonic() - started,
    }
    write_atomically(folder / METRICS, json.dumps(metrics, indent=1).encode())
    report = _report(settings, data, statistics, complaints, result, judged, level_of_theory)
    write_report(report, folder / REPORT)
    names = ", ".join([MODEL, *([OLD_HEAD] if judged.old is not None else []), METRICS, REPORT])
    console.print(f"written to [bold]{folder}[/bold]: {names}", highlight=False, soft_wrap=True)
    return Trained(judged.model, stored, metrics, judged.checks, folder, report)


def evaluate_frames(
    model: torch.nn.Module, frames: Frames, cutoff: float, *, stress: bool | None = None,
    responses: Collection[str] | None = None, show_progress: bool = False,
) -> Predictions:  # fmt: skip
    """Predictions of a model for frames beside their labels; ``DataError`` for an element that the model does not know."""
    check_elements(model, frames)
    kinds = [frame.config_type for frame in frames]
    return evaluate(
        model, Graphs(frames, cutoff), config_types=kinds, stress=stress, responses=responses, show_progress=show_progress
    )


def check_elements(model: torch.nn.Module, frames: Frames) -> None:
    """``DataError`` for a frame with an element that the model does not know."""
    known = set(model.species)  # type: ignore[arg-type]
    for frame in frames:
        unknown = sorted(set(frame.numbers.tolist()) - known)
        if unknown:
            names = ", ".join(chemical_symbols[z] if 0 < z <= 118 else str(z) for z in unknown)
            raise DataError(f"{frame.place}: the model does not know {names}; leave such frames out, or train on them")


def _examine(settings: TrainingSettings, data: Data, console: Console) -> list[Complaint]:
    required = tuple(name for name in QUANTITIES if getattr(settings.loss, name).weight > 0)
    alone = {} if data.isolated is None else isolated_energies(data.isolated)
    known = {chemical_symbols[z]: energy for z, energy in alone.items()}
    told = DoctorSettings(keys=settings.data.keys, cutoff=settings.model.cutoff, required=required, atomic_energies=known)
    complaints = examine_data(data, told)
    if settings.model.name == "field_energy":
        complaints += unweighted_labels(data.training, settings.loss)
    say_complaints(console, complaints)
    fatal = [complaint for complaint in complaints if complaint.severity == "error"]
    if fatal:
        absent = [name for name in required if any(c.name == "absent-label" and c.sentence.find(f" {name} ") > 0 for c in fatal)]
        without = "".join(f"; to train without {name}, set loss.{name}.weight=0" for name in absent)
        raise DataError(
            f"the data have {len(fatal)} error{'s' if len(fatal) > 1 else ''}, listed above; correct them{without}; "
            "or set data.examine=false if you know better"
        )
    return complaints


def _new_model(settings: TrainingSettings, training: Frames, statistics: Statistics, backend: str) -> torch.nn.Module:
    torch.manual_seed(settings.seed)
    filled: dict[str, Any] = {}
    if not settings.model.species:
        filled["species"] = statistics.species
    unknown = sorted(set(statistics.species) - set(settings.model.species or statistics.species))
    if unknown:
        names = ", ".join(chemical_symbols[z] for z in unknown)
        raise DataError(
            f"the training data contain {names}, which model.species leaves out; add them, or leave model.species empty"
        )
    if settings.model.num_neighbors is None:
        filled["num_neighbors"] = max(statistics.num_neighbors, 1e-3)
    scale = statistics.force_rms or statistics.energy_scale or 1.0
    species = settings.model.species or statistics.species
    scales = {z: statistics.force_rms_by_species.get(z, scale) or scale for z in species}
    energies = {z: statistics.atomic_energies.get(z, 0.0) for z in species}
    chosen = settings.model.model_copy(update=filled)
    model = build(chosen, atomic_energies=energies, scales=scales, backend=backend, dtype=dtype_of(settings.precision))
    if isinstance(model, FieldEnergy):
        start_responses(model, training, settings.loss)
    return model


def _denoiser(settings: TrainingSettings, model: torch.nn.Module, statistics: Statistics) -> Denoiser:
    """The model with a head that learns by how much atoms were displaced."""
    assert settings.denoising is not None
    if not isinstance(model, Denoisable):
        raise SettingsError(
            f"a model of the kind {settings.model.name} cannot learn by denoising yet: leave denoising out, or choose "
            "model.name=equiformer_v2 or nequip"
        )
    scale = settings.denoising.force_scale or statistics.force_rms or 1.0
    return Denoiser(model, settings.denoising.model_copy(update={"force_scale": scale}))


def _examples(frames: Frames) -> list[ase.Atoms]:
    """The smallest molecule and the smallest crystal, for the self-test now and of the model file later."""
    ordered = sorted(frames, key=len)
    chosen = [
        next((frame for frame in ordered if bool(frame.pbc.any()) is periodic and len(frame) > 1), None)
        for periodic in (False, True)
    ]
    return [frame.atoms() for frame in chosen if frame is not None]


def _plain(atoms: ase.Atoms) -> dict[str, Any]:
    numbers, cell = atoms.numbers.tolist(), atoms.cell.array.tolist()
    return {"numbers": numbers, "positions": atoms.positions.tolist(), "cell": cell, "pbc": atoms.pbc.tolist()}


def _describe(data: Data) -> str:
    parts = [f"{len(data.training)} training", f"{len(data.validation)} validation"]
    parts += [f"{len(frames)} {name}" for name, frames in data.tests.items()]
    if data.isolated is not None:
        parts.append(f"{len(data.isolated)} isolated atoms")
    return "frames: " + ", ".join(parts)


def _report(
    settings: TrainingSettings,
    data: Data,
    statistics: Statistics,
    complaints: Sequence[Complaint],
    result: FitResult,
    judged: Judged,
    level_of_theory: str,
) -> Report:
    predictions, curves = judged.predictions, calibration(judged.confidence)
    facts = {
        "model": f"{settings.model.name}, cutoff {settings.model.cutoff} Å",
        "labels": level_of_theory or "level of theory not given",
        "training": f"{result.epochs} epochs, {result.steps} steps in {result.seconds:.0f} s; ended by {result.stopped}",
        "best epoch": f"{result.best_epoch} ({result.monitor} {result.best_error:.4g} on validation)",
    }
    ordered = {name: predictions[name] for name in ("training", "validation")} | predictions
    frame = data.validation[0]
    cell = frame.cell if bool(frame.pbc.any()) else None
    structure = Movie(
        f"A validation frame, {frame.formula}", [chemical_symbols[z] for z in frame.numbers], frame.positions[None], cell=cell
    )
    method = "given as files" if data.split is None else f"{data.split.method}, seed {data.split.seed}"
    sizes = {"training": len(data.training), "validation": len(data.validation)} | {n: len(f) for n, f in data.tests.items()}
    last = tables(list(ordered.values())[-1])["speed"]
    return Report(
        title=f"{settings.model.name} on {frame.formula}"
        if len({f.formula for f in data.validation}) == 1
        else f"{settings.model.name} report",
        subtitle=level_of_theory,
        facts=facts,
        history=result.history,
        predictions=ordered,
        checks=[asdict(check) | {"passed": check.passed} for check in judged.checks],
        complaints=[asdict(complaint) for complaint in complaints],
        movies=[structure],
        atomic_energies={chemical_symbols[z]: energy for z, energy in statistics.atomic_energies.items()},
        split={**sizes, "divided": method},
        speed={"s per epoch": round(result.seconds_per_epoch, 3), "evaluation, ms per frame": round(last["ms_per_frame"], 3)},
        settings=commented_yaml(settings),
        versions=installed_versions(),
        extra={"Uncertainty": curves} if curves else {},
    )
