"""Subgroups: the lattice and its conjugacy classes, normalisers, complements, quotients, stabilisers."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tesseral.groups.finite import FiniteGroup
from tesseral.groups.identify import identify
from tesseral.groups.point_group import PointGroup

Members = frozenset[int]


@dataclass(frozen=True, eq=False)
class SubgroupClass:
    """A conjugacy class of subgroups of a point group: numbers of elements of one of them, all of them, and what it is.

    ``group`` is the representative as a point group of its own, in its orientation; ``maximal`` lists the numbers of the classes,
    in the lattice, of its maximal subgroups.
    """

    members: Members
    conjugates: tuple[Members, ...]
    group: PointGroup
    index: int
    maximal: tuple[int, ...]

    @property
    def order(self) -> int:
        """The order of each of them."""
        return len(self.members)

    @property
    def normal(self) -> bool:
        """Whether it is its only conjugate."""
        return len(self.conjugates) == 1

    def __repr__(self) -> str:
        return f"{len(self.conjugates)} × {self.group.name}"


@dataclass(frozen=True, eq=False)
class SubgroupLattice:
    """All subgroups of a point group, up to conjugation in it; ``classes`` go from the whole group to the trivial one.

    >>> from tesseral.groups import point_group
    >>> lattice = SubgroupLattice.of(point_group("Td"))
    >>> lattice.classes[:5], lattice.number
    ((1 × Td, 1 × T, 3 × D2d, 4 × C3v, 1 × D2), 30)
    """

    parent: PointGroup
    classes: tuple[SubgroupClass, ...]

    @classmethod
    def of(cls, parent: PointGroup) -> SubgroupLattice:
        """The lattice of a point group."""
        found = subgroup_classes(parent.finite)
        order = sorted(range(len(found)), key=lambda i: (-len(found[i][0]), len(found[i]), sorted(found[i][0])))
        ranked = [found[i] for i in order]
        below = [[any(h < ranked[i][0] for h in ranked[j]) for j in range(len(ranked))] for i in range(len(ranked))]
        classes = []
        for i, conjugates in enumerate(ranked):
            maximal = [
                j for j in range(len(ranked)) if below[i][j] and not any(below[i][k] and below[k][j] for k in range(len(ranked)))
            ]
            group = as_point_group(parent, conjugates[0])
            classes.append(SubgroupClass(conjugates[0], conjugates, group, parent.order // len(conjugates[0]), tuple(maximal)))
        return cls(parent, tuple(classes))

    @property
    def number(self) -> int:
        """How many subgroups there are."""
        return sum(len(c.conjugates) for c in self.classes)

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(class, class of a maximal subgroup): the Hasse diagram."""
        return tuple((i, j) for i, c in enumerate(self.classes) for j in c.maximal)

    def find(self, subgroup: PointGroup) -> SubgroupClass:
        """The class of a subgroup that is given by its matrices; raises ``ValueError`` if it is none."""
        members = members_of(self.parent, subgroup)
        return next(c for c in self.classes if members in c.conjugates)


def members_of(parent: PointGroup, subgroup: PointGroup) -> Members:
    """The numbers that the elements of a subgroup have in its parent; raises ``ValueError`` if one is no element of it."""
    return frozenset(parent.index(m) for m in subgroup.elements)


def as_point_group(parent: PointGroup, members: Collection[int]) -> PointGroup:
    """The subgroup of these elements as a point group of its own: its name, its labels, its orientation.

    >>> from tesseral.groups import point_group
    >>> as_point_group(point_group("Oh"), [0])
    PointGroup(C1)
    """
    chosen = np.array(parent.elements)[sorted(members)]
    return PointGroup(*identify(chosen))


def sub(group: FiniteGroup, members: Collection[int]) -> tuple[FiniteGroup, np.ndarray]:
    """A subgroup as an abstract group, and the numbers of its elements; raises ``ValueError`` if they are not closed."""
    numbers = np.array(sorted(members), dtype=np.int64)
    table = group.multiplication[np.ix_(numbers, numbers)]
    if not np.isin(table, numbers).all():
        raise ValueError(f"the elements {numbers.tolist()} are not closed under multiplication")
    return FiniteGroup(np.searchsorted(numbers, table)), numbers


def quotient(group: FiniteGroup, members: Collection[int]) -> tuple[FiniteGroup, np.ndarray]:
    """The quotient by a normal subgroup, and the number of the coset of each element; raises ``ValueError`` if it is not normal.

    >>> from tesseral.groups import point_group
    >>> Oh = point_group("Oh").finite
    >>> quotient(Oh, [0, Oh.order // 2])[0].order
    24
    """
    inside = np.array(sorted(members), dtype=np.int64)
    if normalizer(group, members) != frozenset(range(group.order)):
        raise ValueError(f"the subgroup {inside.tolist()} is not normal, so there is no quotient")
    first = group.multiplication[:, inside].min(axis=1)
    representatives = np.unique(first)
    coset = np.searchsorted(representatives, first)
    return FiniteGroup(coset[group.multiplication[np.ix_(representatives, representatives)]]), coset


