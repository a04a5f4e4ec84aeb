"""Every architecture trains by the command, and its file serves the other commands; the recipes of architectures are valid."""

from pathlib import Path

import ase.io
import pytest

from tesseral.interfaces.training import TrainingSettings
from tesseral.models import files
from tesseral.train.settings_file import read_settings
from tests.data.made import ethanol, isolated_atoms
from tests.interfaces.test_cli import command

RECIPES = Path(__file__).parents[2] / "recipes"
MODELS = {
    "mace": "{name: mace, cutoff: 3.0, hidden: 4x0e+4x1o, lmax: 1, correlation: 2, radial_widths: [8], first_interaction: plain}",
    "allegro": "{name: allegro, cutoff: 3.0, lmax: 1, scalar_channels: 8, tensor_channels: 4, latent_widths: [8]}",
}


@pytest.mark.parametrize("name", MODELS)
def test_trains_and_predicts(name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    ase.io.write("train.xyz", [*ethanol(8), *isolated_atoms()])
    Path("settings.yaml").write_text(
        f"data: {{train: train.xyz, split: {{valid: 2}}}}\nmodel: {MODELS[name]}\nmax_epochs: 1\ntensorboard: false\n"
    )
    assert command("train", "settings.yaml", "--output", "run") == 0
    assert command("predict", "run/model.safetensors", "train.xyz", "--output", "predicted.xyz") == 0
    model, metadata = files.load("run/model.safetensors")
    assert metadata.settings["name"] == name
    assert model.settings.num_neighbors > 1
    assert set(metadata.atomic_energies) == {1, 6, 8}
    assert len(ase.io.read("predicted.xyz", ":")) == 11


def test_recipes_are_valid() -> None:
    settings = read_settings(TrainingSettings, RECIPES / "acac_mace.yaml")
    assert settings.model.name == "mace"
