"""elastic and eos as a user runs them, on argon that is known."""

import json

import ase.build
import ase.io
import pytest

from tesseral.interfaces.elastic import elastic, eos
from tesseral.interfaces.simulation import crystal_formula, crystal_picture
from tesseral.physics.moduli import moduli
from tests.physics.toys import LennardJones


def model():
    return LennardJones(sigma=3.4, epsilon=0.0104, cutoff=6.5, smooth=True, species=(18,))


@pytest.fixture
def argon(tmp_path):
    ase.io.write(tmp_path / "argon.xyz", ase.build.bulk("Ar", "fcc", a=5.2, cubic=True))
    return tmp_path / "argon.xyz"


def test_elastic_and_equation_of_state_agree(argon, tmp_path):
    found = elastic(model(), argon, tmp_path / "elastic")
    values = json.loads((tmp_path / "elastic" / "elastic.json").read_text())
    assert values["stable"]
    assert values["polycrystal"]["bulk_modulus_GPa"] == pytest.approx(moduli(found.relaxed).bulk)
    assert "Relaxed-ion constants" in (tmp_path / "elastic" / "report.html").read_text()
    curve = eos(model(), argon, tmp_path / "eos", width=0.03, points=7)
    assert curve.bulk_modulus == pytest.approx(moduli(found.relaxed).bulk, rel=0.01)
    table = tmp_path / "eos" / "points.csv"
    lines = table.read_text().splitlines()
    assert len(lines) == 8
    table.write_text("\n".join(lines[:4]) + "\n")  # as after a kill
    assert eos(model(), argon, tmp_path / "eos", width=0.03, points=7, resume=True).bulk_modulus == curve.bulk_modulus
    assert len(table.read_text().splitlines()) == 8
    with pytest.raises(ValueError, match="--overwrite"):
        eos(model(), argon, tmp_path / "eos")


def test_an_interrupted_run_goes_on(argon, tmp_path):
    found = elastic(model(), argon, tmp_path / "elastic")
    for name in ("elastic.json", "report.html"):
        (tmp_path / "elastic" / name).unlink()
    with pytest.raises(ValueError, match="--overwrite"):
        elastic(model(), argon, tmp_path / "elastic")
    again = elastic(model(), argon, tmp_path / "elastic", resume=True)
    assert (again.relaxed - found.relaxed).abs().max() < 1e-5
    other = LennardJones(sigma=3.3, epsilon=0.0104, cutoff=6.5, smooth=True, species=(18,))
    with pytest.raises(ValueError, match="another model"):
        elastic(other, argon, tmp_path / "elastic", resume=True)
    with pytest.raises(ValueError, match="one of them"):
        elastic(model(), argon, tmp_path / "elastic", resume=True, overwrite=True)


def test_atoms_on_the_faces_of_a_cell_are_drawn_on_all():
    rocksalt = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    picture = crystal_picture(rocksalt, "salt")
    assert picture.symbols.count("Na") == 14  # corners and faces
    assert picture.symbols.count("Cl") == 13  # edges and the centre
    assert crystal_formula(rocksalt) == "NaCl"
