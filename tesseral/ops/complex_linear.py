r"""Linear maps between pairs of columns that stand for complex numbers, beside real ones, without laying out real matrices.

A pair maps :math:`(x_+, x_-)` by :math:`W = A + iB`, :math:`y_+ = x_+ A - x_- B,\; y_- = x_- A + x_+ B`. Wide matrices take three
real products instead of four,

.. math:: k = (x_+ + x_-) A, \qquad y_+ = k - x_- (A + B), \qquad y_- = k + x_+ (B - A),

which saves a quarter of the arithmetic where products cost more than the sums around them. The gradients are such maps again:
with :math:`A^T, -B^T`, and of the weights with :math:`\bar x^T`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tesseral.kernels import fused

WIDE, MANY_ROWS = 384, 192
"""Channels on both sides, and rows, from which three products are faster than four: measured on a CPU, one thread."""


class Pair(NamedTuple):
    """Columns ``source`` (n of the real parts, then n imaginary), ``target`` (m and m); A, then B, (n, m), from ``start``."""

    source: int
    n: int
    target: int
    m: int
    start: int
    coefficient: float


class ComplexLinear:
    """The rule (:class:`tesseral.ops.fused.Rule`) of such a map of features and flat weights; bilinear, so all orders are alike.

    ``real`` are paths as in :class:`tesseral.kernels.fused.Blocks`; ``definition`` is the same map in torch operations.
    """

    def __init__(
        self,
        definition: Callable[[Tensor, Tensor], Tensor],
        real: Sequence[tuple[int, int, int, int, int, int, float]],
        pairs: Sequence[Pair],
        dims: tuple[int, int],
        weights: int,
    ) -> None:
        self.of_two, self.weights = definition, weights
        self.wide = tuple(p for p in pairs if min(p.n, p.m) >= WIDE)
        narrow = [p for p in pairs if p not in self.wide]
        # Where there are few rows, all pairs take four products.
        self.direct, self.rest = (
            fused.Blocks((*real, *(row for p in some for row in _four(p))), *dims, weights) for some in (pairs, narrow)
        )
        self.outer_direct, self.outer_rest = (_OuterBlocks(real, some, dims, weights) for some in (pairs, narrow))

    def definition(self, *tensors: Tensor) -> Tensor:
        """The result, in differentiable torch operations."""
        return self.of_two(*tensors)

    def value(self, *tensors: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, weight = tensors
        return self._map(x, weight, False), ()

    def gradient(
        self, g: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor], wanted: Sequence[bool]
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        found = []
        if wanted[0]:
            found.append(self._map(g, tensors[1], True))
        if wanted[1]:
            found.append(self._outer(tensors[0], g))
        return found, ()

    def second_gradient(
        self,
        cotangents: Sequence[Tensor | None],
        g: Tensor,
        tensors: Sequence[Tensor],
        kept: Sequence[Tensor],
        wanted: Sequence[bool],
    ) -> list[Tensor | None] | None:
        (dx, dweight), (x, weight) = cotangents, tensors
        of_g = of_x = of_weight = None
        if dx is not None:
            of_g = self._map(dx, weight, False) if wanted[0] else None
            of_weight = self._outer(dx, g) if wanted[2] else None
        if dweight is not None:
            more = self._map(x, dweight, False) if wanted[0] else None
            of_g = more if of_g is None or more is None else of_g + more
            of_x = self._map(g, dweight, True) if wanted[1] else None
        return [of_g, of_x, of_weight]

    def _map(self, x: Tensor, weight: Tensor, transposed: bool) -> Tensor:
        """x W, or with ``transposed`` x W^T, where W stands for all the real matrices."""
        wide = self.wide if x.shape[0] >= MANY_ROWS else ()
        blocks = self.rest if wide else self.direct
        y = fused.linear(x, weight, blocks.transposed() if transposed else blocks, transposed)
        for p in wide:
            ends = _ends(x, p.source, p.n), _ends(y, p.target, p.m)
            if transposed:
                ends = _ends(x, p.target, p.m), _ends(y, p.source, p.n)
            _three(*ends, *_parts(weight, p), p.coefficient, transposed)
        return y

    def _outer(self, x: Tensor, g: Tensor) -> Tensor:
        """The gradient of <g, x W> with respect to the weights."""
        wide = self.wide if x.shape[0] >= MANY_ROWS else ()
        result = (self.outer_rest if wide else self.outer_direct).of(x, g)
        for p in wide:
            (x_re, x_im), (g_re, g_im) = _ends(x, p.source, p.n), _ends(g, p.target, p.m)
            of_a, of_b = _parts(result, p)
            common = (x_re - x_im).T @ g_re
            torch.addmm(common, x_im.T, g_re + g_im, beta=p.coefficient, alpha=p.coefficient, out=of_a)
            torch.addmm(common, x_re.T, g_im - g_re, beta=p.coefficient, alpha=p.coefficient, out=of_b)
        return result


class _OuterBlocks:
    """Gradients of weights: both halves of that of B get places of their own, and are added."""

    def __init__(self, real: Sequence, pairs: Sequence[Pair], dims: tuple[int, int], weights: int) -> None:
        self.weights, rows, self.spare = weights, list(real), []
        end = weights
        for p in pairs:
            b = p.start + p.n * p.m
            rows += [
                (p.source, p.n, p.target, p.m, 2, p.start, p.coefficient),
                (p.source, p.n, p.target + p.m, p.m, 1, b, p.coefficient),
                (p.source + p.n, p.n, p.target, p.m, 1, end, -p.coefficient),
            ]
            self.spare.append((b, end, p.n * p.m))
            end += p.n * p.m
        self.blocks = fused.Blocks(tuple(rows), *dims, end)

    def of(self, x: Tensor, g: Tensor) -> Tensor:
        result = fused.outer(x, g, self.blocks).flatten()
        for b, spare, size in self.spare:
            result[b : b + size] += result[spare : spare + size]
        return result[: self.weights]


def _four(p: Pair) -> list[tuple[int, int, int, int, int, int, float]]:
    """The four products of a pair as paths."""
    a, b, c = p.start, p.start + p.n * p.m, p.coefficient
    re, im, to_re, to_im = p.source, p.source + p.n, p.target, p.target + p.m
    ends = ((re, to_re, a, c), (im, to_im, a, c), (im, to_re, b, -c), (re, to_im, b, c))
    return [(i, p.n, j, p.m, 1, start, factor) for i, j, start, factor in ends]


def _three(
    x: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor], a: Tensor, b: Tensor, coefficient: float, transposed: bool
) -> None:
    """y = x (a + ib), or x (a - ib)^T, in three products."""
    more, less = a + b, b - a
    if transposed:
        common, into, sign = (x[0] + x[1]) @ a.T, (less.T, more.T), 1
    else:
        common, into, sign = (x[0] + x[1]) @ a, (more, less), -1
    torch.addmm(common, x[1], into[0], beta=coefficient, alpha=sign * coefficient, out=y[0])
    torch.addmm(common, x[0], into[1], beta=coefficient, alpha=-sign * coefficient, out=y[1])


def _parts(weight: Tensor, p: Pair) -> tuple[Tensor, Tensor]:
    both = weight[p.start : p.start + 2 * p.n * p.m].view(2, p.n, p.m)
    return both[0], both[1]


def _ends(x: Tensor, start: int, width: int) -> tuple[Tensor, Tensor]:
    return x[:, start : start + width], x[:, start + width : start + 2 * width]
