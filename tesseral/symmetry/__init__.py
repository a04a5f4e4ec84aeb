"""What breaks a symmetry, and breaking it on purpose: relaxed weights, order parameters, symmetry-breaking sets."""

from tesseral.symmetry.grid import GroupConvolution, GroupLift, GroupProjection, GroupWeights, SeparableGroupConvolution
from tesseral.symmetry.grid_action import GridAction
from tesseral.symmetry.network import PointNetwork
from tesseral.symmetry.readout import (
    GroupPart,
    TensorPart,
    direction_name,
    in_group,
    invariant_projection,
    on_group,
    stabilizer,
    strengths,
)
from tesseral.symmetry.relaxed import Relaxation, RelaxedConvolution, RelaxedLinear, all_irreps
from tesseral.symmetry.tensor_adam import TensorAdam

__all__ = [
    # weights that may become tensors, on graphs
    "Relaxation",
    "RelaxedConvolution",
    "RelaxedLinear",
    "all_irreps",
    # weights on a group, on voxel grids
    "GridAction",
    "GroupConvolution",
    "GroupLift",
    "GroupProjection",
    "GroupWeights",
    "SeparableGroupConvolution",
    # what has been learned
    "GroupPart",
    "TensorPart",
    "direction_name",
    "in_group",
    "invariant_projection",
    "on_group",
    "stabilizer",
    "strengths",
    # a network to try them on, and how to train a tensor
    "PointNetwork",
    "TensorAdam",
]
