"""The layouts of features against `o3.to_layout`, which is torch's, in all orders of derivative."""

import pytest
import torch
from torch.autograd.gradcheck import GradcheckError

from tesseral import o3
from tesseral.kernels import fused
from tesseral.o3 import Irreps
from tesseral.ops import layout
from tesseral.ops.layout import to_layout

IRREPS = [
    "4x0e+5x1o+3x2e+1x1e+2x0o+7x3o+2x5e",
    "1x1o+3x2e",
    "3x1o+1x0e+1x2e+4x1e",
    "2x4e+9x6e",
    "0x1o+2x2e",
    "5x0e+1x3o",
    "",
    "33x1o+17x2e+49x3o",
]
WAYS = [("mul_ir", "ir_mul"), ("ir_mul", "mul_ir")]


@pytest.fixture
def compiled(monkeypatch):
    """Counts calls of the compiled code, so that no test passes because torch did the work."""
    if not fused.available(torch.empty(1)):
        pytest.skip("no C++ compiler")
    calls = []
    original = layout.transpose
    monkeypatch.setattr(layout, "transpose", lambda *a: calls.append(1) or original(*a))
    return calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (3,), (0,), (2, 0), (2, 3, 4)])
@pytest.mark.parametrize("irreps", map(Irreps, IRREPS), ids=IRREPS)
def test_values(irreps, batch, dtype):
    for source, target in WAYS:
        x = torch.randn(*batch, irreps.dim, dtype=dtype)
        y = to_layout(x, irreps, source, target)
        assert y.dtype == dtype
        assert y.equal(o3.to_layout(x, irreps, source, target))


@pytest.mark.parametrize("way", WAYS)
def test_every_order_of_derivative(way, compiled):
    irreps = Irreps("2x1o+3x2e+1x1e+2x0o")

    def of(x):
        return to_layout(x, irreps, *way)

    x = torch.randn(2, irreps.dim, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(of, (x,))
    assert torch.autograd.gradgradcheck(lambda x: of(x).sin(), (x,))
    weight = torch.randn(2, irreps.dim, dtype=torch.float64)

    def orders(operation):
        results = [(operation(x).sin() * weight).sum()]
        for _ in range(3):
            results.append(torch.autograd.grad(results[-1], x, create_graph=True)[0].square().sum())
        return torch.stack(results)

    before = len(compiled)
    ours = orders(of)
    assert len(compiled) - before >= 4  # forward and three backward passes, at least
    torch.testing.assert_close(ours, orders(lambda x: o3.to_layout(x, irreps, *way)), rtol=1e-13, atol=1e-13)


def test_a_gradient_that_goes_the_same_way_is_seen(compiled, monkeypatch):
    """The planted fault: a backward pass that permutes forth instead of back."""
    monkeypatch.setattr(layout.Transposition, "inverse", property(lambda self: self))
    irreps = Irreps("2x1o+3x2e")
    x = torch.randn(2, irreps.dim, dtype=torch.float64, requires_grad=True)
    with pytest.raises(GradcheckError):
        torch.autograd.gradcheck(lambda x: to_layout(x, irreps, "mul_ir", "ir_mul"), (x,))


def test_rows_that_lie_apart_and_columns_that_do(compiled):
    irreps = Irreps("4x1o+3x0e")
    for x in (torch.randn(5, 40)[:, 3 : 3 + irreps.dim], torch.randn(irreps.dim, 5).mT, torch.randn(irreps.dim).expand(5, -1)):
        assert to_layout(x, irreps, *WAYS[0]).equal(o3.to_layout(x, irreps, *WAYS[0]))
    assert len(compiled) == 3


def test_nothing_moves():
    x = torch.randn(3, 9)
    assert to_layout(x, Irreps("1x1o+6x0e"), *WAYS[0]) is x
    assert to_layout(x, Irreps("3x1o"), "mul_ir", "mul_ir") is x


def test_transformations_of_torch():
    irreps = Irreps("2x1o+1x0e+3x2e")
    x = torch.randn(4, irreps.dim, dtype=torch.float64)

    def of(x):
        return to_layout(x, irreps, *WAYS[0])

    wanted = o3.to_layout(x, irreps, *WAYS[0])
    assert torch.func.vmap(of)(x).equal(wanted)
    assert torch.func.jvp(of, (x,), (x,))[1].equal(wanted)
    assert torch.func.jacrev(of)(x[0]) @ x[0] == pytest.approx(wanted[0])
    hessian = torch.func.hessian(lambda x: of(x).pow(3).sum())(x[0])
    torch.testing.assert_close(hessian, torch.diag(6 * x[0]))


def test_what_is_refused():
    with pytest.raises(ValueError, match="must be 'mul_ir' or 'ir_mul', got 'ri_mul'"):
        to_layout(torch.randn(2, 6), Irreps("2x1o"), "mul_ir", "ri_mul")
    with pytest.raises(ValueError, match="must be 6"):
        to_layout(torch.randn(2, 5), Irreps("2x1o"), *WAYS[0])


@pytest.mark.compile
def test_compile():
    irreps = Irreps("2x1o+1x0e+3x2e")
    x = torch.randn(4, irreps.dim)
    function = torch.compile(lambda x: to_layout(x, irreps, *WAYS[0]), fullgraph=True)
    assert function(x).equal(o3.to_layout(x, irreps, *WAYS[0]))
