"""What the README shows runs."""

import re
from pathlib import Path

import pytest
import yaml

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_layers_example_runs() -> None:
    (code,) = [text for language, text in BLOCKS if language == "python" and "import torch" in text]
    names: dict = {}
    exec(code, names)
    assert names["messages"].shape == (10, names["conv"].irreps_out.dim)


def test_the_settings_example_is_valid() -> None:
    from tesseral.interfaces.training import TrainingSettings
    from tesseral.train.settings_file import validate

    (text,) = [text for language, text in BLOCKS if language == "yaml"]
    assert validate(TrainingSettings, yaml.safe_load(text)).model.cutoff == 5.0


@pytest.mark.parametrize("path", re.findall(r"`((?:docs|benchmarks)/[\w/.]+)`", README.read_text()))
def test_files_named_exist(path: str) -> None:
    assert (README.parent / path).exists()


def test_commands_named_exist() -> None:
    from tesseral.interfaces.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    named = set(re.findall(r"^    tesseral (\w+)", README.read_text(), re.MULTILINE))
    assert named
    assert named <= known
