"""The point network: equivariant in positions and inputs, inversion included, with and without hidden layers."""

import copy
import pickle

import ase
import pytest
import torch

from tesseral.graph import build_graph
from tesseral.groups import equivariance_error
from tesseral.symmetry import PointNetwork

POINTS = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
GRAPH = build_graph(ase.Atoms("C5", positions=POINTS.numpy()), 10.0)


def network(hidden, dtype=torch.float64):
    torch.manual_seed(0)
    return PointNetwork("0e+1e+2o", hidden, "0o+1o", cutoff=10.0, num_neighbors=4, dtype=dtype)


@pytest.mark.parametrize("hidden", [[], ["3x0e+2x0o+2x1o+1e"], ["2x0e+1o", "1e+2x0e"]], ids=["linear", "one", "two"])
def test_equivariance(hidden):
    layers = network(hidden)

    def answer(positions, x):
        return layers(x, GRAPH.replace(positions=positions))

    x = torch.randn(5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    error = equivariance_error(answer, ["1o", "0e+1e+2o"], "0o+1o", inputs=[POINTS, x])
    assert error.scale > 0
    assert float(error) < 1e-12


def test_copies_and_precisions():
    layers, x = network(["3x0e+2x1o"]), torch.ones(5, 9, dtype=torch.float64)
    expected = layers(x, GRAPH)
    for other in (copy.deepcopy(layers), pickle.loads(pickle.dumps(layers))):
        assert torch.equal(other(x, GRAPH), expected)
    single = layers.float()(x.float(), GRAPH.to(dtype=torch.float32))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-3, atol=1e-4)
    assert layers.relaxations() == []


def test_no_points():
    empty = build_graph(ase.Atoms(), 10.0)
    assert network(["2x0e+1o"])(torch.zeros(0, 9, dtype=torch.float64), empty).shape == (0, 4)
