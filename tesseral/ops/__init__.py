"""Differentiable functions on tensors: stateless, the plan (what to do) beside the tensors (to what)."""

from tesseral.ops.convolution import ConvolutionPlan, convolution
from tesseral.ops.linear import LinearPath, LinearPlan, linear, linear_plan, linear_with_channels
from tesseral.ops.scatter import scatter, scatter_softmax
from tesseral.ops.spherical_harmonics import spherical_harmonics
from tesseral.ops.tensor_product import Instruction, TensorProductPlan, right, tensor_product, tensor_product_plan

__all__ = [
    "ConvolutionPlan",
    "Instruction",
    "LinearPath",
    "LinearPlan",
    "TensorProductPlan",
    "convolution",
    "linear",
    "linear_plan",
    "linear_with_channels",
    "right",
    "scatter",
    "scatter_softmax",
    "spherical_harmonics",
    "tensor_product",
    "tensor_product_plan",
]
