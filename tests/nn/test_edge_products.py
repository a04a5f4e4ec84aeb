"""Products of edges with their neighbourhood, against einsum, and the contract."""

import pytest
import torch

from tesseral.nn.edge_products import NeighborhoodProduct, WeightedHarmonics
from tesseral.o3 import Irreps
from tesseral.o3.clebsch_gordan import wigner_3j
from tests.contracts import EAGER, Case, name_of

SH, EDGE, OUT = "0e+1o+2e", "3x0e+3x1o+3x2e", "3x0e+3x1e+3x1o"
DESTINATION = torch.tensor([0, 0, 2])


def product_by_definition(layer, x, nodes):
    around = nodes[DESTINATION]
    blocks = [x.new_zeros(len(x), ir.dim, 3) for _, ir in layer.irreps_out]
    for weight, (i, j, k) in zip(layer.weight, layer.paths, strict=True):
        a, b, c = layer.irreps_edge[i].ir, layer.irreps_node[j].ir, layer.irreps_out[k].ir
        left = x[:, layer.irreps_edge.slices()[i]].unflatten(1, (a.dim, 3))
        right = around[:, layer.irreps_node.slices()[j]].unflatten(1, (b.dim, 3))
        cg = wigner_3j(a.l, b.l, c.l, dtype=x.dtype) * c.dim**0.5
        blocks[k] = blocks[k] + torch.einsum("eau,ebu,abc,u->ecu", left, right, cg, weight.expand(3))
    return torch.cat([block.flatten(1) for block in blocks], dim=1)


class OnEdges(torch.nn.Module):
    """The product for three edges of three nodes, as a function of features alone."""

    def __init__(self, layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x, nodes):
        return self.layer(x, nodes, DESTINATION[: len(x)])


def product(coupled):
    def draw(dtype, batch):
        return torch.randn(batch, Irreps(EDGE).dim, dtype=dtype), torch.randn(max(batch, 1), Irreps(EDGE).dim, dtype=dtype)

    return Case(
        f"product, coupled={coupled}",
        lambda dtype: OnEdges(NeighborhoodProduct(EDGE, EDGE, OUT, coupled, dtype=dtype)),
        [EDGE, EDGE],
        OUT,
        draw,
        lambda module, x, nodes: product_by_definition(module.layer, x, nodes),
    )


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", [product(True), product(False)], ids=str)
def test_contract(case, check):
    check(case)


def test_weighted_harmonics_and_their_sum() -> None:
    layer = WeightedHarmonics(SH, 4, factor=0.5)
    y, w = torch.randn(3, 9, dtype=torch.float64), torch.randn(3, layer.weight_numel, dtype=torch.float64)
    found = layer(y, w)
    at = 0
    for number, (s, (_, ir)) in enumerate(zip(layer.irreps_sh.slices(), layer.irreps_sh, strict=True)):
        expected = 0.5 * y[:, s, None] * w[:, None, 4 * number : 4 * number + 4]
        torch.testing.assert_close(found[:, at : at + 4 * ir.dim].unflatten(1, (ir.dim, 4)), expected)
        at += 4 * ir.dim
    summed = layer.summed(y, w, DESTINATION, 4)
    torch.testing.assert_close(summed, torch.stack([found[0] + found[1], 0 * found[0], found[2], 0 * found[0]]))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="multiplicities must be equal"):
        NeighborhoodProduct("2x0e", "3x0e", "2x0e")
    with pytest.raises(ValueError, match="gives nothing of"):
        NeighborhoodProduct("2x0e", "2x0e", "2x1o")
    with pytest.raises(ValueError, match="multiplicity 1 everywhere"):
        WeightedHarmonics("2x0e", 4)
