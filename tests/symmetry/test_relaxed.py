"""Relaxed layers start as their equivariant counterparts, turn with their relaxation, and learn what Curie's principle allows."""

import itertools

import ase
import numpy as np
import pytest
import torch
from torch import nn

from tesseral.graph import build_graph
from tesseral.groups import equivariance_error, point_group
from tesseral.nn import Convolution
from tesseral.o3 import Irreps
from tesseral.symmetry import PointNetwork, RelaxedConvolution, RelaxedLinear, all_irreps, invariant_projection
from tests.contracts import EAGER, GRAPH, Case, name_of

EDGES = torch.tensor([[0, 1, 2, 0, 1], [1, 0, 0, 2, 2]])
THETA = "0e+1o+1e+2e"


class WithTheta(nn.Module):
    """A relaxed layer as a function of its inputs and its relaxation, which must turn together."""

    def __init__(self, layer, edges=()):
        super().__init__()
        self.layer, self.edges = layer, edges
        layer.relaxation.register_buffer("start", layer.relaxation.theta.detach().clone(), persistent=False)
        theta = layer.relaxation.theta
        del layer.relaxation.theta
        layer.relaxation.register_buffer("theta", theta.detach(), persistent=False)

    def forward(self, theta, *inputs):
        return torch.func.functional_call(self.layer, {"relaxation.theta": theta}, (*inputs, *self.edges))


def draw_linear(dtype, batch):
    return torch.randn(Irreps(THETA).dim, dtype=dtype), torch.randn(batch, 7, dtype=dtype)


def draw_convolution(dtype, batch):
    weights = RelaxedConvolution("2x0e+1o", "0e+1o+2e", "0e+1o+1e", THETA).weight_numel
    shapes = (Irreps(THETA).dim,), (3, 5), (5, 9), (5, weights)
    return tuple(torch.randn(shape, dtype=torch.float64).to(dtype) for shape in shapes)


def convolution(dtype):
    return WithTheta(RelaxedConvolution("2x0e+1o", "0e+1o+2e", "0e+1o+1e", THETA, dtype=dtype), (EDGES,))


OUT = RelaxedConvolution("2x0e+1o", "0e+1o+2e", "0e+1o+1e", THETA).irreps_out
LINEAR = Case(
    "relaxed linear",
    lambda dtype: WithTheta(RelaxedLinear("2x0e+1o+2x0o", "0e+1o+1e", THETA, dtype=dtype)),
    [THETA, "2x0e+1o+2x0o"],
    "0e+1o+1e",
    draw=draw_linear,
)
CONVOLUTION = Case(
    "relaxed convolution", convolution, [THETA, "2x0e+1o", "0e+1o+2e", None], OUT, draw=draw_convolution, batched=False
)
SKIPPED = {("relaxed convolution", "empty"): "its nodes and edges are fixed here"}
CASES = [LINEAR, CONVOLUTION]


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, check):
    if (str(case), name_of(check)) in SKIPPED:
        pytest.skip(SKIPPED[str(case), name_of(check)])
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH[:1], ids=name_of)
def test_contract_graph(check):
    check(LINEAR)


def test_starts_as_the_plain_convolution():
    torch.manual_seed(0)
    relaxed = RelaxedConvolution("2x0e+3x1o", "0e+1o", "0e+1o+1e", "0e+1e+2e", irreps_filter="0e+1o", dtype=torch.float64)
    plain = Convolution("2x0e+3x1o", "0e+1o", "0e+1o+1e")
    x, y, w = (torch.randn(*shape, dtype=torch.float64) for shape in ((3, 11), (5, 4), (5, plain.weight_numel)))
    torch.testing.assert_close(relaxed(x, y, w, EDGES), plain(x, y, w, EDGES), rtol=1e-13, atol=1e-13)


def test_empty_graph():
    layer = RelaxedConvolution("2x0e", "0e+1o", "0e+1o", "0e+1o")
    out = layer(torch.zeros(0, 2), torch.zeros(0, 4), torch.zeros(0, layer.weight_numel), torch.zeros(2, 0, dtype=torch.int64))
    assert out.shape == (0, layer.irreps_out.dim)


def test_a_relaxation_breaks_the_symmetry_when_it_does_not_turn():
    layer = RelaxedLinear("0e+1o", "1o", "0e+1o", dtype=torch.float64)
    assert float(equivariance_error(layer, "0e+1o", "1o")) < 1e-14
    with torch.no_grad():
        layer.relaxation.theta[1] = 0.1
    assert float(equivariance_error(layer, "0e+1o", "1o")) > 1e-3


def test_refuses_a_relaxation_without_invariant():
    with pytest.raises(ValueError, match="has no 0e"):
        RelaxedLinear("0e+1o", "1o", "1o")


def test_network_is_equivariant_and_its_first_gradients_obey_curie():
    """∂L/∂θ vanishes outside the invariants of the common symmetry, and does not vanish inside: 0e, 2e, two of 4e for D4h."""
    torch.manual_seed(0)
    corners = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
    irreps = all_irreps(4)
    network = PointNetwork("0e", ["2x0e+2x1o+2x2e"], "1o", cutoff=4.0, num_neighbors=7, relaxation=irreps, dtype=torch.float64)

    def answer(positions):
        graph = build_graph(ase.Atoms("C8", positions=corners), 4.0).replace(positions=positions)
        return network(torch.ones(8, 1, dtype=torch.float64), graph)

    positions = torch.tensor(corners) + 0.05 * torch.randn(8, 3, dtype=torch.float64)
    assert float(equivariance_error(answer, "1o", "1o", inputs=[positions])) < 1e-12
    for group, scale, expected in (
        ("Oh", (1.2, 1.2, 1.2), {"0e": 1, "4e": 1}),
        ("D4h", (1, 1, 1.4), {"0e": 1, "2e": 1, "4e": 2}),
    ):
        allowed = invariant_projection(point_group(group), irreps)
        assert round(float(allowed.trace())) == sum(expected.values())
        target = torch.tensor(corners * (np.array(scale) - 1))
        loss = (answer(torch.tensor(corners)) - target).square().mean()
        for gradient in torch.autograd.grad(loss, network.relaxations()):
            scale_of = float(gradient.abs().max())
            assert float((gradient - gradient @ allowed).abs().max()) < 1e-12 * scale_of
            for ir in expected:
                assert float(gradient[irreps.slices()[irreps.index(ir)]].norm()) > 1e-6 * scale_of
