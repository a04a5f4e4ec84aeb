"""Which components of a material's tensors a point group lets be, and which of them are equal."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tesseral.groups.point_group import PointGroup

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True)
class TensorKind:
    """A tensor property: its symbol, its rank, which index pairs are symmetric, and whether it is a pseudotensor.

    ``pairs`` are the positions of symmetric pairs of indices; they are written in Voigt's notation. ``exchange`` makes the two
    pairs of a tensor of rank 4 interchangeable.
    """

    name: str
    symbol: str
    rank: int
    pairs: tuple[int, ...] = ()
    exchange: bool = False
    pseudo: bool = False


DIPOLE = TensorKind("dipole, polarization", "p", 1)
MAGNETIC = TensorKind("axial vector", "m", 1, pseudo=True)
POLARIZABILITY = TensorKind("polarizability, permittivity", "α", 2, (0,))
GYRATION = TensorKind("gyration (optical activity)", "g", 2, (0,), pseudo=True)
PIEZO = TensorKind("piezoelectricity", "e", 3, (1,))
HYPERPOLARIZABILITY = TensorKind("first hyperpolarizability", "β", 3, (1,))
ELASTIC = TensorKind("elasticity", "C", 4, (0, 2), exchange=True)
TENSORS = (DIPOLE, MAGNETIC, POLARIZABILITY, GYRATION, PIEZO, ELASTIC)


@dataclass(frozen=True)
class TensorPattern:
    """The components of an invariant tensor: ``entries`` is a table of "0", "C11", "-C11", "(C11-C12)/2", ...

    Rows and columns count Voigt pairs (xx, yy, zz, yz, xz, xy) or x, y, z; ``independent`` is the number of free components.
    """

    kind: TensorKind
    independent: int
    entries: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        if not self.independent:
            return "zero"
        width = max(len(entry) for row in self.entries for entry in row)
        return "\n".join("  ".join(entry.rjust(width) for entry in row) for row in self.entries)


def tensor_pattern(group: PointGroup, kind: TensorKind) -> TensorPattern:
    """The most general tensor of a kind that every element of a point group leaves as it is.

    Components are those of the tensor itself, without factors of 2 for shear: e.g. e14 = e_xyz and C44 = C_yzyz.

    >>> from tesseral.groups import point_group
    >>> print(tensor_pattern(point_group("Td"), PIEZO))
      0    0    0  e14    0    0
      0    0    0    0  e14    0
      0    0    0    0    0  e14
    >>> tensor_pattern(point_group("D6h"), ELASTIC).entries[5][5]
    '(C11-C12)/2'
    """
    basis = invariant_tensors(group, kind)
    components, shape = _components(kind)
    # the free components are those of tables: e11, e22 and e33 of a tensor of rank 3 before others
    order = sorted(range(len(components)), key=lambda c: (kind.rank == 3 and divmod(c, shape[1])[0] != c % shape[1], c))
    table = _reduced_rows(basis[:, components][:, order]) if len(basis) else np.zeros((0, len(components)))
    pivots = [order[int(np.flatnonzero(row)[0])] for row in table]
    table = table[:, np.argsort(order)]
    names = [_component_name(kind, p, shape) for p in pivots]
    entries = [_expression(table[:, c], names) for c in range(len(components))]
    columns = shape[1]
    return TensorPattern(kind, len(table), tuple(tuple(entries[i : i + columns]) for i in range(0, len(entries), columns)))


def invariant_tensors(group: PointGroup, kind: TensorKind) -> np.ndarray:
    """A basis (n, 3**rank) of the invariant tensors of a kind, flattened."""
    power = np.ones((group.order, 1, 1))
    for _ in range(kind.rank):
        power = np.einsum("gab,gcd->gacbd", power, group.elements).reshape(group.order, 3 * power.shape[1], -1)
    if kind.pseudo:
        power = power * np.linalg.det(group.elements).round()[:, None, None]
    projector = power.mean(axis=0)
    for axes in _symmetries(kind):
        order = np.arange(3**kind.rank).reshape((3,) * kind.rank).transpose(axes).ravel()
        projector = (projector + projector[:, order]) / 2
    u, s, _ = np.linalg.svd(projector)
    return u[:, s > 1e-6].T


def _symmetries(kind: TensorKind) -> list[tuple[int, ...]]:
    identity = tuple(range(kind.rank))
    swaps = [(*identity[:i], i + 1, i, *identity[i + 2 :]) for i in kind.pairs]
    return [*swaps, (2, 3, 0, 1)] if kind.exchange else swaps


def _components(kind: TensorKind) -> tuple[list[int], tuple[int, int]]:
    """Flat numbers of the components that are shown, and the shape of the table."""
    slots: list[tuple[tuple[int, ...], ...]] = []
    i = 0
    while i < kind.rank:
        paired = i in kind.pairs
        slots.append(VOIGT if paired and kind.rank > 2 else tuple((a,) for a in range(3)))
        i += 2 if paired and kind.rank > 2 else 1
    flat = [sum(choice, ()) for choice in itertools.product(*slots)]
    numbers = [int(np.ravel_multi_index(index, (3,) * kind.rank)) for index in flat]
    return numbers, (1 if len(slots) == 1 else len(slots[0]), len(slots[-1]))


def _component_name(kind: TensorKind, position: int, shape: tuple[int, int]) -> str:
    row, column = divmod(position, shape[1])
    letters = "xyz"
    if kind.rank == 1:
        return f"{kind.symbol}{letters[column]}"
    return f"{kind.symbol}{letters[row]}{letters[column]}" if kind.rank == 2 else f"{kind.symbol}{row + 1}{column + 1}"


def _reduced_rows(matrix: np.ndarray) -> np.ndarray:
    """Row echelon form, each leading entry 1 and alone in its column."""
    rows, rank = matrix.copy(), 0
    for column in range(rows.shape[1]):
        if rank == len(rows):
            break
        best = rank + int(np.abs(rows[rank:, column]).argmax())
        if abs(rows[best, column]) < 1e-8:
            continue
        rows[[rank, best]] = rows[[best, rank]]
        rows[rank] /= rows[rank, column]
        for other in range(len(rows)):
            if other != rank:
                rows[other] -= rows[other, column] * rows[rank]
        rank += 1
    rows[np.abs(rows) < 1e-9] = 0
    return rows[:rank]


def _expression(coefficients: np.ndarray, names: list[str]) -> str:
    """A linear combination as text, with a common denominator: "(C11-C12)/2"."""
    terms = [(float(c), name) for c, name in zip(coefficients, names, strict=True) if abs(c) > 1e-8]
    if not terms:
        return "0"
    fractions = [Fraction(c).limit_denominator(24) for c, _ in terms]
    if any(abs(float(f) - c) > 1e-6 for f, (c, _) in zip(fractions, terms, strict=True)):
        return "".join(f"{c:+.4g}{name}" for c, name in terms).lstrip("+")
    denominator = int(np.lcm.reduce([f.denominator for f in fractions]))
    whole = [int(f * denominator) for f in fractions]
    text = "".join(
        f"{'-' if n < 0 else '+'}{'' if abs(n) == 1 else abs(n)}{name}" for n, (_, name) in zip(whole, terms, strict=True)
    ).lstrip("+")
    if denominator == 1:
        return text
    return f"({text})/{denominator}" if len(terms) > 1 else f"{text}/{denominator}"
