"""Tensors from labelled frames to a model file, and what it predicts, by the command."""

import json
import subprocess
import sys

import ase.io
import numpy as np
import pytest
import torch
from ase.build import molecule

from tesseral.models.tensor_files import load_tensor_model

SETTINGS = """\
data: {train: frames.xyz, split: {valid: 8}}
targets: {dipole: {}, polarizability: {}}
model: {name: nequip, cutoff: 3.0, layers: 1, lmax: 2, channels: 8, radial_channels: 16, parity: false, radial_knots: 64}
batch_size: 8
max_epochs: 60
optimizer: {lr: 0.02}
tensorboard: false
"""
CHARGES = {1: 0.4, 8: -0.8}


@pytest.fixture
def frames():
    """Water with charges that do not move, and a polarizability that lies along the bonds; every second frame lacks it."""
    generator, found = np.random.default_rng(0), []
    for number in range(36):
        atoms = molecule("H2O")
        atoms.positions = (atoms.positions + 0.1 * generator.normal(size=(3, 3))) @ np.linalg.qr(generator.normal(size=(3, 3)))[0]
        charges = np.array([CHARGES[z] for z in atoms.numbers])
        bonds = atoms.positions[1:] - atoms.positions[0]
        atoms.info["dipole"] = charges @ atoms.positions
        if number % 2:
            atoms.info["polarizability"] = np.eye(3) + sum(np.outer(bond, bond) for bond in bonds)
        found.append(atoms)
    return found


def command(folder, *words):
    run = subprocess.run(
        [sys.executable, "-m", "tesseral", *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=300
    )
    return run.returncode, " ".join((run.stdout + run.stderr).split())


def test_from_frames_to_tensors(tmp_path, frames):
    ase.io.write(tmp_path / "frames.xyz", frames, format="extxyz")
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    status, said = command(tmp_path, "tensors", "settings.yaml", "-o", "run", "--level-of-theory", "toy")
    assert status == 0, said
    errors = json.loads((tmp_path / "run/metrics.json").read_text())["errors"]["validation"]
    assert errors["dipole"]["rmse"] < 0.25 * errors["dipole"]["spread"]
    assert errors["polarizability"]["rmse"] < 0.5 * errors["polarizability"]["spread"]
    assert 0 < errors["polarizability"]["labels"] < 8 == errors["dipole"]["labels"]
    assert "<svg" in (tmp_path / "run/report.html").read_text()
    model, notes = load_tensor_model(tmp_path / "run/tensors.safetensors")
    assert notes["level_of_theory"] == "toy"
    assert next(model.parameters()).dtype == torch.float64

    assert command(tmp_path, "predict", "run/tensors.safetensors", "frames.xyz", "-o", "out.xyz")[0] == 0
    predicted = ase.io.read(tmp_path / "out.xyz", ":")
    assert predicted[1].info["polarizability"].shape == (3, 3)
    assert np.abs(predicted[0].get_dipole_moment() - frames[0].info["dipole"]).max() < 0.2

    status, said = command(tmp_path, "tensors", "settings.yaml", "-o", "run")
    assert status == 1
    assert "--overwrite" in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("targets={quadrupole: {}}", "quadrupole needs irreps"),
        ("targets={quadrupole: {irreps: 2e}}", "data.keys.extra={quadrupole: KEY}"),
        ("targets={dipole: {irreps: 0e+1o}}", "'dipole' is 1x0e+1x1o per structure"),
        ("targets={dipole: {ireps: 1o}}", "did you mean 'targets.dipole.irreps'"),
        ("targets={dipole: {pool: mean}}", "has charges"),
        ("targets={polarizability: {length: true}}", "only one tensor has a length"),
    ],
)
def test_mistakes(tmp_path, frames, change, words):
    ase.io.write(tmp_path / "frames.xyz", frames[:12], format="extxyz")
    (tmp_path / "settings.yaml").write_text(SETTINGS.replace("targets: {dipole: {}, polarizability: {}}\n", ""))
    status, said = command(tmp_path, "tensors", "settings.yaml", change, "-o", "run")
    assert status == 1
    assert words in said, said
    assert not (tmp_path / "run/tensors.safetensors").exists()


L1NET = """\
data: {train: frames.xyz, split: {valid: 8}, keys: {dipole: null, extra: {moment: moment, mean: mean}}}
targets: {moment: {irreps: 1o, charges: true, length: true}, mean: {irreps: 0e, pool: mean}}
model: {name: l1net, cutoff: 3.0, layers: 1, width: 24, num_basis: 8, radial_channels: 16}
batch_size: 8
max_epochs: 60
optimizer: {lr: 0.02}
tensorboard: false
"""


def test_properties_of_molecules(tmp_path, frames):
    """The length of a dipole, and a mean over atoms that composition explains."""
    for atoms in frames:
        atoms.info["moment"] = float(np.linalg.norm(atoms.info.pop("dipole")))
        atoms.info["mean"] = float(np.mean([CHARGES[z] ** 2 for z in atoms.numbers]))
    ase.io.write(tmp_path / "frames.xyz", frames, format="extxyz")
    (tmp_path / "settings.yaml").write_text(L1NET)
    status, said = command(tmp_path, "tensors", "settings.yaml", "-o", "run")
    assert status == 0, said
    errors = json.loads((tmp_path / "run/metrics.json").read_text())["errors"]["validation"]
    assert errors["moment"]["rmse"] < 0.35 * errors["moment"]["spread"]
    assert command(tmp_path, "predict", "run/tensors.safetensors", "frames.xyz", "-o", "out.xyz")[0] == 0
    found = ase.io.read(tmp_path / "out.xyz", ":")
    assert found[0].info["mean"] == pytest.approx(frames[0].info["mean"], abs=0.05)
    assert found[0].info["moment"] == pytest.approx(frames[0].info["moment"], abs=0.3)
