"""Wigner matrices and Clebsch-Gordan coefficients; these in the convention of whoever asks, see :mod:`.._convention`."""

import torch
from torch import Tensor

from tesseral import o3
from tesseral.interfaces.e3nn._convention import convention
from tesseral.interfaces.e3nn.util.default_type import explicit_default_types


def wigner_3j(l1: int, l2: int, l3: int, dtype=None, device=None) -> Tensor:
    """:func:`tesseral.o3.wigner_3j` in the default dtype; ``AssertionError`` where the triangle inequality fails, as in e3nn."""
    assert abs(l2 - l3) <= l1 <= l2 + l3, f"no coupling of degrees {l1}, {l2}, {l3}"
    dtype, device = explicit_default_types(dtype, device)
    return o3.wigner_3j(l1, l2, l3, dtype=dtype, device=device, convention=convention())


def wigner_D(l: int, alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    """The matrix of degree ``l``, (..., 2l+1, 2l+1), of the rotation with these angles."""
    return o3.wigner_D(l, *torch.broadcast_tensors(alpha, beta, gamma))


def change_basis_real_to_complex(l: int, dtype=None, device=None) -> Tensor:
    """From real to complex components: (2l+1, 2l+1), complex of the precision of ``dtype``."""
    dtype, device = explicit_default_types(dtype, device)
    return o3.change_basis_real_to_complex(l, dtype=_real(dtype), device=device)


def su2_generators(j: int) -> Tensor:
    """Generators of SU(2), (3, 2j+1, 2j+1) complex128."""
    return o3.su2_generators(j)


def so3_generators(l) -> Tensor:
    """Generators of SO(3) on real components, (3, 2l+1, 2l+1) in the default dtype."""
    return o3.so3_generators(l, dtype=torch.get_default_dtype())


def _so3_clebsch_gordan(l1: int, l2: int, l3: int) -> Tensor:
    return o3.wigner_3j(l1, l2, l3, convention=convention())


def _real(dtype: torch.dtype) -> torch.dtype:
    return {torch.complex64: torch.float32, torch.complex128: torch.float64}.get(dtype, dtype)
