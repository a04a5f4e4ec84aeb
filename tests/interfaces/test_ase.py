"""The calculator: results, neighbour lists that last, structures without edges or atoms, elements unknown to the model."""

import ase
import ase.build
import numpy as np
import pytest
import torch
from ase import units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.lj import LennardJones as AseLennardJones
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter, UnitCellFilter
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE
from ase.vibrations import VibrationsData

from tesseral.interfaces.ase import Calculator
from tesseral.nn.pair import ZBL
from tests.physics.test_forces import crystal, molecule, oxide
from tests.physics.toys import LennardJones, ManyBody


def lj():
    return LennardJones(sigma=1.0, epsilon=0.01, cutoff=2.6, species=(18,))


def test_agrees_with_ase_lennard_jones():
    atoms, other = crystal(), crystal()
    atoms.calc, other.calc = Calculator(lj()), AseLennardJones(sigma=1.0, epsilon=0.01, rc=2.6, smooth=False)
    for moved in (False, True):
        if moved:
            for a in (atoms, other):
                a.positions[0] += 0.2
                a.set_cell(a.cell.array * 1.05, scale_atoms=True)
        assert atoms.get_potential_energy() == pytest.approx(other.get_potential_energy(), abs=1e-12)
        np.testing.assert_allclose(atoms.get_forces(), other.get_forces(), atol=1e-12)
        np.testing.assert_allclose(atoms.get_stress(), other.get_stress(), atol=1e-12)
        np.testing.assert_allclose(atoms.get_potential_energies(), other.get_potential_energies(), atol=1e-12)


def test_results_are_plain_float64_arrays():
    atoms = oxide()
    atoms.calc = Calculator(ManyBody(dtype=torch.float32))
    for value in (atoms.get_forces(), atoms.get_stress(), atoms.get_potential_energies()):
        assert isinstance(value, np.ndarray)
        assert value.dtype == np.float64
    assert isinstance(atoms.get_potential_energy(), float)
    assert atoms.get_potential_energy() == atoms.get_potential_energy(force_consistent=True)
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy())


def test_the_neighbour_list_lasts_through_dynamics():
    atoms = ase.build.bulk("Ar", "fcc", a=1.6, cubic=True) * 2
    calculator = atoms.calc = Calculator(LennardJones(epsilon=0.01, cutoff=2.2, smooth=True, species=(18,)), skin=0.4)
    MaxwellBoltzmannDistribution(atoms, temperature_K=30, rng=np.random.default_rng(0))
    energies = []
    VelocityVerlet(atoms, timestep=2 * units.fs).run(1)
    dynamics = VelocityVerlet(atoms, timestep=2 * units.fs)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    dynamics.run(100)
    assert calculator.neighbors.searches < 20
    assert np.ptp(energies) < 1e-4
    fresh = atoms.copy()
    fresh.calc = Calculator(calculator.model, skin=0.0)
    np.testing.assert_allclose(atoms.get_forces(), fresh.get_forces(), atol=1e-12)


@pytest.mark.parametrize("cell", [FrechetCellFilter, UnitCellFilter])
def test_relaxes_a_crystal_and_its_cell(cell):
    atoms = crystal()
    atoms.calc = Calculator(LennardJones(epsilon=0.1, cutoff=2.6, smooth=True, species=(18,)))
    FIRE(cell(atoms), logfile=None).run(fmax=1e-3, steps=500)
    assert np.abs(atoms.get_forces()).max() < 1e-3
    assert np.abs(atoms.get_stress()).max() < 1e-3


def test_relaxes_a_molecule_with_frozen_atoms():
    atoms = molecule()
    atoms.set_constraint(FixAtoms([0]))
    start = atoms.positions[0].copy()
    atoms.calc = Calculator(ManyBody())
    assert BFGS(atoms, logfile=None).run(fmax=0.01, steps=300)
    np.testing.assert_array_equal(atoms.positions[0], start)


def test_structures_without_neighbours():
    calculator = Calculator(ManyBody())
    for atoms in (ase.Atoms(), ase.Atoms("H"), ase.Atoms("H2", positions=[(0, 0, 0), (0, 0, 50)])):
        atoms.calc = calculator
        assert atoms.get_potential_energy() == pytest.approx(-1.3 * len(atoms))
        assert atoms.get_forces().shape == (len(atoms), 3)
        assert np.abs(atoms.get_forces()).sum() == 0
        assert atoms.get_potential_energies().shape == (len(atoms),)


def test_stress_only_where_it_exists():
    atoms = molecule()
    atoms.calc = Calculator(ManyBody())
    with pytest.raises(PropertyNotImplementedError, match="no stress"):
        atoms.get_stress()
    assert atoms.get_forces().shape == (9, 3)
    slab = oxide()
    slab.pbc = (True, True, False)
    slab.calc = Calculator(ManyBody())
    assert slab.get_stress().shape == (6,)
    slab.calc.calculate(slab, ["forces"])
    assert "stress" in slab.calc.results  # asked for once, given along from then on


def test_an_unknown_element_gets_a_sentence():
    atoms = ase.Atoms("UF6", positions=np.random.default_rng(0).normal(size=(7, 3)))
    atoms.calc = Calculator(ManyBody())
    with pytest.raises(ValueError, match="not trained on F, U; it knows H, C, O, Al, Cu"):
        atoms.get_potential_energy()


def test_positions_that_are_not_numbers_get_a_sentence():
    atoms = molecule()
    atoms.positions[0] = np.nan
    atoms.calc = Calculator(ManyBody())
    with pytest.raises(ValueError, match="NaN"):
        atoms.get_potential_energy()


def test_species_may_change_between_calls():
    calculator = Calculator(ManyBody())
    atoms = oxide()
    atoms.calc = calculator
    before = atoms.get_potential_energy()
    atoms.numbers[:] = [8, 6]
    assert atoms.get_potential_energy() != pytest.approx(before)


def test_hessian_feeds_ase_vibrations():
    atoms = molecule()
    calculator = Calculator(ManyBody())
    frequencies = VibrationsData(atoms, calculator.get_hessian(atoms)).get_frequencies()
    assert len(frequencies) == 27


def test_a_precision_that_a_model_cannot_change_is_refused_or_kept():
    assert Calculator(ZBL(3.0, (1,)), dtype=torch.float64).model.dtype == torch.float64
