"""One side of the convolution benchmark.

usage: convolution.py side mode irreps lmax nodes neighbours dtype order threads [hidden knots]

With ``hidden`` the weights are made inside the measured region, by the last layer of a radial network: (edges, hidden) @ matrix
for the peers; tesseral applies it at the knots of splines, which the convolution evaluates at the edges' lengths.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.interleave import first_call, serve


def tesseral(irreps, harmonics, edge_index, order):
    from tesseral.kernels.index_map import sort
    from tesseral.nn.convolution import Convolution

    conv = Convolution(irreps, harmonics, irreps)
    if order == "unsorted":
        return conv.weight_numel, conv.irreps_out.dim, lambda x, y, w: conv(x, y, w, edge_index)
    source_order = torch.argsort(edge_index[0], stable=True)
    pointers = sort(edge_index[1], int(edge_index.max()) + 1).pointers
    return conv.weight_numel, conv.irreps_out.dim, lambda x, y, w: conv(x, y, w, edge_index, source_order, pointers)


def e3nn(irreps, harmonics, edge_index, order):
    from e3nn import o3

    ins, sh, kept = o3.Irreps(irreps), o3.Irreps(harmonics), {ir for _, ir in o3.Irreps(irreps)}
    paths = [(i, j, ir) for i, (_, a) in enumerate(ins) for j, (_, b) in enumerate(sh) for ir in a * b if ir in kept]
    outs, permutation, _ = o3.Irreps([(ins[i].mul, ir) for i, _, ir in paths]).sort()
    instructions = [(i, j, permutation[n], "uvu", True) for n, (i, j, _) in enumerate(paths)]
    product = o3.TensorProduct(ins, sh, outs, instructions, shared_weights=False, internal_weights=False)
    source, destination = edge_index
    width = outs.dim  # a number, which Dynamo understands

    def run(x, y, w):
        return x.new_zeros(x.shape[0], width).index_add(0, destination, product(x[source], y, w))

    return product.weight_numel, width, run


def e3nn_compiled(irreps, harmonics, edge_index, order):
    import e3nn as library

    library.set_optimization_defaults(jit_mode="eager")  # no TorchScript within
    weights, width, run = e3nn(irreps, harmonics, edge_index, order)
    return weights, width, torch.compile(run, fullgraph=True)


def cuet(irreps, harmonics, edge_index, order):
    import cuequivariance as cue
    import cuequivariance_torch

    ins = cue.Irreps("O3", irreps)
    product = cuequivariance_torch.ChannelWiseTensorProduct(
        ins,
        cue.Irreps("O3", harmonics),
        [ir for _, ir in ins],
        layout=cue.ir_mul,
        shared_weights=False,
        internal_weights=False,
        dtype=torch.get_default_dtype(),
        method="naive",
    )
    source, destination = edge_index

    def run(x, y, w):
        return x.new_zeros(x.shape[0], product.irreps_out.dim).index_add(0, destination, product(x[source], y, w))

    return product.weight_numel, product.irreps_out.dim, run


SIDES = {"tesseral": tesseral, "e3nn": e3nn, "e3nn-compiled": e3nn_compiled, "cuet": cuet}


def dim(irreps):
    return sum(int(mul) * (2 * int(ir[:-1]) + 1) for mul, ir in (block.split("x") for block in irreps.split("+")))


def triad(threads):
    a, b, c = (torch.ones(16 << 20) for _ in range(3))
    serve(lambda: torch.add(b, c, alpha=2.0, out=a), {"triad_bytes": 3 * a.numel() * 4})


def radial_layer(side, edges, weights, hidden=0, knots=0):
    """How the weights of the edges are made, and the shapes of what they are made from."""
    if not hidden:
        return lambda w: w, [(edges, weights)]
    if side != "tesseral":
        return lambda h, matrix: h @ matrix, [(edges, hidden), (hidden, weights)]
    from tesseral.ops.spline import Knots, SplineWeights, interpolation

    plan = Knots(knots, 5.0)
    shapes = [(edges,), (plan.rows + 2, hidden), (hidden, weights)]
    return lambda r, h, matrix: SplineWeights(r, interpolation(h @ matrix), plan), shapes


def main() -> None:
    side, mode, irreps, lmax, nodes, neighbours, dtype, order, threads, *rest = sys.argv[1:]
    torch.set_num_threads(int(threads))
    if side == "triad":
        return triad(threads)
    torch.manual_seed(0)
    scalar = getattr(torch, dtype)
    torch.set_default_dtype(scalar)  # e3nn keeps its constants in the default dtype
    harmonics = "+".join(f"1x{l}{'eo'[l % 2]}" for l in range(int(lmax) + 1))
    n, edges = int(nodes), int(nodes) * int(neighbours)
    destination = torch.arange(n).repeat_interleave(int(neighbours))
    edge_index = torch.stack([torch.randint(n, (edges,)), destination])
    if order == "unsorted":
        edge_index = edge_index[:, torch.randperm(edges)]
    weights, width, product = SIDES[side](irreps, harmonics, edge_index, order)
    radial, of_weights = radial_layer(side, edges, weights, *map(int, rest))

    def conv(x, y, *w):
        return product(x, y, radial(*w))

    shapes = [(n, dim(irreps)), (edges, (int(lmax) + 1) ** 2), *of_weights]
    *inputs, g = (torch.randn(*shape, dtype=scalar) for shape in (*shapes, (n, width)))
    if rest and side == "tesseral":
        inputs[2].uniform_(1.0, 5.0)  # lengths within the cutoff
    tangents = [torch.randn_like(t) for t in inputs] if mode == "double" else []

    def run():
        if mode == "forward":
            return conv(*inputs)
        out = conv(*inputs)
        first = torch.autograd.grad(out, inputs, g, create_graph=mode == "double")
        return first if mode == "backward" else torch.autograd.grad(first, (*inputs, g), tangents)

    if mode != "forward":
        for t in (*inputs, g):
            t.requires_grad_()
    costs = first_call(run)
    # Compulsory traffic: forward reads the operands and writes the result; backward reads them and g and writes gradients.
    read, written = sum(t.numel() for t in inputs), g.numel()
    f = read + written
    b = f + read
    count = {"forward": written, "backward": read, "double": f}[mode]
    operands = read + (written if mode != "forward" else 0) + sum(t.numel() for t in tangents)
    size = g.element_size()
    description = {
        "operands_bytes": operands * size,
        "results_bytes": count * size,
        "traffic_bytes": {"forward": f, "backward": f + b, "double": f + b + b + f}[mode] * size,
    }
    serve(run, {**costs, **description}, warm_up=0 if costs["first_call_s"] > 1 and side != "tesseral" else 3)


if __name__ == "__main__":
    main()
