"""Representations of O(3) by e3nn's names."""

from tesseral.interfaces.e3nn.o3 import irrep
from tesseral.interfaces.e3nn.o3._angular_spherical_harmonics import (
    Legendre,
    SphericalHarmonicsAlphaBeta,
    spherical_harmonics_alpha,
    spherical_harmonics_alpha_beta,
)
from tesseral.interfaces.e3nn.o3._irreps import Irrep, Irreps
from tesseral.interfaces.e3nn.o3._linear import Linear
from tesseral.interfaces.e3nn.o3._norm import Norm
from tesseral.interfaces.e3nn.o3._reduce import ReducedTensorProducts
from tesseral.interfaces.e3nn.o3._rotation import *  # noqa: F403
from tesseral.interfaces.e3nn.o3._rotation import __all__ as _rotations
from tesseral.interfaces.e3nn.o3._s2grid import FromS2Grid, ToS2Grid, irfft, rfft, s2_grid, spherical_harmonics_s2_grid
from tesseral.interfaces.e3nn.o3._so3grid import SO3Grid
from tesseral.interfaces.e3nn.o3._spherical_harmonics import SphericalHarmonics, spherical_harmonics
from tesseral.interfaces.e3nn.o3._tensor_product import (
    ElementwiseTensorProduct,
    FullTensorProduct,
    FullyConnectedTensorProduct,
    Instruction,
    TensorProduct,
    TensorSquare,
)
from tesseral.interfaces.e3nn.o3._wigner import (
    change_basis_real_to_complex,
    so3_generators,
    su2_generators,
    wigner_3j,
    wigner_D,
)
from tesseral.interfaces.e3nn.o3.experimental import FullTensorProductv2

__all__ = [
    *_rotations,
    "ElementwiseTensorProduct",
    "FromS2Grid",
    "FullTensorProduct",
    "FullTensorProductv2",
    "FullyConnectedTensorProduct",
    "Instruction",
    "Irrep",
    "Irreps",
    "Legendre",
    "Linear",
    "Norm",
    "ReducedTensorProducts",
    "SO3Grid",
    "SphericalHarmonics",
    "SphericalHarmonicsAlphaBeta",
    "TensorProduct",
    "TensorSquare",
    "ToS2Grid",
    "change_basis_real_to_complex",
    "irfft",
    "irrep",
    "rfft",
    "s2_grid",
    "so3_generators",
    "spherical_harmonics",
    "spherical_harmonics_alpha",
    "spherical_harmonics_alpha_beta",
    "spherical_harmonics_s2_grid",
    "su2_generators",
    "wigner_3j",
    "wigner_D",
]
