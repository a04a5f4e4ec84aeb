"""The door to phonopy: the standard primitive cell and path of a crystal, and its exact force constants in a supercell."""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any, TypeVar

import ase
import numpy as np
import seekpath
import spglib
import torch
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from tesseral.graph import build_graph
from tesseral.physics.force_constants import ForceConstants
from tesseral.physics.forces import energy_and_forces
from tesseral.physics.receptive_field import LocalModel

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class Path:
    """A walk through the Brillouin zone: pieces (points, 3) in reciprocal cell units, and the names of both ends of each."""

    pieces: list[np.ndarray]
    labels: list[tuple[str, str]]


def standard_primitive(atoms: ase.Atoms, symprec: float = 1e-4) -> ase.Atoms:
    """The primitive cell to which the standard path refers, in the orientation of ``atoms``.

    Source: Hinuma, Pizzi, Kumagai, Oba, Tanaka, Comput. Mater. Sci. 128, 140 (2017), whose program seekpath is called.

    >>> import ase.build
    >>> len(standard_primitive(ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True)))
    2
    """
    found = seekpath.get_path(_tuple(atoms), symprec=symprec)
    lattice = np.array(found["primitive_lattice"]) @ np.array(found["rotation_matrix"])
    return ase.Atoms(found["primitive_types"], scaled_positions=found["primitive_positions"], cell=lattice, pbc=True)


def conventional_cell(atoms: ase.Atoms, symprec: float = 1e-4) -> ase.Atoms:
    """The conventional cell of a crystal, to look at.

    >>> import ase.build
    >>> len(conventional_cell(ase.build.bulk("NaCl", "rocksalt", a=5.64)))
    8
    """
    lattice, places, numbers = _tuple(atoms)
    found = spglib.standardize_cell((lattice.tolist(), places.tolist(), numbers.tolist()), symprec=symprec)
    if found is None:
        return atoms.copy()
    cell, scaled, kinds = found
    return ase.Atoms(kinds, scaled_positions=scaled, cell=cell, pbc=True)


def standard_path(primitive: ase.Atoms, spacing: float = 0.005, symprec: float = 1e-4) -> Path:
    """The standard path through the Brillouin zone of a :func:`standard_primitive` cell, ``spacing`` in 1/Å (without 2π).

    >>> import ase.build
    >>> crystal = standard_primitive(ase.build.bulk("NaCl", "rocksalt", a=5.64))
    >>> standard_path(crystal).labels[0]
    ('Γ', 'X')
    """
    found = seekpath.get_path(_tuple(primitive), symprec=symprec)
    reciprocal = np.linalg.inv(primitive.cell.array).T
    pieces, labels = [], []
    for start, end in found["path"]:
        a, b = np.array(found["point_coords"][start]), np.array(found["point_coords"][end])
        points = max(2, 1 + math.ceil(float(np.linalg.norm((b - a) @ reciprocal)) / spacing))
        pieces.append(a + (b - a) * np.linspace(0, 1, points)[:, None])
        labels.append((_name(start), _name(end)))
    return Path(pieces, labels)


def enclosing(cell: np.ndarray, length: float) -> tuple[int, int, int]:
    """The smallest multiples of the cell whose heights are at least ``length`` (Å).

    >>> enclosing(np.diag([3.0, 4.0, 12.0]), 10.0)
    (4, 3, 1)
    """
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    a, b, c = (max(1, math.ceil(length / height - 1e-9)) for height in heights)
    return a, b, c


def to_phonopy(constants: ForceConstants, primitive: ase.Atoms, supercell: tuple[int, int, int], nac: Any = None) -> Phonopy:
    """A phonopy object with the force constants of ``primitive`` folded into a supercell, for bands, densities of states,
    thermal properties and files. ``nac`` are phonopy's parameters of the non-analytic correction.

    At wave vectors that fit the supercell, phonopy's frequencies are exact; between them, it interpolates.
    """
    with warnings.catch_warnings():  # a supercell of lower symmetry than the crystal is no mistake here: it is exact, too
        warnings.filterwarnings("ignore", message=".*Point group symmetries")
        phonopy = Phonopy(phonopy_cell(primitive), supercell_matrix=np.diag(supercell), primitive_matrix=np.eye(3), log_level=0)
    phonopy.force_constants = fold(constants, phonopy, supercell)
    if nac is not None:
        phonopy.nac_params = nac
    return phonopy


def phonopy_cell(atoms: ase.Atoms) -> PhonopyAtoms:
    """A structure as phonopy's, with the masses that :func:`tesseral.physics.vibrations.masses` gives."""
    places = atoms.get_scaled_positions(wrap=False)
    return PhonopyAtoms(numbers=atoms.numbers, scaled_positions=places, cell=atoms.cell, masses=atoms.get_masses())


