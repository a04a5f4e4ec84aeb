"""One side of the benchmark of small sizes: `python small_sizes.py side`; cases are "atoms mode"."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.interleave import serve
from benchmarks.workers.convolution import SIDES, dim

IRREPS, HARMONICS, NEIGHBOURS = "32x0e+32x1o+32x2e", "1x0e+1x1o+1x2e", 20


def case(name):
    atoms, mode = name.split()
    n, edges = int(atoms), int(atoms) * NEIGHBOURS
    edge_index = torch.stack([torch.randint(n, (edges,)), torch.arange(n).repeat_interleave(NEIGHBOURS)])
    weights, width, conv = SIDES[sys.argv[1]](IRREPS, HARMONICS, edge_index, "sorted")
    shapes = ((n, dim(IRREPS)), (edges, 9), (edges, weights))
    inputs = [torch.randn(*shape, requires_grad=mode != "forward") for shape in shapes]
    g = torch.randn(n, width, requires_grad=mode != "forward")
    tangents = [torch.randn_like(t) for t in inputs]

    def run():
        out = conv(*inputs)
        if mode == "forward":
            return out
        first = torch.autograd.grad(out, inputs, g, create_graph=mode == "double")
        return first if mode == "backward" else torch.autograd.grad(first, (*inputs, g), tangents)

    return run


torch.manual_seed(0)
serve(case, lazy=True)
