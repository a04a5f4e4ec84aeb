"""Space groups of crystals (found by spglib): operations as motions and permutations, site symmetries, displacements at Γ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import spglib
import torch

from tesseral.groups.elements import Element
from tesseral.groups.identify import exactified, identify, nearest_orthogonal
from tesseral.groups.point_group import PointGroup


@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """The space group of a crystal: what :func:`space_group` found.

    Operation g takes the fractional coordinates x to ``rotations[g] @ x + translations[g]``, atom i to ``permutations[g, i]`` up
    to the lattice vector ``lattice_shifts[g, i]``; ``cartesian[g]`` is its orthogonal matrix. If the cell is not primitive, there
    are several operations of one matrix. ``point_group`` has the matrices in the Cartesian frame of the cell, ``wyckoff`` and
    ``site_symbols`` are spglib's, ``origin`` (fractional) is the origin of the standard setting nearest to that of the cell.
    """

    number: int
    symbol: str
    cell: np.ndarray
    positions: np.ndarray
    numbers: np.ndarray
    rotations: np.ndarray
    translations: np.ndarray
    permutations: np.ndarray
    lattice_shifts: np.ndarray
    point_group: PointGroup
    wyckoff: tuple[str, ...]
    site_symbols: tuple[str, ...]
    orbits: np.ndarray
    origin: np.ndarray

    @cached_property
    def cartesian(self) -> np.ndarray:
        """The orthogonal matrix (3, 3) of each operation, one of the elements of ``point_group``."""
        return self.point_group.elements[self.element_of]

    @cached_property
    def element_of(self) -> np.ndarray:
        """The number of the matrix of each operation among the elements of ``point_group``."""
        approximate = _cartesian(self.rotations, self.cell)
        distance = np.abs(approximate[:, None] - self.point_group.elements[None]).max(axis=(2, 3))
        return np.asarray(distance.argmin(axis=1))

    @cached_property
    def primitive(self) -> bool:
        """Whether no operation but the identity is a translation."""
        return len(self.rotations) == self.point_group.order

    def site_symmetry(self, atom: int) -> PointGroup:
        """The point group of the operations that leave an atom where it is, up to a lattice vector."""
        fixed = np.unique(self.element_of[self.permutations[:, atom] == atom])
        return PointGroup(*identify(self.point_group.elements[fixed]))

    def displacement_irreps(self) -> dict[str, int]:
        """The irreps of the point group in the displacements of the atoms of a primitive cell at Γ, with the acoustic ones.

        Raises ``ValueError`` for a cell that is not primitive.
        """
        fixed = (self.permutations == np.arange(len(self.numbers))).sum(axis=1)
        return self._reduced(fixed * np.trace(self.cartesian, axis1=1, axis2=2))

    def orbit_irreps(self) -> dict[tuple[int, ...], dict[str, int]]:
        """:meth:`displacement_irreps` for each orbit of equivalent atoms, by the numbers of its atoms."""
        result = {}
        for first in np.unique(self.orbits):
            members = np.flatnonzero(self.orbits == first)
            fixed = (self.permutations[:, members] == members).sum(axis=1)
            result[tuple(int(i) for i in members)] = self._reduced(fixed * np.trace(self.cartesian, axis1=1, axis2=2))
        return result

    def optical_irreps(self) -> dict[str, int]:
        """:meth:`displacement_irreps` without the three acoustic ones."""
        counts = dict(self.displacement_irreps())
        for label, n in self.point_group.subduce("1o").items():
            counts[label] -= n
        return {label: n for label, n in counts.items() if n}

    def strain_irreps(self) -> dict[str, int]:
        """The irreps of the point group in the six strains."""
        return self.point_group.subduce("0e+2e")

    def _reduced(self, characters: np.ndarray) -> dict[str, int]:
        if not self.primitive:
            raise ValueError(
                f"the cell has {len(self.rotations) // self.point_group.order} lattice points: give a primitive cell"
            )
        by_element = np.empty(self.point_group.order)
        by_element[self.element_of] = characters
        return self.point_group.reduce(by_element)

    def __iter__(self) -> Iterator[Element]:
        """The operations as motions with permutations of the atoms, for functions of periodic structures."""
        for g, matrix in enumerate(self.cartesian):
            name = f"{self.point_group.element_names[self.element_of[g]]} + {np.round(self.translations[g], 3).tolist()}"
            yield Element(
                torch.from_numpy(matrix.copy()),
                torch.from_numpy(self.translations[g] @ self.cell),
                torch.from_numpy(self.permutations[g].copy()),
                name,
            )

    def __repr__(self) -> str:
        return f"SpaceGroup({self.symbol}, {self.number}, {len(self.numbers)} atoms)"


def space_group(cell: Any, positions: Any, numbers: Any, tolerance: float = 1e-3) -> SpaceGroup:
    """The space group of a crystal: rows of ``cell`` (3, 3) and ``positions`` (n, 3) in Å, atomic ``numbers`` (n,).

    Raises ``ValueError`` where spglib finds none to the tolerance in Å.

    >>> perovskite = np.array([[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]) * 4.0
    >>> group = space_group(4.0 * np.eye(3), perovskite, [56, 22, 8, 8, 8])
    >>> group, group.displacement_irreps(), [group.site_symmetry(i).name for i in (0, 1, 2)]
    (SpaceGroup(Pm-3m, 221, 5 atoms), {'T1u': 4, 'T2u': 1}, ['Oh', 'Oh', 'D4h'])
    """
    cell, positions = np.array(cell, dtype=np.float64), np.array(positions, dtype=np.float64)
    numbers = np.array(numbers, dtype=np.int64)
    if cell.shape != (3, 3) or abs(np.linalg.det(cell)) < 1e-6:
        raise ValueError(f"a cell {cell.tolist()} does not span space: a space group needs three lattice vectors")
    scaled = positions @ np.linalg.inv(cell)
    found = None
    try:
        found = spglib.get_symmetry_dataset((cell, scaled, numbers), symprec=tolerance)
    except spglib.SpglibError as error:
        raise ValueError(f"spglib finds no space group to {tolerance:g} Å ({error}); change the tolerance") from error
    if found is None:
        raise ValueError(f"spglib finds no space group to {tolerance:g} Å: do atoms coincide, or is the tolerance too large?")
    permutations, shifts = _permutations(scaled, numbers, found.rotations, found.translations, cell, tolerance)
    matrices = nearest_orthogonal(_cartesian(found.rotations, cell))
    symbol, orientation = identify(exactified(_distinct(matrices)), 1e-6)
    origin = -np.linalg.solve(found.transformation_matrix, found.origin_shift)
    return SpaceGroup(
        int(found.number), str(found.international), cell, positions, numbers,
        np.array(found.rotations), np.array(found.translations), permutations, shifts, PointGroup(symbol, orientation),
        tuple(found.wyckoffs), tuple(found.site_symmetry_symbols), np.array(found.crystallographic_orbits),
        origin - np.rint(origin),
    )  # fmt: skip


def primitive_cell(cell: Any, positions: Any, numbers: Any, tolerance: float = 1e-3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A primitive cell in the same orientation: cell (3, 3), positions (n, 3) in Å and numbers."""
    scaled = np.asarray(positions) @ np.linalg.inv(np.asarray(cell))
    structure: Any = (np.asarray(cell), scaled, numbers)
    found: Any = spglib.standardize_cell(structure, to_primitive=True, no_idealize=True, symprec=tolerance)
    if found is None:
        raise ValueError(f"spglib finds no primitive cell to {tolerance:g} Å: do atoms coincide, or is the tolerance too large?")
    new_cell, new_scaled, new_numbers = found
    return new_cell, new_scaled @ new_cell, np.asarray(new_numbers)


def _cartesian(rotations: np.ndarray, cell: np.ndarray) -> np.ndarray:
    return np.asarray(cell.T @ rotations @ np.linalg.inv(cell.T))


def _distinct(matrices: np.ndarray) -> np.ndarray:
    kept: list[np.ndarray] = []
    for m in matrices:
        if not any(np.abs(m - k).max() < 0.2 for k in kept):
            kept.append(m)
    return np.array(kept)


def _permutations(
    scaled: np.ndarray, numbers: np.ndarray, rotations: np.ndarray, translations: np.ndarray, cell: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    permutations = np.empty((len(rotations), len(scaled)), dtype=np.int64)
    shifts = np.empty((len(rotations), len(scaled), 3), dtype=np.int64)
    for g, (W, w) in enumerate(zip(rotations, translations, strict=True)):
        moved = scaled @ W.T + w
        difference = moved[:, None] - scaled[None]
        wrapped = difference - np.rint(difference)
        distance = np.linalg.norm(wrapped @ cell, axis=2)
        distance[numbers[:, None] != numbers[None, :]] = np.inf
        permutations[g] = distance.argmin(axis=1)
        if len(np.unique(permutations[g])) < len(scaled):
            raise ValueError(f"operation {g} maps two atoms to one, to {tolerance:g} Å: lower the tolerance")
        shifts[g] = np.rint(moved - scaled[permutations[g]])
    return permutations, shifts
