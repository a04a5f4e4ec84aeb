"""A finite group as its multiplication table: classes, orders, powers, and its characters, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tesseral.groups.cyclotomic import Cyclotomic, cosine, powers_of_root, sine


@dataclass(frozen=True, eq=False)
class FiniteGroup:
    """A finite group: ``multiplication[i, j]`` is the number of the element i·j; element 0 is the identity.

    Raises ``ValueError`` for a table that is not that of a group with this identity.

    >>> C3 = FiniteGroup(np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]]))
    >>> C3.order, C3.classes, sorted(str(row[1]) for row in C3.complex_characters)
    (3, ((0,), (1,), (2,)), ['1', '1ζ3^1', '1ζ3^2'])
    """

    multiplication: np.ndarray

    def __post_init__(self) -> None:
        table = np.asarray(self.multiplication, dtype=np.int64)
        n = len(table)
        if table.shape != (n, n) or not (np.sort(table, axis=1) == np.arange(n)).all() or (table[0] != np.arange(n)).any():
            raise ValueError(f"a table of shape {table.shape} is not the multiplication of a group whose identity is element 0")
        table.setflags(write=False)
        object.__setattr__(self, "multiplication", table)

    @property
    def order(self) -> int:
        """The number of elements."""
        return len(self.multiplication)

    @cached_property
    def inverses(self) -> np.ndarray:
        """The number of the inverse of each element."""
        return np.argmin(self.multiplication, axis=1)

    @cached_property
    def classes(self) -> tuple[tuple[int, ...], ...]:
        """The conjugacy classes, in order of their first elements."""
        first, result = self.conjugates.min(axis=0), []
        for g in np.unique(first):
            result.append(tuple(int(x) for x in np.flatnonzero(first == g)))
        return tuple(result)

    @cached_property
    def conjugates(self) -> np.ndarray:
        """``conjugates[h, g]`` is the number of h g h⁻¹."""
        return self.multiplication[self.multiplication, self.inverses[:, None]]

    @cached_property
    def class_of(self) -> np.ndarray:
        """The number of the class of each element."""
        result = np.empty(self.order, dtype=np.int64)
        for number, members in enumerate(self.classes):
            result[list(members)] = number
        return result

    @cached_property
    def class_sizes(self) -> np.ndarray:
        """The number of elements in each class."""
        return np.array([len(members) for members in self.classes])

    @cached_property
    def element_orders(self) -> np.ndarray:
        """The order of each element."""
        orders = np.zeros(self.order, dtype=np.int64)
        power, count = np.arange(self.order), 1
        while not orders.all():
            orders[(power == 0) & (orders == 0)] = count
            power, count = self.multiplication[power, np.arange(self.order)], count + 1
        return orders

    @cached_property
    def exponent(self) -> int:
        """The least common multiple of the orders of the elements."""
        return math.lcm(*(int(n) for n in self.element_orders))

    def power(self, g: int, k: int) -> int:
        """The number of the k-th power of an element; k may be negative."""
        result = 0
        for _ in range(k % int(self.element_orders[g])):
            result = int(self.multiplication[result, g])
        return result

    def closure(self, members: list[int] | tuple[int, ...] | frozenset[int]) -> frozenset[int]:
        """The subgroup that some elements generate.

        >>> sorted(FiniteGroup((np.arange(6)[:, None] + np.arange(6)) % 6).closure([4]))
        [0, 2, 4]
        """
        found, fresh = {0}, {0}
        generators = np.array(sorted(members), dtype=np.int64)
        while fresh and len(generators):
            fresh = {int(x) for x in self.multiplication[np.array(sorted(fresh))[:, None], generators].ravel()} - found
            found |= fresh
        return frozenset(found)

    @cached_property
    def complex_eigenvalues(self) -> np.ndarray:
        r"""The eigenvalues of the irreps over the complex numbers: integers (irreps, classes, exponent).

        In the i-th irrep, an element of class r has the eigenvalue :math:`e^{2\pi i k/e}` with the multiplicity ``[i, r, k]``,
        where e is the exponent of the group. The characters are found as the common eigenvectors of the class sums (Burnside),
        rounded to these integers, and their orthogonality is then checked in exact arithmetic.
        """
        return _certified(self, _eigenvalue_multiplicities(self, _burnside(self)))

    @cached_property
    def complex_characters(self) -> tuple[tuple[Cyclotomic, ...], ...]:
        """The exact characters of the irreps over the complex numbers at each class."""
        e = self.exponent
        return tuple(tuple(Cyclotomic(e, tuple(int(c) for c in m)) for m in row) for row in self.complex_eigenvalues)

    @cached_property
    def power_classes(self) -> np.ndarray:
        """``power_classes[r, j]``: the class of the j-th power of the elements of class r, j = 0, ..., exponent - 1."""
        first = np.array([members[0] for members in self.classes])
        rows, power = [], np.zeros(len(first), dtype=np.int64)
        for _ in range(self.exponent):
            rows.append(self.class_of[power])
            power = self.multiplication[power, first]
        return np.stack(rows, axis=1)


def roots_of_unity(n: int) -> np.ndarray:
    """The powers 0, ..., n-1 of exp(2πi/n)."""
    return np.array([complex(cosine(k, n), sine(k, n)) for k in range(n)])


def _burnside(group: FiniteGroup) -> np.ndarray:
    """Characters in floating point: common eigenvectors of the class sums (Burnside 1911, §223)."""
    n = len(group.classes)
    counts = np.zeros((n, n, n))
    np.add.at(counts, (group.class_of[:, None], group.class_of[None, :], group.class_of[group.multiplication]), 1.0)
    structure = counts / group.class_sizes  # K_r K_s = sum over t of structure[r, s, t] K_t
    weights = np.random.default_rng(0).standard_normal(n)
    _, vectors = np.linalg.eig(np.einsum("r,rst->st", weights, structure).astype(complex))
    central = (vectors / vectors[0]).T  # the eigenvalue of each class sum in each irrep
    dims = np.sqrt(group.order / (np.abs(central) ** 2 / group.class_sizes).sum(axis=1))
    return dims[:, None] * central / group.class_sizes


def _eigenvalue_multiplicities(group: FiniteGroup, characters: np.ndarray) -> np.ndarray:
    e = group.exponent
    along_powers = characters[:, group.power_classes]
    fourier = np.conj(roots_of_unity(e))[np.outer(np.arange(e), np.arange(e)) % e] / e
    multiplicities = along_powers @ fourier
    rounded = np.rint(multiplicities.real)
    if np.abs(multiplicities - rounded).max() > 1e-4 or rounded.min() < 0:
        raise ArithmeticError(f"the characters of a group of order {group.order} did not come out as sums of roots of unity")
    return rounded.astype(np.int64)


def _certified(group: FiniteGroup, m: np.ndarray) -> np.ndarray:
    """The rows are orthonormal in Z[ζ], so they are the irreducible characters."""
    e, n = group.exponent, len(m)
    weighted = m * group.class_sizes[None, :, None]
    products = np.stack(
        [np.tensordot(weighted, np.roll(m, k, axis=2), axes=([1, 2], [1, 2])) for k in range(e)], axis=-1
    ) @ powers_of_root(e)
    expected = np.zeros_like(products)
    expected[np.arange(n), np.arange(n), 0] = group.order
    if (products != expected).any():
        raise ArithmeticError(f"the characters of a group of order {group.order} are not orthonormal")
    return m
