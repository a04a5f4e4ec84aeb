"""`tesseral spectrum` on methane held by springs: files, report, intensities of a tensor model, dynamics, refusals."""

import csv
import json

import ase
import ase.build
import ase.io
import numpy as np
import pytest
import torch
from ase import units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from typer.testing import CliRunner

from tesseral.data import DataError
from tesseral.graph import build_graph
from tesseral.interfaces.cli import app
from tesseral.interfaces.spectrum import FILES, spectrum, spectrum_file
from tesseral.interfaces.trajectory_spectrum import trajectory_spectrum
from tesseral.models import NequIPSettings
from tesseral.models.tensor import Target, TensorModel, TensorSettings
from tesseral.models.tensor_files import load_tensor_model, save_tensors
from tesseral.physics.electric import charge_sum_error, position_derivatives
from tests.physics.toys import PairPotential


class Methane(PairPotential):
    """Springs C-H of 1.09 Å and H-H at the distance that makes a tetrahedron."""

    dtype = torch.float64

    def __init__(self):
        super().__init__(3.0, species=(1, 6))

    def pair(self, r, graph):
        heavy = (graph.species[graph.edge_index] == 6).any(0)
        rest = torch.where(heavy, 1.09, 1.09 * np.sqrt(8 / 3))
        return 0.5 * torch.where(heavy, 30.0, 3.0) * (r - rest) ** 2


@pytest.fixture(scope="module")
def tensors():
    torch.manual_seed(0)
    body = NequIPSettings(cutoff=2.0, layers=2, lmax=2, channels=3, radial_channels=8, species=(1, 6), num_neighbors=4.0)
    targets = {
        "dipole": Target(irreps="1o", charges=True), "polarizability": Target(irreps="0e+2e"),
        "shielding": Target(irreps="0e+1e+2e", per="atom"),
    }  # fmt: skip
    return TensorModel(TensorSettings(body=body, targets=targets), backend="reference", dtype=torch.float64).eval()


@pytest.fixture
def methane(tmp_path):
    atoms = ase.build.molecule("CH4")
    atoms.rattle(0.03, seed=1)
    path = tmp_path / "methane.xyz"
    ase.io.write(path, atoms)
    return path


def test_symmetry_alone(methane, tmp_path):
    result = spectrum(Methane(), methane, tmp_path / "out")
    assert [(m.irrep, m.degeneracy) for m in sorted(result.modes.modes, key=lambda m: m.irrep)] == [
        ("A1", 1), ("E", 2), ("T2", 3), ("T2", 3)
    ]  # fmt: skip
    assert {m.irrep for m in result.modes.modes if m.infrared} == {"T2"}
    assert all(check["passed"] for check in result.checks)
    assert {name for name in FILES if (tmp_path / "out" / name).exists()} == set(FILES) - {"dynamics.csv"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<canvas") == 4
    assert "Td" in page
    assert "those of the irreps" in page
    rows = list(csv.DictReader((tmp_path / "out" / "modes.csv").read_text().splitlines()))
    assert [row["infrared_active"] for row in rows if row["irrep"] == "T2"] == ["1", "1"]
    # The breathing mode moves hydrogens alone: k = k_CH + 4 k_HH of the springs.
    breathing = next(float(row["frequency_cm-1"]) for row in rows if row["irrep"] == "A1")
    expected = np.sqrt((30.0 + 4 * 3.0) / 1.008 * units._e / units._amu) * 1e10 / (2 * np.pi * units._c * 100)
    assert breathing == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="--overwrite"):
        spectrum(Methane(), methane, tmp_path / "out")


def test_intensities_and_dynamics(methane, tensors, tmp_path):
    save_tensors(tensors, tmp_path / "tensors.safetensors", {"level_of_theory": "none"})
    atoms = ase.build.molecule("CH4")
    rng = np.random.default_rng(0)
    frames = []
    for step in range(420):
        atoms.positions += 0.01 * np.sin(step) * rng.standard_normal((5, 3))
        MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(step))
        frames.append(atoms.copy())
        atoms = ase.build.molecule("CH4")
    ase.io.write(tmp_path / "md.extxyz", frames)
    result = spectrum_file(
        Methane(), methane, tmp_path / "out", tensors=tmp_path / "tensors.safetensors", trajectory=tmp_path / "md.extxyz",
        interval=16.0,
    )  # fmt: skip
    for mode in result.modes.modes:
        assert mode.infrared == (mode.infrared_intensity > 1e-9)
        assert mode.raman == (mode.raman_activity > 1e-9)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["irreps"] == {"A1": 1, "E": 1, "T2": 2}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Vibrational density of states" in page
    moved = trajectory_spectrum(tmp_path / "md.extxyz", 16.0, tensors)
    assert moved.temperature == pytest.approx(300, rel=0.1)
    assert list(moved.columns()) == ["wavenumber_cm-1", "modes_per_cm-1", "infrared_km_mol_cm", "raman_A4_amu_cm"]
    assert "Raman, classical at" in page
    assert moved.density.sum() * moved.wavenumbers[1] == pytest.approx(15, rel=0.05)  # all 3n degrees of freedom


