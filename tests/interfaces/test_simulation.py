"""Dynamics as a user runs it, at constant pressure, on argon."""

import ase.build
import ase.io
import pytest

from tesseral.interfaces.simulation import md_file
from tests.physics.toys import LennardJones


def test_pressure_squeezes_a_crystal(tmp_path):
    model = LennardJones(sigma=3.4, epsilon=0.0104, cutoff=6.5, smooth=True, species=(18,))
    ase.io.write(tmp_path / "argon.xyz", ase.build.bulk("Ar", "fcc", a=5.3, cubic=True))
    common = {"time": 0.6, "resume": False, "timestep": 2.0, "temperature": 20.0, "interval": 50}
    volumes = {}
    for pressure in (0.0, 0.5):
        file = tmp_path / f"{pressure}.extxyz"
        md_file(model, tmp_path / "argon.xyz", file, ensemble="npt", pressure=pressure, **common)
        volumes[pressure] = ase.io.read(file).cell.volume
    assert volumes[0.5] < 0.99 * volumes[0.0]  # on its way: the barostat takes picoseconds
    with pytest.raises(ValueError, match="--ensemble npt"):
        md_file(model, tmp_path / "argon.xyz", tmp_path / "a.extxyz", ensemble="nvt", pressure=1.0, **common)
    with pytest.raises(ValueError, match="npt"):
        md_file(model, tmp_path / "argon.xyz", tmp_path / "a.extxyz", ensemble="nph", pressure=1.0, **common)
    assert not (tmp_path / "a.extxyz").exists()
