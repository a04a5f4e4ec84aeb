"""Tensors of physics as irreps."""

from tesseral.interfaces.e3nn.io._cartesian_tensor import CartesianTensor
from tesseral.interfaces.e3nn.io._spherical_tensor import SphericalTensor

__all__ = ["CartesianTensor", "SphericalTensor"]