def test_an_interrupted_run_goes_on(methane, tmp_path, monkeypatch):
    found = spectrum(Methane(), methane, tmp_path / "out")
    (tmp_path / "out" / "report.html").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("tesseral.interfaces.spectrum.relax", None)  # nothing is computed again
        patch.setattr("tesseral.interfaces.spectrum.hessian", None)
        again = spectrum(Methane(), methane, tmp_path / "out", resume=True)
    np.testing.assert_allclose(again.modes.frequencies, found.modes.frequencies, atol=1e-6)
    assert (tmp_path / "out" / "report.html").exists()
    ase.io.write(tmp_path / "other.xyz", ase.build.molecule("C2H6"))
    with pytest.raises(DataError, match="another model or molecule"):
        spectrum(Methane(), tmp_path / "other.xyz", tmp_path / "out", resume=True)
    (tmp_path / "out" / "hessian.npz").write_bytes(b"half")
    with pytest.raises(DataError, match="--overwrite"):
        spectrum(Methane(), methane, tmp_path / "out", resume=True)
    with pytest.raises(ValueError, match="one of them"):
        spectrum(Methane(), methane, tmp_path / "out", resume=True, overwrite=True)


def test_refusals(methane, tensors, tmp_path):
    crystal = tmp_path / "crystal.xyz"
    ase.io.write(crystal, ase.Atoms("CH", positions=[(0, 0, 0), (0, 0, 1.1)], cell=[4, 4, 4], pbc=True))
    with pytest.raises(DataError, match="tesseral phonons"):
        spectrum(Methane(), crystal, tmp_path / "a")
    ase.io.write(tmp_path / "atom.xyz", ase.Atoms("H"))
    with pytest.raises(DataError, match="does not vibrate"):
        spectrum(Methane(), tmp_path / "atom.xyz", tmp_path / "a")
    with pytest.raises(ValueError, match="positive"):
        spectrum(Methane(), methane, tmp_path / "a", width=-1.0)
    with pytest.raises(FileNotFoundError, match="--tensors"):
        spectrum_file(Methane(), methane, tmp_path / "a", tensors=tmp_path / "no", trajectory=None, interval=None)
    with pytest.raises(ValueError, match="--interval go together"):
        spectrum_file(Methane(), methane, tmp_path / "a", tensors=None, trajectory=methane, interval=None)
    with pytest.raises(ValueError, match="tensor model"):
        spectrum_file(Methane(), methane, tmp_path / "a", tensors=methane, trajectory=None, interval=None)
    with pytest.raises(DataError, match="no momenta"):
        trajectory_spectrum(methane, 1.0)
    assert not (tmp_path / "a").exists()


def test_command_line():
    result = CliRunner().invoke(app, ["spectrum", "--help"])
    assert result.exit_code == 0
    assert "irreps" in result.output


# ---------------------------------------------------------------------- the tensor model itself


def test_heads_turn_with_the_molecule(tensors):
    atoms = ase.build.molecule("CH4")
    atoms.rattle(0.1, seed=2)
    graph = build_graph(atoms, 2.0).replace(charge=torch.ones(1, dtype=torch.float64))
    rotation = -torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    turned = graph.replace(positions=graph.positions @ rotation.T)
    torch.testing.assert_close(tensors.property("dipole", turned), tensors.property("dipole", graph) @ rotation.T)
    alpha = tensors.property("polarizability", graph)
    torch.testing.assert_close(tensors.property("polarizability", turned), rotation @ alpha @ rotation.T)
    own = tensors.irreps["shielding"].D_from_matrix(rotation, layout="ir_mul")
    torch.testing.assert_close(tensors(turned)["shielding"], tensors(graph)["shielding"] @ own.T)
    charges = position_derivatives(lambda g: tensors.property("dipole", g), graph)
    assert charge_sum_error(charges, graph).item() < 1e-12
    back = tensors.from_cartesian("polarizability", alpha)
    torch.testing.assert_close(tensors(graph)["polarizability"], back)


def test_file_keeps_everything(tensors, tmp_path):
    save_tensors(tensors, tmp_path / "t.safetensors", {"a": 1})
    again, notes = load_tensor_model(tmp_path / "t.safetensors", backend="reference")
    graph = build_graph(ase.build.molecule("CH4"), 2.0)
    assert notes == {"a": 1}
    for name, value in tensors(graph).items():
        torch.testing.assert_close(again(graph)[name], value, rtol=0, atol=0)


def test_heads_that_cannot_be(tensors):
    body = tensors.settings.body
    with pytest.raises(ValueError, match="raise lmax"):
        TensorModel(TensorSettings(body=body, targets={"x": Target(irreps="4e")}), backend="reference")
    with pytest.raises(ValueError, match="only a dipole"):
        TensorModel(TensorSettings(body=body, targets={"x": Target(irreps="1e", charges=True)}), backend="reference")
    crystal = build_graph(ase.Atoms("CH", positions=[(0, 0, 0), (0, 0, 1.1)], cell=[4, 4, 4], pbc=True), 2.0)
    with pytest.raises(ValueError, match="no meaning"):
        tensors(crystal)
