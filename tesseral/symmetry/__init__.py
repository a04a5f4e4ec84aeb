"""What breaks a symmetry, and breaking it on purpose: relaxed weights, order parameters, symmetry-breaking sets."""

from tesseral.symmetry.network import PointNetwork
from tesseral.symmetry.relaxed import Relaxation, RelaxedConvolution, RelaxedLinear, all_irreps
from tesseral.symmetry.tensor_adam import TensorAdam

__all__ = [
    # weights that may become tensors
    "Relaxation",
    "RelaxedConvolution",
    "RelaxedLinear",
    "all_irreps",
    # a network to try them on, and how to train a tensor
    "PointNetwork",
    "TensorAdam",
]
