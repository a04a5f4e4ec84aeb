"""Irreps are tesseral's own: the same tuples, strings and order."""

from tesseral.o3.irreps import Irrep, Irreps
from tesseral.o3.irreps import MulIr as _MulIr
from tesseral.o3.irreps import SliceByMul as _MulIndexSliceHelper

__all__ = ["Irrep", "Irreps", "_MulIndexSliceHelper", "_MulIr"]
