"""The distortion from a parent crystal to a target: atoms matched, displacements by k-vector and irrep, strain by irrep."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.symbols import Symbols
from scipy.optimize import linear_sum_assignment

from tesseral.groups.crystal import SpaceGroup, space_group
from tesseral.groups.identify import nearest_orthogonal
from tesseral.groups.little import little_group


@dataclass(frozen=True, eq=False)
class Distortion:
    """Displacements and strain of a supercell of the parent.

    The target's cell is ``supercell @ parent cell`` (integers (3, 3), rows), strained by ``strain`` (3, 3, symmetric, in the
    parent's frame) and turned. Atom a of the supercell is atom ``atoms[a]`` of the parent in the cell ``cells[a]`` (n, 3);
    ``displacements`` (n, 3) are in Å, in the unstrained frame of the parent, without a common shift; ``target_atoms[a]`` is its
    number in the target.
    """

    parent: SpaceGroup
    supercell: np.ndarray
    strain: np.ndarray
    atoms: np.ndarray
    cells: np.ndarray
    displacements: np.ndarray
    target_atoms: np.ndarray

    @property
    def cell(self) -> np.ndarray:
        """The supercell (3, 3) of the parent without strain."""
        return np.asarray(self.supercell @ self.parent.cell)

    @property
    def positions(self) -> np.ndarray:
        """The positions (n, 3) in the supercell without displacements."""
        return np.asarray(self.parent.positions[self.atoms] + self.cells @ self.parent.cell)

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers in the supercell."""
        return self.parent.numbers[self.atoms]

    @property
    def amplitude(self) -> float:
        """The root of the sum of squared displacements in the supercell, in Å."""
        return float(np.linalg.norm(self.displacements))


@dataclass(frozen=True, eq=False)
class Mode:
    """The part of a distortion that belongs to one irrep of the parent's space group: a k-star and a label of its little group.

    ``displacements`` (n, 3) in the supercell, in Å; ``amplitude`` is their norm, ``per_cell`` that in a primitive cell of the
    parent (divided by the root of the number of cells). ``symbol`` and ``number`` are the space group of the parent with only
    this part.
    """

    kpoint: np.ndarray
    label: str
    arms: int
    displacements: np.ndarray
    amplitude: float
    per_cell: float
    symbol: str
    number: int


def find_distortion(parent: SpaceGroup, cell: Any, positions: Any, numbers: Any, most_strain: float = 0.2) -> Distortion:
    """Match a target structure to a supercell of a primitive parent.

    The supercell is the one, of those with as many atoms and the target's shape, that needs the smallest displacements. Raises
    ``ValueError`` where compositions differ, or no supercell has the shape of the target's cell within ``most_strain``.
    """
    if not parent.primitive:
        raise ValueError(f"the cell of {parent} is not primitive: take groups.primitive_cell(...) first")
    cell, numbers = np.asarray(cell, dtype=np.float64), np.asarray(numbers, dtype=np.int64)
    scaled = np.asarray(positions, dtype=np.float64) @ np.linalg.inv(cell)
    count = len(numbers) // len(parent.numbers)
    if sorted(numbers) != sorted(np.tile(parent.numbers, max(count, 1))):
        raise ValueError(
            f"the target has {_formula(numbers)} and the parent {_formula(parent.numbers)}: "
            "the target must be a distorted supercell of the parent"
        )
    best: Distortion | None = None
    for S in _supercells(parent.cell, cell, count, most_strain)[:60]:
        candidate = _matched(parent, S, cell, scaled, numbers)
        if best is None or candidate.amplitude < best.amplitude - 1e-6:
            best = candidate
        if best.amplitude < 1e-6:
            break
    if best is None:
        raise ValueError(
            f"no supercell of the parent with {count} cells has the shape of the target's cell to {most_strain:.0%}: "
            "are lengths in Å, and is it a distortion of this parent?"
        )
    return best


def decompose(distortion: Distortion, tolerance: float = 1e-3) -> list[Mode]:
    """The distortion by irreps of the parent's space group, the largest first; parts below 1e-8 Å are left out.

    The parts are orthogonal and add up to the displacements. Labels are those of :class:`tesseral.groups.SmallIrrep`.
    """
    parent, d = distortion.parent, distortion
    total = len(d.atoms) // len(parent.numbers)
    modes = []
    for star in _stars(parent, _commensurate(d.supercell)):
        little = little_group(parent, star[0])
        parts: dict[str, np.ndarray] = {label: np.zeros_like(d.displacements) for label in little.projectors()}
        for k in star:
            amplitudes = _fourier(d, k)
            for label, P in _moved_projectors(parent, little, k).items():
                parts[label] = parts[label] + _inverse_fourier(d, k, P @ amplitudes)
        for label, field in parts.items():
            amplitude = float(np.linalg.norm(field))
            if amplitude > 1e-8:
                alone = space_group(d.cell, d.positions + field, d.numbers, min(tolerance, 0.1 * np.abs(field).max()))
                modes.append(
                    Mode(star[0], label, len(star), field, amplitude, amplitude / total**0.5, alone.symbol, alone.number)
                )
    return sorted(modes, key=lambda mode: -mode.amplitude)