def fold(constants: ForceConstants, phonopy: Phonopy, supercell: tuple[int, int, int]) -> np.ndarray:
    """Force constants (atoms of the primitive cell, atoms of the supercell, 3, 3) of a periodic supercell, in phonopy's order."""
    cells, size = phonopy.supercell, np.array(supercell)
    scaled = cells.positions @ np.linalg.inv(phonopy.unitcell.cell)
    order = {int(u): n for n, u in enumerate(cells.u2s_map)}
    atom = np.array([order[int(s)] for s in cells.s2u_map])
    home = phonopy.unitcell.scaled_positions
    shift = np.rint(scaled - home[atom]).astype(int) % size
    place = np.full((len(home), *supercell), -1)
    place[atom, shift[:, 0], shift[:, 1], shift[:, 2]] = np.arange(len(atom))
    x, y, z = (constants.shifts.cpu().numpy() % size).T
    target = place[constants.atoms.cpu().numpy(), x, y, z]
    values = constants.values.cpu().numpy().transpose(2, 0, 1, 3)  # (images, atoms, 3, 3)
    folded = np.zeros((len(atom), *values.shape[1:]))
    np.add.at(folded, target, values)
    folded = folded.transpose(1, 0, 2, 3)
    # Rows belong to the atoms of the primitive cell where phonopy puts them: in the cell at the origin.
    assert (shift[cells.u2s_map] == 0).all()
    return np.ascontiguousarray(folded)


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
    """What phonopy computes on the way to a report: bands in THz over distances (a pair of arrays for each piece of the path),
    the density of states, and per mole of cells the free energy (kJ), entropy and heat capacity (J/K) over temperatures (K)."""

    distances: list[np.ndarray]
    bands: list[np.ndarray]
    dos_frequencies: np.ndarray
    dos: np.ndarray
    temperatures: np.ndarray
    free_energy: np.ndarray
    entropy: np.ndarray
    heat_capacity: np.ndarray


def curves_of(phonopy: Phonopy, path: Path, temperature: float, density: float = 60.0) -> Curves:
    """Bands along ``path``, and what a mesh of ``density`` (Å, as phonopy counts it) gives up to ``temperature`` (K)."""
    connections = [end[1] == start[0] for end, start in zip(path.labels, path.labels[1:])] + [False]
    names: list[str] = []
    joined = False
    for (start, end), following in zip(path.labels, connections):
        names += [end] if joined else [start, end]
        joined = following
    phonopy.run_band_structure(path.pieces, path_connections=connections, labels=names, is_legacy_plot=False)
    phonopy.run_mesh(density)
    phonopy.run_total_dos()
    # The three translations at Γ have frequencies of rounding errors, whose free energy would be finite and arbitrary.
    phonopy.run_thermal_properties(t_min=0, t_max=temperature, t_step=10, exclude_gamma_acoustic=True)
    bands = present(phonopy.band_structure, "bands")
    dos = present(phonopy.total_dos, "a density of states")
    thermal = present(phonopy.thermal_properties, "thermal properties")
    return Curves(
        list(bands.distances), list(bands.frequencies), dos.frequency_points, present(dos.dos, "a density of states"),
        *(
            present(values, "thermal properties")
            for values in (thermal.temperatures, thermal.free_energy, thermal.entropy, thermal.heat_capacity)
        ),
    )  # fmt: skip


def present(value: T | None, name: str) -> T:
    """A result of phonopy's, whose attributes are ``None`` until they are computed; ``RuntimeError`` when one is."""
    if value is None:
        raise RuntimeError(f"phonopy has not computed {name}")
    return value


def displacement_error(
    model: LocalModel,
    constants: ForceConstants,
    primitive: ase.Atoms,
    supercell: tuple[int, int, int],
    atoms: list[int],
    step: float = 1e-3,
    seed: int = 0,
    progress: Any = None,
) -> float:
    r"""The largest difference between force constants and displacements of ±``step`` (Å) of each of ``atoms`` in a random
    direction in a supercell, relative to the largest of them: :math:`\Phi d` against :math:`-(F(+) - F(-))/2h`."""
    random = np.random.default_rng(seed)
    size = np.array(supercell)
    large = primitive.repeat(supercell)
    x, y, z = (constants.shifts.cpu().numpy() % size).T
    images = ((x * size[1] + y) * size[2] + z) * len(primitive) + constants.atoms.cpu().numpy()
    worst = 0.0
    for number, atom in enumerate(atoms):
        direction = random.standard_normal(3)
        direction /= np.linalg.norm(direction)
        forces = []
        for sign in (1, -1):
            moved = large.copy()
            moved.positions[atom] += sign * step * direction
            graph = build_graph(moved, float(model.cutoff)).to(constants.values.device)
            forces.append(energy_and_forces(model, graph).forces.cpu().numpy())
        numerical = -(forces[0] - forces[1]) / (2 * step)
        exact = np.zeros_like(numerical)
        np.add.at(exact, images, np.einsum("a,ajb->jb", direction, constants.values[atom].cpu().numpy()))
        worst = max(worst, float(np.abs(exact - numerical).max() / np.abs(numerical).max()))
        if progress is not None:
            progress(number + 1, len(atoms))
    return worst


def exact_frequencies(constants: ForceConstants, points: np.ndarray) -> np.ndarray:
    """Frequencies in THz (points, modes) from the force constants themselves, with no supercell between."""
    return np.concatenate(
        [constants.frequencies(torch.from_numpy(part)).cpu().numpy() for part in np.array_split(points, 1 + len(points) // 50)]
    )


def _tuple(atoms: ase.Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers


def _name(label: str) -> str:
    return "Γ" if label == "GAMMA" else label.replace("_", "")
