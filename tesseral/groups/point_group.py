"""A point group: elements, exact characters, real irreps with their matrices, and what they are good for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch

from tesseral.groups import adapted, mulliken
from tesseral.groups.cyclotomic import Cyclotomic
from tesseral.groups.equivariance import Element
from tesseral.groups.finite import FiniteGroup
from tesseral.groups.identify import close_matrices, identify, snapped
from tesseral.groups.schoenflies import (
    CUBIC,
    FOURFOLD_Z,
    INTERNATIONAL,
    MIRROR_XY,
    MIRROR_XZ,
    TWOFOLD_X,
    Symbol,
    parse,
    standard_elements,
)
from tesseral.o3 import Irrep, Irreps


@dataclass(frozen=True, eq=False)
class FiniteIrrep:
    """An irrep over the real numbers of a finite group.

    ``characters`` (classes,) has the exact counterparts ``exact``; ``matrices`` (order, dim, dim) are orthogonal, in the order of
    the elements. ``complex_type`` says that over the complex numbers it is a pair of conjugate irreps, as E of C3.
    """

    label: str
    dim: int
    characters: np.ndarray
    matrices: np.ndarray
    complex_type: bool
    exact: tuple[Cyclotomic, ...]

    def __repr__(self) -> str:
        return f"{self.label} ({self.dim})"


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
        """The axes on which labels depend, as "C2' = [1 0 0]", or an empty string."""
        return mulliken.setting(self.symbol)

    @cached_property
    def elements(self) -> np.ndarray:
        """The matrices (order, 3, 3) in float64."""
        standard = _standard(self.symbol).elements
        if (self.orientation == np.eye(3)).all():
            return standard
        turned = snapped(self.orientation @ standard @ self.orientation.T, 2e-15)
        turned.setflags(write=False)
        return turned

    @property
    def finite(self) -> FiniteGroup:
        """The abstract group: powers, orders of elements, exact complex characters."""
        return _standard(self.symbol).finite

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
        return _standard(self.symbol).class_names

    @cached_property
    def element_names(self) -> tuple[str, ...]:
        """Names with axes: "C4 [001]", "σ [110]"."""
        return tuple(mulliken.element_name(m) for m in self.elements)

    @property
    def irreps(self) -> tuple[FiniteIrrep, ...]:
        """The irreps over the real numbers, in the order of published tables."""
        return _irreps(self.symbol)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the irreps."""
        return _labels(self.symbol)[0]

    @property
    def character_table(self) -> np.ndarray:
        """Characters of the real irreps, (irreps, classes)."""
        return _labels(self.symbol)[1]

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
            total += mul * _o3_characters(self.symbol, ir)
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


@dataclass(frozen=True, eq=False)
class _Standard:
    elements: np.ndarray
    finite: FiniteGroup
    class_names: tuple[str, ...]


@lru_cache(maxsize=256)
def _standard(symbol: Symbol) -> _Standard:
    elements = standard_elements(symbol)
    finite = FiniteGroup(_multiplication(elements))
    by_class = sorted(finite.classes, key=lambda members: _class_order(elements[list(members)]))
    elements = elements[[g for members in by_class for g in members]]
    finite = FiniteGroup(_multiplication(elements))
    elements.setflags(write=False)
    return _Standard(elements, finite, tuple(mulliken.class_names(symbol, elements, finite.classes)))


def _class_order(members: np.ndarray) -> tuple:
    """Rotations before rotoreflections; identity and inversion first, then about z, by fold, and mirrors by their normals."""
    kind, n, k, axis = mulliken.element_kind(members[0])
    axes = np.array([mulliken.element_kind(m)[3] for m in members])
    first = (kind, n) in (("C", 1), ("S", 2))
    positive = axis[2] > 0 if kind == "C" else axis[2] < 0
    nearest_x = -np.abs(axes[:, 0]).max() if n <= 2 and kind == "C" else -np.abs(axes[:, 1]).max()
    return kind == "S", not first, not (np.abs(axes[:, 2]) > 1 - 1e-9).all(), -n, k, not positive, round(float(nearest_x), 6)


def _multiplication(elements: np.ndarray) -> np.ndarray:
    flat = elements.reshape(-1, 9)
    table = np.empty((len(flat), len(flat)), dtype=np.int64)
    for i, a in enumerate(elements):
        overlap = (a @ elements).reshape(-1, 9) @ flat.T
        table[i] = overlap.argmax(axis=1)
    return table


