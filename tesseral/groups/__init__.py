"""Subgroups of O(3) and of the motions of space, and the meter of equivariance."""

# the meter and the representations it understands
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

__all__ = [
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
