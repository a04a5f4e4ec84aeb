"""e3nn's module tree over tesseral: the same names, signatures, ``mul_ir`` layout and state dicts; private paths included.

Either import from here (``from tesseral.interfaces.e3nn import o3``), or let :func:`install` (or
``python -m tesseral.interfaces.e3nn``) make ``import e3nn`` mean this in a process, so that MACE, NequIP, and whatever else is
written for e3nn runs on tesseral without a line changed.
"""

from tesseral.interfaces.e3nn._convention import convention, using
from tesseral.interfaces.e3nn._install import install
from tesseral.interfaces.e3nn._optimization import get_optimization_defaults, set_optimization_defaults

__version__ = "0.6.0"
"""The e3nn whose interface this is."""

__all__ = ["convention", "get_optimization_defaults", "install", "set_optimization_defaults", "using"]
