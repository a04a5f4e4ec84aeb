"""Relaxation: bond lengths and lattice constants that are known, cells of every kind, and sentences for what fails."""

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from ase import units

from tesseral.interfaces.ase import Calculator
from tesseral.physics.relaxation import RelaxationError, relax
from tests.physics.test_dynamics import Poisoned, argon, hydrogen
from tests.physics.toys import LennardJones, ManyBody, Morse


@pytest.mark.parametrize("optimizer", ["fire", "bfgs", "lbfgs"])
def test_finds_the_bond_of_the_morse_potential(optimizer):
    atoms = hydrogen(0.9)
    result = relax(atoms, optimizer=optimizer, fmax=1e-4)
    assert result.converged
    assert atoms.get_distance(0, 1) == pytest.approx(0.74, abs=1e-5)
    assert result.energy == pytest.approx(-4.7, abs=1e-6)
    assert result.fmax < 1e-4
    assert result.sentence.startswith("relaxed in")


def test_finds_the_lattice_constant():
    model = LennardJones(epsilon=0.1, cutoff=1.3, smooth=False, species=(18,))  # nearest neighbours only: r = 2^(1/6) σ
    for cell in ("full", "isotropic"):
        atoms = ase.build.bulk("Ar", "fcc", a=1.62)
        atoms.calc = Calculator(model)
        result = relax(atoms, cell=cell, fmax=1e-4)
        assert result.converged
        assert atoms.get_volume() == pytest.approx((2 ** (1 / 6)) ** 3 / np.sqrt(2), rel=1e-3)
        assert result.stress < 0.1


def test_pressure_balances():
    atoms = argon(1, a=1.55)
    result = relax(atoms, cell="full", pressure=1.0, fmax=1e-4)
    assert result.converged
    np.testing.assert_allclose(atoms.get_stress()[:3] / units.GPa, -1.0, atol=0.02)
    assert result.stress < 0.02


def test_directions_that_do_not_repeat_keep_their_length():
    atoms = argon(1, a=1.65)
    atoms.pbc = (True, True, False)
    before = atoms.cell.array.copy()
    assert relax(atoms, cell="full", fmax=1e-3).converged
    np.testing.assert_allclose(atoms.cell.array[2], before[2], atol=1e-12)
    assert atoms.cell.lengths()[0] < before[0, 0]


def test_says_when_it_is_not_there_yet(tmp_path):
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.rattle(0.2, seed=0)
    atoms.calc = Calculator(ManyBody())
    seen = []
    result = relax(atoms, steps=3, fmax=1e-6, trajectory=tmp_path / "relax.extxyz", progress=lambda *x: seen.append(x))
    assert not result.converged
    assert "not relaxed after 3 steps" in result.sentence
    frames = ase.io.read(tmp_path / "relax.extxyz", ":")
    assert [frame.info["step"] for frame in frames] == [0, 1, 2, 3] == [step for step, _, _ in seen]
    assert frames[-1].get_potential_energy() == pytest.approx(result.energy, abs=1e-7)
    assert result.energy < frames[0].get_potential_energy()


def test_numbers_that_are_not_are_named():
    atoms = hydrogen(1.2)
    atoms.calc = Poisoned(Morse())
    with pytest.raises(RelaxationError, match=r"stopped after .* steps"):
        relax(atoms, optimizer="fire", fmax=1e-8)


def test_what_cannot_be_relaxed_is_refused():
    with pytest.raises(ValueError, match="no calculator"):
        relax(ase.Atoms("H"))
    with pytest.raises(ValueError, match="pbc is False"):
        relax(hydrogen(), cell="full")
    with pytest.raises(ValueError, match="choose from fire"):
        relax(hydrogen(), optimizer="newton")


def test_nothing_to_do():
    for atoms in (ase.Atoms(), ase.Atoms("H")):
        atoms.calc = Calculator(ManyBody())
        assert relax(atoms).converged
