"""Group convolutions on voxels commute with the group exactly, on fields of scalars and vectors, until they are relaxed."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from tesseral.groups import equivariance_error, point_group
from tesseral.symmetry import GridAction, GroupConvolution, GroupLift, GroupProjection, SeparableGroupConvolution

DTYPE = torch.float64


class Field:
    """Fields of irreps, on which numbers of elements act."""

    def __init__(self, action, irreps):
        self.action, self.irreps = action, irreps

    def transform(self, element, value):
        return self.action.act(element, value, self.irreps)


class Network(nn.Module):
    def __init__(self, group, filters, kernel=(3, 3, 3), upsample=(2, 2, 2)):
        super().__init__()
        options = {"filters": filters, "kernel_size": kernel, "dtype": DTYPE}
        self.lift = GroupLift("0e+1o", 2, group, **options)
        self.full = GroupConvolution(2, 1, group, **options)
        self.separable = SeparableGroupConvolution(1, 2, group, **options)
        self.projection = GroupProjection(2, "1o+1e", group, upsample=upsample, filters=filters, dtype=DTYPE)

    def forward(self, field):
        features = functional.silu(self.lift(field))
        features = functional.silu(self.separable(functional.silu(self.full(features))))
        return self.projection(features)


CASES = [
    ("O", (3, 3, 3), (2, 2, 2), (4, 4, 4)),
    ("Th", (3, 3, 3), (1, 1, 1), (3, 3, 3)),
    ("C4v", (3, 3, 1), (2, 2, 1), (6, 6, 1)),
    ("S4", (3, 3, 3), (1, 1, 1), (4, 4, 2)),
]


@pytest.mark.parametrize(("name", "kernel", "upsample", "grid"), CASES, ids=[c[0] for c in CASES])
@pytest.mark.parametrize("filters", [0, 2])
def test_commutes_with_the_group(name, kernel, upsample, grid, filters):
    torch.manual_seed(0)
    group = point_group(name)
    action, network = GridAction(group), Network(group, filters, kernel, upsample)
    elements = range(0, group.order, max(1, group.order // 6))
    field = torch.randn(2, 4, *grid, dtype=DTYPE)
    error = equivariance_error(network, Field(action, "0e+1o"), Field(action, "1o+1e"), elements, inputs=[field])
    assert error.scale > 0
    assert float(error) < 1e-12


def test_the_inversion_is_seen():
    """Features of O distinguish a field from its mirror image, those of Oh treat both alike."""
    torch.manual_seed(0)
    field = torch.randn(1, 4, 4, 4, 4, dtype=DTYPE)
    action = GridAction(point_group("Oh"))
    inversion = [point_group("Oh").index(-torch.eye(3).numpy())]
    for name, commutes in (("O", False), ("Oh", True)):
        network = Network(point_group(name), 0)
        error = equivariance_error(network, Field(action, "0e+1o"), Field(action, "1o+1e"), inversion, inputs=[field])
        assert (float(error) < 1e-12) == commutes


def test_relaxed_weights_break_the_symmetry():
    torch.manual_seed(0)
    group = point_group("D4")
    action, network = GridAction(group), Network(group, 1)
    with torch.no_grad():
        network.lift.relaxation.weight[0, 3] += 0.1
    field = torch.randn(1, 4, 4, 4, 4, dtype=DTYPE)
    error = equivariance_error(network, Field(action, "0e+1o"), Field(action, "1o+1e"), range(group.order), inputs=[field])
    assert float(error) > 1e-4


def test_regular_features_move_as_said():
    torch.manual_seed(0)
    group = point_group("D4")
    action, lift = GridAction(group), GroupLift("1o", 3, group, dtype=DTYPE)
    field = torch.randn(1, 3, 4, 4, 4, dtype=DTYPE)
    for element in range(group.order):
        moved = lift(action.act(element, field, "1o"))
        torch.testing.assert_close(moved, action.act_regular(element, lift(field)), rtol=1e-12, atol=1e-12)


def test_gradients_dtypes_copies_and_empty_batches():
    torch.manual_seed(0)
    network = Network(point_group("C4v"), 1, (3, 3, 1), (2, 2, 1))
    field = torch.randn(1, 4, 3, 3, 1, dtype=DTYPE, requires_grad=True)
    assert torch.autograd.gradcheck(network, (field,), fast_mode=True)
    assert torch.autograd.gradgradcheck(network, (field,), fast_mode=True)
    expected = network(field)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert torch.equal(other(field), expected)
    single = network.float()(field.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-5)
    assert network(field.float()[:0]).shape == (0, 6, 6, 6, 1)


@pytest.mark.compile
def test_compiles():
    network = Network(point_group("C4v"), 1, (3, 3, 1), (2, 2, 1))
    field = torch.randn(1, 4, 3, 3, 1, dtype=DTYPE)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(field), network(field), rtol=1e-12, atol=1e-12)


def test_refuses_groups_and_blocks_that_do_not_fit_voxels():
    with pytest.raises(ValueError, match="subgroup of Oh"):
        GridAction(point_group("C6"))
    with pytest.raises(ValueError, match="choose equal sides"):
        GroupLift("0e", 1, point_group("Oh"), kernel_size=(3, 3, 1))
    with pytest.raises(ValueError, match="choose equal sides"):
        GridAction(point_group("Oh")).act(5, torch.zeros(1, 4, 4, 2), "0e")
