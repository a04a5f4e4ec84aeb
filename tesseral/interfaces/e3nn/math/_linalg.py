"""Orthonormal families, complements, block-diagonal sums: tesseral's functions, with e3nn's names of arguments."""

from torch import Tensor

from tesseral.o3 import linear_algebra
from tesseral.o3.linear_algebra import direct_sum

__all__ = ["complete_basis", "direct_sum", "orthonormalize"]


def orthonormalize(original: Tensor, eps: float = 1e-9) -> tuple[Tensor, Tensor]:
    """:func:`tesseral.o3.linear_algebra.orthonormalize`."""
    return linear_algebra.orthonormalize(original, eps)


def complete_basis(vecs: Tensor, eps: float = 1e-9) -> Tensor:
    """:func:`tesseral.o3.linear_algebra.complete_basis`."""
    return linear_algebra.complete_basis(vecs, eps)
