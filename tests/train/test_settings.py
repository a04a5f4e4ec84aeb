"""What a settings file may hold, and what it may not."""

import pytest
from pydantic import ValidationError

from tesseral.train.settings import (
    CosineSettings,
    FitSettings,
    PlateauSettings,
    Settings,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15 minutes", 900),
        ("2h", 7200),
        ("1h 30m", 5400),
        ("1.5 hours", 5400),
        ("45", 45),
        ("2 days, 1 s", 172801),
        ("1e2 s", 100),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["15 parsecs", "soon", "", "5 minutes or so", "-3"])
def test_bad_durations(text):
    with pytest.raises(ValueError, match=r"unit of time|duration"):
        parse_duration(text)


def test_a_run_has_an_end():
    assert FitSettings().max_epochs == 300
    assert FitSettings(max_time="10 s").max_epochs is None
    assert FitSettings(max_time="10 s").max_time == 10


def test_schedules_are_told_apart_by_name():
    assert isinstance(FitSettings.model_validate({"schedule": {"name": "plateau", "patience": 3}}).schedule, PlateauSettings)
    assert FitSettings.model_validate({"schedule": {"hold": 0.5}}).schedule == CosineSettings(hold=0.5)
    with pytest.raises(ValidationError, match="patience"):
        FitSettings.model_validate({"schedule": {"name": "cosine", "patience": 3}})


@pytest.mark.parametrize(("driver", "missing"), [("time", "max_time"), ("epochs", "max_epochs")])
def test_a_schedule_needs_the_end_it_is_driven_by(driver, missing):
    end = {"max_epochs": 5} if driver == "time" else {"max_time": 5.0}
    with pytest.raises(ValidationError, match=f"{missing} is not set"):
        FitSettings.model_validate({"schedule": {"driven_by": driver}, **end})


def test_paths_may_be_one_or_many():
    settings = Settings[dict].model_validate({"model": {}, "data": {"train": "a.xyz", "test": {"hot": ["b.xyz", "c.xyz"]}}})
    assert [str(path) for path in settings.data.train] == ["a.xyz"]
    assert [str(path) for path in settings.data.test["hot"]] == ["b.xyz", "c.xyz"]


def test_numbers_in_quotes_are_not_numbers():
    with pytest.raises(ValidationError):
        FitSettings.model_validate({"batch_size": "5"})
    with pytest.raises(ValidationError):
        FitSettings.model_validate({"batch_size": True})


def test_every_setting_is_described():
    def walk(model, path=""):
        for name, field in model.model_fields.items():
            assert field.description or name == "name", f"{path}{name} has no description"
            if hasattr(field.annotation, "model_fields"):
                walk(field.annotation, f"{path}{name}.")

    walk(Settings[dict])


def test_rounded_products_are_not_compiled_yet():
    values = {"model": {}, "data": {"train": "a.xyz"}, "precision": "bf16-products"}
    assert Settings[dict].model_validate(values).precision == "bf16-products"
    with pytest.raises(ValidationError, match="do not go together yet; leave one of them out"):
        Settings[dict].model_validate(values | {"compile": True})
