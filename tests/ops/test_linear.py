"""The products in place against their definition, the layouts, and weights per item."""

import e3nn.o3
import pytest
import torch

from tesseral.kernels import fused
from tesseral.o3 import to_layout
from tesseral.ops.linear import MANY_ROWS, _by_blocks, linear
from tesseral.ops.linear_function import Linear as LinearFunction
from tesseral.ops.linear_plan import linear_plan
from tests.contracts import EAGER, GRAPH, Case, name_of

PLAN = linear_plan("3x0e+2x1o+4x1o+1x1e+2x2e", "5x1o+2x0e+3x2o+1x1o+2x1e")


def in_place(x, weight, plan=PLAN):
    """What :func:`linear` does for many rows."""
    return LinearFunction.apply(x, weight, plan, False)


class InPlace(torch.nn.Module):
    """The weights are an input, so their derivatives of all kinds are tested too."""

    def forward(self, x, weight):
        return in_place(x, weight)


class Blocks(torch.nn.Module):
    def forward(self, x, weight):
        return linear(x, weight, PLAN)


def draw(dtype, batch):
    return torch.randn(batch, PLAN.dim_in, dtype=dtype), torch.randn(PLAN.weight_numel, dtype=dtype)


REPS = (["3x0e+2x1o+4x1o+1x1e+2x2e", None], "5x1o+2x0e+3x2o+1x1o+2x1e")
CASES = [
    Case("in place", lambda dtype: InPlace(), *REPS, draw=draw, reference=lambda f, x, w: _by_blocks(x, w, PLAN)),
    Case("by blocks", lambda dtype: Blocks(), *REPS, draw=draw, reference=lambda f, x, w: in_place(x, w)),
]


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, check):
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
def test_contract_graph(check):
    check(CASES[1])


def test_without_compiled_code_many_rows_are_written_in_place(monkeypatch):
    monkeypatch.setattr(fused, "available", lambda *tensors: False)
    x, w = torch.randn(MANY_ROWS, PLAN.dim_in), torch.randn(PLAN.weight_numel)
    expected = _by_blocks(x, w, PLAN)
    calls = []
    original = LinearFunction.forward
    monkeypatch.setattr(LinearFunction, "forward", staticmethod(lambda *a: calls.append(1) or original(*a)))
    torch.testing.assert_close(linear(x, w, PLAN), expected)
    linear(x[1:], w, PLAN)
    assert calls == [1]


def test_paths_into_one_block_are_one_product():
    assert linear_plan("2x1o+3x1o+1x0e", "4x1o+2x0e").groups == ((0, 0, 5**-0.5, (0, 1)), (1, 20, 1.0, (2,)))


@pytest.mark.parametrize("layout", ["ir_mul", "mul_ir"])
@pytest.mark.parametrize("rows", [(), (5,)])
def test_layouts_and_weights_of_each_item(layout, rows):
    plan = linear_plan("3x0e+2x1o+4x1o", "5x1o+2x0e+1x2e", layout=layout)
    x, w = torch.randn(5, plan.dim_in, dtype=torch.float64), torch.randn(*rows, plan.weight_numel, dtype=torch.float64)
    theirs = e3nn.o3.Linear("3x0e+2x1o+4x1o", "5x1o+2x0e+1x2e", shared_weights=not rows, internal_weights=False).double()
    expected = to_layout(theirs(to_layout(x, "3x0e+2x1o+4x1o", layout, "mul_ir"), w), "5x1o+2x0e+1x2e", "mul_ir", layout)
    torch.testing.assert_close(linear(x, w, plan), expected)


def test_rows_that_are_not_contiguous():
    x, w = torch.randn(PLAN.dim_in, 7, dtype=torch.float64), torch.randn(PLAN.weight_numel, dtype=torch.float64)
    strided = torch.randn(7, 2 * PLAN.dim_in, dtype=torch.float64)
    for rows in (x.T, strided[:, ::2], strided[:, : PLAN.dim_in], x.T[:1].expand(4, -1)):
        torch.testing.assert_close(in_place(rows, w), _by_blocks(rows, w, PLAN))


def test_uninitialised_memory_does_not_enter():
    plan = linear_plan("2x1o", "2x1o+3x0e")
    for _ in range(20):
        torch.full((100, 9), torch.nan)  # left in the allocator's cache
        assert bool(torch.isfinite(in_place(torch.randn(100, 6), torch.randn(4), plan)).all())


def test_hessian_of_a_scalar_is_symmetric():
    w = torch.randn(PLAN.weight_numel, dtype=torch.float64)
    f = lambda x: in_place(x[None], w).square().square().sum()  # noqa: E731
    hessian = torch.func.hessian(f)(torch.randn(PLAN.dim_in, dtype=torch.float64))
    torch.testing.assert_close(hessian, hessian.T)


def test_forces_trace_into_a_graph():
    from torch.fx.experimental.proxy_tensor import make_fx

    w = torch.randn(PLAN.weight_numel, dtype=torch.float64)

    def force(x, w):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(linear(x, w, PLAN).square().sum(), x)[0]

    x = torch.randn(3, PLAN.dim_in, dtype=torch.float64)
    traced = make_fx(force, tracing_mode="symbolic")(x, w)
    other = torch.randn(6, PLAN.dim_in, dtype=torch.float64)
    torch.testing.assert_close(traced(other, w), force(other, w))


def test_autocast_multiplies_in_low_precision():
    x, w = torch.randn(5, PLAN.dim_in), torch.randn(PLAN.weight_numel)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = linear(x, w, PLAN)
    torch.testing.assert_close(y.float(), linear(x, w, PLAN), rtol=0.05, atol=0.05)
