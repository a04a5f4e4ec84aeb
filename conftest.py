"""Modules that stand on packages of an extra are collected where the package is installed."""

from importlib.util import find_spec

_EXTRAS = {"torch_sim": "tesseral/interfaces/torchsim.py"}

collect_ignore = [path for package, path in _EXTRAS.items() if find_spec(package) is None]
