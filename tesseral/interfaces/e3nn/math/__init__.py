"""Radial functions, normalised activations, linear algebra, permutations."""

from tesseral.interfaces.e3nn.math._bessel import bessel
from tesseral.interfaces.e3nn.math._normalize_activation import moment, normalize2mom
from tesseral.interfaces.e3nn.math._soft_one_hot_linspace import soft_one_hot_linspace
from tesseral.interfaces.e3nn.math._soft_unit_step import soft_unit_step

__all__ = ["bessel", "moment", "normalize2mom", "soft_one_hot_linspace", "soft_unit_step"]
