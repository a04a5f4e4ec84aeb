"""The linear layer against e3nn with the same weights, and the contract."""

import e3nn.o3
import pytest
import torch

from tesseral.nn import Linear
from tesseral.o3 import to_layout
from tests.contracts import EAGER, GRAPH, Case, name_of


def peer(layer, x, **arguments):
    """e3nn's layer with the weights of ours."""
    names = {name: str(getattr(layer, name)) for name in ("irreps_in", "irreps_out")}
    other = e3nn.o3.Linear(**names, biases=layer.bias is not None, **arguments).double()
    with torch.no_grad():
        other.weight.copy_(layer.weight.flatten().reshape(other.weight.shape))
        if layer.bias is not None:
            other.bias.copy_(layer.bias.reshape(other.bias.shape))
    y = other(to_layout(x, layer.irreps_in, "ir_mul", "mul_ir"))
    return to_layout(y, layer.irreps_out, "mul_ir", "ir_mul")


def with_random_biases(dtype):
    layer = Linear("3x0e+2x0o+4x1o+1x0e", "5x0e+2x1o+3x0o+4x0e", biases=True, dtype=dtype)
    torch.nn.init.normal_(layer.bias)
    return layer


CASES = [
    Case(
        "unequal multiplicities, repeated and unreached irreps",
        lambda dtype: Linear("3x0e+2x1o+4x1o+1x1e+2x2e", "5x1o+2x0e+3x2o+1x1o+2x1e", dtype=dtype),
        ["3x0e+2x1o+4x1o+1x1e+2x2e"],
        "5x1o+2x0e+3x2o+1x1o+2x1e",
        reference=peer,
    ),
    Case("biases", with_random_biases, ["3x0e+2x0o+4x1o+1x0e"], "5x0e+2x1o+3x0o+4x0e", reference=peer),
    Case(
        "path normalisation, chosen instructions",
        lambda dtype: Linear(
            "3x0e+2x1o+4x1o", "5x1o+2x0e", path_normalization="path", instructions=[(2, 0), (0, 1), (1, 0)], dtype=dtype
        ),
        ["3x0e+2x1o+4x1o"],
        "5x1o+2x0e",
        reference=lambda layer, x: peer(layer, x, path_normalization="path", instructions=[(2, 0), (0, 1), (1, 0)]),
    ),
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


def test_channels_agree_with_e3nn():
    layer = Linear("3x0e+2x1o", "4x1o+2x0e", True, channels=(3, 2), dtype=torch.float64)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(5, 3, 9, dtype=torch.float64)
    torch.testing.assert_close(layer(x), peer(layer, x, f_in=3, f_out=2))


def test_any_number_of_leading_axes():
    layer = Linear("3x0e+2x1o", "4x1o+2x0e", dtype=torch.float64)
    x = torch.randn(2, 3, 4, 9, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[1, 2, 3], layer(x[1, 2, 3]))
    assert layer(x[:, :0]).shape == (2, 0, 4, 14)


def test_normalisation_keeps_the_mean_square():
    layer = Linear("128x0e+64x1o+32x1o", "512x0e+512x1o")
    y = layer(torch.randn(100, layer.irreps_in.dim))
    assert y.square().mean().item() == pytest.approx(1.0, rel=0.02)


def test_instruction_between_different_irreps_is_refused():
    with pytest.raises(ValueError, match=r"instruction \(0, 0\).*equal irreps"):
        Linear("1x0e", "1x1o", instructions=[(0, 0)])


def test_wrong_width_names_both():
    with pytest.raises(ValueError, match=r"must be 9, got shape \(2, 10\)"):
        Linear("3x0e+2x1o", "1x0e")(torch.zeros(2, 10))


def test_repr_names_the_layout():
    assert repr(Linear("2x0e", "3x0e", True)) == "Linear(2x0e -> 3x0e, ir_mul, 6 weights, 3 biases)"
