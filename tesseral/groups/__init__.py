"""Subgroups of O(3) and of the motions of space, and the meter of equivariance."""

# the meter and the representations it understands
# exact groups: names, elements, characters, irreps
from tesseral.groups.cyclotomic import Cyclotomic
from tesseral.groups.equivariance import (
    Cartesian,
    Element,
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
    sample_elements,
)
from tesseral.groups.finite import FiniteGroup
from tesseral.groups.point_group import FiniteIrrep, PointGroup, combine, generate, point_group
from tesseral.groups.schoenflies import INTERNATIONAL

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