def subgroup_classes(group: FiniteGroup) -> list[tuple[Members, ...]]:
    """All subgroups, as conjugacy classes; every subgroup grows from smaller ones by one element at a time.

    >>> from tesseral.groups import point_group
    >>> len(subgroup_classes(point_group("Oh").finite)), sum(map(len, subgroup_classes(point_group("Oh").finite)))
    (33, 98)
    """
    cyclic = {group.closure([g]) for g in range(group.order)}
    trivial = frozenset([0])
    known: set[Members] = {trivial}
    classes: list[tuple[Members, ...]] = [(trivial,)]
    fresh = [trivial]
    while fresh:
        grown: list[Members] = []
        for h in fresh:
            for c in cyclic:
                if c <= h:
                    continue
                joined = group.closure(h | c)
                if joined not in known:
                    family = conjugate_subgroups(group, joined)
                    known.update(family)
                    classes.append(family)
                    grown.append(joined)
        fresh = grown
    return classes


def conjugate_subgroups(group: FiniteGroup, members: Collection[int]) -> tuple[Members, ...]:
    """The subgroups g H g⁻¹, each once, H first."""
    columns = np.sort(group.conjugates[:, sorted(members)], axis=1)
    others = {frozenset(int(x) for x in row) for row in np.unique(columns, axis=0)} - {frozenset(members)}
    return (frozenset(members), *sorted(others, key=sorted))


def normalizer(group: FiniteGroup, members: Collection[int]) -> Members:
    """The elements g with g H g⁻¹ = H."""
    inside = np.zeros(group.order, dtype=bool)
    inside[sorted(members)] = True
    kept = inside[group.conjugates[:, sorted(members)]].all(axis=1)
    return frozenset(int(g) for g in np.flatnonzero(kept))


def centralizer(group: FiniteGroup, members: Collection[int]) -> Members:
    """The elements that commute with every element of H."""
    columns = sorted(members)
    return frozenset(int(g) for g in np.flatnonzero((group.conjugates[:, columns] == columns).all(axis=1)))


def complements(group: FiniteGroup, members: Collection[int]) -> tuple[Members, ...]:
    """The subgroups K with G = H K that meet H in the identity alone, one of each conjugacy class of subgroups.

    Empty if H has none: then no choice of cosets is a group.

    >>> from tesseral.groups import point_group
    >>> C4, D3 = point_group("C4").finite, point_group("D3").finite
    >>> len(complements(C4, C4.closure([C4.power(1, 2)]))), len(complements(D3, D3.closure([1])))
    (0, 1)
    """
    h = frozenset(members)
    families = (family for family in subgroup_classes(group) if len(family[0]) * len(h) == group.order)
    found = (next((k for k in family if h & k == {0}), None) for family in families)
    return tuple(k for k in found if k is not None)


def complement(group: FiniteGroup, members: Collection[int]) -> Members | None:
    """One of the :func:`complements`, or ``None``."""
    return next(iter(complements(group, members)), None)


def stabilizer(group: PointGroup, irreps: Any, tensor: np.ndarray, tolerance: float = 1e-6, layout: str = "ir_mul") -> PointGroup:
    """The elements that leave a tensor (dim,) or several (..., dim) as they are, each one on its own, to a relative tolerance.

    >>> from tesseral.groups import point_group
    >>> stabilizer(point_group("Oh"), "1o", np.array([0.0, 0, 1])), stabilizer(point_group("Oh"), "1e", np.array([1.0, 1, 1]))
    (PointGroup(C4v), PointGroup(C3i))
    """
    values = np.asarray(tensor, dtype=np.float64).reshape(-1, np.shape(tensor)[-1])
    D = group.representation(irreps, layout)
    if values.shape[-1] != D.shape[-1]:
        raise ValueError(f"a tensor with {values.shape[-1]} components for irreps of dimension {D.shape[-1]}")
    change = np.abs(values @ D.transpose(0, 2, 1) - values).max(axis=(1, 2), initial=0.0)
    kept = np.flatnonzero(change <= tolerance * max(np.abs(values).max(initial=0.0), 1e-300))
    return as_point_group(group, group.finite.closure([int(g) for g in kept]))


def stabilizer_of_points(
    group: PointGroup, positions: np.ndarray, species: Iterable[Any] | None = None, tolerance: float = 1e-3
) -> PointGroup:
    """The elements about the origin that map a set of points (n, 3) onto itself, like species on like, to a tolerance in Å.

    >>> from tesseral.groups import point_group
    >>> square = np.array([[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]])
    >>> stabilizer_of_points(point_group("Oh"), square), stabilizer_of_points(point_group("Oh"), square, "ABAB")
    (PointGroup(D4h), PointGroup(D2h))
    """
    points = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
    kinds = np.zeros(len(points), dtype=np.int64) if species is None else np.unique(list(species), return_inverse=True)[1]
    kept = [g for g, m in enumerate(group.elements) if permutation_of_points(points @ m.T, points, kinds, tolerance) is not None]
    return as_point_group(group, kept)


def permutation_of_points(moved: np.ndarray, points: np.ndarray, kinds: np.ndarray, tolerance: float) -> np.ndarray | None:
    """``p`` with ``moved[i]`` ≈ ``points[p[i]]``, or ``None`` if they are different sets."""
    if not len(points):
        return np.zeros(0, dtype=np.int64)
    distance = np.linalg.norm(moved[:, None] - points[None], axis=2)
    distance[kinds[:, None] != kinds[None, :]] = np.inf
    nearest = distance.argmin(axis=1)
    close = distance[np.arange(len(points)), nearest] <= tolerance
    return nearest if close.all() and len(np.unique(nearest)) == len(points) else None