def strain_parts(distortion: Distortion) -> dict[str, np.ndarray]:
    """The strain by irreps of the parent's point group: label -> (3, 3); they add up to the strain."""
    group, parts = distortion.parent.point_group, {}
    R = group.elements
    for label in distortion.parent.strain_irreps():
        characters = group.irrep(label).characters[group.class_of]
        weights = characters * (characters[0] / (characters @ characters))
        parts[label] = np.einsum("g,gab,bc,gdc->ad", weights, R, distortion.strain, R)
    return parts


def _formula(numbers: np.ndarray) -> str:
    return Symbols(np.sort(numbers)).get_chemical_formula()


def _supercells(primitive: np.ndarray, cell: np.ndarray, count: int, most_strain: float) -> list[np.ndarray]:
    """Integer matrices whose supercell has nearly the target's lengths and angles; unturned and least strained ones first."""
    direct = np.rint(cell @ np.linalg.inv(primitive)).astype(np.int64)
    found: list[tuple[float, np.ndarray]] = []
    if round(float(np.linalg.det(direct))) == count:
        found.append((-1.0 if _strain_of(direct @ primitive, cell, False) < most_strain / 2 else 1e3, direct))
    lengths = np.linalg.norm(cell, axis=1)
    reach = np.ceil(lengths.max() * (1 + most_strain) * np.linalg.norm(np.linalg.inv(primitive), axis=0)).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = grid @ primitive
    norms = np.linalg.norm(vectors, axis=1)
    choices = [np.flatnonzero(np.abs(norms / length - 1) < most_strain) for length in lengths]
    metric = cell @ cell.T / np.outer(lengths, lengths)
    for a, b in itertools.product(choices[0], choices[1]):
        if abs(vectors[a] @ vectors[b] / (norms[a] * norms[b]) - metric[0, 1]) > most_strain:
            continue
        c = choices[2]
        near_a = np.abs(vectors[c] @ vectors[a] / (norms[c] * norms[a]) - metric[0, 2]) < most_strain
        near_b = np.abs(vectors[c] @ vectors[b] / (norms[c] * norms[b]) - metric[1, 2]) < most_strain
        for third in c[near_a & near_b]:
            S = np.array([grid[a], grid[b], grid[third]])
            if abs(round(float(np.linalg.det(S)))) == count and np.linalg.det(S @ primitive) * np.linalg.det(cell) > 0:
                found.append((_strain_of(S @ primitive, cell, True), S))
    kept = sorted((item for item in found if item[0] < most_strain), key=lambda item: round(item[0], 6))
    return [S for _, S in kept]


def _strain_of(supercell: np.ndarray, cell: np.ndarray, turned: bool) -> float:
    F = np.linalg.solve(supercell, cell)
    return float(np.linalg.norm(F - (nearest_orthogonal(F) if turned else np.eye(3))))


def _matched(parent: SpaceGroup, S: np.ndarray, cell: np.ndarray, scaled: np.ndarray, numbers: np.ndarray) -> Distortion:
    supercell = S @ parent.cell
    F = np.linalg.solve(supercell, cell)  # rows: b = a F, so that F = U R with U symmetric in the parent's frame
    rotation = nearest_orthogonal(F)
    strain = F @ rotation.T - np.eye(3)
    atoms, cells = _atoms_of(parent, S)
    ideal = (parent.positions[atoms] + cells @ parent.cell) @ np.linalg.inv(supercell)
    species = parent.numbers[atoms]
    rarest = min(set(species.tolist()), key=lambda z: (int((species == z).sum()), z))
    anchor = int(np.flatnonzero(numbers == rarest)[0])
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for image in np.flatnonzero(species == rarest):
        shift = ideal[image] - scaled[anchor]
        for _ in range(2):  # with the common shift taken off, match again
            order, field = _assigned(ideal, species, scaled + shift, numbers, supercell)
            shift = shift - field.mean(axis=0) @ np.linalg.inv(supercell)
        order, field = _assigned(ideal, species, scaled + shift, numbers, supercell)
        field = field - field.mean(axis=0)
        if best is None or np.linalg.norm(field) < best[0] - 1e-9:
            best = (float(np.linalg.norm(field)), order, field)
    assert best is not None
    return Distortion(parent, S, (strain + strain.T) / 2, atoms, cells, best[2], best[1])


