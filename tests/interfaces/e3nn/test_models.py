"""e3nn's example networks: the same seed gives the same weights, state dicts, outputs and gradients as e3nn's."""

import importlib
import pickle
import sys
from types import ModuleType

import pytest
import torch
from e3nn.math import soft_one_hot_linspace
from e3nn.o3 import spherical_harmonics

from tesseral.interfaces.e3nn.util.jit import get_tracing_inputs

OURS, THEIRS = "tesseral.interfaces.e3nn.nn.models", "e3nn.nn.models"


def _scatter(src, index, dim=0, dim_size=None):
    assert dim == 0
    return src.new_zeros(int(index.max()) + 1 if dim_size is None else dim_size, src.shape[1]).index_add(0, index, src)


def _radius_graph(pos, r, batch, max_num_neighbors):
    distance = torch.cdist(pos, pos)
    return ((distance < r) & (distance > 0) & (batch[:, None] == batch)).nonzero().T


def give_stand_ins(monkeypatch):
    """What some of e3nn's modules import, as far as they use it."""
    stand_ins = {"torch_scatter": {"scatter": _scatter}, "torch_cluster": {"radius_graph": _radius_graph}}
    for name, contents in {**stand_ins, "torch_geometric": {}, "torch_geometric.data": {"Data": dict}}.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture(autouse=True)
def _optional_packages_and_double(monkeypatch):
    give_stand_ins(monkeypatch)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def graph(**features):
    torch.manual_seed(7)
    data = {"pos": torch.randn(9, 3), "batch": torch.tensor([0] * 5 + [1] * 4)}
    return data | {name: torch.randn(9, dim) for name, dim in features.items()}


def edges():
    torch.manual_seed(7)
    vectors = torch.randn(12, 3)
    attributes = spherical_harmonics([0, 1], vectors, True)
    scalars = soft_one_hot_linspace(vectors.norm(dim=1), 0.0, 3.0, 4, "smooth_finite", True)
    return vectors, attributes, scalars


def points_in_out():
    _, attributes, scalars = edges()
    ends = (torch.arange(12) % 5, torch.arange(12) % 2)
    return torch.randn(5, 4), torch.randn(5, 2), torch.randn(2, 3), *ends, attributes, scalars


def message_passing():
    _, attributes, scalars = edges()
    return torch.randn(5, 4), torch.randn(5, 4), torch.arange(12) % 5, torch.arange(12) * 3 % 5, attributes, scalars


