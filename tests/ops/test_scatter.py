"""Reductions against loops, ties, empty rows, order, and the contract."""

import pytest
import torch

from tesseral.ops import scatter, scatter_softmax
from tests.contracts import EAGER, GRAPH, Case, name_of

ROWS = 4


class Reduce(torch.nn.Module):
    def __init__(self, reduce):
        super().__init__()
        self.reduce = reduce

    def forward(self, x, index):
        return scatter(x, index, ROWS, self.reduce)


class Softmax(torch.nn.Module):
    def forward(self, x, index, weights):
        return scatter_softmax(x, index, ROWS, weights.square())


def items(dtype, batch):
    return torch.randn(batch, 6, dtype=dtype), torch.tensor([2, 0, 2, 3, 0])[:batch]


def loop(layer, x, index):
    result = torch.zeros(ROWS, *x.shape[1:], dtype=x.dtype)
    for row in range(ROWS):
        chosen = x[index == row]
        if len(chosen):
            result[row] = {"sum": chosen.sum(0), "mean": chosen.mean(0), "max": chosen.amax(0)}[layer.reduce]
    return result


def softmax_loop(layer, x, index, weights):
    result = torch.zeros_like(x)
    for row in range(ROWS):
        chosen = index == row
        result[chosen] = torch.softmax(x[chosen] + weights[chosen].square().log(), 0)
    return result


CASES = [
    Case("sum", lambda dtype: Reduce("sum"), ["2x1o", None], "2x1o", draw=items, reference=loop, batched=False),
    Case("mean", lambda dtype: Reduce("mean"), ["2x1o", None], "2x1o", draw=items, reference=loop, batched=False),
    Case("max", lambda dtype: Reduce("max"), ["6x0e", None], "6x0e", draw=items, reference=loop, batched=False),
    Case(
        "softmax",
        lambda dtype: Softmax(),
        ["6x0e", None, "6x0e"],
        "6x0e",
        draw=lambda dtype, batch: (*items(dtype, batch), torch.randn(batch, 6, dtype=dtype)),
        reference=softmax_loop,
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


def test_sums_repeat_bit_by_bit():
    x, index = torch.randn(5000, 3), torch.randint(0, 7, (5000,))
    assert all(torch.equal(scatter(x, index, 7), scatter(x, index, 7)) for _ in range(5))


def test_ties_share_the_gradient_of_the_maximum():
    x = torch.tensor([1.0, 3.0, 3.0, -2.0], requires_grad=True)
    y = scatter(x, torch.tensor([0, 0, 0, 2]), 3, "max")
    assert y.tolist() == [3, 0, -2]
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [0, 0.5, 0.5, 1]


def test_softmax_does_not_overflow_and_sums_to_one():
    index = torch.tensor([0, 1, 0, 1, 1])
    alpha = scatter_softmax(torch.tensor([1e4, 0.0, 1e4 - 1, -1e30, 3.0]), index, 2)
    torch.testing.assert_close(scatter(alpha, index, 2), torch.ones(2))


def test_softmax_goes_smoothly_to_zero_with_its_weights():
    index, logits = torch.tensor([0, 0, 1]), torch.zeros(3)
    assert scatter_softmax(logits, index, 2, torch.tensor([1.0, 0.0, 0.0])).tolist() == [1, 0, 0]
    weights = torch.tensor([1.0, 1e-6, 0.0], requires_grad=True)
    alpha = scatter_softmax(logits, index, 2, weights)
    assert alpha[1].item() == pytest.approx(1e-6, rel=1e-3)
    assert bool(torch.isfinite(torch.autograd.grad(alpha.sum(), weights)[0]).all())


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="unknown reduction 'median'"):
        scatter(torch.zeros(2), torch.tensor([0, 1]), 2, "median")
    with pytest.raises((IndexError, RuntimeError)):
        scatter(torch.zeros(2), torch.tensor([0, 2]), 2)
