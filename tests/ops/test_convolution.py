"""The convolution: its paths, its equation, and that it is e3nn's."""

from __future__ import annotations

import pickle

import pytest
import torch

from tesseral.kernels.index_map import sort
from tesseral.o3 import Irreps, to_layout
from tesseral.ops.convolution import ConvolutionPlan, convolution


def problem(plan, nodes=6, edges=30, dtype=torch.float64):
    x, y = torch.randn(nodes, plan.irreps_in.dim, dtype=dtype), torch.randn(edges, plan.irreps_sh.dim, dtype=dtype)
    return x, y, torch.randn(edges, plan.weight_numel, dtype=dtype), torch.randint(0, nodes, (2, edges))


def test_paths_follow_the_agreed_order():
    plan = ConvolutionPlan("4x0e+2x1o", "0e+1o+2e", "9x0e+1x1e+5x1o")
    products = [(plan.irreps_in[i].ir.l, plan.irreps_sh[j].ir.l, str(plan.irreps_out[k].ir)) for i, j, k in plan.paths]
    assert products == [(0, 0, "0e"), (0, 1, "1o"), (1, 0, "1o"), (1, 1, "0e"), (1, 1, "1e"), (1, 2, "1o")]
    assert str(plan.irreps_out) == "4x0e+2x0e+4x1o+2x1o+2x1o+2x1e"  # odd before even at equal l, stable
    assert plan.weight_numel == 4 + 4 + 2 + 2 + 2 + 2


@pytest.mark.parametrize("irreps", ["8x0e+8x1o+8x2e", "5x0e+3x1o+2x2e+1x1e+4x0e"])
def test_is_the_convolution_of_e3nn(irreps):
    o3 = pytest.importorskip("e3nn.o3")
    plan = ConvolutionPlan(irreps, "0e+1o+2e", "0e+0o+1o+1e+2e")
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # e3nn keeps its constants in the default dtype of construction
    try:
        instructions = [(i, j, k, "uvu", True) for i, j, k in plan.paths]
        product = o3.TensorProduct(
            str(plan.irreps_in),
            str(plan.irreps_sh),
            str(plan.irreps_out),
            instructions,
            shared_weights=False,
            internal_weights=False,
        )
    finally:
        torch.set_default_dtype(default)
    x, y, w, edge_index = problem(plan)
    messages = product(to_layout(x, plan.irreps_in, "ir_mul", "mul_ir")[edge_index[0]], y, w)
    expected = torch.zeros(6, plan.irreps_out.dim, dtype=torch.float64).index_add_(0, edge_index[1], messages)
    found = convolution(plan, x, y, w, edge_index)
    torch.testing.assert_close(to_layout(found, plan.irreps_out, "ir_mul", "mul_ir"), expected, rtol=1e-12, atol=1e-12)


def test_order_of_edges_does_not_matter():
    plan = ConvolutionPlan("8x0e+8x1o", "0e+1o", "0e+1o")
    x, y, w, edge_index = problem(plan)
    permutation = torch.randperm(30)
    first = convolution(plan, x, y, w, edge_index)
    torch.testing.assert_close(convolution(plan, x, y[permutation], w[permutation], edge_index[:, permutation]), first)
    order = torch.argsort(edge_index[1], stable=True)
    edges = edge_index[:, order]
    arrangement = {"source_order": torch.argsort(edges[0], stable=True), "destination_pointers": sort(edges[1], 6).pointers}
    torch.testing.assert_close(convolution(plan, x, y[order], w[order], edges, **arrangement), first)


def test_the_older_sign_convention_differs_only_in_odd_sums():
    new, old = (ConvolutionPlan("2x1o", "1o+2e", "0e+1e+1o", convention=c) for c in ("0.6", "0.4"))
    x, y, w, edge_index = problem(new)
    a, b = convolution(new, x, y, w, edge_index), convolution(old, x, y, w, edge_index)
    torch.testing.assert_close(a.abs(), b.abs())
    for (_, ir), s in zip(new.irreps_out, new.irreps_out.slices(), strict=True):
        torch.testing.assert_close(
            a[:, s].abs() if ir.p == 1 and ir.l == 1 else a[:, s], b[:, s].abs() if ir.p == 1 and ir.l == 1 else b[:, s]
        )


def test_nothing_to_keep_and_nothing_to_do():
    empty = ConvolutionPlan("2x1o", "0e", "0e")
    x, y, w, edge_index = problem(empty)
    assert convolution(empty, x, y, w, edge_index).shape == (6, 0)
    plan = ConvolutionPlan("2x1o", "0e", "1o")
    x, y, w, edge_index = problem(plan, edges=0)
    assert torch.equal(convolution(plan, x, y, w, edge_index), torch.zeros(6, 6, dtype=torch.float64))


def test_errors():
    with pytest.raises(ValueError, match="multiplicity 1"):
        ConvolutionPlan("2x1o", "2x0e", "1o")
    plan = ConvolutionPlan("2x1o", "0e", "1o")
    x, y, w, edge_index = problem(plan)
    with pytest.raises(ValueError, match="expected \\(30, 2\\), got \\(30, 3\\)"):
        convolution(plan, x, y, torch.randn(30, 3, dtype=torch.float64), edge_index)
    with pytest.raises(ValueError, match="float32"):
        convolution(plan, x.float(), y, w, edge_index)


def test_plans_pickle():
    plan = ConvolutionPlan("4x0e+2x1o", "0e+1o", "0e+1o", "0.4")
    again = pickle.loads(pickle.dumps(plan))
    assert again.program == plan.program
    assert again.irreps_out == plan.irreps_out == Irreps(str(plan.irreps_out))
