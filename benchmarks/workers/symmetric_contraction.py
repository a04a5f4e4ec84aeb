"""One side of the benchmark: `python symmetric_contraction.py side channels irreps_in irreps_out nodes dtype`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.interleave import first_call, serve

SPECIES = 10


def build(side, channels, ins, outs, nodes):
    """A function of features, its features, its weights and the width of its output."""
    species = torch.randint(SPECIES, (nodes,))
    degrees = [int(ir[:-1]) for ir in ins.split("+")]
    components = sum(2 * l + 1 for l in degrees)
    width = channels * sum(2 * int(ir[:-1]) + 1 for ir in outs.split("+"))
    irreps_in, irreps_out = ("+".join(f"{channels}x{ir}" for ir in irreps.split("+")) for irreps in (ins, outs))
    if side == "mace":
        torch.serialization.add_safe_globals([slice])  # for the constants of e3nn 0.4.4
        from e3nn import o3
        from mace.modules.symmetric_contraction import SymmetricContraction

        layer = SymmetricContraction(o3.Irreps(irreps_in), o3.Irreps(irreps_out), 3, num_elements=SPECIES)
        onehot = torch.nn.functional.one_hot(species, SPECIES).to(torch.get_default_dtype())
        return lambda x: layer(x, onehot), torch.randn(nodes, channels, components), list(layer.parameters()), width
    from tesseral.nn.symmetric_contraction import SymmetricContraction

    layer = SymmetricContraction(irreps_in, irreps_out, 3, SPECIES, dtype=torch.get_default_dtype())
    return lambda x: layer(x, species), torch.randn(nodes, channels * components), list(layer.parameters()), width


def main() -> None:
    side, channels, ins, outs, nodes, dtype = sys.argv[1:]
    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, dtype))
    f, x, weights, width = build(side, int(channels), ins, outs, int(nodes))
    weights = [w for w in weights if w.requires_grad]
    g = torch.randn(int(nodes), width, requires_grad=True)
    x.requires_grad_()
    u = torch.randn_like(x)

    def forward():
        with torch.no_grad():
            return f(x)

    def backward():
        return torch.autograd.grad(f(x), (x, *weights), g)

    def double():
        (first,) = torch.autograd.grad(f(x), x, g, create_graph=True)  # as for forces
        return torch.autograd.grad(first, (x, g, *weights), u, allow_unused=True)

    costs = first_call(backward)
    serve({"forward": forward, "backward": backward, "double": double}, costs)


main()
