r"""Cubic splines of a distance with vector values: radial networks evaluated at knots instead of at every edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.kernels import spline as compiled
from tesseral.kernels.spline import Knots
from tesseral.ops.fused import apply


def spline(x: Float[Tensor, " edges"], coefficients: Float[Tensor, "rows width"], knots: Knots) -> Float[Tensor, "edges width"]:
    r"""The cubic spline :math:`y(x) = \sum_j c_j\, B(x/h - j + 1)` with n equal intervals h up to the cutoff, zero beyond.

    ``coefficients`` has n + 3 rows; B is the cardinal cubic B-spline on :math:`[-2, 2]`, so y has two continuous derivatives
    within the range (and over its end, if the last three rows are zero). Differentiable to any order by both arguments.

    Raises ``ValueError`` for another number of rows.

    >>> constant = torch.ones(11, 2)
    >>> spline(torch.tensor([0.3, 3.9, 5.0]), constant, Knots(8, 4.0))
    tensor([[1., 1.],
            [1., 1.],
            [0., 0.]])
    """
    if coefficients.shape[0] != knots.rows:
        raise ValueError(f"{coefficients.shape[0]} rows of coefficients for {knots.intervals} intervals: expected {knots.rows}")
    return apply(SplineRule(knots), x, coefficients)


def interpolation(values: Float[Tensor, "points width"]) -> Float[Tensor, "rows width"]:
    r"""Coefficients of the spline that follows a function to fourth order, from its values at :math:`-2h, -h, \dots, (n+2)h`.

    :math:`c_j = f_j - (f_{j-1} - 2 f_j + f_{j+1})/6`: local, so that a function that ends at the cutoff has a spline that does.
    Source: C. de Boor, A Practical Guide to Splines (2001), chapter XII.

    >>> knots = Knots(4, 1.0)
    >>> x = (torch.arange(9, dtype=torch.float64)[:, None] - 2) / 4
    >>> (spline(torch.tensor([0.3], dtype=torch.float64), interpolation(x**3), knots) - 0.3**3).abs().item() < 1e-15
    True
    """
    return values[1:-1] - torch.diff(values, n=2, dim=0) / 6


@dataclass(frozen=True)
class SplineWeights:
    """Numbers per edge that are splines of the edges' lengths: ``spline(lengths, coefficients, knots)``, not worked out yet.

    ``lengths`` (edges,), ``coefficients`` (knots.rows, width).
    """

    lengths: Float[Tensor, " edges"]
    coefficients: Float[Tensor, "rows width"]
    knots: Knots

    def values(self) -> Float[Tensor, "edges width"]:
        """Work them out."""
        return spline(self.lengths, self.coefficients, self.knots)


class SplineRule:
    """The spline, its gradient and second gradient; tensors are the distances and the coefficients."""

    def __init__(self, knots: Knots) -> None:
        self.knots = knots

    def definition(self, *tensors: Tensor) -> Tensor:
        x, table = tensors
        s = x / self.knots.step
        k = s.detach().floor().clamp(0, self.knots.intervals - 1)
        t = (s - k)[:, None]
        u, k = 1 - t, k.to(torch.int64)
        y = u**3 * table[k] + (4 + t**2 * (3 * t - 6)) * table[k + 1]
        y = y + (1 + 3 * t * (1 + t * u)) * table[k + 2] + t**3 * table[k + 3]
        return torch.where((s < self.knots.intervals)[:, None], y / 6, torch.zeros_like(y))

    def value(self, *tensors: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, table = tensors
        return compiled.gather(x, table, self.knots, 0), ()

    def gradient(
        self, g: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor], wanted: Sequence[bool]
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        x, table = tensors
        found = [compiled.dot(x, table, g, self.knots, 1)] if wanted[0] else []
        return [*found, compiled.scatter(x, g, self.knots, 0)] if wanted[1] else found, ()

    def second_gradient(
        self,
        cotangents: Sequence[Tensor | None],
        g: Tensor,
        tensors: Sequence[Tensor],
        kept: Sequence[Tensor],
        wanted: Sequence[bool],
    ) -> list[Tensor | None] | None:
        (c, of_table), (x, table) = cotangents, tensors
        if c is None or of_table is not None:
            return None
        return [
            compiled.gather(x, table, self.knots, 1, c) if wanted[0] else None,
            compiled.dot(x, table, g, self.knots, 2, c) if wanted[1] else None,
            compiled.scatter(x, g, self.knots, 1, c) if wanted[2] else None,
        ]
