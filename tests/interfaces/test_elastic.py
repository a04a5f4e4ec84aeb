"""elastic and eos as a user runs them, on argon that is known."""

import json

import ase.build
import ase.io
import pytest

from tesseral.interfaces.elastic import elastic, eos
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
