"""One process of a run: epochs of steps and validations, until the end, the time limit, or a signal.

Several processes share every batch, and exchange sums of errors, counts of labels and gradients, never means. Gradients are
summed by hand, because forces are derivatives taken inside the step, which ``DistributedDataParallel`` does not allow for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from tesseral.graph import Graph, collate
from tesseral.train.admission import TrainingError, fingerprint
from tesseral.train.averaging import ExponentialMovingAverage
from tesseral.train.checkpoints import BEST, LAST, load_checkpoint, save_checkpoint
from tesseral.train.logs import Bar, Scalars, Table
from tesseral.train.optimizer import build_optimizer
from tesseral.train.prediction import Graphs
from tesseral.train.schedules import Schedule, progress
from tesseral.train.settings import RunSettings
from tesseral.train.task import Sums, Task

LONG_EPOCH = 600.0
"""Seconds after which a checkpoint is written in the middle of an epoch."""


@dataclass(frozen=True)
class Job:
    """All that a process needs."""

    model: torch.nn.Module
    training: Graphs
    validation: Graphs
    settings: RunSettings
    folder: Path
    state: dict[str, Any] | None
    metadata: dict[str, Any]
    started: float
    show_progress: bool
    task: Task


class Training:
    """One process of a run."""

    def __init__(self, fabric: Fabric, job: Job, signalled: Callable[[], bool]) -> None:
        self.fabric, self.job, self.settings, self.task, self.signalled = fabric, job, job.settings, job.task, signalled
        self.rank, self.world, self.main = fabric.global_rank, fabric.world_size, fabric.is_global_zero
        self.model = job.model.to(fabric.device)
        self.optimizer = build_optimizer(self.model, job.settings.optimizer)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.average = ExponentialMovingAverage(self.parameters, job.settings.ema_decay)
        self.schedule = Schedule(job.settings.schedule)
        self.steps_per_epoch = steps_per_epoch(len(job.training), job.settings)
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
            sums = self.task.loss_sums(self.task.predict(self.model, graph, create_graph=True), graph)
            loss = self.task.combine(sums, sums.counts if counts is None else counts)
            if loss.requires_grad:
                loss.backward(inputs=self.parameters)  # not also through the geometry to the positions
            self.loss_total += loss.detach()
        self._aside()
        if self.world > 1:
            sum_gradients(self.parameters, self._sum)
        limit = self.settings.clip_gradients or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit, foreach=True)
        if (self.fabric.device.type == "cpu" or self.steps % 20 == 0) and not math.isfinite(norm.item()):
            self._stop_not_finite(frames, factor)
        self.optimizer.step()
        self.average.update()

    def _aside(self) -> None:
        """Adds the gradient of what the task learns beside the batch."""
        loss = self.task.aside(self.model, self._own_progress(), self.fabric.device) if self.main else None
        if loss is None:
            return
        if loss.requires_grad:
            loss.backward(inputs=self.parameters)
        self.loss_total += loss.detach()

    def _seed(self) -> None:
        seed = (self.settings.seed * 1_000_003 + self.steps) * 1_009 + self.rank
        torch.default_generator.manual_seed(seed)  # torch.manual_seed formats a stack trace for every kind of device
        if self.fabric.device.type == "cuda":
            torch.cuda.manual_seed(seed)

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
            if self.settings.monitor == "last":
                error = -float(self._label())
            elif not self.job.validation:
                error = train_loss
            elif name in row:
                error = row[name]
            else:
                raise TrainingError(
                    f"monitor={self.settings.monitor}, but the validation frames carry no such label; monitor=loss always exists"
                )
            if math.isnan(error) or math.isnan(row.get("validation_loss", 0.0)):
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
        parts: list[tuple[Tensor, Sums]] = []
        for graph in self._validation_batches():
            prediction = self.task.predict(self.model, graph, create_graph=False)
            parts.append((self.task.error_sums(prediction, graph), self.task.loss_sums(prediction, graph)))
        none = self.task.no_errors(self.fabric.device)
        errors = none + sum(errors for errors, _ in parts)
        terms = self.task.label_counts(None, self.fabric.device)
        sums = Sums(terms + sum(part.errors.detach() for _, part in parts), terms + sum(part.counts for _, part in parts))
        everything = self._sum(torch.cat([errors.reshape(-1), sums.errors, sums.counts])).cpu()
        flat, totals, counts = everything.split([errors.numel(), len(terms), len(terms)])
        if not self.job.validation:
            return {}
        row = {"loss": self.task.combine(Sums(totals, counts), counts).item()} | self.task.summarise(flat.view_as(errors))
        return {f"validation_{key}": value for key, value in row.items()}

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

    def _agree(self, graph: Graph | None) -> tuple[Tensor | None, str]:
        """The label counts of the batch in all processes, and why to stop, if at all; and sets the progress."""
        self.progress = self._own_progress()
        limit = self.settings.max_time
        late = limit is not None and self._elapsed() + self.step_seconds > limit - self._reserve()
        signalled, counts = self.signalled(), None
        if self.world > 1:
            own = [self.progress if self.main else 0.0, float(late and self.main), float(signalled)]
            shared = torch.tensor(own, dtype=torch.float64, device=self.fabric.device)
            shared = self._sum(torch.cat([shared, self.task.label_counts(graph, self.fabric.device)]))
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
    errors = job.task.summarise(torch.ones_like(job.task.no_errors(torch.device("cpu"))))
    table, scalars = Table(job.folder, training.history, errors), Scalars(job.folder, training.steps, job.settings.tensorboard)
    bar = Bar(job.show_progress)
    try:
        yield table, scalars, bar
    finally:
        bar.close()
        scalars.close()


def sum_gradients(parameters: Sequence[torch.nn.Parameter], total: Callable[[Tensor], Tensor]) -> None:
    """The gradients of all processes added up, in one message for each precision; ``total`` sums a tensor over the processes."""
    for dtype in {parameter.dtype for parameter in parameters}:
        alike = [p for p in parameters if p.dtype == dtype]
        flat = total(torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in alike]))
        for parameter, gradient in zip(alike, flat.split([p.numel() for p in alike]), strict=True):
            parameter.grad = gradient.view_as(parameter)


def steps_per_epoch(frames: int, settings: RunSettings) -> int:
    """How many batches an epoch has; the last may be smaller."""
    return -(-frames // settings.batch_size)
