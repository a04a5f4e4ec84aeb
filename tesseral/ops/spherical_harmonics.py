"""Real spherical harmonics as an operation on tensors; the definition is :mod:`tesseral.o3.spherical_harmonics`."""

from tesseral.o3.spherical_harmonics import spherical_harmonics

__all__ = ["spherical_harmonics"]
