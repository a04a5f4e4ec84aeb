"""The perceptron against e3nn's, its variance, and the contract."""

import math

import e3nn.nn
import pytest
import torch
from torch.nn.functional import silu

from tesseral.nn import MLP, FullyConnectedNet
from tests.contracts import EAGER, GRAPH, Case, name_of


def peer(*arguments):
    def reference(net, x):
        theirs = e3nn.nn.FullyConnectedNet(list(net.mlp.dims), *arguments).double()
        with torch.no_grad():
            for layer, weight in zip(theirs, net.mlp.weights, strict=True):
                layer.weight.copy_(weight)
        return theirs(x)

    return reference


CASES = [
    Case("plain", lambda dtype: MLP([5, 7, 3], dtype=dtype), ["5x0e"], "3x0e"),
    Case("biases", lambda dtype: MLP([5, 7, 3], torch.tanh, bias=True, out_act=True, dtype=dtype), ["5x0e"], "3x0e"),
    Case(
        "e3nn, activated output",
        lambda dtype: FullyConnectedNet([5, 7, 3], silu, 2.0, 3.0, True, "e3nn", dtype=dtype),
        ["5x0e"],
        "3x0e",
        reference=peer(silu, 2.0, 3.0, True),
    ),
    Case(
        "e3nn, linear output",
        lambda dtype: FullyConnectedNet([5, 7, 4, 3], torch.tanh, 0.5, 2.0, normalization="e3nn", dtype=dtype),
        ["5x0e"],
        "3x0e",
        reference=peer(torch.tanh, 0.5, 2.0),
    ),
    Case("e3nn, no activation", lambda dtype: FullyConnectedNet([5, 7, 3], dtype=dtype), ["5x0e"], "3x0e", reference=peer(None)),
]


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, check):
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", CASES[:3], ids=str)
def test_contract_graph(case, check):
    check(case)


@pytest.mark.parametrize("initialization", ["normal", "uniform"])
def test_the_mean_square_stays_one_through_many_layers(initialization):
    net = MLP([256] * 6, initialization=initialization)
    assert net(torch.randn(200, 256)).square().mean().item() == pytest.approx(1.0, rel=0.3)
    for weight in net.weights:
        assert weight.square().mean().item() == pytest.approx(1.0, rel=0.05)


def test_the_gain_of_nequip():
    net = MLP([5, 7, 3], normalization=math.sqrt(2), initialization="uniform", dtype=torch.float64)
    x = torch.randn(4, 5, dtype=torch.float64)
    first, second = net.weights
    expected = silu(x @ first / math.sqrt(5)) @ (second * math.sqrt(2) / math.sqrt(7))
    torch.testing.assert_close(net(x), expected)
    assert max(float(w.detach().abs().max()) for w in net.weights) <= math.sqrt(3)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="at least the widths of its input and output"):
        MLP([4])
    with pytest.raises(ValueError, match="unknown initialization 'zeros'"):
        MLP([4, 4], initialization="zeros")
