"""The layer against mace-torch, against its definition written out, and the contract."""

from pathlib import Path

import numpy
import pytest
import torch

from tesseral.nn.symmetric_contraction import SymmetricContraction
from tesseral.o3 import Irreps, to_layout
from tesseral.ops.symmetric_contraction import symmetric_basis
from tests.contracts import EAGER, GRAPH, Case, name_of
from tests.nn.golden.make_mace_contraction import CASES as MACE

GOLDEN = Path(__file__).parent / "golden" / "mace_contraction.npz"


def by_definition(layer, x, species):
    """The sum of the module's docstring, one einsum for each order."""
    plan, channels = layer.plan, layer.plan.channels
    features = x.reshape(x.shape[0], -1, channels)
    irreps = tuple(ir for _, ir in plan.irreps_in)
    blocks = [x.new_zeros(x.shape[0], ir.dim, channels) for _, ir in plan.irreps_out]
    for block in plan.blocks:
        basis = torch.from_numpy(symmetric_basis(irreps, plan.irreps_out[block.i_out].ir, block.order)).to(x.dtype)
        w = layer.weight[:, block.start : block.start + block.copies * channels].reshape(-1, block.copies, channels)[species]
        letters = "ijkl"[: block.order]
        names = ",".join(["zm" + letters, "nzc", *(f"n{letter}c" for letter in letters)])
        blocks[block.i_out] = blocks[block.i_out] + torch.einsum(f"{names}->nmc", basis, w, *(features,) * block.order)
    return torch.cat([block.flatten(1) for block in blocks], dim=1)


def case(name, irreps_in, irreps_out, correlation, backend):
    def draw(dtype, batch):
        return torch.randn(batch, Irreps(irreps_in).dim, dtype=dtype), torch.arange(batch) * 2 % 3

    def build(dtype):
        return SymmetricContraction(irreps_in, irreps_out, correlation, 3, backend=backend, dtype=dtype)

    return Case(name, build, [irreps_in, None], irreps_out, draw, by_definition)


CASES = [
    case("cubic", "3x0e+3x1o+3x2e", "3x1o+3x0e", 3, "auto"),
    case("pseudo", "2x0o+2x1e+2x1o", "2x0e+2x1o+2x1e", 3, "auto"),
    case("quadratic, reference", "2x0e+2x1o", "2x2e+2x0e", 2, "reference"),
]


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, check):
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", CASES[:1], ids=str)
def test_contract_graph(case, check):
    check(case)


@pytest.mark.parametrize("name", MACE)
def test_equals_mace(name):
    irreps_in, irreps_out, correlation = MACE[name]
    golden = {key.removeprefix(name + "/"): torch.from_numpy(value) for key, value in numpy.load(GOLDEN).items()}
    layer = SymmetricContraction(irreps_in, irreps_out, correlation, 3, convention="0.4", dtype=torch.float64)
    couplings = {(b.i_out, b.order): golden[f"w{b.i_out}_{b.order}"] for b in layer.plan.blocks}
    with torch.no_grad():
        layer.weight.copy_(layer.plan.weights_from_couplings(couplings))
    y = layer.requires_grad_(False)(golden["x"].transpose(1, 2).flatten(1), golden["species"])
    expected = to_layout(golden["y"], layer.irreps_out, "mul_ir", "ir_mul")
    error = (y - expected).abs().max() / expected.abs().max()
    print(f"difference from mace {float(error):.1e}")
    assert error < 1e-10


def test_channels_and_species_do_not_mix():
    layer = SymmetricContraction("2x0e+2x1o", "2x0e", 3, 2)
    x, species = torch.randn(2, 8), torch.tensor([0, 1])
    y = layer(x, species)
    x[:, 1::2] += 1  # the second channel
    changed = layer(x, species)
    assert torch.equal(changed[:, 0], y[:, 0])
    assert (changed[:, 1] - y[:, 1]).abs().min() > 1e-3
    with torch.no_grad():
        layer.weight[1] += 1
    again = layer(x, species)
    assert torch.equal(again[0], changed[0])
    assert (again[1] - changed[1]).abs().min() > 1e-3


def test_print():
    layer = SymmetricContraction("4x0e+4x1o", "4x0e", 2, 3)
    assert "4x0e+4x1o -> 4x0e | orders 1 to 2 | 12 weights per species | 3 species, layout=ir_mul" in repr(layer)
