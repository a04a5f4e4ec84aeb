"""Exact numbers of characters: sums of roots of unity with integer coefficients, and cosines of rational angles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np


@dataclass(frozen=True)
class Cyclotomic:
    r"""The number :math:`\sum_k c_k \zeta^k` with :math:`\zeta = e^{2\pi i/n}` and integers :math:`c_k`, exactly.

    ``coefficients`` has one integer for each power 0, ..., n-1; equality is that of the numbers, not of the coefficients.

    >>> golden = Cyclotomic(5, (0, 0, -1, -1, 0))
    >>> golden * golden == golden + Cyclotomic(1, (1,)), str(golden), float(golden)
    (True, '-2cos(4π/5)', 1.618033988749895)
    """

    order: int
    coefficients: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.order < 1 or len(self.coefficients) != self.order:
            raise ValueError(f"{len(self.coefficients)} coefficients for the order {self.order}: expected one for each power")

    def __add__(self, other: Cyclotomic) -> Cyclotomic:
        n = math.lcm(self.order, other.order)
        return Cyclotomic(n, tuple(a + b for a, b in zip(self._lift(n), other._lift(n), strict=True)))

    def __mul__(self, other: Cyclotomic | int) -> Cyclotomic:
        if isinstance(other, int):
            return Cyclotomic(self.order, tuple(other * c for c in self.coefficients))
        n = math.lcm(self.order, other.order)
        product = [0] * n
        for i, a in enumerate(self._lift(n)):
            for j, b in enumerate(other._lift(n)):
                product[(i + j) % n] += a * b
        return Cyclotomic(n, tuple(product))

    __rmul__ = __mul__

    def __sub__(self, other: Cyclotomic) -> Cyclotomic:
        return self + other * -1

    def conjugate(self) -> Cyclotomic:
        """The complex conjugate."""
        return Cyclotomic(self.order, (self.coefficients[0], *self.coefficients[:0:-1]))

    @property
    def canonical(self) -> tuple[int, ...]:
        """Coefficients in the basis 1, ζ, ..., ζ^(φ(n)-1): equal numbers of the same order have equal ones."""
        return tuple(int(c) for c in np.asarray(self.coefficients, dtype=np.int64) @ powers_of_root(self.order))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int):
            other = Cyclotomic(1, (other,))
        if not isinstance(other, Cyclotomic):
            return NotImplemented
        return not any((self - other).canonical)

    def __hash__(self) -> int:
        return hash(round(complex(self).real, 6))

    def __complex__(self) -> complex:
        n = self.order
        real = sum(c * cosine(k, n) for k, c in enumerate(self.coefficients) if c)
        return complex(real, sum(c * sine(k, n) for k, c in enumerate(self.coefficients) if c))

    def __float__(self) -> float:
        if self != self.conjugate():
            raise ValueError(f"{self} is not real: convert it with complex()")
        canonical = self.canonical
        return float(canonical[0]) if not any(canonical[1:]) else complex(self).real

    def __str__(self) -> str:
        if not any(self.canonical[1:]):
            return str(self.canonical[0])
        for a in (0, 1, -1, 2, -2):
            for b in (1, -1, 2, -2):
                for k in range(1, (self.order + 1) // 2):
                    pair = [0] * self.order
                    pair[k] += b
                    pair[-k] += b
                    pair[0] += a
                    if self == Cyclotomic(self.order, tuple(pair)):
                        turn = Fraction(2 * k, self.order)
                        angle = f"{'' if turn.numerator == 1 else turn.numerator}π/{turn.denominator}"
                        head = "" if a == 0 else str(a)
                        sign = "-" if b < 0 else "+" if head else ""
                        return f"{head}{sign}{2 * abs(b)}cos({angle})"
        return "+".join(f"{c}ζ{self.order}^{k}" for k, c in enumerate(self.coefficients) if c)

    def _lift(self, n: int) -> Sequence[int]:
        lifted = [0] * n
        for k, c in enumerate(self.coefficients):
            lifted[k * (n // self.order)] = c
        return lifted


def cosine(k: int, n: int) -> float:
    """cos(2πk/n) to the last bit for the angles whose cosine is rational, and with exact symmetries for all.

    >>> cosine(1, 3), cosine(1, 4), cosine(3, 8) == -cosine(1, 8)
    (-0.5, 0.0, True)
    """
    turn = Fraction(k, n) % 1
    turn = min(turn, 1 - turn)
    if turn > Fraction(1, 4):
        return -cosine((Fraction(1, 2) - turn).numerator, (Fraction(1, 2) - turn).denominator)
    if turn == Fraction(1, 4):
        return 0.0
    if turn == Fraction(1, 6):
        return 0.5
    if turn > Fraction(1, 8):
        return math.sin(2 * math.pi * float(Fraction(1, 4) - turn))
    return math.cos(2 * math.pi * float(turn))


def sine(k: int, n: int) -> float:
    """sin(2πk/n), as :func:`cosine`."""
    turn = Fraction(1, 4) - Fraction(k, n)
    return cosine(turn.numerator, turn.denominator)


@cache
def cyclotomic_polynomial(n: int) -> tuple[int, ...]:
    """The coefficients of Φ_n, lowest power first.

    >>> cyclotomic_polynomial(6)
    (1, -1, 1)
    """
    quotient = [-1] + [0] * (n - 1) + [1]
    for d in range(1, n):
        if n % d == 0:
            quotient = _divide(quotient, cyclotomic_polynomial(d))
    return tuple(quotient)


@cache
def powers_of_root(n: int) -> np.ndarray:
    """The powers 0, ..., n-1 of a primitive n-th root of unity in the basis of the first φ(n) powers, integers (n, φ(n))."""
    polynomial = cyclotomic_polynomial(n)
    degree = len(polynomial) - 1
    rows = np.zeros((n, degree), dtype=np.int64)
    current = np.zeros(degree, dtype=np.int64)
    current[0] = 1
    for k in range(n):
        rows[k] = current
        top = current[-1]
        current = np.concatenate([[0], current[:-1]]) - top * np.asarray(polynomial[:-1], dtype=np.int64)
    rows.setflags(write=False)
    return rows


def _divide(dividend: Sequence[int], divisor: Sequence[int]) -> list[int]:
    """Exact division of polynomials with a monic divisor."""
    rest, quotient = list(dividend), [0] * (len(dividend) - len(divisor) + 1)
    for i in range(len(quotient) - 1, -1, -1):
        quotient[i] = rest[i + len(divisor) - 1]
        for j, c in enumerate(divisor):
            rest[i + j] -= quotient[i] * c
    return quotient
