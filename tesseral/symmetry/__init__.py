"""What breaks a symmetry, and breaking it on purpose: relaxed weights, order parameters, symmetry-breaking sets."""

from tesseral.symmetry.breaking_set import BreakingSet, breaking_set
from tesseral.symmetry.crystal_order import CrystalOrder, Wave, crystal_order_parameters
from tesseral.symmetry.grid import GroupConvolution, GroupLift, GroupProjection, GroupWeights, SeparableGroupConvolution
from tesseral.symmetry.grid_action import GridAction
from tesseral.symmetry.network import PointNetwork
from tesseral.symmetry.order_parameters import (
    LearnedInput,
    OrderParameter,
    OrderParameters,
    common_symmetry,
    learn_order_parameter,
    order_parameters,
)
from tesseral.symmetry.readout import (
    GroupPart,
    TensorPart,
    direction_name,
    in_group,
    invariant_projection,
    on_group,
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
    "strengths",
    # what an input must contain to break a symmetry, and sets of such inputs
    "BreakingSet",
    "CrystalOrder",
    "LearnedInput",
    "OrderParameter",
    "OrderParameters",
    "Wave",
    "breaking_set",
    "common_symmetry",
    "crystal_order_parameters",
    "learn_order_parameter",
    "order_parameters",
    # a network to try them on, and how to train a tensor
    "PointNetwork",
    "TensorAdam",
]
