"""The standard point groups: elements, exact characters, labels and irreps, computed once for each name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from tesseral.groups import adapted, mulliken
from tesseral.groups.cyclotomic import Cyclotomic
from tesseral.groups.finite import FiniteGroup
from tesseral.groups.identify import snapped
from tesseral.groups.schoenflies import (
    CUBIC,
    FOURFOLD_Z,
    MIRROR_XY,
    MIRROR_XZ,
    TWOFOLD_X,
    Symbol,
    standard_elements,
)
from tesseral.o3 import Irrep


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
class Tables:
    """A standard group without its irreps."""

    elements: np.ndarray
    finite: FiniteGroup
    class_names: tuple[str, ...]


@lru_cache(maxsize=256)
def tables(symbol: Symbol) -> Tables:
    """Elements, multiplication and names of classes, elements sorted by classes."""
    elements = standard_elements(symbol)
    finite = FiniteGroup(_multiplication(elements))
    by_class = sorted(finite.classes, key=lambda members: _class_order(elements[list(members)]))
    elements = elements[[g for members in by_class for g in members]]
    finite = FiniteGroup(_multiplication(elements))
    elements.setflags(write=False)
    return Tables(elements, finite, tuple(mulliken.class_names(symbol, elements, finite.classes)))


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
def labels(symbol: Symbol) -> tuple[tuple[str, ...], np.ndarray, tuple[tuple[Cyclotomic, ...], ...], tuple[bool, ...]]:
    """Labels, characters and exact characters of the real irreps, and which are of complex type."""
    standard = tables(symbol)
    rows, complex_type = _real_rows(standard.finite)
    exact = [tuple(Cyclotomic(standard.finite.exponent, tuple(int(c) for c in m)) for m in row) for row in rows]
    table = np.array([[float(x) for x in row] for row in exact])

    def character(i: int, matrix: np.ndarray) -> float | None:
        distance = np.abs(standard.elements - matrix).max(axis=(1, 2))
        return float(table[i, standard.finite.class_of[distance.argmin()]]) if distance.min() < 1e-9 else None

    names = mulliken.irrep_labels(symbol, [round(float(d)) for d in table[:, 0]], character)
    order = sorted(range(len(names)), key=lambda i: mulliken.sort_key(names[i]))
    table = table[order]
    table.setflags(write=False)
    return tuple(names[i] for i in order), table, tuple(exact[i] for i in order), tuple(complex_type[i] for i in order)


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
def irreps(symbol: Symbol) -> tuple[FiniteIrrep, ...]:
    """The irreps over the real numbers."""
    names, table, exact, complex_type = labels(symbol)
    matrices = _matrices(symbol, table)
    return tuple(
        FiniteIrrep(label, round(float(table[i, 0])), table[i], matrices[i], complex_type[i], exact[i])
        for i, label in enumerate(names)
    )


def _matrices(symbol: Symbol, table: np.ndarray) -> list[np.ndarray]:
    """Orthogonal matrices of each irrep, from the first irrep of O(3) that contains it."""
    standard = tables(symbol)
    found: dict[int, np.ndarray] = {}
    for i, row in enumerate(table):
        if row[0] == 1:
            found[i] = row[standard.finite.class_of][:, None, None]
    for ir in Irrep.iterator():
        missing = [i for i in range(len(table)) if i not in found]
        if not missing:
            break
        subduced = o3_characters(symbol, ir)
        D = None
        for i in missing:
            if abs(table[i] * standard.finite.class_sizes @ subduced) > 0.5:
                D = ir.D_from_matrix(torch.from_numpy(np.array(standard.elements))).numpy() if D is None else D
                basis = adapted.irreducible_subspace(D, table[i][standard.finite.class_of])
                found[i] = _polished(symbol, basis @ D @ basis.T)
    for m in found.values():
        m.setflags(write=False)
    return [found[i] for i in range(len(table))]


def _polished(symbol: Symbol, matrices: np.ndarray) -> np.ndarray:
    """The basis diagonal for a reference element, the matrices orthogonal to the last bits."""
    standard = tables(symbol)
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
def o3_characters(symbol: Symbol, ir: Irrep) -> np.ndarray:
    """sin((2l+1)θ/2) / sin(θ/2), times the parity for improper elements, at each class."""
    standard = tables(symbol)
    matrices = standard.elements[[members[0] for members in standard.finite.classes]]
    signs = np.linalg.det(matrices).round()
    angles = np.arccos(np.clip((signs * np.trace(matrices, axis1=1, axis2=2) - 1) / 2, -1, 1))
    turns = np.cos(np.outer(np.arange(1, ir.l + 1), angles)).sum(axis=0)
    characters = (1 + 2 * turns) * np.where(signs < 0, ir.p, 1)
    characters.setflags(write=False)
    return characters
