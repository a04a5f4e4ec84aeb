"""Representations of O(3): constants exact in NumPy float64, functions of rotations on tensors; no learning.

Conventions are e3nn's: y is the polar axis, l = 1 is (x, y, z), components run over m = -l, ..., l.
"""

from tesseral.o3.clebsch_gordan import gaunt_array, wigner_3j, wigner_3j_array, wigner_3j_sparse
from tesseral.o3.fourier import irfft, rfft
from tesseral.o3.irreps import Irrep, Irreps, MulIr
from tesseral.o3.irreps_tensor import IrrepsTensor, concatenate, stack
from tesseral.o3.layout import permutation, to_layout
from tesseral.o3.linear_algebra import complete_basis, direct_sum, orthonormalize
from tesseral.o3.product_basis import antisymmetric_product_basis, product_basis, symmetric_product_basis
from tesseral.o3.reduce import CartesianTensor, ReducedTensor, reduce_tensor
from tesseral.o3.rotation_grid import RotationTransform
from tesseral.o3.rotations import (
    angles_to_axis_angle,
    angles_to_matrix,
    angles_to_quaternion,
    angles_to_xyz,
    axis_angle_to_angles,
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    check_orthogonal,
    compose_angles,
    compose_axis_angle,
    compose_quaternion,
    identity_angles,
    identity_quaternion,
    inverse_angles,
    inverse_quaternion,
    matrix_to_angles,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    matrix_to_rotation_vector,
    matrix_x,
    matrix_y,
    matrix_z,
    quaternion_to_angles,
    quaternion_to_axis_angle,
    quaternion_to_matrix,
    quaternion_to_rotation_vector,
    rand_angles,
    rand_axis_angle,
    rand_matrix,
    rand_quaternion,
    rotation_vector_to_matrix,
    rotation_vector_to_quaternion,
    xyz_to_angles,
)
from tesseral.o3.sphere_grid import SphereGrid, SphereTransform, equiangular_grid, gauss_legendre_grid
from tesseral.o3.spherical_harmonics import (
    legendre,
    spherical_harmonics,
    spherical_harmonics_alpha,
    spherical_harmonics_alpha_beta,
)
from tesseral.o3.spherical_tensor import SphericalTensor
from tesseral.o3.wigner import (
    change_basis_real_to_complex,
    so3_generators,
    su2_generators,
    wigner_D,
    wigner_D_all,
    wigner_D_from_matrix,
    wigner_D_from_quaternion,
)

__all__ = [
    # what transforms how, and in which order it is stored
    "Irrep",
    "Irreps",
    "MulIr",
    "IrrepsTensor",
    "concatenate",
    "stack",
    "permutation",
    "to_layout",
    # rotations: random and identity, products and inverses, conversions, points on the sphere
    "identity_angles",
    "identity_quaternion",
    "rand_angles",
    "rand_axis_angle",
    "rand_matrix",
    "rand_quaternion",
    "compose_angles",
    "compose_axis_angle",
    "compose_quaternion",
    "inverse_angles",
    "inverse_quaternion",
    "angles_to_axis_angle",
    "angles_to_matrix",
    "angles_to_quaternion",
    "axis_angle_to_angles",
    "axis_angle_to_matrix",
    "axis_angle_to_quaternion",
    "check_orthogonal",
    "matrix_to_angles",
    "matrix_to_axis_angle",
    "matrix_to_quaternion",
    "matrix_to_rotation_vector",
    "matrix_x",
    "matrix_y",
    "matrix_z",
    "quaternion_to_angles",
    "quaternion_to_axis_angle",
    "quaternion_to_matrix",
    "quaternion_to_rotation_vector",
    "rotation_vector_to_matrix",
    "rotation_vector_to_quaternion",
    "angles_to_xyz",
    "xyz_to_angles",
    # how harmonics turn
    "change_basis_real_to_complex",
    "so3_generators",
    "su2_generators",
    "wigner_D",
    "wigner_D_all",
    "wigner_D_from_matrix",
    "wigner_D_from_quaternion",
    # invariants and functions on the sphere
    "gaunt_array",
    "legendre",
    "spherical_harmonics",
    "spherical_harmonics_alpha",
    "spherical_harmonics_alpha_beta",
    "wigner_3j",
    "wigner_3j_array",
    "wigner_3j_sparse",
    # grids on the sphere and on the group of rotations
    "RotationTransform",
    "SphereGrid",
    "SphereTransform",
    "SphericalTensor",
    "equiangular_grid",
    "gauss_legendre_grid",
    "irfft",
    "rfft",
    # tensors with index symmetries
    "CartesianTensor",
    "ReducedTensor",
    "reduce_tensor",
    "antisymmetric_product_basis",
    "product_basis",
    "symmetric_product_basis",
    # small linear algebra
    "complete_basis",
    "direct_sum",
    "orthonormalize",
]
