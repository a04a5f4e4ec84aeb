"""Complex matrices by three and by four real products: equal to complex arithmetic, with all derivatives."""

import pytest
import torch

from tesseral.ops import complex_linear
from tesseral.ops.complex_linear import ComplexLinear, Pair
from tesseral.ops.fused import apply

REAL = [(0, 3, 0, 2, 1, 0, 0.5)]
PAIRS = [Pair(3, 4, 2, 5, 6, 0.7), Pair(11, 2, 12, 3, 46, -1.3)]
DIMS, WEIGHTS = (15, 18), 58


def definition(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    (a, n, _, m, _, start, factor) = REAL[0]
    pieces = [factor * x[:, a : a + n] @ weight[start : start + n * m].view(n, m)]
    for p in PAIRS:
        z = torch.complex(x[:, p.source : p.source + p.n], x[:, p.source + p.n : p.source + 2 * p.n])
        real, imaginary = weight[p.start : p.start + 2 * p.n * p.m].view(2, p.n, p.m)
        y = p.coefficient * z @ torch.complex(real, imaginary)
        pieces += [y.real, y.imag]
    return torch.cat(pieces, 1)


@pytest.fixture(params=["four products", "three products", "both"])
def rule(request, monkeypatch) -> ComplexLinear:
    """With three products for pairs of at least so many channels; the second pair is the narrower."""
    monkeypatch.setattr(complex_linear, "WIDE", {"four products": 100, "three products": 1, "both": 4}[request.param])
    monkeypatch.setattr(complex_linear, "MANY_ROWS", 2)
    made = ComplexLinear(definition, REAL, PAIRS, DIMS, WEIGHTS)
    assert len(made.wide) == {"four products": 0, "three products": 2, "both": 1}[request.param]
    return made


def tensors(rows: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return tuple(torch.randn(shape, dtype=dtype, requires_grad=True) for shape in ((rows, DIMS[0]), (WEIGHTS,)))


@pytest.mark.parametrize("rows", [0, 1, 2, 60])
def test_it_is_complex_arithmetic(rule: ComplexLinear, rows: int) -> None:
    x, weight = tensors(rows)
    torch.testing.assert_close(apply(rule, x, weight), definition(x, weight), rtol=0, atol=1e-13)
    g = torch.randn(rows, DIMS[1], dtype=torch.float64)
    found, expected = (torch.autograd.grad(f(x, weight), (x, weight), g) for f in (lambda *t: apply(rule, *t), definition))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_derivatives(rule: ComplexLinear) -> None:
    inputs = tensors(3)
    assert torch.autograd.gradcheck(lambda *t: apply(rule, *t), inputs)
    assert torch.autograd.gradgradcheck(lambda *t: apply(rule, *t), inputs)
    x, weight = inputs
    third = torch.autograd.functional.jacobian(
        lambda w: torch.autograd.grad(apply(rule, x, w).pow(3).sum(), x, create_graph=True)[0].square().sum(), weight
    )
    expected = torch.autograd.functional.jacobian(
        lambda w: torch.autograd.grad(definition(x, w).pow(3).sum(), x, create_graph=True)[0].square().sum(), weight
    )
    torch.testing.assert_close(third, expected)


def test_single_precision_and_strided_rows(rule: ComplexLinear) -> None:
    x, weight = tensors(60, torch.float32)
    found = apply(rule, x[::2], weight)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, definition(x[::2], weight), rtol=1e-4, atol=1e-5)
