"""Orthonormal families, complements, block-diagonal sums: tesseral's functions."""

from tesseral.o3.linear_algebra import complete_basis, direct_sum, orthonormalize

__all__ = ["complete_basis", "direct_sum", "orthonormalize"]
