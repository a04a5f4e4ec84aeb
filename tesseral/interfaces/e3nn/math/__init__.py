"""Radial functions, normalised activations, linear algebra, permutations."""

from tesseral.interfaces.e3nn.math import perm
from tesseral.interfaces.e3nn.math._bessel import bessel
from tesseral.interfaces.e3nn.math._linalg import complete_basis, direct_sum, orthonormalize
from tesseral.interfaces.e3nn.math._normalize_activation import moment, normalize2mom
from tesseral.interfaces.e3nn.math._reduce import germinate_formulas, reduce_permutation
from tesseral.interfaces.e3nn.math._soft_one_hot_linspace import soft_one_hot_linspace
from tesseral.interfaces.e3nn.math._soft_unit_step import soft_unit_step

__all__ = [
    "bessel",
    "complete_basis",
    "direct_sum",
    "germinate_formulas",
    "moment",
    "normalize2mom",
    "orthonormalize",
    "perm",
    "reduce_permutation",
    "soft_one_hot_linspace",
    "soft_unit_step",
]
