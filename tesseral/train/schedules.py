"""Learning-rate schedules: a factor on the initial rate, from the step, the progress of the run and the monitored error."""

from __future__ import annotations

import math

from tesseral.train.settings import ConstantSettings, CosineSettings, PlateauSettings


class Schedule:
    """The factor on the learning rate.

    ``factor(step, progress)`` is asked before every step; progress in [0, 1] is the fraction of the run that is over.
    ``observe(error)`` is told the monitored error after every validation; only the plateau schedule listens.

    >>> schedule = Schedule(CosineSettings(warmup_steps=0, final=0.0))
    >>> [round(schedule.factor(step=100, progress=p), 3) for p in (0.0, 0.5, 1.0)]
    [1.0, 0.5, 0.0]
    """

    def __init__(self, settings: ConstantSettings | PlateauSettings | CosineSettings) -> None:
        self.settings = settings
        self.best = math.inf
        self.stale = 0
        self.reduction = 1.0

    def factor(self, step: int, progress: float) -> float:
        """The factor at a step (0-based) and a progress in [0, 1]."""
        settings = self.settings
        warmup = min(1.0, (step + 1) / (settings.warmup_steps + 1))
        match settings:
            case CosineSettings():
                phase = min(1.0, max(0.0, (progress - settings.hold) / max(1e-12, 1.0 - settings.hold)))
                return warmup * (settings.final + (1 - settings.final) * 0.5 * (1 + math.cos(math.pi * phase)))
            case PlateauSettings():
                return warmup * max(self.reduction, settings.final)
            case _:
                return warmup

    def observe(self, error: float) -> None:
        """Counts validations without improvement; after ``patience`` of them the rate is multiplied by ``reduce``."""
        if not isinstance(self.settings, PlateauSettings):
            return
        if error < self.best:
            self.best, self.stale = error, 0
            return
        self.stale += 1
        if self.stale > self.settings.patience:
            self.reduction *= self.settings.reduce
            self.stale = 0

    def state_dict(self) -> dict:
        """What a plateau remembers."""
        return {"best": self.best, "stale": self.stale, "reduction": self.reduction}

    def load_state_dict(self, state: dict) -> None:
        """Continues from :meth:`state_dict`."""
        self.best, self.stale, self.reduction = state["best"], state["stale"], state["reduction"]


def progress(epochs: float | int, max_epochs: int | None, elapsed: float, max_time: float | None, driven_by: str) -> float:
    """The fraction of a run that is over, by epochs, by elapsed seconds, or ("auto") by whichever is further along.

    >>> progress(epochs=10, max_epochs=100, elapsed=450.0, max_time=900.0, driven_by="auto")
    0.5
    >>> progress(epochs=10, max_epochs=100, elapsed=450.0, max_time=900.0, driven_by="epochs")
    0.1
    """
    by_epochs = epochs / max_epochs if max_epochs else 0.0
    by_time = elapsed / max_time if max_time else 0.0
    value = {"epochs": by_epochs, "time": by_time, "auto": max(by_epochs, by_time)}[driven_by]
    return min(1.0, value)
