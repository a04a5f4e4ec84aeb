"""The continuous subgroups of O(3), which have no list of elements: the groups of linear molecules, and normalisers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tesseral.groups.elements import Element, sample_elements
from tesseral.groups.point_group import PointGroup
from tesseral.groups.schoenflies import CUBIC, Symbol
from tesseral.o3 import Irreps

GREEK = ("Σ", "Π", "Δ", "Φ", "Γ", "Η")
CONTINUOUS = ("C∞", "C∞v", "C∞h", "D∞", "D∞h", "SO(3)", "O(3)")
_LABEL = re.compile(r"([ΣΠΔΦΓΗ]|M[0-9]+)([gu]?)([+-]?)")


@dataclass(frozen=True)
class ContinuousGroup:
    """A continuous point group: one of C∞, C∞v, C∞h, D∞, D∞h about an axis, SO(3), or O(3).

    For C∞v and D∞h, the groups of linear molecules: irreps Σ+, Σ-, Π, Δ, Φ, Γ, Η, M6, M7, ... with g or u in D∞h.

    >>> ContinuousGroup("D∞h").subduce("1o+2e"), ContinuousGroup("C∞v").product("Π", "Π")
    ({'Σg+': 1, 'Πg': 1, 'Δg': 1, 'Σu+': 1, 'Πu': 1}, {'Σ+': 1, 'Σ-': 1, 'Δ': 1})
    """

    name: str
    axis: tuple[float, float, float] = (0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        if self.name not in CONTINUOUS:
            raise ValueError(f"{self.name!r} is no continuous point group: expected one of {', '.join(CONTINUOUS)}")

    def contains(self, matrix: np.ndarray, tolerance: float = 1e-6) -> bool:
        """Whether an orthogonal matrix (3, 3) is an element."""
        proper = bool(np.linalg.det(matrix) > 0)
        if self.name in ("SO(3)", "O(3)"):
            return bool(proper or self.name == "O(3)")
        z = np.array(self.axis) / np.linalg.norm(self.axis)
        along = float(z @ matrix @ z)
        if abs(abs(along) - 1) > tolerance:
            return False
        keeps = bool(along > 0)  # the direction of the axis; with the determinant this tells the four cosets of C∞ in D∞h apart
        return {"C∞": keeps and proper, "C∞v": keeps, "C∞h": keeps == proper, "D∞": proper, "D∞h": True}[self.name]

    def sample(self, samples: int, generator: torch.Generator) -> list[Element]:
        """Elements for :func:`tesseral.groups.equivariance_error`: random rotations, each with one of every coset of them.

        >>> [str(g) for g in ContinuousGroup("C∞v").sample(1, torch.Generator().manual_seed(0))]
        ['rotation 0', 'rotation 0 · σv']
        """
        if self.name in ("SO(3)", "O(3)"):
            return sample_elements(self.name, samples, None, generator)
        z = np.array(self.axis) / np.linalg.norm(self.axis)
        x = np.cross(np.eye(3)[np.abs(z).argmin()], z)
        frame = np.stack([x / np.linalg.norm(x), np.cross(z, x / np.linalg.norm(x)), z], axis=1)
        cosets = {"C∞": ["E"], "C∞v": ["E", "σv"], "C∞h": ["E", "i"], "D∞": ["E", "C2'"], "D∞h": ["E", "σv", "i", "C2'"]}[
            self.name
        ]
        diagonal = {"E": (1.0, 1, 1), "σv": (1.0, -1, 1), "i": (-1.0, -1, -1), "C2'": (1.0, -1, -1)}
        found = []
        for i in range(samples):
            angle = 2 * np.pi * float(torch.rand((), generator=generator, dtype=torch.float64))
            turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
            for coset in cosets:
                matrix = frame @ turn @ np.diag(diagonal[coset]) @ frame.T
                found.append(Element(torch.from_numpy(matrix), name=f"rotation {i}" + (f" · {coset}" if coset != "E" else "")))
        return found

    def character(self, label: str, matrix: np.ndarray) -> float:
        """The character of an irrep of C∞v or D∞h at an element (3, 3).

        >>> from tesseral.groups.schoenflies import rotation_z
        >>> round(ContinuousGroup("C∞v").character("Π", rotation_z(1, 6)), 12)
        1.0
        """
        m, sign, parity = self._parse(label)
        if not self.contains(matrix):
            raise ValueError(f"{np.asarray(matrix).tolist()} is no element of {self.name}")
        z = np.array(self.axis) / np.linalg.norm(self.axis)
        factor = 1.0
        if z @ matrix @ z < 0:  # through the inversion, which is in D∞h, to an element that keeps the axis
            matrix, factor = -matrix, float(parity)
        if np.linalg.det(matrix) < 0:
            return factor * (sign if m == 0 else 0)
        angle = np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1))
        return factor * (1.0 if m == 0 else 2 * float(np.cos(m * angle)))

    def subduce(self, irreps: Any) -> dict[str, int]:
        """What irreps of O(3) become: degree l gives Σ, Π, ..., up to m = l."""
        self._check_linear()
        found: dict[str, int] = {}
        for mul, (l, p) in Irreps(irreps):
            for m in range(l + 1):
                natural = p == (-1) ** l
                label = _label(m, 1 if natural else -1, p if self.name == "D∞h" else 0)
                found[label] = found.get(label, 0) + mul
        return self._sorted(found)

    def product(self, first: str, second: str) -> dict[str, int]:
        """The irreps contained in the product of two."""
        (m, s, p), (n, t, q) = self._parse(first), self._parse(second)
        parity = p * q if self.name == "D∞h" else 0
        if m == n and m > 0:
            parts = [(0, 1), (0, -1), (2 * m, 1)]
        elif m == 0 or n == 0:
            parts = [(m + n, s * t if m == n else 1)]
        else:
            parts = [(abs(m - n), 1), (m + n, 1)]
        return self._sorted({_label(k, sign, parity): 1 for k, sign in parts})

    def label_of(self, finite: PointGroup, label: str) -> str:
        """The irrep that correlates with one of Cnv or Dnh about the same axis, of the least m that is possible.

        A linear molecule is treated in a finite group with n above twice the degrees that occur, and its irreps renamed.

        >>> from tesseral.groups.point_group import point_group
        >>> [ContinuousGroup("D∞h").label_of(point_group("D8h"), x) for x in ("A1g", "A2u", "E1u", "E2g")]
        ['Σg+', 'Σu+', 'Πu', 'Δg']
        """
        self._check_linear()
        irrep = finite.irrep(label)
        candidates = [_label(m, s, p) for m in range(finite.symbol.n // 2 + 1) for s in (1, -1) for p in self._parities()]
        for candidate in candidates:
            chi = [self.character(candidate, finite.elements[members[0]]) for members in finite.classes]
            if np.abs(np.array(chi) - irrep.characters).max() < 1e-9:
                return candidate
        raise ValueError(f"{label} of {finite.name} correlates with no irrep of {self.name} of low degree: take a larger n")

    def rename(self, finite: PointGroup, counts: Mapping[str, int]) -> dict[str, int]:
        """A decomposition in the finite group with the labels of this one."""
        return self._sorted({self.label_of(finite, label): n for label, n in counts.items()})

    def _parities(self) -> tuple[int, ...]:
        return (1, -1) if self.name == "D∞h" else (0,)

    def _check_linear(self) -> None:
        if self.name not in ("C∞v", "D∞h"):
            raise ValueError(f"labels are known for C∞v and D∞h, the groups of linear molecules, not for {self.name}")

    def _parse(self, label: str) -> tuple[int, int, int]:
        self._check_linear()
        match = _LABEL.fullmatch(label)
        letter = match[1] if match else ""
        m = -1 if match is None else GREEK.index(letter) if letter in GREEK else int(letter[1:])
        if match is None or (m == 0) != bool(match[3]) or (self.name == "D∞h") != bool(match[2]):
            example = "'Σg+', 'Πu'" if self.name == "D∞h" else "'Σ+', 'Π'"
            raise ValueError(f"{label!r} is no irrep of {self.name}: expected labels such as {example}")
        return m, -1 if match[3] == "-" else 1, {"g": 1, "u": -1, "": 0}[match[2]]

    def _sorted(self, counts: dict[str, int]) -> dict[str, int]:
        def key(label: str) -> tuple:
            m, sign, parity = self._parse(label)
            return -parity, m, -sign

        return {label: counts[label] for label in sorted(counts, key=key)}


def _label(m: int, sign: int, parity: int) -> str:
    letter = GREEK[m] if m < len(GREEK) else f"M{m}"
    return letter + {1: "g", -1: "u", 0: ""}[parity] + ({1: "+", -1: "-"}[sign] if m == 0 else "")


def normalizer_in_o3(group: PointGroup) -> PointGroup | ContinuousGroup:
    """The motions g of O(3) with g G g⁻¹ = G.

    C1 and Ci are normalised by all of O(3); Cn, S2n and Cnh by the continuous D∞h about their axis; D2 and D2h by Oh, C2v by D4h;
    the other Dn, Cnv, Dnh, Dnd by D2nh; the cubic groups by Oh, the icosahedral ones by Ih.

    >>> from tesseral.groups.point_group import point_group
    >>> [normalizer_in_o3(point_group(name)) for name in ("D3", "Td", "D2", "C2v")]
    [PointGroup(D6h), PointGroup(Oh), PointGroup(Oh), PointGroup(D4h)]
    >>> normalizer_in_o3(point_group("Ci")).name, normalizer_in_o3(point_group("S4")).name
    ('O(3)', 'D∞h')
    """
    family, n = group.symbol.family, group.symbol.n
    if family in CUBIC:
        return PointGroup(Symbol("Ih" if family[0] == "I" else "Oh", 0), group.orientation)
    if group.name in ("C1", "Ci"):
        return ContinuousGroup("O(3)")
    if family in ("C", "Ch", "S"):
        x, y, z = (float(c) for c in group.orientation[:, 2])
        return ContinuousGroup("D∞h", (x, y, z))
    if n == 2 and family in ("D", "Dh"):
        return PointGroup(Symbol("Oh", 0), group.orientation)
    return PointGroup(Symbol("Dh", 2 * n), group.orientation)
