"""One side of the convolution benchmark: `python convolution.py side mode irreps lmax nodes neighbours dtype order threads`."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.interleave import serve


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

    def run(x, y, w):
        return x.new_zeros(x.shape[0], outs.dim).index_add(0, destination, product(x[source], y, w))

    return product.weight_numel, outs.dim, run


def triad(threads):
    a, b, c = (torch.ones(16 << 20) for _ in range(3))
    serve(lambda: torch.add(b, c, alpha=2.0, out=a), {"bytes": 3 * a.numel() * 4})


def main() -> None:
    side, mode, irreps, lmax, nodes, neighbours, dtype, order, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    if side == "triad":
        return triad(threads)
    torch.manual_seed(0)
    scalar = getattr(torch, dtype)
    torch.set_default_dtype(scalar)  # e3nn keeps its constants in the default dtype
    harmonics = "+".join(f"{l}{'eo'[l % 2]}" for l in range(int(lmax) + 1))
    n, edges = int(nodes), int(nodes) * int(neighbours)
    destination = torch.arange(n).repeat_interleave(int(neighbours))
    edge_index = torch.stack([torch.randint(n, (edges,)), destination])
    if order == "unsorted":
        edge_index = edge_index[:, torch.randperm(edges)]
    weights, width, conv = {"tesseral": tesseral, "e3nn": e3nn}[side](irreps, harmonics, edge_index, order)
    from tesseral.o3 import Irreps

    x, y, w, g = (
        torch.randn(*shape, dtype=scalar)
        for shape in ((n, Irreps(irreps).dim), (edges, (int(lmax) + 1) ** 2), (edges, weights), (n, width))
    )
    tangents = [torch.randn_like(t) for t in (x, y, w)] if mode == "double" else []

    def run():
        if mode == "forward":
            return conv(x, y, w)
        out = conv(x, y, w)
        first = torch.autograd.grad(out, (x, y, w), g, create_graph=mode == "double")
        return first if mode == "backward" else torch.autograd.grad(first, (x, y, w, g), tangents)

    if mode != "forward":
        for t in (x, y, w, g):
            t.requires_grad_()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    results = run()
    first = time.perf_counter() - start
    operands = sum(t.numel() * t.element_size() for t in (x, y, w, g, *tangents))
    results = [results] if isinstance(results, torch.Tensor) else list(results)
    results_bytes = sum(t.numel() * t.element_size() for t in results)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    del results
    # Compulsory traffic: forward reads x, y, w and writes the result; backward reads them and g and writes gradients.
    f = x.numel() + y.numel() + w.numel() + g.numel()
    b = f + x.numel() + y.numel() + w.numel()
    traffic = {"forward": f, "backward": f + b, "double": f + b + b + f}[mode] * x.element_size()
    serve(
        run,
        {
            "first_call_s": first,
            "peak_growth_bytes": peak,
            "operands_bytes": operands,
            "results_bytes": results_bytes,
            "traffic_bytes": traffic,
        },
    )


main()