OLD = ("3x0e+2x0o+2x1o", "4x0e+2x0o+3x1o+2x1e", "2x0e+1x1o+1x2e", "2x0e+1x1e", "0e+1o+2e", 2, 2.0, 5, 1, 8, 3.0, 4.0)
NEW = {"max_radius": 2.0, "num_neighbors": 3.0, "num_nodes": 5.0, "mul": 3, "layers": 2}
MP = ("0e+1e", "2x0e+1e", "1e", "0e+1e", "0e+1o", 2, [4, 8], 3.0)
EDGES = {"edge_index": torch.tensor([[0, 1, 8], [1, 2, 7]]), "edge_attr": torch.ones(3, 3, dtype=torch.float64)}
LAYERS = {  # module, class, arguments, what to give the network
    "january": ("gate_points_2101", "Network", (OLD, {}), lambda: [graph(x=11, z=5)]),
    "january, nothing but points": ("gate_points_2101", "Network", ((None, *OLD[1:3], None, *OLD[4:]), {}), lambda: [graph()]),
    "february": ("gate_points_2102", "Network", (OLD, {"reduce_output": False}), lambda: [graph(x=11, z=5)]),
    "march, simple": ("v2103.gate_points_networks", "SimpleNetwork", (("3x0e+2x1o", "4x0e+1x1o"), NEW), lambda: [graph(x=9)]),
    "march, attributes": (
        "v2103.gate_points_networks",
        "NetworkForAGraphWithAttributes",
        (("3x0e+2x1o", "4x0e+1x1o", "1e", "3x0o+1e"), NEW),
        lambda: [graph(node_input=9, node_attr=7) | EDGES],
    ),
    "march, message passing": ("v2103.gate_points_message_passing", "MessagePassing", (MP, {}), message_passing),
    "march, in and out": (
        "v2103.conv_points_in_out",
        "Convolution",
        (("0e+1e", "0e+1e", "2x0e", "3x0e", "0e+1o", 4, 1, 8, 3.0), {}),
        points_in_out,
    ),
    "march, voxels": (
        "v2103.voxel_convolution",
        "Convolution",
        (("0e+1e", "0e+1e+2o", "0e+1o+2e", 5), {"steps": (1.0, 2.0, 1.0), "padding": (2, 1, 2)}),
        lambda: [torch.randn(2, 4, 6, 5, 6)],
    ),
    "march, filter": ("v2103.voxel_convolution", "LowPassFilter", ((2.0, 2), {}), lambda: [torch.randn(2, 8, 9, 8)]),
    "march, adjoint": ("v2103.voxel_convolution", "LowPassFilter", ((2.0, 2, True), {}), lambda: [torch.randn(2, 8, 9, 8)]),
    "april, voxels": (
        "v2104.voxel_convolution",
        "Convolution",
        (("0e+1e", "0e+1e+2o", "0e+1o+2e", 3.0, 2), {"steps": (1.0, 0.7, 1.0)}),
        lambda: [torch.randn(2, 4, 6, 5, 6)],
    ),
    "june, simple": ("v2106.gate_points_networks", "SimpleNetwork", (("3x0e+2x1o", "4x0e+1x1o"), NEW), lambda: [graph(x=9)]),
    "june, attributes": (
        "v2106.gate_points_networks",
        "NetworkForAGraphWithAttributes",
        (("3x0e+2x1o", "4x0e+1x1o", "1e", "3x0e+1e"), NEW),
        lambda: [graph(x=9, node_attr=7) | EDGES],
    ),
    "june, message passing": (
        "v2106.gate_points_message_passing",
        "MessagePassing",
        ((["0e+1e", "2x0e+1e", "1e+0o", "1e"], "0e+1e", "0e+1o", [4, 8], 3.0), {}),
        message_passing,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_same_weights_outputs_and_gradients(name):
    module, kind, (arguments, options), draw = LAYERS[name]
    found = []
    for tree in (THEIRS, OURS):
        torch.manual_seed(0)
        net = getattr(importlib.import_module(f"{tree}.{module}"), kind)(*arguments, **options)
        inputs = draw()
        state = {key: value.clone() for key, value in net.state_dict().items()}
        with torch.no_grad():
            for key, weight in net.named_parameters():
                if "alpha" in key:  # zero before training, which would hide the messages
                    weight.copy_(torch.linspace(-1, 1, weight.numel()))
        y = net(*inputs)
        gradients = (
            torch.autograd.grad(y.square().sum(), list(net.parameters()), allow_unused=True) if state and y.requires_grad else ()
        )
        found.append((net, state, y, gradients))
    (theirs, expected, y, of_y), (ours, state, z, of_z) = found
    assert list(state) == list(expected)
    for key, value in expected.items():
        torch.testing.assert_close(state[key], value, rtol=0, atol=1e-12)
    torch.testing.assert_close(z, y, rtol=1e-10, atol=1e-12)
    assert float(y.detach().abs().max()) > 1e-3
    for a, b in zip(of_z, of_y, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    torch.testing.assert_close(pickle.loads(pickle.dumps(ours))(*inputs), z)


def test_what_cannot_be_built_says_why():
    passing = importlib.import_module(f"{OURS}.v2106.gate_points_message_passing").MessagePassing
    with pytest.raises(ValueError, match="has no scalars"):
        passing(["1e", "1e", "1e"], "0e", "2e", [4, 8], 3.0)
    with pytest.raises(ModuleNotFoundError, match="MinkowskiEngine"):
        importlib.import_module(f"{OURS}.v2203.sparse_voxel_convolution").Convolution("0e", "0e", "0e", 3.0, 2)
    network = importlib.import_module(f"{OURS}.gate_points_2101").Network(*OLD)
    with pytest.raises(AssertionError, match="give them as 'x'"):
        network(graph())


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("gate_points_2101", ("2x0e+1x1o", "1x0e", "0e+1o", "2x0e+1x1o", 3, 1, 8, 3.0)),
        ("gate_points_2102", ("2x0e+1x1o", "1x0e", "0e+1o", "2x0e+1x1o", 3, 1, 8, 3.0)),
        ("v2103.points_convolution", ("2x0e+1x1o", "1x0e", "0e+1o", "2x0e+1x1o", [3, 8], 3.0)),
        ("v2103.conv_points_in_out", ("0e+1e", "0e+1e", "2x0e", "3x0e", "0e+1o", 4, 1, 8, 3.0)),
        ("v2106.points_convolution", ("2x0e+1x1o", "1x0e", "0e+1o", "2x0e+1x1o", [3, 8], 3.0)),
    ],
)
def test_convolutions_say_what_they_can_be_traced_with(module, arguments):
    convolution = importlib.import_module(f"{OURS}.{module}").Convolution(*arguments)
    first, second = (inputs["forward"] for inputs in get_tracing_inputs(convolution, 2))
    assert convolution(*first).shape == convolution(*second).shape
    assert not first[0].equal(second[0])
    assert max(int(first[n].max()) for n in (-4, -3)) < first[0].shape[0]  # ends of edges are nodes
