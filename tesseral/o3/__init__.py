"""Representations of O(3): constants exact in NumPy float64, functions of rotations on tensors; no learning.

Conventions are e3nn's: y is the polar axis, l = 1 is (x, y, z), components run over m = -l, ..., l.
"""

# what transforms how, and in which order it is stored
from tesseral.o3.irreps import Irrep, Irreps, MulIr
from tesseral.o3.layout import permutation, to_layout

__all__ = [
    "Irrep",
    "Irreps",
    "MulIr",
    "permutation",
    "to_layout",
]
