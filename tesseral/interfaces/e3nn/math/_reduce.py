"""Tensors with an index symmetry."""

from collections.abc import Iterable

import torch
from torch import Tensor

from tesseral.interfaces.e3nn.util.default_type import explicit_default_types
from tesseral.o3 import permutations
from tesseral.o3.permutations import germinate_formulas

__all__ = ["germinate_formulas", "reduce_permutation"]


def reduce_permutation(f0: str, formulas: Iterable, dtype=None, device=None, **dims: int) -> tuple[Tensor, list]:
    """:func:`tesseral.o3.permutations.reduce_permutation` with the basis as a tensor."""
    basis, elements = permutations.reduce_permutation(f0, formulas, **dims)
    dtype, device = explicit_default_types(dtype, device)
    return torch.from_numpy(basis.copy()).to(dtype=dtype, device=device), elements
