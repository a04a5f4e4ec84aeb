"""``fit``: checks, one process or several, and the weights of the lowest validation error.

What makes a run repeatable: the order of the frames depends on seed and epoch only, random numbers on seed, step and process
only, and a checkpoint holds the weights, their average, the optimizer, the schedule, the position in the epoch and the history.
A run that is killed and resumed continues bit for bit, at the same number of threads, unless the clock drives its schedule.
What a process does is in :mod:`tesseral.train.process`.
"""

from __future__ import annotations

import io
import logging
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from tesseral.train.admission import TrainingError, check_resume
from tesseral.train.checkpoints import LAST, CheckpointError, load_checkpoint, locked, prepare_folder
from tesseral.train.energies import EnergyTask
from tesseral.train.optimizer import build_optimizer
from tesseral.train.prediction import Graphs
from tesseral.train.process import Job, Training, steps_per_epoch
from tesseral.train.settings import FitSettings, RunSettings
from tesseral.train.signals import signals
from tesseral.train.task import Task

__all__ = ["EnergyTask", "FitResult", "TrainingError", "build_optimizer", "fit"]

KEEP_BELOW = 2 * 2**30
"""Bytes of graphs that are kept in memory; larger sets are read as they go."""


@dataclass(frozen=True)
class FitResult:
    """How a run went. The model that was given to :func:`fit` carries the best weights."""

    best_epoch: int
    best_error: float
    monitor: str
    epochs: int
    steps: int
    seconds: float
    stopped: str
    """Why it ended: "max_epochs", "max_time", "early_stopping" or "signal"."""
    seconds_per_epoch: float
    history: list[dict[str, float | int]] = field(repr=False)


def fit(
    model: torch.nn.Module,
    training: Graphs,
    validation: Graphs,
    settings: RunSettings,
    folder: str | Path,
    *,
    task: Task | None = None,
    resume: bool = False,
    overwrite: bool = False,
    metadata: dict[str, Any] | None = None,
    started: float | None = None,
    show_progress: bool = True,
) -> FitResult:
    """Trains a model on graphs with labels and leaves in it the averaged weights of the lowest validation error.

    The ``task`` is what the model learns; none means ``EnergyTask(settings)``, for ``FitSettings`` and a ``model(graph)`` that
    returns energies (graphs,) in eV. ``training`` and ``validation`` are sequences of single-structure graphs,
    built once and kept in memory when all of them take less than 2 GiB, else read as they go. Writes ``last.ckpt``,
    ``best.ckpt``, ``history.csv`` and TensorBoard events into ``folder``. ``max_time`` counts from ``started``, a
    ``time.monotonic()`` (default: now).

    Raises :class:`TrainingError` when the loss is no longer finite or the labels do not allow the loss, and
    :class:`~tesseral.train.checkpoints.RunFolderError` or ``CheckpointError`` for a folder in use, already used, or full.
    """
    started = time.monotonic() if started is None else started
    folder = Path(folder)
    training, validation = _kept(training), _kept(validation)
    if task is None:
        if not isinstance(settings, FitSettings):
            raise TypeError(f"{type(settings).__name__} says nothing of energies: give fit a task")
        task = EnergyTask(settings)
    task.check(training)
    with locked(folder):
        state = prepare_folder(folder, resume, overwrite)
        if state is not None:
            check_resume(state, settings, training, folder)
        fabric = _fabric(settings)
        job = Job(model, training, validation, settings, folder, state, metadata or {}, started, show_progress, task)
        if settings.devices == 1:
            outcome = fabric.launch(_run, job)  # type: ignore[arg-type]
        else:
            # Each process reads the state from the file, and the result comes back in one: large pipes are slow, or block.
            outcome = fabric.launch(_run_packed, _pack(replace(job, state=None)), state is not None)  # type: ignore[arg-type]
        if "error" in outcome:
            raise (CheckpointError if outcome["kind"] == "CheckpointError" else TrainingError)(outcome["error"])
        final = load_checkpoint(folder / LAST)
    model.load_state_dict(final["best"]["weights"])
    seconds = final["seconds"]
    return FitResult(
        best_epoch=final["best"]["epoch"],
        best_error=final["best"]["error"],
        monitor=settings.monitor,
        epochs=final["epoch"],
        steps=final["steps"],
        seconds=seconds,
        stopped=outcome["stopped"],
        seconds_per_epoch=seconds * max(1, steps_per_epoch(len(training), settings)) / max(1, final["steps"]),
        history=final["history"],
    )


def _fabric(settings: RunSettings) -> Fabric:
    accelerator = settings.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and torch.cuda.device_count() < settings.devices:
        raise TrainingError(
            f"accelerator=cuda with devices={settings.devices}, but there are {torch.cuda.device_count()} CUDA devices; "
            "use fewer, or accelerator=cpu"
        )
    strategy = "auto" if settings.devices == 1 else "ddp_spawn"
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces every process
    return Fabric(accelerator=accelerator, devices=settings.devices, strategy=strategy)


def _kept(frames: Graphs) -> Graphs:
    """All graphs as a list, unless they are too many."""
    count = len(frames)
    if isinstance(frames, list) or count == 0:
        return frames
    sample = [frames[index] for index in np.linspace(0, count - 1, min(count, 8)).round().astype(int).tolist()]
    # An edge has two indices, three shifts and a place in the order; a node some twenty numbers with its labels.
    size = sum(48 * graph.num_edges + 160 * graph.num_nodes + 2000 for graph in sample) / len(sample)
    return [frames[index] for index in range(count)] if size * count < KEEP_BELOW else frames


def _pack(job: Job) -> bytes:
    # Plain bytes: sent tensor by tensor, a data set would need a file descriptor for each.
    buffer = io.BytesIO()
    torch.save(job, buffer)
    return buffer.getvalue()


def _run_packed(fabric: Fabric, packed: bytes, resumed: bool) -> dict[str, Any]:
    job: Job = torch.load(io.BytesIO(packed), weights_only=False)  # our own bytes, from the parent process
    if resumed:
        job = replace(job, state=load_checkpoint(job.folder / LAST))
    try:
        return _run(fabric, job)
    except (TrainingError, CheckpointError) as error:
        return {"error": str(error), "kind": type(error).__name__}


def _run(fabric: Fabric, job: Job) -> dict[str, Any]:
    with torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []), signals() as signalled:
        return {"stopped": Training(fabric, job, signalled).run()}
