"""Subgroups of O(3) and of the motions of space, and the meter of equivariance."""

# the meter and the representations it understands
# exact groups: names, elements, characters, irreps
# of molecules and crystals
# subgroups, and the groups without a list of elements
from tesseral.groups.continuous import ContinuousGroup, normalizer_in_o3
from tesseral.groups.crystal import SpaceGroup, primitive_cell, space_group
from tesseral.groups.cyclotomic import Cyclotomic
from tesseral.groups.distortion import Distortion, Mode, decompose, find_distortion, strain_parts
from tesseral.groups.elements import Element, sample_elements
from tesseral.groups.equivariance import (
    Cartesian,
    EquivarianceError,
    Invariant,
    Matrices,
    NodeIndex,
    OfIrreps,
    PerNode,
    Positions,
    Representation,
    equivariance_error,
    representation,
)
from tesseral.groups.finite import FiniteGroup
from tesseral.groups.little import LittleGroup, SmallIrrep, little_group
from tesseral.groups.molecule import MolecularSymmetry, aligned_displacements, molecular_modes, molecular_point_group
from tesseral.groups.point_group import PointGroup, combine, generate, point_group
from tesseral.groups.schoenflies import INTERNATIONAL
from tesseral.groups.standard import FiniteIrrep
from tesseral.groups.subgroups import (
    SubgroupClass,
    SubgroupLattice,
    as_point_group,
    centralizer,
    complement,
    complements,
    conjugate_subgroups,
    members_of,
    normalizer,
    quotient,
    stabilizer,
    stabilizer_of_points,
    sub,
    subgroup_classes,
)
from tesseral.groups.tensors import (
    DIPOLE,
    ELASTIC,
    GYRATION,
    HYPERPOLARIZABILITY,
    MAGNETIC,
    PIEZO,
    POLARIZABILITY,
    TENSORS,
    VOIGT,
    TensorKind,
    TensorPattern,
    invariant_tensors,
    tensor_pattern,
)

__all__ = [
    # point groups
    "INTERNATIONAL",
    "Cyclotomic",
    "FiniteGroup",
    "FiniteIrrep",
    "PointGroup",
    "combine",
    "generate",
    "point_group",
    # molecules and crystals
    "Distortion",
    "LittleGroup",
    "Mode",
    "DIPOLE",
    "ELASTIC",
    "GYRATION",
    "HYPERPOLARIZABILITY",
    "MAGNETIC",
    "PIEZO",
    "POLARIZABILITY",
    "TENSORS",
    "VOIGT",
    "TensorKind",
    "TensorPattern",
    "decompose",
    "find_distortion",
    "invariant_tensors",
    "strain_parts",
    "tensor_pattern",
    "SmallIrrep",
    "SpaceGroup",
    "little_group",
    "primitive_cell",
    "space_group",
    "MolecularSymmetry",
    "aligned_displacements",
    "molecular_modes",
    "molecular_point_group",
    # subgroups and continuous groups
    "ContinuousGroup",
    "SubgroupClass",
    "SubgroupLattice",
    "as_point_group",
    "centralizer",
    "complement",
    "complements",
    "conjugate_subgroups",
    "members_of",
    "normalizer",
    "normalizer_in_o3",
    "quotient",
    "stabilizer",
    "stabilizer_of_points",
    "sub",
    "subgroup_classes",
    # the meter
    "Cartesian",
    "Element",
    "EquivarianceError",
    "Invariant",
    "Matrices",
    "NodeIndex",
    "OfIrreps",
    "PerNode",
    "Positions",
    "Representation",
    "equivariance_error",
    "representation",
    "sample_elements",
]
