"""The species-dependent linear layer against e3nn's fully connected product with species attributes, and the contract."""

import e3nn.o3
import pytest
import torch

from tesseral.nn import SpeciesLinear
from tesseral.o3 import Irreps, to_layout
from tests.contracts import EAGER, GRAPH, Case, name_of

IRREPS = "3x0e+2x1o+4x1o+1x2e", "5x1o+2x0e+3x2o"


def peer(layer, x, species, attributes):
    """e3nn's product, with the weights of ours; its weights are (input, attribute, output) for each path."""
    other = e3nn.o3.FullyConnectedTensorProduct(str(layer.irreps_in), f"{layer.attributes}x0e", str(layer.irreps_out)).double()
    rows = []
    for path in layer.plan.paths:
        shape = (layer.attributes, layer.irreps_in[path.i_in].mul, layer.irreps_out[path.i_out].mul)
        block = layer.weight[:, path.start : path.start + shape[1] * shape[2]].reshape(shape)
        rows.append(block.movedim(0, 1).flatten())
    with torch.no_grad():
        other.weight.copy_(torch.cat(rows))
    y = other(to_layout(x, layer.irreps_in, "ir_mul", "mul_ir"), attributes[species])
    return to_layout(y, layer.irreps_out, "mul_ir", "ir_mul")


def draw(count):
    def inputs(dtype, batch):
        x = torch.randn(batch, Irreps(IRREPS[0]).dim, dtype=dtype)
        return x, torch.randint(count, (batch,)), torch.randn(count, 6, dtype=dtype)

    return inputs


CASES = [
    Case(
        f"{count} species",
        lambda dtype: SpeciesLinear(*IRREPS, 6, dtype=dtype),
        [IRREPS[0], None, None],
        IRREPS[1],
        draw(count),
        peer,
    )
    for count in (3, 12)
]


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, check):
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract_graph(case, check):
    check(case)


def test_nodes_of_one_species_share_a_matrix():
    layer = SpeciesLinear("4x0e", "4x0e", 6)
    x, attributes = torch.randn(1, 4).expand(3, 4), torch.randn(2, 6)
    first, second, third = layer(x, torch.tensor([0, 0, 1]), attributes)
    torch.testing.assert_close(first, second)
    assert (first - third).abs().max() > 0.01
