"""A point group: elements, exact characters, real irreps with their matrices, and what they are good for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from tesseral.groups import adapted, mulliken, standard
from tesseral.groups.elements import Element
from tesseral.groups.finite import FiniteGroup
from tesseral.groups.identify import close_matrices, identify, snapped
from tesseral.groups.schoenflies import INTERNATIONAL, Symbol, parse
from tesseral.groups.standard import FiniteIrrep
from tesseral.o3 import Irreps


@dataclass(frozen=True, eq=False)
class PointGroup:
    """A finite group of rotations and rotoinversions: the standard one of its name, turned by ``orientation``.

    ``elements`` (order, 3, 3) are sorted by classes, the identity first; ``irreps`` have Mulliken labels, and ``setting`` says on
    which choice of axes they depend (axes of the standard setting, see :mod:`tesseral.groups.schoenflies`, turned along). Made by
    :func:`point_group` and :func:`generate`.

    >>> group = point_group("C3v")
    >>> group, [irrep.label for irrep in group.irreps], group.class_names
    (PointGroup(C3v), ['A1', 'A2', 'E'], ('E', '2C3', '3σv'))
    >>> group.subduce("1o+2e")
    {'A1': 2, 'E': 3}
    """

    symbol: Symbol
    orientation: np.ndarray

    @property
    def name(self) -> str:
        """The Schoenflies name."""
        return self.symbol.name

    @property
    def international(self) -> str:
        """The international symbol of a crystallographic group, an empty string otherwise."""
        return INTERNATIONAL.get(self.name, "")

    @property
    def setting(self) -> str:
        """The choice of axes, of the standard setting, on which labels depend, as "C2' = x"; or an empty string."""
        return mulliken.setting(self.symbol)

    @cached_property
    def elements(self) -> np.ndarray:
        """The matrices (order, 3, 3) in float64."""
        elements = standard.tables(self.symbol).elements
        if (self.orientation == np.eye(3)).all():
            return elements
        turned = snapped(self.orientation @ elements @ self.orientation.T, 2e-15)
        turned.setflags(write=False)
        return turned

    @property
    def finite(self) -> FiniteGroup:
        """The abstract group: powers, orders of elements, exact complex characters."""
        return standard.tables(self.symbol).finite

    @property
    def order(self) -> int:
        """The number of elements."""
        return self.finite.order

    @property
    def multiplication(self) -> np.ndarray:
        """``multiplication[i, j]`` is the number of the element i·j."""
        return self.finite.multiplication

    @property
    def inverses(self) -> np.ndarray:
        """The number of the inverse of each element."""
        return self.finite.inverses

    @property
    def classes(self) -> tuple[tuple[int, ...], ...]:
        """The conjugacy classes as numbers of elements."""
        return self.finite.classes

    @property
    def class_of(self) -> np.ndarray:
        """The number of the class of each element."""
        return self.finite.class_of

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes as in the head of a character table: "E", "8C3", "3σh"."""
        return standard.tables(self.symbol).class_names

    @cached_property
    def element_names(self) -> tuple[str, ...]:
        """Names with axes: "C4 [001]", "σ [110]"."""
        return tuple(mulliken.element_name(m) for m in self.elements)

    @property
    def irreps(self) -> tuple[FiniteIrrep, ...]:
        """The irreps over the real numbers, in the order of published tables."""
        return standard.irreps(self.symbol)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the irreps."""
        return standard.labels(self.symbol)[0]

    @property
    def character_table(self) -> np.ndarray:
        """Characters of the real irreps, (irreps, classes)."""
        return standard.labels(self.symbol)[1]

    def irrep(self, label: str) -> FiniteIrrep:
        """The irrep with a label; raises ``ValueError`` for a label of another group."""
        return self.irreps[self._index(label)]

    def contains(self, matrix: np.ndarray, tolerance: float = 1e-6) -> bool:
        """Whether a matrix (3, 3) is an element."""
        return bool(np.abs(self.elements - matrix).max(axis=(1, 2)).min() < tolerance)

    def index(self, matrix: np.ndarray, tolerance: float = 1e-6) -> int:
        """The number of a matrix (3, 3) among the elements; raises ``ValueError`` where it is none."""
        distance = np.abs(self.elements - matrix).max(axis=(1, 2))
        if distance.min() > tolerance:
            raise ValueError(f"{np.asarray(matrix).tolist()} is no element of {self.name} in this orientation")
        return int(distance.argmin())

    def reduce(self, characters: np.ndarray) -> dict[str, int]:
        """How often each irrep is contained in a representation with these characters, by class or by element.

        Raises ``ValueError`` for numbers that are the characters of no representation.

        >>> point_group("Oh").reduce(np.trace(point_group("Oh").elements, axis1=1, axis2=2))
        {'T1u': 1}
        """
        characters = np.asarray(characters, dtype=np.float64)
        if characters.shape == (self.order,):
            characters = np.bincount(self.class_of, characters) / self.finite.class_sizes
        table = self.character_table
        if characters.shape != table.shape[1:]:
            raise ValueError(f"{characters.shape} characters: expected one for each of {len(self.classes)} classes")
        sizes = self.finite.class_sizes
        counts = (table @ (sizes * characters)) / (table**2 @ sizes)
        if np.abs(counts - np.rint(counts)).max() > 1e-6 or counts.min() < -0.5:
            raise ValueError(f"{characters.tolist()} are the characters of no real representation of {self.name}")
        return {label: round(float(n)) for label, n in zip(self.labels, counts, strict=True) if n > 0.5}

    def characters(self, irreps: Any) -> np.ndarray:
        """Characters (classes,) of irreps of O(3)."""
        total = np.zeros(len(self.classes))
        for mul, ir in Irreps(irreps):
            total += mul * standard.o3_characters(self.symbol, ir)
        return total

    def subduce(self, irreps: Any) -> dict[str, int]:
        """What irreps of O(3) become in this group.

        >>> point_group("Oh").subduce("4e"), point_group("Ih").subduce("3o")
        ({'A1g': 1, 'Eg': 1, 'T1g': 1, 'T2g': 1}, {'T2u': 1, 'Gu': 1})
        """
        return self.reduce(self.characters(irreps))

    def product(self, *labels: str) -> dict[str, int]:
        """The irreps contained in a product of irreps.

        >>> point_group("Td").product("T2", "T2")
        {'A1': 1, 'E': 1, 'T1': 1, 'T2': 1}
        """
        return self.reduce(np.prod([self.character_table[self._index(label)] for label in labels], axis=0))

    def symmetric_power(self, label: str, antisymmetric: bool = False) -> dict[str, int]:
        """The symmetrised square of an irrep, or the antisymmetrised one.

        >>> point_group("Td").symmetric_power("T2"), point_group("Td").symmetric_power("T2", antisymmetric=True)
        ({'A1': 1, 'E': 1, 'T2': 1}, {'T1': 1})
        """
        chi = self.character_table[self._index(label)]
        squares = chi[self.finite.power_classes[:, 2 % self.finite.exponent]]
        return self.reduce((chi**2 - squares if antisymmetric else chi**2 + squares) / 2)

    def representation(self, irreps: Any, layout: str = "ir_mul") -> np.ndarray:
        """The matrices (order, dim, dim) of irreps of O(3) on features in a layout."""
        matrices = torch.from_numpy(np.array(self.elements))
        return Irreps(irreps).D_from_matrix(matrices, layout=layout).numpy()

    def invariants(self, irreps: Any, layout: str = "ir_mul") -> np.ndarray:
        """An orthonormal basis (n, dim) of the features that every element leaves as they are.

        >>> point_group("Oh").invariants("1o").shape, point_group("C4v").invariants("1o").round(12) + 0.0
        ((0, 3), array([[0., 0., 1.]]))
        """
        return adapted.image(self.representation(irreps, layout).mean(axis=0))

    def projector(self, matrices: np.ndarray, label: str) -> np.ndarray:
        """The projector (dim, dim) on the part of a real representation (order, dim, dim) that transforms by an irrep."""
        return adapted.projector(np.asarray(matrices), self._per_element(label))

    def symmetric_basis(self, matrices: np.ndarray, label: str) -> np.ndarray:
        """Bases (copies, dim of the irrep, dim) in which a representation (order, dim, dim) acts by the irrep's matrices.

        >>> group = point_group("Oh")
        >>> group.symmetric_basis(group.representation("2x1o"), "T1u").shape
        (2, 3, 6)
        """
        return adapted.bases(np.asarray(matrices), self.irrep(label).matrices)

    def decompose(self, matrices: np.ndarray) -> dict[str, np.ndarray]:
        """:meth:`symmetric_basis` for every irrep that occurs."""
        found = self.reduce(np.trace(np.asarray(matrices), axis1=1, axis2=2))
        return {label: self.symmetric_basis(matrices, label) for label in found}

    def action(self, label: str) -> Callable[[Element], torch.Tensor]:
        """How an element acts by an irrep: a representation for :func:`tesseral.groups.equivariance_error`.

        >>> from tesseral.groups import equivariance_error
        >>> Oh = point_group("Oh")
        >>> square = lambda v: v**2 - (v**2).mean(dim=-1, keepdim=True)
        >>> float(equivariance_error(square, Oh.action("T1u"), lambda g: g.rotation**2, "Oh")) < 1e-12
        True
        """
        matrices = torch.from_numpy(np.array(self.irrep(label).matrices))
        return lambda element: matrices[self.index(np.asarray(element.rotation))]

    def __iter__(self) -> Iterator[Element]:
        """The elements, for :func:`tesseral.groups.equivariance_error`."""
        for matrix, name in zip(self.elements, self.element_names, strict=True):
            yield Element(torch.from_numpy(np.array(matrix)), name=name)

    def __len__(self) -> int:
        return self.order

    def __repr__(self) -> str:
        return f"PointGroup({self.name})"

    def __eq__(self, other: object) -> bool:
        """The same set of matrices."""
        if not isinstance(other, PointGroup):
            return NotImplemented
        return self.order == other.order and all(other.contains(m) for m in self.elements)

    def __hash__(self) -> int:
        return hash(self.symbol)

    def _index(self, label: str) -> int:
        if label not in self.labels:
            raise ValueError(f"{self.name} has no irrep {label!r}: expected one of {', '.join(self.labels)}")
        return self.labels.index(label)

    def _per_element(self, label: str) -> np.ndarray:
        return self.character_table[self._index(label)][self.class_of]


def point_group(name: str) -> PointGroup:
    """A point group by its Schoenflies or international name; axial families have any order.

    Raises ``ValueError`` for an unknown name.

    >>> [point_group(name).order for name in ("C1", "m-3m", "Ih", "D5d", "C2v", "S8", "-6m2")]
    [1, 48, 120, 20, 4, 8, 12]
    """
    symbol, orientation = parse(name)
    return PointGroup(symbol, orientation)


def generate(matrices: Any, name: str | None = None, tolerance: float = 1e-6) -> PointGroup:
    """The point group that orthogonal matrices (g, 3, 3) generate, identified and oriented.

    Raises ``ValueError`` if they generate no finite group, or one of another ``name``.

    >>> generate([np.diag([1.0, -1, 1]), np.diag([1.0, 1, -1])]), generate(np.zeros((0, 3, 3)))
    (PointGroup(C2v), PointGroup(C1))
    """
    elements = close_matrices(np.asarray(matrices, dtype=np.float64), tolerance)
    symbol, orientation = identify(elements, tolerance)
    if name is not None and parse(name)[0] != symbol:
        raise ValueError(f"the matrices generate {symbol.name}, not {name}")
    return PointGroup(symbol, orientation)


def combine(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The sum of decompositions.

    >>> combine([{"A1": 1}, {"A1": 2, "E": 1}])
    {'A1': 3, 'E': 1}
    """
    total: dict[str, int] = {}
    for part in parts:
        for label, n in part.items():
            total[label] = total.get(label, 0) + n
    return {label: total[label] for label in sorted(total, key=mulliken.sort_key)}
