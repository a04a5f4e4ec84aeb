"""What the self-test measures on: a model with a structure, and how sharp its precision lets it be; structures from others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import ase
import numpy as np
import torch
from ase.data import chemical_symbols

from tesseral.graph import Graph, build_graph
from tesseral.physics.forces import energy_and_forces


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """What rounding may do in one precision: to energies in eV/atom, and to forces relative to 1 eV/Å plus their size."""

    energy: float
    forces: float


TOLERANCES = {torch.float64: Tolerance(1e-8, 1e-7), torch.float32: Tolerance(2e-5, 2e-4)}
COARSE = Tolerance(1e-2, 5e-2)  # float16, bfloat16


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model with the structure it is measured on."""

    model: Any
    exact: Any  # the same model in float64, or the model itself
    other: Any  # the same model in another precision, or None
    atoms: ase.Atoms
    seed: int
    smoothness: int
    dynamics: Mapping[str, float] | None

    def graph(self, atoms: ase.Atoms | None = None) -> Graph:
        return build_graph(self.atoms if atoms is None else atoms, self.model.cutoff)

    @property
    def label(self) -> str:
        return f"{self.atoms.get_chemical_formula()}{' (periodic)' if self.atoms.pbc.any() else ''}"

    @property
    def random(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def forces_scale(self) -> float:
        forces = energy_and_forces(self.model, self.graph()).forces
        return 1.0 + float(forces.square().mean().sqrt()) if len(forces) else 1.0


@dataclasses.dataclass(frozen=True)
class Nothing:
    """A model with no atoms at all."""

    model: Any
    label: str = "no atoms"


@dataclasses.dataclass(frozen=True)
class Lone:
    """A model with one atom of an element."""

    model: Any
    z: int
    energy: float

    @property
    def label(self) -> str:
        return chemical_symbols[self.z]


def molecules_and_crystals(structures: Sequence[ase.Atoms]) -> list[ase.Atoms]:
    result = [atoms.copy() for atoms in structures]
    for atoms in result:
        atoms.calc = None
        atoms.set_constraint()
    first = max(result, key=lambda atoms: len(atoms) > 1)
    if not any(atoms.pbc.any() for atoms in result):
        crystal = first.copy()
        extent = np.ptp(crystal.positions, axis=0) if len(crystal) else np.zeros(3)
        lattice = np.diag(extent + 2.3)
        lattice[0, 1], lattice[2, 0] = 0.4, -0.3  # skewed, so that no symmetry hides an error
        crystal.set_cell(lattice)
        crystal.pbc = True
        result.append(crystal)
    if all(atoms.pbc.any() for atoms in result):
        molecule = first.copy()
        molecule.pbc = False
        molecule.cell[:] = 0
        result.append(molecule)
    return result


def pair_near_cutoff(atoms: ase.Atoms, cutoff: float) -> tuple[int, np.ndarray, float] | None:
    """An atom, the unit vector to a neighbour, and their distance, which is as near the cutoff as any between different atoms."""
    graph = build_graph(atoms, 1.5 * cutoff)
    source, destination = graph.edge_index.numpy()
    vectors = graph.edge_vectors().numpy()
    others = source != destination
    if not others.any():
        return None
    lengths = np.linalg.norm(vectors, axis=1)
    edge = int(np.argmin(np.where(others, np.abs(lengths - cutoff), np.inf)))
    return int(destination[edge]), vectors[edge] / lengths[edge], float(lengths[edge])


def moved(atoms: ase.Atoms, displacement: np.ndarray) -> ase.Atoms:
    copy = atoms.copy()
    copy.positions += displacement
    return copy


def strained(atoms: ase.Atoms, strain: np.ndarray) -> ase.Atoms:
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=False)
    copy.positions = atoms.positions @ (np.eye(3) + strain)
    return copy


def dtype_of(model: Any) -> torch.dtype:
    return getattr(model, "dtype", torch.float64)


def tolerance_of(model: Any) -> Tolerance:
    return TOLERANCES.get(dtype_of(model), COARSE)


def generator_of(subject: Subject) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(subject.seed)
