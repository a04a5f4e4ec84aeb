"""The sentences a user gets for a wrong settings file, and the file that `tesseral config` prints."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from tesseral.train.settings import FitSettings, Settings, Strict
from tesseral.train.settings_file import SettingsError, commented_yaml, parse_yaml, read_settings, validate


class Small(Strict):
    name: Literal["small"] = "small"
    width: int = Field(default=8, description="channels")


class Large(Strict):
    name: Literal["large"] = "large"
    depth: int = Field(default=3, description="layers")


Whole = Settings[Annotated[Small | Large, Field(discriminator="name")]]
GOOD = ["data.train=a.xyz", "model.name=small"]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("optimiser.lr=1", "unknown key 'optimiser'; did you mean 'optimizer'?"),
        ("lr=1", "unknown key 'lr'; did you mean 'optimizer.lr'?"),
        ("optimizer.zzz=1", "unknown key 'optimizer.zzz'; known keys here: name, lr, betas, weight_decay"),
        ("model.widht=1", "unknown key 'model.widht'; did you mean 'model.width'?"),
        ("model.depth=1", "unknown key 'model.depth' for model.name=small; it belongs to another model.name"),
        ("model.name=smal", "'model.name' is 'smal', expected one of small, large; did you mean 'small'?"),
        ("model.width=wide", "'model.width' is 'wide', expected a valid integer"),
        ("schedule.patience=3", "unknown key 'schedule.patience' for schedule.name=cosine; it belongs to another schedule.name"),
        ("schedule.name=plateu", "expected one of constant, plateau, cosine; did you mean 'plateau'?"),
        ("loss.forces.kind=msee", "'loss.forces.kind' is 'msee', expected one of mse, mae, huber, l2; did you mean 'mse'?"),
        ("loss.energy=3", "'loss.energy' is 3, expected a mapping (key: value)"),
        ("batch_size=2.5", "'batch_size' is 2.5, expected a valid integer"),
        ("batch_size=true", "'batch_size' is true, expected a valid integer"),
        ("batch_size='5'", "'batch_size' is '5', expected a valid integer"),
        ("batch_size=0", "'batch_size' is 0, expected greater than or equal to 1"),
        ("batch_size=", "'batch_size' is empty (null), expected a valid integer"),
        ("optimizer.lr=.nan", "'optimizer.lr' is nan"),
        ("optimizer.betas=[1]", "'optimizer.betas.1' is missing"),
        ("max_time=15 parsecs", "'max_time' is '15 parsecs': unknown unit of time 'parsecs'"),
        ("schedule.driven_by=time", "max_time is not set"),
        ("data.test.hot=[a, 3]", "'data.test.hot.1' is 3, expected a path"),
        ("data.keys.enregy=E", "unknown key 'data.keys.enregy'; did you mean 'data.keys.energy'?"),
        ("data.split.valid=1.5", "valid is the fraction 1.5"),
        ("nonsense", "'nonsense' is not an override; write key=value"),
        ("optimizer..lr=1", "'optimizer..lr=1' is not an override"),
        ("optimizer.lr=[1", "override 'optimizer.lr=[1'"),
    ],
)
def test_every_mistake_gets_a_sentence(override, sentence):
    with pytest.raises(SettingsError) as caught:
        read_settings(Whole, None, [*GOOD, override])
    assert sentence in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(SettingsError) as caught:
        read_settings(Whole, None, [*GOOD, "seeed=1", "batch_size=x"])
    assert len(str(caught.value).splitlines()) == 2


def test_what_is_missing():
    with pytest.raises(SettingsError, match="'data' is missing; expected where the frames are"):
        validate(Whole, {"model": {"name": "small"}})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("seed: 1\nseed: 2\n", "line 2, column 1: the key 'seed' is given twice (first in line 1)"),
        ("seed: [1\n", "this is not valid YAML"),
        ("- 1\n- 2\n", "expected 'key: value' lines, found a list of 2"),
        ("seed: !!python/object:os.system x\n", "this is not valid YAML"),
        ("\tseed: 1\n", "this is not valid YAML"),
    ],
)
def test_broken_files(tmp_path, text, sentence):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_settings(Whole, path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)


def test_unreadable_files(tmp_path):
    with pytest.raises(SettingsError, match="there is no such file"):
        read_settings(Whole, tmp_path / "absent.yaml")
    with pytest.raises(SettingsError, match="is a folder"):
        read_settings(Whole, tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(SettingsError, match="not UTF-8 text"):
        read_settings(Whole, tmp_path / "binary")


def test_overrides_win_over_the_file_and_the_file_over_defaults(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("batch_size: 7\noptimizer: {lr: 1e-3, name: adam}\nmodel: {name: small, width: 3}\n")
    defaults = {"data": {"train": "a.xyz"}, "batch_size": 3}
    settings = read_settings(Whole, path, ["optimizer.lr=2e-3", "model.name=large"], defaults)
    assert (settings.batch_size, settings.optimizer.lr, settings.optimizer.name) == (7, 0.002, "adam")
    assert settings.model == Large()  # width belonged to the model that was replaced


def test_scalars_are_those_of_yaml_1_2():
    assert parse_yaml("{a: 1e-3, b: No, c: off, d: true, e: 12, f: 1.5e+2, g: .5, h: N}") == {
        "a": 1e-3, "b": "No", "c": "off", "d": True, "e": 12, "f": 150.0, "g": 0.5, "h": "N",
    }  # fmt: skip


def test_what_is_printed_can_be_read():
    text = commented_yaml(FitSettings(max_epochs=5))
    assert validate(FitSettings, parse_yaml(text)) == FitSettings(max_epochs=5)
    whole = validate(Whole, {"data": {"train": "a.xyz"}, "model": {"name": "large", "depth": 5}})
    assert validate(Whole, parse_yaml(commented_yaml(whole))) == whole


def test_defaults_are_printed_with_their_meaning():
    text = commented_yaml(Whole)
    for expected in ("# training frames", "lr: 0.01", "# name: plateau", "patience: 50", "batch_size: 5", "other names: large"):
        assert expected in text
