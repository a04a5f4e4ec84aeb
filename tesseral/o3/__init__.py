"""Representations of O(3): constants exact in NumPy float64, functions of rotations on tensors; no learning.

Conventions are e3nn's: y is the polar axis, l = 1 is (x, y, z), components run over m = -l, ..., l.
"""

from tesseral.o3.clebsch_gordan import gaunt_array, wigner_3j, wigner_3j_array, wigner_3j_sparse
from tesseral.o3.irreps import Irrep, Irreps, MulIr
from tesseral.o3.layout import permutation, to_layout
from tesseral.o3.spherical_harmonics import (
    legendre,
    spherical_harmonics,
    spherical_harmonics_alpha,
    spherical_harmonics_alpha_beta,
)

__all__ = [
    # what transforms how, and in which order it is stored
    "Irrep",
    "Irreps",
    "MulIr",
    "permutation",
    "to_layout",
    # invariants and functions on the sphere
    "gaunt_array",
    "legendre",
    "spherical_harmonics",
    "spherical_harmonics_alpha",
    "spherical_harmonics_alpha_beta",
    "wigner_3j",
    "wigner_3j_array",
    "wigner_3j_sparse",
]
