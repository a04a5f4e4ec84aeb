"""One side of the tensor product benchmark: `python tensor_product.py side kind irreps1 irreps2 irreps_out rows dtype`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.interleave import first_call, serve


def channelwise(o3, ins, sh, kept):
    """The outputs and instructions of a uvu product, in the vocabulary that e3nn and tesseral share."""
    paths = [(i, j, ir) for i, (_, a) in enumerate(ins) for j, (_, b) in enumerate(sh) for ir in a * b if ir in kept]
    order = sorted(range(len(paths)), key=lambda n: (paths[n][2].l, paths[n][2].p))
    outs = o3.Irreps([(ins[paths[n][0]].mul, paths[n][2]) for n in order])
    return outs, [(i, j, order.index(n), "uvu", True) for n, (i, j, _) in enumerate(paths)]


def build(side, kind, irreps1, irreps2, irreps_out):
    """The module, the number of its weights and the dims (input, input, output)."""
    shared = kind == "uvw"
    if side == "cuet":
        import cuequivariance as cue
        import cuequivariance_torch

        a, b, c = (cue.Irreps("O3", irreps) for irreps in (irreps1, irreps2, irreps_out))
        options = {"layout": cue.ir_mul, "internal_weights": False, "dtype": torch.get_default_dtype(), "method": "naive"}
        if kind == "uvu":
            product = cuequivariance_torch.ChannelWiseTensorProduct(a, b, [ir for _, ir in c], shared_weights=False, **options)
        else:
            product = cuequivariance_torch.FullyConnectedTensorProduct(a, b, c, shared_weights=shared, **options)
        return product, product.weight_numel, (a.dim, b.dim, product.irreps_out.dim)
    if side == "e3nn":
        from e3nn import o3

        a, b, c = (o3.Irreps(irreps) for irreps in (irreps1, irreps2, irreps_out))
        if kind == "uvu":
            c, instructions = channelwise(o3, a, b, {ir for _, ir in c})
            product = o3.TensorProduct(a, b, c, instructions, shared_weights=False, internal_weights=False)
        else:
            product = o3.FullyConnectedTensorProduct(a, b, c, shared_weights=shared, internal_weights=False)
        return product, product.weight_numel, (a.dim, b.dim, c.dim)
    from tesseral import o3
    from tesseral.ops import tensor_product, tensor_product_plan

    a, b, c = (o3.Irreps(irreps) for irreps in (irreps1, irreps2, irreps_out))
    if kind == "uvu":
        c, instructions = channelwise(o3, a, b, {ir for _, ir in c})
    else:
        blocks = [(i, j, k) for i in range(len(a)) for j in range(len(b)) for k in range(len(c))]
        instructions = [(i, j, k, "uvw", True) for i, j, k in blocks if c[k].ir in a[i].ir * b[j].ir]
    plan = tensor_product_plan(a, b, c, instructions, shared_weights=shared)
    return lambda x, y, w: tensor_product(x, y, w, plan), plan.weight_numel, (a.dim, b.dim, c.dim)


def main() -> None:
    side, kind, irreps1, irreps2, irreps_out, count, dtype = sys.argv[1:]
    torch.manual_seed(0)
    scalar = getattr(torch, dtype)
    torch.set_default_dtype(scalar)
    product, numel, dims = build(side, kind, irreps1, irreps2, irreps_out)
    weights = (int(count), numel) if kind != "uvw" else (1, numel) if side == "cuet" else (numel,)
    x, y, g = (torch.randn(int(count), d, requires_grad=True) for d in dims)
    w = torch.randn(*weights, requires_grad=True)
    tangents = [torch.randn_like(t) for t in (x, y, w)]

    def forward():
        with torch.no_grad():
            return product(x, y, w)

    def backward(double=False):
        return torch.autograd.grad(product(x, y, w), (x, y, w), g, create_graph=double)

    def double():
        return torch.autograd.grad(backward(True), (x, y, w, g), tangents)

    costs = first_call(backward)
    serve({"forward": forward, "backward": backward, "double": double}, costs)


main()
