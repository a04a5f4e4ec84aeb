"""Differentiable functions on tensors: stateless, the plan (what to do) beside the tensors (to what)."""

from tesseral.ops.convolution import ConvolutionPlan, convolution
from tesseral.ops.linear import LinearPath, LinearPlan, linear, linear_plan, linear_with_channels
from tesseral.ops.scatter import scatter, scatter_softmax

__all__ = [
    "ConvolutionPlan",
    "LinearPath",
    "LinearPlan",
    "convolution",
    "linear",
    "linear_plan",
    "linear_with_channels",
    "scatter",
    "scatter_softmax",
]
