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
    ],
)
def test_mistakes(tmp_path, frames, change, words):
    ase.io.write(tmp_path / "frames.xyz", frames[:12], format="extxyz")
    (tmp_path / "settings.yaml").write_text(SETTINGS.replace("targets: {dipole: {}, polarizability: {}}\n", ""))
    status, said = command(tmp_path, "tensors", "settings.yaml", change, "-o", "run")
    assert status == 1
    assert words in said, said
    assert not (tmp_path / "run/tensors.safetensors").exists()
