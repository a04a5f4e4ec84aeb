"""``fit``: the epochs, in one process or several, until the end, the time limit, or a signal.

What makes a run repeatable: the order of the frames depends on seed and epoch only, random numbers on seed, step and process
only, and a checkpoint holds the weights, their average, the optimizer, the schedule, the position in the epoch and the history.
A run that is killed and resumed continues bit for bit, at the same number of threads, unless the clock drives its schedule.

Several processes share every batch, and exchange sums of errors, counts of labels and gradients, never means. Gradients are
summed by hand, because forces are derivatives taken inside the step, which ``DistributedDataParallel`` does not allow for.
"""

from __future__ import annotations

import io
import logging
import math
import os
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from tesseral.graph import Graph, collate
from tesseral.physics.forces import Prediction, energy_and_forces
from tesseral.train.averaging import ExponentialMovingAverage
from tesseral.train.checkpoints import BEST, LAST, CheckpointError, load_checkpoint, locked, prepare_folder, save_checkpoint
from tesseral.train.hessians import HessianFrame, drawn, hessian_loss
from tesseral.train.logs import Bar, Scalars, Table
from tesseral.train.losses import EnergyOnly, Sums, combine, label_counts, loss_sums
from tesseral.train.metrics import error_sums, summarise
from tesseral.train.muon import Muon
from tesseral.train.prediction import Graphs
from tesseral.train.schedules import Schedule, progress
from tesseral.train.settings import FitSettings, OptimizerSettings

ForceFunction = Callable[..., Prediction]
"""``(model, graph, stress=, create_graph=) -> Prediction``, as :func:`tesseral.physics.forces.energy_and_forces`."""

# A resumed run may change how long it goes and what it shows, and nothing that its past depends on.
FREE_TO_CHANGE = {
    "max_epochs", "max_time", "early_stopping", "validation_batch_size", "tensorboard", "accelerator", "devices",
}  # fmt: skip


KEEP_BELOW = 2 * 2**30
"""Bytes of graphs that are kept in memory; larger sets are read as they go."""

LONG_EPOCH = 600.0
"""Seconds after which a checkpoint is written in the middle of an epoch."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to do."""


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


@dataclass(frozen=True)
class Job:
    """All that a process needs."""

    model: torch.nn.Module
    training: Graphs
    validation: Graphs
    settings: FitSettings
    folder: Path
    state: dict[str, Any] | None
    metadata: dict[str, Any]
    started: float
    show_progress: bool
    predict: ForceFunction
    hessians: Sequence[HessianFrame] = ()


def fit(
    model: torch.nn.Module,
    training: Graphs,
    validation: Graphs,
    settings: FitSettings,
    folder: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    metadata: dict[str, Any] | None = None,
    started: float | None = None,
    show_progress: bool = True,
    predict: ForceFunction = energy_and_forces,
    hessians: Sequence[HessianFrame] = (),
) -> FitResult:
    """Trains a model on graphs with labels and leaves in it the averaged weights of the lowest validation error.

    ``model(graph)`` returns energies (graphs,) in eV. ``training`` and ``validation`` are sequences of single-structure graphs,
    built once and kept in memory when all of them take less than 2 GiB, else read as they go. Writes ``last.ckpt``,
    ``best.ckpt``, ``history.csv`` and TensorBoard events into ``folder``. ``max_time`` counts from ``started``, a
    ``time.monotonic()`` (default: now). ``hessians`` are what ``loss.hessian`` is trained on.

    Raises :class:`TrainingError` when the loss is no longer finite or the labels do not allow the loss, and
    :class:`~tesseral.train.checkpoints.RunFolderError` or ``CheckpointError`` for a folder in use, already used, or full.
    """
    started = time.monotonic() if started is None else started
    folder = Path(folder)
    training, validation = _kept(training), _kept(validation)
    _check_labels(training, settings)
    if settings.loss.hessian.weight > 0 and not hessians:
        raise TrainingError(
            f"loss.hessian.weight is {settings.loss.hessian.weight}, but no frame comes with a Hessian; "
            "set loss.hessian.weight=0, or name files in data.hessians"
        )
    with locked(folder):
        state = prepare_folder(folder, resume, overwrite)
        if state is not None:
            _check_resume(state, settings, training, folder)
        fabric = _fabric(settings)
        job = Job(
            model, training, validation, settings, folder, state, metadata or {}, started, show_progress, predict, tuple(hessians)
        )
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
        seconds_per_epoch=seconds * max(1, _steps_per_epoch(len(training), settings)) / max(1, final["steps"]),
        history=final["history"],
    )


