"""Differentiable functions on tensors: stateless, the plan (what to do) beside the tensors (to what)."""

from tesseral.ops.convolution import ConvolutionPlan, convolution
from tesseral.ops.gaunt import GauntPlan, gaunt_path_weight, gaunt_product
from tesseral.ops.linear import linear, linear_with_channels
from tesseral.ops.linear_plan import LinearPath, LinearPlan, linear_plan
from tesseral.ops.scatter import scatter, scatter_softmax
from tesseral.ops.so2 import SO2Plan, edge_frames, so2_convolution
from tesseral.ops.spherical_harmonics import spherical_harmonics
from tesseral.ops.spline import Knots, SplineWeights, spline
from tesseral.ops.spline_convolution import spline_convolution
from tesseral.ops.symmetric_contraction import SymmetricContractionPlan, symmetric_contraction
from tesseral.ops.tensor_product import Instruction, TensorProductPlan, right, tensor_product, tensor_product_plan

__all__ = [
    "ConvolutionPlan",
    "GauntPlan",
    "Instruction",
    "Knots",
    "LinearPath",
    "LinearPlan",
    "SO2Plan",
    "SplineWeights",
    "SymmetricContractionPlan",
    "TensorProductPlan",
    "convolution",
    "edge_frames",
    "gaunt_path_weight",
    "gaunt_product",
    "linear",
    "linear_plan",
    "linear_with_channels",
    "right",
    "scatter",
    "scatter_softmax",
    "so2_convolution",
    "spherical_harmonics",
    "spline",
    "spline_convolution",
    "symmetric_contraction",
    "tensor_product",
    "tensor_product_plan",
]
