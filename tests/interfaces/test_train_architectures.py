"""Every architecture trains by the command, and its file serves the other commands; the recipes of architectures are valid."""

from pathlib import Path

import ase.io
import pytest

from tesseral.interfaces.training import TrainingSettings
from tesseral.models import build, files
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


NEQUIP = "{name: nequip, cutoff: 3.0, layers: 2, lmax: 1, channels: 4, radial_channels: 8}"


def test_denoising_leaves_a_plain_model(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    ase.io.write("train.xyz", [*ethanol(8), *isolated_atoms()])
    Path("settings.yaml").write_text(
        f"data: {{train: train.xyz, split: {{valid: 2}}}}\nmodel: {NEQUIP}\nmax_epochs: 1\ntensorboard: false\n"
    )
    assert command("train", "settings.yaml", "denoising={decay_steps: 10}", "--output", "run") == 0
    model, metadata = files.load("run/model.safetensors")
    assert metadata.settings["name"] == "nequip"
    assert model.state_dict().keys() == build(model.settings).state_dict().keys()
    told = (tmp_path / "run" / "settings.yaml").read_text()
    assert "decay_steps: 10" in told
    assert command("train", "run/settings.yaml", "--output", "run", "--resume") == 0  # nothing left to do
    assert command("train", "settings.yaml", "--output", "run", "--resume") == 1
    assert "denoising.decay_steps: was 10, is None" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["denoising={sigmas: 0.1}"], "unknown key 'denoising.sigmas'; did you mean 'denoising.sigma'?"),
        (["denoising={}", "loss.forces.weight=0"], "weighs noise by the weight of the forces, which is 0"),
        (["denoising={}", "compile=true"], "leave compile=true out, or denoising"),
        (["denoising={}", f"model={MODELS['mace']}"], "a model of the kind mace cannot learn by denoising yet"),
    ],
)
def test_what_denoising_cannot_do_is_said(words, sentence, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    ase.io.write("train.xyz", [*ethanol(4), *isolated_atoms()])
    Path("settings.yaml").write_text(f"data: {{train: train.xyz, split: {{valid: 2}}}}\nmodel: {NEQUIP}\nmax_epochs: 1\n")
    assert command("train", "settings.yaml", *words, "--output", "run") == 1
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_recipes_are_valid() -> None:
    settings = read_settings(TrainingSettings, RECIPES / "acac_mace.yaml")
    assert settings.model.name == "mace"
