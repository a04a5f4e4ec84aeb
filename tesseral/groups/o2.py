r"""The irreps of O(2), rotations about an axis and reflections that keep it, and how irreps of O(3) fall into them.

The axis is y, the polar axis: rotations are :math:`R_y(\alpha)`, the reflection is :math:`x \to -x`. This is the symmetry of an
edge of a graph, after its frame has been turned to y; features of such frames are features of O(2).

- ``"0e"``: the trivial irrep; ``"0o"``: changes sign under the reflection (one component each);
- ``"m"``, m = 1, 2, ...: two components, a pair :math:`(a, b)` that turns by :math:`m\alpha`; the reflection flips a.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.o3 import Irrep
from tesseral.o3 import Irreps as O3Irreps

REFLECTION = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64, device="cpu"))


@dataclass(frozen=True, order=True)
class O2Irrep:
    """An irrep of O(2): the frequency ``m`` and, for m = 0, the sign ``p`` of the reflection (1 for m > 0).

    >>> O2Irrep.parse("0o"), O2Irrep.parse("3")
    (0o, 3)
    >>> O2Irrep.parse("1") * O2Irrep.parse("2"), O2Irrep.parse("1") * O2Irrep.parse("1")
    ((1, 3), (0e, 0o, 2))
    """

    m: int
    p: int = 1

    def __post_init__(self) -> None:
        if self.m < 0 or self.p not in (-1, 1) or (self.m and self.p != 1):
            raise ValueError(f"an irrep of O(2) is 0e, 0o, or a frequency m > 0, got m = {self.m}, p = {self.p}")

    @staticmethod
    def parse(text: str | O2Irrep) -> O2Irrep:
        """From ``"0e"``, ``"0o"``, ``"1"``, ``"2"``, ... Raises ``ValueError`` for others."""
        if isinstance(text, O2Irrep):
            return text
        match = re.fullmatch(r"\s*(?:0([eo])|([1-9][0-9]*))\s*", text)
        if match is None:
            raise ValueError(f"unable to read {text!r} as an irrep of O(2): expected 0e, 0o, 1, 2, ...")
        return O2Irrep(0, 1 if match[1] == "e" else -1) if match[1] else O2Irrep(int(match[2]))

    @property
    def dim(self) -> int:
        """1 for m = 0, else 2."""
        return 2 if self.m else 1

    def __mul__(self, other: O2Irrep) -> tuple[O2Irrep, ...]:
        """The irreps of the product."""
        if not self.m and not other.m:
            return (O2Irrep(0, self.p * other.p),)
        if not self.m or not other.m:
            return (O2Irrep(self.m + other.m),)
        low = (O2Irrep(0, 1), O2Irrep(0, -1)) if self.m == other.m else (O2Irrep(abs(self.m - other.m)),)
        return (*low, O2Irrep(self.m + other.m))

    def D(self, alpha: Float[Tensor, "*batch"], reflected: bool = False) -> Float[Tensor, "*batch d d"]:
        """The matrix of the rotation by ``alpha``, after the reflection if ``reflected``."""
        if not self.m:
            return torch.full_like(alpha, -1.0 if reflected and self.p == -1 else 1.0)[..., None, None]
        c, s = (self.m * alpha).cos(), (self.m * alpha).sin()
        a = -1 if reflected else 1
        return torch.stack([torch.stack([a * c, s], -1), torch.stack([-a * s, c], -1)], -2)

    def __repr__(self) -> str:
        return str(self.m) if self.m else f"0{'e' if self.p == 1 else 'o'}"


class O2Irreps(tuple):
    """A sum of irreps of O(2) with multiplicities: a tuple of ``(mul, O2Irrep)``, made from a string or such pairs.

    Features are stored as those of O(3): blocks ``(d, mul)`` in the layout ``ir_mul``, ``(mul, d)`` in ``mul_ir``.

    >>> irreps = O2Irreps("4x0e+2x1+3")
    >>> irreps, irreps.dim
    (4x0e+2x1+1x3, 10)
    """

    def __new__(cls, irreps: str | Iterable[tuple[int, O2Irrep | str]]) -> O2Irreps:
        if isinstance(irreps, O2Irreps):
            return irreps
        if isinstance(irreps, str):
            terms = [term.strip().rpartition("x") for term in irreps.split("+")] if irreps.strip() else []
            if any(mul and not mul.strip().isdigit() for mul, _, _ in terms):
                raise ValueError(f"unable to read {irreps!r} as irreps of O(2): expected terms such as 4x0e and 2x1")
            irreps = [(int(mul) if mul else 1, ir) for mul, _, ir in terms]
        return super().__new__(cls, [(int(mul), O2Irrep.parse(ir)) for mul, ir in irreps])

    @property
    def dim(self) -> int:
        """The dimension."""
        return sum(mul * ir.dim for mul, ir in self)

    def slices(self) -> list[slice]:
        """The place of each block."""
        ends = [0, *itertools.accumulate(mul * ir.dim for mul, ir in self)]
        return list(map(slice, ends[:-1], ends[1:]))

    def D(self, alpha: Float[Tensor, ""], reflected: bool = False, layout: str = "ir_mul") -> Float[Tensor, "dim dim"]:
        """The matrix of a rotation, after the reflection if ``reflected``."""
        blocks = []
        for mul, ir in self:
            one, D = torch.eye(mul, dtype=alpha.dtype, device=alpha.device), ir.D(alpha, reflected)
            blocks.append(torch.kron(D, one) if layout == "ir_mul" else torch.kron(one, D))
        return torch.block_diag(*blocks) if blocks else alpha.new_zeros(0, 0)

    def __repr__(self) -> str:
        return "+".join(f"{mul}x{ir}" for mul, ir in self)


def restrict(irrep: Irrep | str) -> tuple[O2Irrep, ...]:
    r"""The irreps of O(2) in an irrep of O(3), from m = 0 to l: each component pair (-m, m) is one, and m = 0 is 0e, or 0o where
    the reflection changes its sign: for parity :math:`-(-1)^l`.

    >>> restrict("2e"), restrict("1e")
    ((0e, 1, 2), (0o, 1))
    """
    ir = Irrep(irrep)
    return (O2Irrep(0, ir.p * (-1) ** ir.l), *(O2Irrep(m) for m in range(1, ir.l + 1)))


@dataclass(frozen=True)
class Restriction:
    """The way of features of O(3) in a frame with its axis along y to features of O(2), sorted by m; layout ``ir_mul``.

    ``columns`` and ``signs`` say that component c of the result is ``signs[c] * x[..., columns[c]]``: nothing mixes, so it is
    a permutation with signs, and ``back`` undoes it.

    >>> restriction = restriction_of("2x0e+1x1o")
    >>> restriction.irreps_out
    3x0e+1x1
    >>> x = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> restriction(x), restriction.back(restriction(x)).equal(x)
    (tensor([1., 2., 4., 3., 5.]), True)
    """

    irreps_in: O3Irreps
    irreps_out: O2Irreps
    columns: tuple[int, ...]
    signs: tuple[int, ...]

    def __call__(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The features of O(2)."""
        return x[..., list(self.columns)] * x.new_tensor(self.signs)

    def back(self, y: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The features of O(3)."""
        return (y * y.new_tensor(self.signs))[..., np.argsort(self.columns).tolist()]


def restriction_of(irreps: object) -> Restriction:
    """The restriction of irreps of O(3) to O(2): one block for each of its irreps, all multiplicities of it together."""
    given = O3Irreps(irreps)
    gathered: dict[O2Irrep, list[list[tuple[int, int]]]] = {}
    for (mul, ir), place in zip(given, given.slices()):
        for part in restrict(ir):
            # with parity -(-1)^l the reflection has the other sign, and (a, b) -> (-b, a) gives the same irrep
            twisted = ir.p != (-1) ** ir.l
            rows = [(ir.l, 1)] if not part.m else [(ir.l - part.m, 1), (ir.l + part.m, 1)]
            if part.m and twisted:
                rows = [(ir.l + part.m, -1), (ir.l - part.m, 1)]
            channels = [[(place.start + row * mul + u, sign) for row, sign in rows] for u in range(mul)]
            gathered.setdefault(part, []).extend(channels)
    ordered = sorted(gathered, key=lambda part: (part.m, -part.p))
    flat = [channel[row] for part in ordered for row in range(part.dim) for channel in gathered[part]]
    return Restriction(
        given,
        O2Irreps([(len(gathered[part]), part) for part in ordered]),
        tuple(column for column, _ in flat),
        tuple(sign for _, sign in flat),
    )


def coupling(a: O2Irrep, b: O2Irrep, c: O2Irrep) -> Float[np.ndarray, "da db dc"]:
    """The invariant of three irreps of O(2), of unit Frobenius norm; zero where c is not in a times b.

    >>> coupling(O2Irrep(1), O2Irrep(1), O2Irrep(0, 1))[..., 0].round(4).tolist()
    [[0.7071, 0.0], [0.0, 0.7071]]
    """
    if c not in a * b:
        return np.zeros((a.dim, b.dim, c.dim))
    total = np.zeros((a.dim * b.dim * c.dim,) * 2)
    steps = 2 * (a.m + b.m + c.m) + 2
    for k, reflected in itertools.product(range(steps), (False, True)):
        angle = torch.tensor(2 * math.pi * k / steps, dtype=torch.float64, device="cpu")
        D = [ir.D(angle, reflected).numpy() for ir in (a, b, c)]
        total += np.kron(np.kron(D[0], D[1]), D[2]) / (2 * steps)
    _, vectors = np.linalg.eigh(total)
    invariant = vectors[:, -1]
    invariant = invariant * np.sign(invariant[np.abs(invariant).argmax()])
    invariant[np.abs(invariant) < 1e-12] = 0.0
    return invariant.reshape(a.dim, b.dim, c.dim)
