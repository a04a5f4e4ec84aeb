"""The command as a user runs it: a small training, everything that is done with its model, and mistakes, which get sentences."""

import json
import sys

import ase
import ase.io
import numpy as np
import pytest
import torch

import tesseral
from tesseral.interfaces.cli import main
from tests.data.made import crystal, ethanol, isolated_atoms

FILES = ("model.safetensors", "metrics.json", "report.html", "settings.yaml", "split.json")


def command(*words: object) -> int:
    """Run ``tesseral`` with these words in this process; its exit status."""
    saved, sys.argv = sys.argv, ["tesseral", *map(str, words)]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = saved
    return 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data, settings, and a run in ``run``."""
    path = tmp_path_factory.mktemp("cli")
    ase.io.write(path / "train.xyz", [*ethanol(20), *isolated_atoms()])
    ase.io.write(path / "test.xyz", ethanol(4, seed=7))
    (path / "settings.yaml").write_text(
        "data: {train: train.xyz, test: {new: test.xyz}, split: {valid: 4}}\n"
        "model: {name: nequip, cutoff: 3.0, layers: 1, lmax: 1, channels: 4, radial_channels: 8}\n"
        "max_epochs: 2\ntensorboard: false\n"
    )
    patch = pytest.MonkeyPatch()
    patch.chdir(path)
    assert command("train", "settings.yaml", "optimizer.lr=0.005", "--output", "run", "--level-of-theory", "EMT") == 0
    yield path
    patch.undo()


def test_training_leaves_everything(folder) -> None:
    assert all((folder / "run" / name).stat().st_size for name in FILES)
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert set(metrics["errors"]) == {"training", "validation", "new"}
    assert metrics["errors"]["training"]["overall"]["frames"] == 16
    assert len(metrics["selftest"]) > 15
    assert all(check["passed"] for check in metrics["selftest"])
    assert metrics["statistics"]["atomic_energies"].keys() == {"1", "6", "8"}
    assert set(metrics["uncertainty"]) == {"validation", "new"}
    assert "Calibration, energy" in (folder / "run" / "report.html").read_text()


def test_versions(capsys) -> None:
    assert command("--version") == 0
    assert f"tesseral {tesseral.__version__}, torch {torch.__version__}" in capsys.readouterr().out
    with pytest.raises(AttributeError, match="no attribute 'version'"):
        tesseral.version  # noqa: B018


def test_settings_of_a_run_run_again(folder) -> None:
    assert command("train", folder / "run" / "settings.yaml", "max_epochs=1", "--output", "again") == 0
    assert "lr: 0.005" in (folder / "again" / "settings.yaml").read_text()


def test_evaluate_and_predict(folder, capsys) -> None:
    assert command("evaluate", "run/model.safetensors", "test.xyz", "--output", "errors.json") == 0
    table = json.loads((folder / "errors.json").read_text())["test.xyz"]["overall"]
    trained = json.loads((folder / "run" / "metrics.json").read_text())["errors"]["new"]["overall"]
    assert table["forces_rmse"] == pytest.approx(trained["forces_rmse"], rel=1e-5)
    assert command("predict", "run/model.safetensors", "test.xyz", "--output", "predicted.xyz") == 0
    predicted, labelled = (ase.io.read(folder / name, ":") for name in ("predicted.xyz", "test.xyz"))
    difference = np.concatenate([a.get_forces() - b.get_forces() for a, b in zip(predicted, labelled, strict=True)])
    assert 1000 * np.sqrt((difference**2).mean()) == pytest.approx(table["forces_rmse"], rel=1e-4)


def test_relax_md_and_resume(folder) -> None:
    assert command("relax", "run/model.safetensors", "test.xyz", "--output", "relaxed.xyz", "--steps", 5) == 0
    assert len(ase.io.read(folder / "relaxed.xyz")) == 9
    words = ("md", "run/model.safetensors", "relaxed.xyz", "--output", "md.extxyz", "--every", 2, "--temperature", 10)
    assert command(*words, "--time", 0.003) == 0
    assert len(ase.io.read(folder / "md.extxyz", ":")) == 4
    assert command(*words, "--time", 0.006, "--resume") == 0
    assert len(ase.io.read(folder / "md.extxyz", ":")) == 7


def test_selftest_and_doctor(folder, capsys) -> None:
    assert command("selftest", "run/model.safetensors", "--structure", "test.xyz") == 0
    assert "passed" in capsys.readouterr().out
    assert command("doctor", "run/model.safetensors") == 0
    assert "convolution" in capsys.readouterr().out
    assert command("doctor", "train.xyz") == 0
    assert "23 frames of H C O" in capsys.readouterr().out


def test_crystals_have_stress(folder) -> None:
    ase.io.write(folder / "crystal.xyz", crystal(10))
    (folder / "crystal.yaml").write_text(
        "data: {train: crystal.xyz, split: {valid: 2}}\nmodel: {name: nequip, cutoff: 3.5, layers: 1, channels: 4}\n"
        "loss: {stress: {weight: 1}}\nmax_epochs: 1\ntensorboard: false\n"
    )
    assert command("train", "crystal.yaml", "--output", "crystal") == 0
    assert "stress_rmse" in json.loads((folder / "crystal" / "metrics.json").read_text())["errors"]["validation"]["overall"]
    assert command("predict", "crystal/model.safetensors", "crystal.xyz", "--output", "stress.xyz") == 0
    assert ase.io.read(folder / "stress.xyz").get_stress().shape == (6,)
    assert command("relax", "crystal/model.safetensors", "crystal.xyz", "--output", "cell.xyz", "--cell", "--steps", 3) == 0


def test_the_demo_in_seconds(tmp_path) -> None:
    assert command("demo", "--output", tmp_path / "demo", "--minutes", 0.05, "--picoseconds", 0.02) == 0
    metrics = json.loads((tmp_path / "demo" / "metrics.json").read_text())
    assert {"held-out 300 K", "held-out 700 K"} < set(metrics["errors"])
    assert metrics["dynamics"]["ps"] == pytest.approx(0.02)
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "ethanol" in page
    assert 'src="http' not in page


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train", "absent.yaml"), "there is no such file"),
        (("train", "settings.yaml", "optimiser.lr=1"), "did you mean 'optimizer'"),
        (("train", "settings.yaml", "model.channel=8"), "did you mean 'model.channels'"),
        (("train", "settings.yaml", "optimizer.lr=fast"), "optimizer.lr"),
        (("train", "settings.yaml", "data.train=nowhere.xyz"), "nowhere.xyz does not exist"),
        (("train", "settings.yaml", "data.keys.energy=REF_energy", "--output", "x"), "REF_energy"),
        (("train", "settings.yaml", "--output", "run"), "--resume, discard it with --overwrite"),
        (("evaluate", "settings.yaml", "test.xyz"), "no model file"),
        (("evaluate", "run/model.safetensors", "test.xyz", "--units", "{energy: hartree}"), "Did you mean 'Hartree'"),
        (("evaluate", "run/model.safetensors", "gold.xyz"), "Au"),
        (("predict", "run/model.safetensors", "gold.xyz", "--output", "p.xyz"), "Au"),
        (("relax", "run/model.safetensors", "gold.xyz", "--output", "g.xyz"), "not trained on Au"),
        (("predict", "run/model.safetensors", "test.xyz", "--output", "test.xyz"), "is the input"),
        (("predict", "run/model.safetensors", "test.xyz", "--output", "train.xyz"), "--overwrite"),
        (("md", "run/model.safetensors", "test.xyz", "--output", "a.extxyz", "--ensemble", "nev"), "nve"),
        (("md", "run/model.safetensors", "test.xyz", "--output", "a.extxyz", "--timestep", "-1"), "timestep"),
        (("predict", "run/model.safetensors", "empty.xyz", "--output", "b.xyz"), "empty"),
    ],
)
def test_mistakes_get_sentences(folder, capsys, words, says) -> None:
    ase.io.write(folder / "gold.xyz", ase.Atoms("Au2", positions=[(0, 0, 0), (0, 0, 2.5)]))
    (folder / "empty.xyz").write_text("")
    before = (folder / "run" / "model.safetensors").read_bytes(), (folder / "test.xyz").read_bytes()
    assert command(*words) == 1
    printed = capsys.readouterr()
    assert says in " ".join((printed.out + printed.err).split()), printed.err
    assert "Traceback" not in printed.err
    assert before == ((folder / "run" / "model.safetensors").read_bytes(), (folder / "test.xyz").read_bytes())