def _assigned(
    ideal: np.ndarray, species: np.ndarray, scaled: np.ndarray, numbers: np.ndarray, supercell: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    difference = scaled[None] - ideal[:, None]
    difference = (difference - np.rint(difference)) @ supercell
    cost = (difference**2).sum(axis=2)
    cost[species[:, None] != numbers[None, :]] = 1e6
    order = linear_sum_assignment(cost)[1]
    return order, difference[np.arange(len(order)), order]


def _atoms_of(parent: SpaceGroup, S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The atoms of a supercell: which of the primitive cell, and in which cell."""
    reach = int(np.abs(S).sum(axis=0).max())
    grid = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = grid @ np.linalg.inv(S)
    cells = grid[((inside > -1e-9) & (inside < 1 - 1e-9)).all(axis=1)]
    n = len(parent.numbers)
    return np.tile(np.arange(n), len(cells)), np.repeat(cells, n, axis=0)


def _commensurate(S: np.ndarray) -> np.ndarray:
    """The k-vectors (N, 3) in [0, 1) whose waves have the period of the supercell."""
    reach = int(np.abs(S).sum())
    count = abs(round(float(np.linalg.det(S))))
    inverse = np.linalg.inv(S).T
    found: dict[tuple[int, ...], np.ndarray] = {}
    for m in itertools.product(range(-reach, reach + 1), repeat=3):
        k = np.array(m) @ inverse
        k = k - np.floor(k + 1e-9)
        found.setdefault(tuple(round(float(x) * 1e6) % 1_000_000 for x in k), np.round(k, 12))
        if len(found) == count:
            break
    return np.array([found[key] for key in sorted(found)])


def _stars(parent: SpaceGroup, kpoints: np.ndarray) -> list[list[np.ndarray]]:
    """The k-vectors in stars of the space group, k and -k together; real displacements have both."""
    rotations = np.linalg.inv(parent.rotations).transpose(0, 2, 1)
    left, stars = list(kpoints), []
    while left:
        k = left[0]
        images = rotations @ k
        member = [bool(min(_apart(q, images), _apart(q, -images)) < 1e-6) for q in left]
        stars.append([q for q, inside in zip(left, member, strict=True) if inside])
        left = [q for q, inside in zip(left, member, strict=True) if not inside]
    return stars


def _apart(q: np.ndarray, images: np.ndarray) -> float:
    difference = q - images
    return float(np.abs(difference - np.rint(difference)).max(axis=-1).min())


def _moved_projectors(parent: SpaceGroup, little: Any, k: np.ndarray) -> dict[str, np.ndarray]:
    """The projectors at an arm of the star: those of its first arm, carried by an operation between them, or conjugated."""
    rotations = np.linalg.inv(parent.rotations).transpose(0, 2, 1)
    images = rotations @ little.kpoint
    for sign in (1, -1):
        for g, image in enumerate(images):
            if _apart(k, sign * image[None]) < 1e-6:
                T = _carrier(parent, g, image)
                carried = {label: T @ P @ T.conj().T for label, P in little.projectors().items()}
                return carried if sign == 1 else {label: P.conj() for label, P in carried.items()}
    raise ArithmeticError(f"{k} is not in the star of {little.kpoint}")


def _carrier(parent: SpaceGroup, g: int, image: np.ndarray) -> np.ndarray:
    n = len(parent.numbers)
    result = np.zeros((n, 3, n, 3), dtype=complex)
    phases = np.exp(-2j * np.pi * parent.lattice_shifts[g] @ image)
    result[parent.permutations[g], :, np.arange(n), :] = phases[:, None, None] * parent.cartesian[g]
    return result.reshape(3 * n, 3 * n)


def _fourier(d: Distortion, k: np.ndarray) -> np.ndarray:
    n = len(d.parent.numbers)
    amplitudes = np.zeros((n, 3), dtype=complex)
    np.add.at(amplitudes, d.atoms, np.exp(-2j * np.pi * d.cells @ k)[:, None] * d.displacements)
    return amplitudes.reshape(-1) * (n / len(d.atoms))


def _inverse_fourier(d: Distortion, k: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    return (np.exp(2j * np.pi * d.cells @ k)[:, None] * amplitudes.reshape(-1, 3)[d.atoms]).real
