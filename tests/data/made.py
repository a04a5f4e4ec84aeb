"""Small healthy data sets made with ASE's own potentials: exact energies, forces and stresses."""

import ase
import ase.build
import numpy as np
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator


def label(atoms, calculator, stress=False):
    """The atoms with frozen results of a calculator."""
    atoms = atoms.copy()
    atoms.calc = calculator
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if stress:
        results["stress"] = atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def ethanol(count=24, seed=0, spread=0.05):
    """Distorted, turned and shifted ethanol molecules (EMT knows H, C, O)."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = ase.build.molecule("CH3CH2OH")
        atoms.positions += rng.normal(0, spread, (9, 3))
        atoms.rotate(rng.uniform(0, 360), rng.normal(size=3))
        atoms.positions += rng.normal(0, 1, 3)
        frames.append(label(atoms, EMT()))
    return frames


def isolated_atoms(*symbols):
    """Single atoms, of hydrogen, carbon and oxygen unless named."""
    return [label(ase.Atoms(symbol), EMT()) for symbol in symbols or ("H", "C", "O")]


def crystal(count=24, seed=0, strain=0.02, spread=0.06):
    """Distorted gold-copper cells, also strained, with stress."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = ase.build.bulk("Cu", cubic=True, a=3.8)
        atoms.symbols[1] = "Au"
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, strain, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0, spread, (4, 3))
        frames.append(label(atoms, EMT(), stress=True))
    return frames


def argon(count=24, seed=0):
    """Clusters bound by a Morse potential, which have no isolated bonds and no composition but one."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = ase.Atoms("Ar4", positions=3.8 * np.array([(0, 0, 0), (1, 0, 0), (0.5, 0.87, 0), (0.5, 0.29, 0.82)]))
        atoms.positions += rng.normal(0, 0.1, (4, 3))
        frames.append(label(atoms, MorsePotential(epsilon=0.05, r0=3.8, rho0=6.0)))
    return frames
