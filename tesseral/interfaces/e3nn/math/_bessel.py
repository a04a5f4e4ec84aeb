"""Bessel functions."""

from torch import Tensor

from tesseral.nn.radial import BesselBasis


def bessel(x: Tensor, n: int, x_max: float = 1.0) -> Tensor:
    """:class:`tesseral.nn.BesselBasis`, orthonormal: (...) to (..., n)."""
    assert isinstance(n, int), f"the number of functions is an integer, got {n!r}"
    return BesselBasis(x_max, n)(x)
