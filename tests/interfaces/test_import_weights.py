"""Imported models: the same energies, forces and stress as in mace-torch, nequip and nequip-allegro; anything else is refused."""

import lzma
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import ase
import numpy as np
import pytest
import torch

from tesseral.graph import build_graph
from tesseral.interfaces.foreign_pickle import ForeignFileError, Stranger, load
from tesseral.interfaces.import_mace import read_mace
from tesseral.interfaces.import_nequip import read_nequip
from tesseral.interfaces.import_weights import import_model
from tesseral.models import files
from tesseral.physics.forces import energy_and_forces

GOLDEN = Path(__file__).parents[1] / "models" / "golden"
CASES = sorted(path.name.partition(".")[0] for path in (GOLDEN / "mace").glob("*.model.xz"))
PUBLISHED = ("mp0-small", "mp0-medium", "mp0-large", "mpa0-medium", "off23-small", "off23-medium", "off23-large")


def unpacked(case: str, folder: Path) -> Path:
    path = folder / f"{case}.model"
    path.write_bytes(lzma.decompress((GOLDEN / "mace" / f"{case}.model.xz").read_bytes()))
    return path


def differences(model, known, tolerance: float = 1e-9) -> None:
    for structure in ("molecule", "crystal"):
        numbers, positions, cell, pbc = (known[f"{structure}/{name}"] for name in ("numbers", "positions", "cell", "pbc"))
        graph = build_graph(ase.Atoms(numbers, positions, cell=cell, pbc=pbc), model.cutoff)
        for number, name in enumerate(model.settings.heads):
            head, key = torch.tensor([number]), f"{structure}/{name}"
            found = energy_and_forces(lambda g, head=head: model(g, head), graph, stress=bool(pbc.all()))
            assert found.energy.item() == pytest.approx(known[f"{key}/energy"].item(), abs=tolerance)
            size = np.abs(known[f"{key}/forces"]).max()
            print(f"{key}: energy {found.energy.item() - known[f'{key}/energy'].item():.1e} eV, largest force {size:.1e} eV/Å")
            assert size > 1e-3
            np.testing.assert_allclose(found.forces, known[f"{key}/forces"], atol=tolerance * min(1.0, size), rtol=0)
            if found.stress is not None:
                np.testing.assert_allclose(found.stress, known[f"{key}/stress"].reshape(1, 3, 3), atol=1e-11)


@pytest.mark.parametrize("case", CASES)
def test_equals_mace(case: str, tmp_path) -> None:
    model = read_mace(unpacked(case, tmp_path))
    assert model.dtype == torch.float64
    differences(model, np.load(GOLDEN / "mace" / f"{case}.npz"))


@pytest.mark.parametrize("case", PUBLISHED)
def test_equals_mace_at_published_sizes(case: str, tmp_path) -> None:
    python = os.environ.get("TESSERAL_BENCH_MACE")
    if not python:
        pytest.skip("set TESSERAL_BENCH_MACE to an interpreter that has mace-torch 0.3.16")
    subprocess.run([python, str(GOLDEN / "make_mace.py"), str(tmp_path), case], check=True, capture_output=True)
    differences(read_mace(tmp_path / f"{case}.model"), np.load(tmp_path / f"{case}.npz"))


@pytest.mark.parametrize(
    ("package", "suffix"),
    [("mace", ".model"), ("nequip", ".ckpt"), ("allegro", ".ckpt"), ("nequip", ".nequip.zip"), ("allegro", ".nequip.zip")],
)
def test_equals_a_trained_model(package: str, suffix: str, tmp_path) -> None:
    path = tmp_path / f"trained{suffix}"
    path.write_bytes(lzma.decompress((GOLDEN / "trained" / f"{package}{suffix}.xz").read_bytes()))
    known = np.load(GOLDEN / "trained" / f"{package}.npz")
    model = read_mace(path) if package == "mace" else read_nequip(path)
    atoms = ase.Atoms(known["numbers"], known["positions"])
    prediction = energy_and_forces(model, build_graph(atoms, model.cutoff))
    assert model.dtype == torch.float64
    assert prediction.energy.item() == pytest.approx(known["energy"].item(), abs=1e-8)
    np.testing.assert_allclose(prediction.forces, known["forces"], atol=1e-8)
    assert np.abs(known["forces"]).max() > 0.05


