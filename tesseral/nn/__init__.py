"""Layers, one family a file; the map of the floor. Features are plain tensors ``(..., irreps.dim)`` in the ``ir_mul`` layout."""

from tesseral.nn.activation import Activation, Normalized, parity_of, second_moment_scale
from tesseral.nn.convolution import Convolution
from tesseral.nn.cutoff import BumpCutoff, CosineCutoff, PolynomialCutoff, soft_unit_step
from tesseral.nn.distance_transform import AgnesiTransform, SoftTransform
from tesseral.nn.dropout import Dropout
from tesseral.nn.embedding import SpeciesEmbedding
from tesseral.nn.extract import Extract, ExtractIr
from tesseral.nn.gate import Gate
from tesseral.nn.gaunt import GauntTensorProduct
from tesseral.nn.grid_activation import S2Activation, SO3Activation
from tesseral.nn.linear import Linear
from tesseral.nn.mlp import MLP, FullyConnectedNet
from tesseral.nn.norm import BatchNorm, LayerNorm, Norm, NormActivation
from tesseral.nn.o2 import O2Linear, O2TensorProduct
from tesseral.nn.radial import BesselBasis, ExponentialNormalBasis, GaussianBasis, SoftOneHot, sinc, soft_one_hot
from tesseral.nn.radial_embedding import RadialEmbedding, RadialFunctions
from tesseral.nn.reduced_tensor_product import ReducedTensorProduct
from tesseral.nn.so2 import SO2Convolution
from tesseral.nn.species_linear import SpeciesLinear
from tesseral.nn.spherical_harmonics import SphericalHarmonics, SphericalHarmonicsAlphaBeta
from tesseral.nn.symmetric_contraction import SymmetricContraction
from tesseral.nn.symmetric_tensor_product import SymmetricTensorProduct
from tesseral.nn.tensor_product import (
    ElementwiseTensorProduct,
    FullTensorProduct,
    FullyConnectedTensorProduct,
    TensorProduct,
    TensorSquare,
)

__all__ = [
    "Activation",
    "AgnesiTransform",
    "BatchNorm",
    "BesselBasis",
    "BumpCutoff",
    "Convolution",
    "CosineCutoff",
    "Dropout",
    "ElementwiseTensorProduct",
    "ExponentialNormalBasis",
    "Extract",
    "ExtractIr",
    "FullTensorProduct",
    "FullyConnectedNet",
    "FullyConnectedTensorProduct",
    "Gate",
    "GauntTensorProduct",
    "GaussianBasis",
    "LayerNorm",
    "Linear",
    "MLP",
    "Norm",
    "NormActivation",
    "Normalized",
    "O2Linear",
    "O2TensorProduct",
    "PolynomialCutoff",
    "RadialEmbedding",
    "RadialFunctions",
    "ReducedTensorProduct",
    "S2Activation",
    "SO2Convolution",
    "SO3Activation",
    "SoftOneHot",
    "SoftTransform",
    "SpeciesEmbedding",
    "SpeciesLinear",
    "SphericalHarmonics",
    "SphericalHarmonicsAlphaBeta",
    "SymmetricContraction",
    "SymmetricTensorProduct",
    "TensorProduct",
    "TensorSquare",
    "parity_of",
    "second_moment_scale",
    "sinc",
    "soft_one_hot",
    "soft_unit_step",
]
