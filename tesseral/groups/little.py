"""Little groups and small irreps at a k-vector, of symmorphic and nonsymmorphic space groups, and their part in displacements."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from spgrep import get_spacegroup_irreps_from_primitive_symmetry

from tesseral.groups.crystal import SpaceGroup
from tesseral.groups.identify import identify
from tesseral.groups.point_group import PointGroup


@dataclass(frozen=True, eq=False)
class SmallIrrep:
    """An irrep of a little group over the complex numbers: ``matrices`` (operations, dim, dim) in the order of the little group.

    A pure translation t is represented by exp(-2πi k·t). ``label`` is a Mulliken label of the little co-group where the irrep is
    an ordinary one of it about the origin (at interior points and in symmorphic groups), else a number in angle brackets.
    """

    label: str
    dim: int
    matrices: np.ndarray

    def __repr__(self) -> str:
        return f"{self.label} ({self.dim})"

    @property
    def characters(self) -> np.ndarray:
        """The character of each operation of the little group."""
        return np.asarray(np.trace(self.matrices, axis1=1, axis2=2))


@dataclass(frozen=True, eq=False)
class LittleGroup:
    """The operations of a space group that leave k unchanged up to a reciprocal lattice vector.

    ``operations`` are their numbers in the space group; ``kpoint`` is in the reciprocal basis of its primitive cell; ``origin``
    is the point, in fractional coordinates, to which labels refer.
    """

    space_group: SpaceGroup
    kpoint: np.ndarray
    operations: np.ndarray
    origin: np.ndarray

    @cached_property
    def cogroup(self) -> PointGroup:
        """The little co-group: the matrices of the operations."""
        return PointGroup(*identify(self.space_group.cartesian[self.operations]))

    @cached_property
    def translations(self) -> np.ndarray:
        """The translation of each operation, for rotations about ``origin`` instead of the corner of the cell."""
        W = self.space_group.rotations[self.operations]
        moved = self.space_group.translations[self.operations] + W @ self.origin - self.origin
        return np.where(np.abs(moved - np.rint(moved)) < 1e-6, np.rint(moved), moved)

    @cached_property
    def irreps(self) -> tuple[SmallIrrep, ...]:
        """The small irreps (spgrep), acting as the operations with the translations of the space group."""
        W = self.space_group.rotations[self.operations]
        about_origin = self.translations
        found, mapping = get_spacegroup_irreps_from_primitive_symmetry(W, about_origin, self.kpoint)
        if list(mapping) != list(range(len(W))):
            raise ArithmeticError("spgrep's little group is not that of this space group")
        phases = np.exp(2j * np.pi * about_origin @ self.kpoint)
        matrices = [np.asarray(m, dtype=complex) for m in found]
        labels = self._labels([m * phases[:, None, None] for m in matrices])
        order = sorted(range(len(matrices)), key=lambda i: (labels[i][0] == "⟨", _rank(self.cogroup, labels[i]), i))
        return tuple(SmallIrrep(labels[i], matrices[i].shape[-1], matrices[i]) for i in order)

    def displacements(self) -> np.ndarray:
        r"""The matrices (operations, 3n, 3n) on the amplitudes U of displacements :math:`U_i e^{2\pi i k\cdot n}` in cell n."""
        group, n = self.space_group, len(self.space_group.numbers)
        result = np.zeros((len(self.operations), n, 3, n, 3), dtype=complex)
        for row, g in enumerate(self.operations):
            phases = np.exp(-2j * np.pi * group.lattice_shifts[g] @ self.kpoint)
            result[row, group.permutations[g], :, np.arange(n), :] = phases[:, None, None] * group.cartesian[g]
        return result.reshape(len(self.operations), 3 * n, 3 * n)

    def displacement_irreps(self) -> dict[str, int]:
        """How often each small irrep occurs in the displacements; conjugate pairs with one label are counted once.

        >>> from tesseral.groups import space_group
        >>> perovskite = np.array([[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]) * 4.0
        >>> group = space_group(4.0 * np.eye(3), perovskite, [56, 22, 8, 8, 8])
        >>> little_group(group, [0.5, 0.5, 0.5]).displacement_irreps()
        {'A1g': 1, 'Eg': 1, 'T1g': 1, 'T2g': 2, 'T1u': 1}
        """
        characters = np.trace(self.displacements(), axis1=1, axis2=2)
        counts: dict[str, int] = {}
        for irrep in self.irreps:
            count = (np.conj(irrep.characters) @ characters) / len(self.operations)
            if round(count.real) and irrep.label not in counts:
                counts[irrep.label] = round(count.real)
        return counts

    def projectors(self) -> dict[str, np.ndarray]:
        """The projectors (3n, 3n) on the displacements of each label that occurs."""
        D = self.displacements()
        result: dict[str, np.ndarray] = {}
        for irrep in self.irreps:
            P = np.tensordot(np.conj(irrep.characters), D, axes=1) * (irrep.dim / len(D))
            if np.trace(P).real > 0.5:
                result[irrep.label] = result.get(irrep.label, 0) + P
        return result

    def _labels(self, matrices: list[np.ndarray]) -> list[str]:
        """Mulliken labels where the matrices, without the phases of the translations, multiply as the co-group."""
        group = self.cogroup
        place = np.array([group.index(m, 1e-3) for m in self.space_group.cartesian[self.operations]])
        labels = []
        for number, m in enumerate(matrices):
            by_element = np.empty_like(m)
            by_element[place] = m
            products = np.einsum("aij,bjk->abik", by_element, by_element)
            ordinary = np.abs(products - by_element[group.multiplication]).max() < 1e-6
            labels.append(self._mulliken(np.trace(by_element, axis1=1, axis2=2)) if ordinary else f"⟨{number + 1}⟩")
        return labels

    def _mulliken(self, characters: np.ndarray) -> str:
        group = self.cogroup
        overlaps = [abs(np.conj(characters) @ irrep.characters[group.class_of]) for irrep in group.irreps]
        return group.labels[int(np.argmax(overlaps))]


def little_group(group: SpaceGroup, kpoint: Any, origin: Any = None) -> LittleGroup:
    """The little group of ``kpoint`` (3,), in the reciprocal basis of the primitive cell, without factor 2π.

    Labels refer to ``origin`` (fractional), by default that of the standard setting. Raises ``ValueError`` for a cell that is not
    primitive.
    """
    if not group.primitive:
        raise ValueError(f"the cell of {group} is not primitive: take groups.primitive_cell(...) first")
    k = np.asarray(kpoint, dtype=np.float64)
    turned = np.linalg.inv(group.rotations).transpose(0, 2, 1) @ k
    difference = turned - k
    kept = np.flatnonzero(np.abs(difference - np.rint(difference)).max(axis=1) < 1e-6)
    return LittleGroup(group, k, kept, group.origin if origin is None else np.asarray(origin, dtype=np.float64))


def _rank(cogroup: PointGroup, label: str) -> int:
    return cogroup.labels.index(label) if label in cogroup.labels else len(cogroup.labels)
