"""Tensors of physics as irreps."""

from tesseral.interfaces.e3nn.io._cartesian_tensor import CartesianTensor

__all__ = ["CartesianTensor"]
