"""Names of point groups, and their elements in the standard setting.

Standard setting: the principal axis is z; C2' is x in Dn, Dnh, Dnd and the plane xz is σv in Cnv; the fourfold (twofold in T, I)
axes of the cubic and icosahedral groups are x, y, z. A name is of Schoenflies ("D3d") or international ("-3m"), with the usual
variants of orientation ("-42m" and "-4m2", "321" and "312"); the latter turn the standard setting about z.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import numpy as np

from tesseral.groups.cyclotomic import cosine, sine

INTERNATIONAL = {
    "C1": "1", "Ci": "-1", "C2": "2", "Cs": "m", "C2h": "2/m", "D2": "222", "C2v": "mm2", "D2h": "mmm",
    "C4": "4", "S4": "-4", "C4h": "4/m", "D4": "422", "C4v": "4mm", "D2d": "-42m", "D4h": "4/mmm",
    "C3": "3", "C3i": "-3", "D3": "32", "C3v": "3m", "D3d": "-3m",
    "C6": "6", "C3h": "-6", "C6h": "6/m", "D6": "622", "C6v": "6mm", "D3h": "-62m", "D6h": "6/mmm",
    "T": "23", "Th": "m-3", "O": "432", "Td": "-43m", "Oh": "m-3m",
}  # fmt: skip
"""The 32 crystallographic point groups, in the order of the International Tables."""

_TURNED = {  # international symbols whose secondary axes are turned from the standard setting: the angle in units of 2π
    "-42m": ("D2d", 0, 1), "-4m2": ("D2d", 1, 8), "321": ("D3", 0, 1), "312": ("D3", 1, 4), "31m": ("C3v", 0, 1),
    "3m1": ("C3v", 1, 4), "3m": ("C3v", 1, 4), "-3m1": ("D3d", 0, 1), "-31m": ("D3d", 1, 4), "-62m": ("D3h", 0, 1),
    "-6m2": ("D3h", 1, 4), "m3": ("Th", 0, 1), "m3m": ("Oh", 0, 1), "532": ("I", 0, 1), "m-3-5": ("Ih", 0, 1),
    "235": ("I", 0, 1), "m-35": ("Ih", 0, 1),
}  # fmt: skip
_ALIASES = {
    "S2": "Ci",
    "C1h": "Cs",
    "S1": "Cs",
    "C1v": "Cs",
    "S6": "C3i",
    "V": "D2",
    "Vh": "D2h",
    "Vd": "D2d",
    "E": "C1",
    "S3": "C3h",
}
CUBIC = ("T", "Td", "Th", "O", "Oh", "I", "Ih")
FAMILIES = ("C", "Cv", "Ch", "D", "Dh", "Dd", "S")


@dataclass(frozen=True)
class Symbol:
    """A parsed name: the family (one of ``FAMILIES`` or ``CUBIC``) and the order n of its principal axis (0 for cubic ones).

    ``S`` stands for the groups of rotoreflections S2n that are not Cnh; n is half the order of the group: S4 has n = 2.
    """

    family: str
    n: int

    @property
    def name(self) -> str:
        """The Schoenflies name.

        >>> Symbol("Dd", 3).name, Symbol("S", 3).name, Symbol("S", 4).name, Symbol("Ch", 1).name
        ('D3d', 'C3i', 'S8', 'Cs')
        """
        if self.family in CUBIC:
            return self.family
        if self.family == "S":
            return "Ci" if self.n == 1 else "C3i" if self.n == 3 else f"S{2 * self.n}"
        return "Cs" if (self.family, self.n) == ("Ch", 1) else f"{self.family[0]}{self.n}{self.family[1:]}"


def parse(name: str) -> tuple[Symbol, np.ndarray]:
    """The group that a name means, and the rotation (3, 3) of its setting from the standard one.

    Raises ``ValueError`` for a name that is neither of Schoenflies nor international.

    >>> parse("m-3m")[0], parse("D5d")[0], parse("S6")[0]
    (Symbol(family='Oh', n=0), Symbol(family='Dd', n=5), Symbol(family='S', n=3))
    """
    text = str(name).strip().replace("_", "")
    if text in _TURNED:
        schoenflies, k, n = _TURNED[text]
        return parse(schoenflies)[0], rotation_z(k, n)
    text = {international: schoenflies for schoenflies, international in INTERNATIONAL.items()}.get(text, text)
    text = _ALIASES.get(text, text)
    symbol = _symbol(text)
    if symbol is None:
        raise ValueError(
            f"{name!r} is not a point group: expected a Schoenflies name such as 'D3d', 'C7v', 'S8', 'Oh', 'Ih', "
            f"or an international symbol such as '-3m' or 'm-3m'"
        )
    return symbol, np.eye(3)


def _symbol(text: str) -> Symbol | None:
    if text in CUBIC:
        return Symbol(text, 0)
    if text in ("Ci", "Cs"):
        return Symbol("S", 1) if text == "Ci" else Symbol("Ch", 1)
    match = re.fullmatch(r"([CDS])([1-9][0-9]*)([vhdi]?)", text)
    if match is None:
        return None
    letter, n, suffix = match[1], int(match[2]), match[3]
    if letter == "S" and suffix == "":
        return Symbol("S", n // 2) if n % 2 == 0 else Symbol("Ch", n)
    if letter == "C" and suffix == "i" and n % 2 == 1:
        return Symbol("S", n)
    family = letter + suffix
    if family not in FAMILIES or (n == 1 and family not in ("C", "Ch")):
        return None
    return Symbol(family, n)


def rotation_z(k: int, n: int) -> np.ndarray:
    """The rotation by 2πk/n about z."""
    c, s = cosine(k, n), sine(k, n)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


TWOFOLD_X = np.diag([1.0, -1.0, -1.0])
MIRROR_XZ = np.diag([1.0, -1.0, 1.0])
MIRROR_XY = np.diag([1.0, 1.0, -1.0])
FOURFOLD_Z = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
GOLDEN = (1 + 5**0.5) / 2


def principal_element(symbol: Symbol) -> np.ndarray:
    """The element whose character orders the irreps of an axial group: Cn, or S2n in Dnd and S2n with n even."""
    if symbol.family in ("Dd", "S") and symbol.n % 2 == 0:
        return rotation_z(1, 2 * symbol.n) @ MIRROR_XY
    return rotation_z(1, symbol.n)


def standard_elements(symbol: Symbol) -> np.ndarray:
    """The elements (order, 3, 3) in the standard setting, the identity first.

    >>> [len(standard_elements(parse(name)[0])) for name in ("C1", "S4", "D3h", "Th", "Ih", "D7d")]
    [1, 4, 12, 24, 120, 28]
    """
    family, n = symbol.family, symbol.n
    if family in CUBIC:
        return _cubic(family)
    if family in ("Dd", "S"):
        cyclic = [rotation_z(k, 2 * n) @ (MIRROR_XY if k % 2 else np.eye(3)) for k in range(2 * n)]
        if n % 2 == 1:  # S2n^n is the inversion: powers of S2n run through Cn × Ci
            cyclic = [sign * rotation_z(k, n) for sign in (1, -1) for k in range(n)]
    else:
        cyclic = [rotation_z(k, n) for k in range(n)]
    second = [TWOFOLD_X] if family[0] == "D" else [MIRROR_XZ] if family == "Cv" else []
    third = [MIRROR_XY] if family in ("Ch", "Dh") else []
    elements = np.array(cyclic)
    for factor in (*second, *third):
        elements = np.concatenate([elements, elements @ factor])
    return elements + 0.0


def _cubic(family: str) -> np.ndarray:
    if family[0] == "I":
        rotations = _icosahedral()
    else:
        signed = [np.eye(3)[list(p)] * s for p in itertools.permutations(range(3)) for s in itertools.product((1, -1), repeat=3)]
        even = {"T": _is_even, "Td": _is_tetrahedral, "Th": _is_even, "O": _is_proper, "Oh": _is_proper}[family]
        rotations = np.array(sorted((m for m in signed if even(m)), key=lambda m: -np.trace(m)))
    return np.concatenate([rotations, -rotations]) + 0.0 if family in ("Th", "Oh", "Ih") else rotations + 0.0


def _is_proper(m: np.ndarray) -> bool:
    return round(float(np.linalg.det(m))) == 1


def _is_tetrahedral(m: np.ndarray) -> bool:
    return bool(m.sum(axis=1).prod() > 0)


def _is_even(m: np.ndarray) -> bool:
    return _is_proper(m) and _is_tetrahedral(m)


def _icosahedral() -> np.ndarray:
    """Rotations of the icosahedron with vertices at the even permutations of (0, ±1, ±φ)."""
    half = 0.5
    fivefold = np.array([
        [half / GOLDEN, -half * GOLDEN, half],
        [half * GOLDEN, half, half / GOLDEN],
        [-half, half / GOLDEN, half * GOLDEN],
    ])  # fmt: skip
    powers = [np.linalg.matrix_power(fivefold, k) for k in range(5)]
    values = np.array([0, half / GOLDEN, half, half * GOLDEN, 1])
    found: list[np.ndarray] = []
    tetrahedral = _cubic("T")
    for p in powers:
        for t in tetrahedral:
            m = t @ p
            m = np.sign(m) * values[np.argmin(np.abs(np.abs(m)[..., None] - values), axis=-1)]
            found.append(m)
    return np.array(found)