def _fabric(settings: FitSettings) -> Fabric:
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
    with torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []), _signals() as signalled:
        return {"stopped": Training(fabric, job, signalled).run()}


class Training:
    """One process of a run."""

    def __init__(self, fabric: Fabric, job: Job, signalled: Callable[[], bool]) -> None:
        self.fabric, self.job, self.settings, self.signalled = fabric, job, job.settings, signalled
        self.rank, self.world, self.main = fabric.global_rank, fabric.world_size, fabric.is_global_zero
        self.model = job.model.to(fabric.device)
        self.compiled: dict[bool, Any] = {}
        self.optimizer = build_optimizer(self.model, job.settings.optimizer)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.average = ExponentialMovingAverage(self.parameters, job.settings.ema_decay)
        self.schedule = Schedule(job.settings.schedule)
        self.steps_per_epoch = _steps_per_epoch(len(job.training), job.settings)
        self.epoch = 0  # epochs that are complete
        self.position = 0  # steps into the present one
        self.steps = 0
        self.loss_total = torch.zeros((), dtype=torch.float64, device=fabric.device)
        self.history: list[dict[str, float | int]] = []
        self.best: dict[str, Any] = {"error": math.inf, "epoch": 0, "weights": self._weights()}
        self.stale = 0
        self.elapsed_before = 0.0
        if job.state is not None:
            self._restore(job.state)
        self.progress = 0.0
        self.best_written: tuple[int, float] | None = None
        self.batches: list[Graph] | None = None
        self.validation_seconds: float | None = None
        self.saved_at, self.saving_seconds = -math.inf, 0.0
        self.step_seconds = 0.0

    # ------------------------------------------------------------------ the run

    def run(self) -> str:
        """Epochs until something ends them; returns what."""
        with _reports(self) as (table, scalars, bar):
            stopped = self._finished()
            if stopped and bar:
                bar.say(f"nothing left to do: {stopped} was reached after {self.epoch} epochs")
            while not stopped:
                stopped = self._train_epoch(bar)
                if stopped == "signal":
                    self._save()
                    break
                if not stopped:
                    self.epoch, self.position = self.epoch + 1, 0
                    stopped = self._finished()
                row = self._row()
                if stopped or self.epoch % self.settings.validate_every == 0:
                    row |= self._judge(row["train_loss"])
                    stopped = stopped or self._finished()
                if not self.position:
                    self.loss_total.zero_()
                row["seconds"] = round(self._elapsed(), 3)
                self.history.append(row)
                if self.main:
                    table.add(row)
                    scalars.add(row)
                    bar.row(row, self._left(), always=bool(stopped))
                self._save_if_due(bool(stopped))
            if self.main and not (self.job.folder / LAST).exists():
                self._save()
        self.fabric.barrier()
        return stopped

    def _train_epoch(self, bar: Bar | None) -> str:
        """The rest of an epoch; returns why it was left early, or nothing."""
        self.model.train()
        order = np.random.default_rng([self.settings.seed, self.epoch]).permutation(len(self.job.training))
        size = self.settings.batch_size
        for position in range(self.position, self.steps_per_epoch):
            begun = time.monotonic()
            frames = order[position * size : (position + 1) * size]
            graph = self._collate(self.job.training, frames[self.rank :: self.world])
            counts, stopped = self._agree(graph)
            if stopped:
                self._gather_loss()
                return stopped
            self._step(graph, counts, frames)
            self.position, self.steps = position + 1, self.steps + 1
            if self.world == 1 and time.monotonic() - max(self.saved_at, self.job.started) > LONG_EPOCH:
                self._save()
            self.step_seconds = (
                0.9 * self.step_seconds + 0.1 * (time.monotonic() - begun) if self.step_seconds else time.monotonic() - begun
            )
            if bar:
                bar.step(self.position, self.steps_per_epoch, self._own_progress("auto"), self._left())
        return ""

    def _step(self, graph: Graph | None, counts: Tensor | None, frames: np.ndarray) -> None:
        """One step of the optimizer on a batch shared by all processes."""
        self._seed()
        factor = self.schedule.factor(self.steps, self.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.optimizer.lr * factor
        for parameter in self.parameters:
            parameter.grad = None
        if graph is not None:
            sums = loss_sums(self._predict(graph, create_graph=True), graph, self.settings.loss)
            loss = combine(sums, sums.counts if counts is None else counts, self.settings.loss)
            if loss.requires_grad:
                loss.backward(inputs=self.parameters)  # not also through the geometry to the positions
            self.loss_total += loss.detach()
        self._hessian_step()
        self._sum_gradients()
        limit = self.settings.clip_gradients or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit, foreach=True)
        if (self.fabric.device.type == "cpu" or self.steps % 20 == 0) and not math.isfinite(norm.item()):
            self._stop_not_finite(frames, factor)
        self.optimizer.step()
        self.average.update()

    def _hessian_step(self) -> None:
        """Adds the gradient of the Hessian's term, once energies and forces have had their share of the run."""
        term = self.settings.loss.hessian
        if not self.main or term.weight == 0 or self._own_progress() < term.start:
            return
        frame = drawn(self.job.hessians)
        frame = HessianFrame(frame.graph.to(self.fabric.device), frame.hessian.to(self.fabric.device))
        loss = term.weight * hessian_loss(self.model, frame, term)
        if loss.requires_grad:
            loss.backward(inputs=self.parameters)
        self.loss_total += loss.detach()

    def _seed(self) -> None:
        seed = (self.settings.seed * 1_000_003 + self.steps) * 1_009 + self.rank
        torch.default_generator.manual_seed(seed)  # torch.manual_seed formats a stack trace for every kind of device
        if self.fabric.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _predict(self, graph: Graph, create_graph: bool) -> Prediction | EnergyOnly:
        loss = self.settings.loss
        stress = "stress" in graph.labels and (loss.stress.weight > 0 or not create_graph)
        forces = "forces" in graph.labels and (loss.forces.weight > 0 or not create_graph)
        if not (forces or stress):
            return EnergyOnly(self.job.model(graph))
        if create_graph and self.settings.compile:
            from tesseral.train.compiled import CompiledPrediction  # brings the tracers, which take long to import

            if stress not in self.compiled:
                self.compiled[stress] = CompiledPrediction(self.model, stress)
            return self.compiled[stress](graph)
        return self.job.predict(self.model, graph, stress=stress, create_graph=create_graph)

    def _finished(self) -> str:
        settings = self.settings
        if settings.max_epochs is not None and self.epoch >= settings.max_epochs:
            return "max_epochs"
        if settings.early_stopping is not None and self.stale >= settings.early_stopping:
            return "early_stopping"
        return ""

    # ------------------------------------------------------------------ validation

    def _judge(self, train_loss: float) -> dict[str, float | int]:
        """Validates the averaged weights, keeps them when they are the best, and tells the schedule."""
        begun = time.monotonic()
        with self.average.swapped():
            row = self._validate()
            name = f"validation_{self.settings.monitor}"
            if not self.job.validation:
                error = train_loss
            elif name in row:
                error = row[name]
            else:
                raise TrainingError(
                    f"monitor={self.settings.monitor}, but the validation frames carry no such label; monitor=loss always exists"
                )
            if math.isnan(error):
                self._stop_not_finite(None, 1.0)
            if error < self.best["error"] or not math.isfinite(self.best["error"]):
                self.best = {"error": error, "epoch": self._label(), "weights": self._weights()}
                self.stale = 0
            else:
                self.stale += 1
        self.schedule.observe(error)
        self.validation_seconds = time.monotonic() - begun
        return row

    def _validate(self) -> dict[str, float | int]:
        self.model.eval()
        device = self.fabric.device
        errors = torch.zeros(4, 3, dtype=torch.float64, device=device)
        sums = Sums(torch.zeros(3, dtype=torch.float64, device=device), torch.zeros(3, dtype=torch.float64, device=device))
        for graph in self._validation_batches():
            prediction = self._predict(graph, create_graph=False)
            errors += error_sums(prediction, graph)
            part = loss_sums(prediction, graph, self.settings.loss)
            sums = Sums(sums.errors + part.errors.detach(), sums.counts + part.counts)
        everything = self._sum(torch.cat([errors.reshape(-1), sums.errors, sums.counts]))
        errors, sums = everything[:12].reshape(4, 3).cpu(), Sums(everything[12:15].cpu(), everything[15:].cpu())
        if not self.job.validation:
            return {}
        loss = combine(sums, sums.counts, self.settings.loss).item()
        return {"validation_loss": loss} | {f"validation_{key}": value for key, value in summarise(errors).items()}

    def _validation_batches(self) -> Iterator[Graph]:
        if self.batches is not None:
            yield from self.batches
            return
        frames, size = self.job.validation, self.settings.validation_batch_size
        mine = range(self.rank, len(frames), self.world)
        kept = []
        for start in range(0, len(mine), size):
            graph = self._collate(frames, mine[start : start + size])
            assert graph is not None
            if isinstance(frames, list):
                kept.append(graph)
            yield graph
        if isinstance(frames, list):
            self.batches = kept

    # ------------------------------------------------------------------ what processes exchange

    def _sum(self, value: Tensor) -> Tensor:
        return value if self.world == 1 else self.fabric.all_reduce(value, reduce_op="sum")  # type: ignore[return-value]

    def _sum_gradients(self) -> None:
        if self.world == 1:
            return
        for dtype in {parameter.dtype for parameter in self.parameters}:
            parameters = [p for p in self.parameters if p.dtype == dtype]
            flat = self._sum(torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters]))
            for parameter, gradient in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
                parameter.grad = gradient.view_as(parameter)

    def _agree(self, graph: Graph | None) -> tuple[Tensor | None, str]:
        """The label counts of the batch in all processes, and why to stop, if at all; and sets the progress."""
        self.progress = self._own_progress()
        limit = self.settings.max_time
        late = limit is not None and self._elapsed() + self.step_seconds > limit - self._reserve()
        signalled, counts = self.signalled(), None
        if self.world > 1:
            own = [self.progress if self.main else 0.0, float(late and self.main), float(signalled)]
            shared = torch.tensor(own, dtype=torch.float64, device=self.fabric.device)
            shared = self._sum(torch.cat([shared, label_counts(graph, self.settings.loss, self.fabric.device)]))
            counts = shared[3:]
            self.progress, late, signalled = shared[0].item(), bool(shared[1]), bool(shared[2])
        return counts, "signal" if signalled else "max_time" if late else ""

    def _gather_loss(self) -> None:
        total = self._sum(self.loss_total.clone())
        self.loss_total = total if self.main else torch.zeros_like(total)

    # ------------------------------------------------------------------ time

    def _reserve(self) -> float:
        """Seconds that the last validation and checkpoint will need."""
        if self.validation_seconds is not None:
            return 1.1 * self.validation_seconds + 2 * self.saving_seconds + 0.05
        frames = len(self.job.validation) / max(1, self.settings.batch_size)
        return 0.6 * frames * self.step_seconds + 0.1

    def _elapsed(self) -> float:
        return self.elapsed_before + time.monotonic() - self.job.started

    def _own_progress(self, driven_by: str | None = None) -> float:
        settings = self.settings
        drive: str = driven_by or getattr(settings.schedule, "driven_by", None) or "auto"
        limit = None if settings.max_time is None else max(1e-9, settings.max_time - self._reserve())
        return progress(self.epoch + self.position / self.steps_per_epoch, settings.max_epochs, self._elapsed(), limit, drive)

    def _left(self) -> float:
        """Seconds until the end, as far as anybody can tell."""
        settings, limits = self.settings, []
        if settings.max_time is not None:
            limits.append(settings.max_time - self._elapsed())
        if settings.max_epochs is not None:
            steps = settings.max_epochs * self.steps_per_epoch - self.steps
            rounds = steps / self.steps_per_epoch / settings.validate_every
            limits.append(steps * self.step_seconds + rounds * (self.validation_seconds or 0.0))
        return max(0.0, min(limits, default=0.0))

    # ------------------------------------------------------------------ state

    def _row(self) -> dict[str, float | int]:
        loss = self._sum(self.loss_total.clone()).item() / max(1, self.position or self.steps_per_epoch)
        lr = self.optimizer.param_groups[0]["lr"]
        return {"epoch": self._label(), "step": self.steps, "seconds": 0.0, "lr": lr, "train_loss": loss}

    def _label(self) -> int:
        """The number of the epoch, from 1, that has just ended or was cut short."""
        return self.epoch + (1 if self.position else 0)

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()}

    def _save_if_due(self, last: bool) -> None:
        # Each epoch, unless writing would then take more than a twentieth of the time.
        if self.main and (last or time.monotonic() - self.saved_at >= 20 * self.saving_seconds):
            self._save()

    def _save(self) -> None:
        if not self.main:
            return
        begun = time.monotonic()
        common = {"metadata": self.job.metadata, "settings": self.settings.model_dump(mode="json")}
        if self.best_written != (self.best["epoch"], self.best["error"]):
            save_checkpoint(self.job.folder / BEST, self.best | common)
            self.best_written = (self.best["epoch"], self.best["error"])
        state = {
            "model": self._weights(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
            "schedule": self.schedule.state_dict(),
            "epoch": self.epoch,
            "position": self.position,
            "steps": self.steps,
            "loss_total": self.loss_total.item(),
            "best": self.best,
            "stale": self.stale,
            "seconds": self._elapsed(),
            "history": self.history,
            "frames": fingerprint(self.job.training),
            "threads": torch.get_num_threads(),
        }
        save_checkpoint(self.job.folder / LAST, state | common)
        self.saved_at = time.monotonic()
        self.saving_seconds = self.saved_at - begun

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch, self.position, self.steps = state["epoch"], state["position"], state["steps"]
        self.history, self.best, self.stale = list(state["history"]), dict(state["best"]), state["stale"]
        self.elapsed_before = state["seconds"]
        if self.main:
            self.loss_total.fill_(state["loss_total"])

    def _collate(self, frames: Graphs, indices: Sequence[int] | np.ndarray) -> Graph | None:
        if len(indices) == 0:
            return None
        return collate([frames[int(index)] for index in indices]).to(self.fabric.device)

    def _stop_not_finite(self, frames: np.ndarray | None, factor: float) -> None:
        where = f"epoch {self.epoch + 1}, step {self.position + 1}"
        batch = "" if frames is None else f", training frames {', '.join(map(str, sorted(frames.tolist())))}"
        last = self.job.folder / LAST
        kept = (
            f"{last} still holds epoch {load_checkpoint(last)['epoch']}"
            if last.exists()
            else "no checkpoint had been written yet"
        )
        raise TrainingError(
            f"the loss or its gradient is not finite ({where}{batch}, "
            f"learning rate {self.settings.optimizer.lr * factor:.2g}); {kept}. "
            "Lower optimizer.lr or clip_gradients, or look at these frames with 'tesseral doctor'"
        )


@contextmanager
def _reports(training: Training) -> Iterator[tuple[Any, Any, Any]]:
    """Table, TensorBoard and bar in the first process, nothing in the others."""
    if not training.main:
        yield None, None, None
        return
    job = training.job
    table, scalars = Table(job.folder, training.history), Scalars(job.folder, training.steps, job.settings.tensorboard)
    bar = Bar(job.show_progress)
    try:
        yield table, scalars, bar
    finally:
        bar.close()
        scalars.close()


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Turns the first SIGINT or SIGTERM into a question to ask; a second one acts as ever."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread() or os.environ.get("LOCAL_RANK"):
        yield lambda: False
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: Any) -> None:
        received.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def build_optimizer(model: torch.nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """Muon, Adam, AdamW or AMSGrad over the parameters that require gradients; biases, scales and shifts are not decayed."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not named:
        raise TrainingError("the model has no parameters that require gradients; there is nothing to train")
    exempt = ("bias", "biases", "scale", "scales", "shift", "shifts")
    if settings.name == "muon":
        return Muon(model, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, exempt=exempt)
    free = [parameter for name, parameter in named if name.rpartition(".")[2] in exempt]
    decayed = [parameter for name, parameter in named if name.rpartition(".")[2] not in exempt]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": free, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    return kind(
        [g for g in groups if g["params"]], lr=settings.lr, betas=settings.betas, amsgrad=settings.name == "amsgrad", fused=True
    )


def _steps_per_epoch(frames: int, settings: FitSettings) -> int:
    return -(-frames // settings.batch_size)


def fingerprint(frames: Graphs) -> int:
    """A number that tells one set of training frames from another: all of a list, the first and last of anything else."""
    chosen = frames if isinstance(frames, list) else [frames[0], frames[len(frames) - 1]]
    code = zlib.crc32(str(len(frames)).encode())
    for frame in chosen:
        for value in (frame.positions, *(frame.labels[key] for key in sorted(frame.labels))):
            code = zlib.crc32(value.detach().cpu().contiguous().numpy().tobytes(), code)
    return code


def _check_labels(frames: Graphs, settings: FitSettings) -> None:
    """The frames must carry every label that the loss weighs, in finite numbers."""
    if len(frames) == 0:
        raise TrainingError("there are no training frames")
    wanted = [name for name in ("energy", "forces", "stress") if getattr(settings.loss, name).weight > 0]
    if not wanted:
        raise TrainingError(
            "every weight of the loss is 0; give loss.energy.weight, loss.forces.weight or loss.stress.weight a value"
        )
    if not isinstance(frames, list):
        return
    for name in wanted:
        labelled = 0
        for index, frame in enumerate(frames):
            if name not in frame.labels:
                continue
            mask = frame.masks.get(name)
            values = frame.labels[name] if mask is None else frame.labels[name][mask]
            labelled += values.numel()
            if not bool(torch.isfinite(values).all()):
                raise TrainingError(
                    f"training frame {index} has a {name} that is not a finite number; run 'tesseral doctor' on the file"
                )
        if not labelled:
            found = sorted({key for frame in frames for key in frame.labels}) or "no labels at all"
            raise TrainingError(
                f"loss.{name}.weight is {getattr(settings.loss, name).weight}, but no training frame has {name} "
                f"(found: {found}); "
                f"set loss.{name}.weight=0, or name the key in data.keys"
            )


def _leaves(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested settings."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _check_resume(state: dict[str, Any], settings: FitSettings, frames: Graphs, folder: Path) -> None:
    """A run is continued with the frames and the settings it began with, except for those that may change."""
    now = dict(_leaves(settings.model_dump(mode="json")))
    before = dict(_leaves(state["settings"]))
    # Where the data lie may change; that they are the same is seen by their fingerprint.
    free = FREE_TO_CHANGE | {"data"}
    changed = [key for key in before | now if key.split(".")[0] not in free and now.get(key) != before.get(key)]
    if changed:
        pairs = "; ".join(f"{key}: was {before.get(key)}, is {now.get(key)}" for key in changed)
        raise CheckpointError(
            f"{folder} was begun with other settings ({pairs}); restore them to resume, or start a run in another folder"
        )
    if state["frames"] != fingerprint(frames):
        raise CheckpointError(
            f"{folder} was begun with other training frames; restore them to resume, or start a run in another folder"
        )
