"""One side of the benchmark of spherical harmonics: `python spherical_harmonics.py side count`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.interleave import serve


def harmonics(side, lmax):
    """A function of vectors (count, 3)."""
    if side == "sphericart":
        import sphericart.torch

        return sphericart.torch.SphericalHarmonics(lmax)
    degrees = list(range(lmax + 1))
    if side == "e3nn":
        from e3nn.o3 import SphericalHarmonics

        return SphericalHarmonics(degrees, normalize=True, normalization="component")
    from tesseral.ops import spherical_harmonics

    return lambda x: spherical_harmonics(degrees, x, True, "component")


def case(name):
    """The case "lmax mode"."""
    side, count = sys.argv[1], int(sys.argv[2])
    degree, mode = name.split()
    f, lmax = harmonics(side, int(degree)), int(degree)
    x = torch.randn(count, 3, requires_grad=mode != "forward")
    g = torch.randn(count, (lmax + 1) ** 2, requires_grad=mode == "double")
    u = torch.randn(count, 3)

    def run():
        y = f(x)
        if mode == "forward":
            return y
        (first,) = torch.autograd.grad(y, x, g, create_graph=mode == "double")
        return first if mode == "backward" else torch.autograd.grad(first, (x, g), u)

    return run


torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
torch.manual_seed(0)
serve(case, lazy=True)