@lru_cache(maxsize=256)
def _labels(symbol: Symbol) -> tuple[tuple[str, ...], np.ndarray, tuple[tuple[Cyclotomic, ...], ...], tuple[bool, ...]]:
    """Labels, characters and exact characters of the real irreps, and which are of complex type."""
    standard = _standard(symbol)
    rows, complex_type = _real_rows(standard.finite)
    exact = [tuple(Cyclotomic(standard.finite.exponent, tuple(int(c) for c in m)) for m in row) for row in rows]
    table = np.array([[float(x) for x in row] for row in exact])

    def character(i: int, matrix: np.ndarray) -> float | None:
        distance = np.abs(standard.elements - matrix).max(axis=(1, 2))
        return float(table[i, standard.finite.class_of[distance.argmin()]]) if distance.min() < 1e-9 else None

    labels = mulliken.irrep_labels(symbol, [round(float(d)) for d in table[:, 0]], character)
    order = sorted(range(len(labels)), key=lambda i: mulliken.sort_key(labels[i]))
    table = table[order]
    table.setflags(write=False)
    return tuple(labels[i] for i in order), table, tuple(exact[i] for i in order), tuple(complex_type[i] for i in order)


def _real_rows(finite: FiniteGroup) -> tuple[list[np.ndarray], list[bool]]:
    """Eigenvalue multiplicities of the real irreps: real ones as they are, others with their conjugates."""
    multiplicities = finite.complex_eigenvalues
    conjugate = np.concatenate([multiplicities[:, :, :1], multiplicities[:, :, :0:-1]], axis=2)
    rows, complex_type, done = [], [], set()
    for i, m in enumerate(multiplicities):
        if i in done:
            continue
        if (m == conjugate[i]).all():
            rows.append(m)
            complex_type.append(False)
        else:
            done.add(next(j for j in range(len(multiplicities)) if (multiplicities[j] == conjugate[i]).all()))
            rows.append(m + conjugate[i])
            complex_type.append(True)
    return rows, complex_type


@lru_cache(maxsize=256)
def _irreps(symbol: Symbol) -> tuple[FiniteIrrep, ...]:
    labels, table, exact, complex_type = _labels(symbol)
    matrices = _matrices(symbol, table)
    return tuple(
        FiniteIrrep(label, round(float(table[i, 0])), table[i], matrices[i], complex_type[i], exact[i])
        for i, label in enumerate(labels)
    )


def _matrices(symbol: Symbol, table: np.ndarray) -> list[np.ndarray]:
    """Orthogonal matrices of each irrep, from the first irrep of O(3) that contains it."""
    standard = _standard(symbol)
    group = PointGroup(symbol, np.eye(3))
    found: dict[int, np.ndarray] = {}
    for i, row in enumerate(table):
        if row[0] == 1:
            found[i] = row[standard.finite.class_of][:, None, None]
    for ir in Irrep.iterator():
        missing = [i for i in range(len(table)) if i not in found]
        if not missing:
            break
        contained = group.subduce(ir)
        for i in missing:
            if contained.get(group.labels[i]):
                D = group.representation(ir)
                basis = adapted.irreducible_subspace(D, table[i][standard.finite.class_of])
                found[i] = _polished(symbol, basis @ D @ basis.T)
    for m in found.values():
        m.setflags(write=False)
    return [found[i] for i in range(len(table))]


def _polished(symbol: Symbol, matrices: np.ndarray) -> np.ndarray:
    """The basis diagonal for a reference element, the matrices orthogonal to the last bits."""
    standard = _standard(symbol)
    if matrices.shape[-1] == 2:
        reference = FOURFOLD_Z if symbol.family in ("O", "Oh") else FOURFOLD_Z @ MIRROR_XY if symbol.family == "Td" else None
        if symbol.family not in CUBIC:
            reference = MIRROR_XZ if symbol.family == "Cv" else TWOFOLD_X
        distance = np.inf if reference is None else np.abs(standard.elements - reference).max(axis=(1, 2))
        if np.min(distance) < 1e-9:
            _, vectors = np.linalg.eigh(matrices[np.argmin(distance)])
            vectors = vectors[:, ::-1]
            vectors = vectors * np.where(vectors[np.abs(vectors).argmax(axis=0), [0, 1]] > 0, 1, -1)
            matrices = vectors.T @ matrices @ vectors
    u, _, v = np.linalg.svd(matrices)
    return snapped(u @ v)


@lru_cache(maxsize=4096)
def _o3_characters(symbol: Symbol, ir: Irrep) -> np.ndarray:
    """sin((2l+1)θ/2) / sin(θ/2), times the parity for improper elements, at each class."""
    standard = _standard(symbol)
    matrices = standard.elements[[members[0] for members in standard.finite.classes]]
    signs = np.linalg.det(matrices).round()
    angles = np.arccos(np.clip((signs * np.trace(matrices, axis1=1, axis2=2) - 1) / 2, -1, 1))
    turns = np.cos(np.outer(np.arange(1, ir.l + 1), angles)).sum(axis=0)
    characters = (1 + 2 * turns) * np.where(signs < 0, ir.p, 1)
    characters.setflags(write=False)
    return characters


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
