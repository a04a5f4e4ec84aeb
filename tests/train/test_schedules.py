"""Schedules as functions of step, progress and error."""

import math

import pytest

from tesseral.train.schedules import Schedule, progress
from tesseral.train.settings import ConstantSettings, CosineSettings, PlateauSettings


def test_cosine_holds_then_falls_to_its_end():
    schedule = Schedule(CosineSettings(warmup_steps=0, hold=0.2, final=0.1))
    factors = [schedule.factor(10**6, p) for p in (0.0, 0.2, 0.6, 1.0, 1.5)]
    assert factors == pytest.approx([1.0, 1.0, 0.55, 0.1, 0.1])


def test_warmup_rises_linearly():
    schedule = Schedule(ConstantSettings(warmup_steps=3))
    assert [schedule.factor(step, 0.0) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_a_plateau_lowers_the_rate_after_patience_and_remembers():
    settings = PlateauSettings(patience=2, reduce=0.5, final=0.2)
    schedule = Schedule(settings)
    factors = []
    for error in [1.0, 0.9, 1.0, 1.0, 1.0, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]:
        schedule.observe(error)
        factors.append(schedule.factor(100, 0.0))
    assert factors == pytest.approx([1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2])
    again = Schedule(settings)
    again.load_state_dict(schedule.state_dict())
    assert (again.best, again.stale, again.reduction) == (0.8, 0, 0.125)


def test_only_a_plateau_listens():
    schedule = Schedule(CosineSettings())
    schedule.observe(1.0)
    assert schedule.best == math.inf


@pytest.mark.parametrize(("driver", "expected"), [("epochs", 0.1), ("time", 0.5), ("auto", 0.5)])
def test_progress(driver, expected):
    assert progress(10, 100, 30.0, 60.0, driver) == pytest.approx(expected)


def test_progress_without_an_end_stays_at_the_start_and_never_passes_one():
    assert progress(10, None, 30.0, None, "auto") == 0.0
    assert progress(10, 5, 30.0, None, "auto") == 1.0
