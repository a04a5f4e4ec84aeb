"""The command phonons as a user runs it, on argon that is known, and what cannot be done refused in a sentence."""

import csv
import json

import ase
import ase.build
import ase.io
import numpy as np
import phonopy
import pytest
from ase import units
from ase.phonons import Phonons as FiniteDisplacements

from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.phonons import phonons
from tesseral.models import files
from tesseral.nn.pair import ZBL
from tesseral.physics.phonons import present
from tests.interfaces.test_cli import command
from tests.physics.toys import LennardJones


def model(sigma=3.4):
    return LennardJones(sigma=sigma, epsilon=0.0104, cutoff=5.4, smooth=True, species=(18,))


@pytest.fixture
def argon(tmp_path):
    ase.io.write(tmp_path / "argon.xyz", ase.build.bulk("Ar", "fcc", a=5.2, cubic=True))
    return tmp_path / "argon.xyz"


def test_phonons_of_argon(argon, tmp_path):
    folder = tmp_path / "out"
    found = phonons(model(), argon, folder, supercell=(4, 4, 4), temperature=400.0)
    assert len(found.primitive) == 1
    assert [check["name"] for check in found.checks] == ["translations", "symmetry", "displacements"]
    assert all(check["passed"] for check in found.checks)
    assert found.summary["lowest_frequency_THz"] > -1e-3
    classical = 3 * units.kB * units.mol / units.J  # Dulong and Petit
    assert found.summary["heat_capacity_300K_J_K_mol"] == pytest.approx(classical, rel=0.01)
    assert json.loads((folder / "summary.json").read_text())["formula"] == "Ar"
    page = (folder / "report.html").read_text()
    assert all(word in page for word in ("Bands and density of states", "Thermal properties", "passed"))

    again = phonopy.load(folder / "phonopy.yaml", force_constants_filename=folder / "FORCE_CONSTANTS", log_level=0)
    points = np.array([[0.25, 0.5, 0.0], [0.5, 0.5, 0.0]])
    again.run_qpoints(points)
    displaced = _by_displacements(found.primitive, points)
    np.testing.assert_allclose(again.qpoints.frequencies, displaced, atol=2e-4)
    assert displaced.min() > 0.5
    with (folder / "bands.csv").open() as file:
        rows = list(csv.DictReader(file))
    row = rows[len(rows) // 3]
    k = np.array([[float(row[name]) for name in ("k1", "k2", "k3")]])
    written = [float(row[f"branch{n}_THz"]) for n in (1, 2, 3)]
    np.testing.assert_allclose(written, _by_displacements(found.primitive, k)[0], atol=2e-4)

    with pytest.raises(ValueError, match="--resume"):
        phonons(model(), argon, folder)
    resumed = phonons(model(), argon, folder, supercell=(4, 4, 4), resume=True)
    np.testing.assert_array_equal(resumed.constants.values, found.constants.values)
    other = model(sigma=3.3)
    other.register_buffer("mark", other.atomic_energies[:1] + 1)
    with pytest.raises(ValueError, match="another model"):
        phonons(other, argon, folder, resume=True)


def _by_displacements(primitive, points):
    """Frequencies in THz by ASE's finite displacements in a supercell that holds the range of the potential."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run = FiniteDisplacements(primitive, Calculator(model()), supercell=(5, 5, 5), delta=0.002, name=f"{folder}/displaced")
        run.run()
        run.read(acoustic=True)
        return np.sort(run.band_structure(points, verbose=False), axis=1) / units._hplanck * units._e / 1e12


def test_what_cannot_be_done_is_a_sentence(argon, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.save(ZBL(4.0, (18,)), tmp_path / "model.safetensors")
    ase.io.write(tmp_path / "molecule.xyz", ase.Atoms("Ar2", positions=[(0, 0, 0), (0, 0, 3)]))
    ase.io.write(tmp_path / "salt.xyz", ase.build.bulk("NaCl", "rocksalt", a=5.6))

    def refused(*words):
        assert command(*words) == 1
        return " ".join(capsys.readouterr().err.split())

    assert "absent.safetensors" in refused("phonons", "absent.safetensors", argon)
    for name in ("phonons", "elastic", "eos"):
        assert "crystal" in refused(name, "model.safetensors", "molecule.xyz")
        assert "not trained on" in refused(name, "model.safetensors", "salt.xyz")
        assert "does not exist" in refused(name, "model.safetensors", "absent.xyz")
        assert "--fmax" in refused(name, "model.safetensors", argon, "--fmax", "-1")
        assert "is a file" in refused(name, "model.safetensors", argon, "-o", argon)
    assert "three whole numbers" in refused("phonons", "model.safetensors", argon, "--supercell", "4 4")
    assert "BORN" in refused("phonons", "model.safetensors", argon, "--born", "nowhere")
    assert "give one of them" in refused("eos", "model.safetensors", argon, "--resume", "--overwrite")


@pytest.mark.parametrize(
    "text",
    [
        "this is\nno BORN file\n",
        "14.4\n2 0 0 0 2 0 0 0 2\n",
        "14.4\n2 0 0 0 2 0 0 0 2\n1 0 0 0 1 0 0 0 1\n-1 0 0 0 -1 0 0 0 -1\n",
    ],
    ids=["words", "too few", "too many"],
)
def test_a_born_file_of_another_cell(argon, tmp_path, text):
    (tmp_path / "BORN").write_text(text)
    with pytest.raises(ValueError, match="does not fit the primitive cell of 1 atoms"):
        phonons(model(), argon, tmp_path / "out", born=tmp_path / "BORN")
    assert not (tmp_path / "out" / "report.html").exists()


def test_an_attribute_that_phonopy_has_not_computed():
    with pytest.raises(RuntimeError, match="not computed bands"):
        present(None, "bands")