def test_the_file_holds_the_head_that_was_asked_for(tmp_path) -> None:
    path = unpacked("density", tmp_path)
    metadata = import_model("mace", path, tmp_path / "model.safetensors", head="r2scan", level_of_theory="r2SCAN")
    model, _ = files.load(tmp_path / "model.safetensors")
    known = np.load(GOLDEN / "mace" / "density.npz")
    atoms = ase.Atoms(known["molecule/numbers"], known["molecule/positions"])
    assert model(build_graph(atoms, model.cutoff)).item() == pytest.approx(known["molecule/r2scan/energy"].item(), abs=1e-9)
    assert metadata.level_of_theory == "r2SCAN"
    with pytest.raises(ValueError, match="there is no head 'pbesol' in this model: it has pbe, r2scan"):
        import_model("mace", path, tmp_path / "other.safetensors", head="pbesol")
    with pytest.raises(ValueError, match="unknown source 'vasp'"):
        import_model("vasp", path, tmp_path / "other.safetensors")


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


def test_nothing_in_a_file_is_run(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Bomb()}, "bomb.model")
    for read in (read_mace, read_nequip):
        with pytest.raises(ForeignFileError, match="which no model needs"):
            read(Path("bomb.model"))
    assert not Path("exploded").exists()


def test_strangers_do_nothing(tmp_path) -> None:
    path = tmp_path / "file.pt"
    torch.save({"optimizer": torch.optim.SGD([torch.zeros(1)], lr=0.1), "weight": torch.ones(2)}, path)
    found = load(path)
    assert isinstance(found["optimizer"], Stranger)
    assert repr(found["optimizer"]) == "<torch.optim.sgd.SGD>"
    assert found["weight"].tolist() == [1.0, 1.0]


def test_other_files_are_refused(tmp_path) -> None:
    with pytest.raises(ForeignFileError, match="there is no file"):
        read_mace(tmp_path / "absent.model")
    text = tmp_path / "text.model"
    text.write_text("energy")
    with pytest.raises(ForeignFileError, match=r"not a file that torch\.save writes"):
        read_mace(text)
    text.write_bytes(pickle.dumps({}))
    with pytest.raises(ForeignFileError, match=r"not a file that torch\.save writes"):
        read_nequip(text)
    with zipfile.ZipFile(text, "w") as archive:
        archive.writestr("package/code.py", "print()")
    with pytest.raises(ForeignFileError, match=r"is not a package of nequip 0\.19.*give the checkpoint"):
        read_nequip(text)
    with zipfile.ZipFile(text, "w") as archive:
        archive.writestr("package/code.py", "print()")
        archive.writestr("package/model/config.yaml", "training_module: {model: {_target_: nequip.model.ModelFromPackage}}")
        archive.writestr("package/model/eager_model.pkl", pickle.dumps({}))
    with pytest.raises(ForeignFileError, match=r"trained from another model file.*give the checkpoint"):
        read_nequip(text)
    with zipfile.ZipFile(text, "w") as archive:
        archive.writestr("package/code.py", "print()")
        archive.writestr("package/model/config.yaml", "training_module: {model: {_target_: nequip.model.NequIPGNNModel}}")
        archive.writestr("package/model/eager_model.pkl", pickle.dumps(Bomb()))
    with pytest.raises(ForeignFileError, match="which no model needs"):
        read_nequip(text)
    with pytest.raises(ForeignFileError, match=r"compiled \(AOTInductor\).*give the \.ckpt"):
        read_nequip(tmp_path / "model.nequip.pt2")
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(text))
    with pytest.raises(ForeignFileError, match="compiled"):
        read_mace(text)
    torch.save({"state_dict": {}}, text)
    with pytest.raises(ForeignFileError, match=r"give the whole model"):
        read_mace(text)
    with pytest.raises(ForeignFileError, match="not a training checkpoint of nequip"):
        read_nequip(text)


def test_neither_package_is_imported(tmp_path) -> None:
    path = unpacked("residual", tmp_path)
    lines = [
        "import sys, pathlib",
        "from tesseral.interfaces.import_mace import read_mace",
        f"read_mace(pathlib.Path({str(path)!r}))",
    ]
    lines.append("assert not {'mace', 'e3nn', 'nequip'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)
