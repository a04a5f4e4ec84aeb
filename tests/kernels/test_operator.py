"""The operation's doors: batches of ``torch.func.vmap`` in one call, and automatic mixed precision."""

import pytest
import torch

from tesseral.kernels import dispatch, operator
from tesseral.kernels.index_map import IndexMap, flatten, sort
from tesseral.nn import Convolution, Linear
from tesseral.ops import ConvolutionPlan, convolution

PLAN = ConvolutionPlan("3x0e+2x1o", "0e+1o", "0e+1o")
SAMPLES, NODES, EDGES = 3, 4, 7


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    shapes = ((NODES, PLAN.irreps_in.dim), (EDGES, 4), (EDGES, PLAN.weight_numel))
    return [torch.randn(SAMPLES, *shape, generator=generator, dtype=torch.float64) for shape in shapes]


@pytest.fixture
def calls(monkeypatch):
    """The number of rows of the first map in each execution."""
    seen = []
    execute = dispatch.execute

    def watched(program, tensors, maps, rows, backend="auto"):
        seen.append(rows[0])
        return execute(program, tensors, maps, rows, backend)

    monkeypatch.setattr(dispatch, "execute", watched)
    return seen


def edges(order):
    edge_index = torch.randint(NODES, (SAMPLES, 2, EDGES), generator=torch.Generator().manual_seed(1))
    if order == "sorted":
        edge_index[:, 1] = edge_index[:, 1].sort(dim=1).values
    return edge_index


@pytest.mark.parametrize("batched", [(0, None, None), (None, 0, None), (None, None, 0), (0, 0, 0), (1, None, 2)])
@pytest.mark.parametrize("order", ["sorted", "unsorted"])
def test_a_batch_is_one_call(tensors, calls, batched, order):
    edge_index = edges(order)[0]
    by_source, by_destination = sort(edge_index[0], NODES), sort(edge_index[1], NODES)
    known = (by_source.order, by_destination.pointers) if order == "sorted" else ()
    given = [t[0] if d is None else t.movedim(0, d) for t, d in zip(tensors, batched, strict=True)]
    found = torch.func.vmap(lambda *t: convolution(PLAN, *t, edge_index, *known), in_dims=batched)(*given)
    assert calls == [SAMPLES * NODES]
    for n in range(SAMPLES):
        one = [t[0] if d is None else t[n] for t, d in zip(tensors, batched, strict=True)]
        torch.testing.assert_close(found[n], convolution(PLAN, *one, edge_index))


@pytest.mark.parametrize("tensors_too", [True, False])
def test_edges_of_their_own(tensors, calls, tensors_too):
    given = tensors if tensors_too else [t[0] for t in tensors]
    edge_index, at = edges("unsorted"), 0 if tensors_too else None
    found = torch.func.vmap(lambda *t: convolution(PLAN, *t), in_dims=(at, at, at, 0))(*given, edge_index)
    assert calls == [SAMPLES * NODES]
    for n in range(SAMPLES):
        one = [t[n] for t in tensors] if tensors_too else given
        torch.testing.assert_close(found[n], convolution(PLAN, *one, edge_index[n]))


def test_gradients_of_a_batch_equal_the_loop(tensors, monkeypatch):
    edge_index = edges("unsorted")[0]

    def hessian(x, y, w):
        return torch.func.hessian(lambda y: convolution(PLAN, x, y, w, edge_index).pow(3).sum())(y)

    folded = torch.func.vmap(hessian)(*tensors)
    monkeypatch.setattr(operator, "_MOST_COPIES", -1)
    torch.testing.assert_close(folded, torch.func.vmap(hessian)(*tensors))


def test_empty_batches(tensors):
    edge_index = edges("unsorted")[0]
    found = torch.func.vmap(lambda *t: convolution(PLAN, *t, edge_index))(*(t[:0] for t in tensors))
    assert found.shape == (0, NODES, PLAN.irreps_out.dim)


def test_autocast_multiplies_in_bfloat16_and_convolves_in_float32(tensors):
    torch.manual_seed(0)
    x, y, w = (t[0].float() for t in tensors)
    layer, conv, edge_index = (
        Linear(PLAN.irreps_in, PLAN.irreps_in),
        Convolution("3x0e+2x1o", "0e+1o", "0e+1o"),
        edges("sorted")[0],
    )
    exact = conv(layer(x), y, w, edge_index)
    with torch.autocast("cpu", torch.bfloat16):
        found = conv(layer(x), y, w, edge_index)
    assert found.dtype == torch.float32
    assert 1e-4 < (found - exact).norm() / exact.norm() < 1e-2
    (gradient,) = torch.autograd.grad(found.square().sum(), layer.weight)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("forward_mode", [True, False])
def test_the_door_for_compilers_never_drops_a_tangent(tensors, forward_mode):
    x, y, w = (t[0] for t in tensors)
    edge_index = edges("sorted")[0]
    maps = flatten([IndexMap(edge_index[0]), IndexMap(edge_index[1])])

    def through(x):
        return torch.ops.tesseral.multilinear(PLAN.program.key, [x, y, w], maps, [NODES, NODES], "auto")[0]

    torch.testing.assert_close(through(x), convolution(PLAN, x, y, w, edge_index))

    def dual():
        with torch.autograd.forward_ad.dual_level():
            return through(torch.autograd.forward_ad.make_dual(x, torch.ones_like(x)))

    run = dual if forward_mode else lambda: torch.func.jvp(through, (x,), (torch.ones_like(x),))
    with pytest.raises(RuntimeError, match="forward-mode"):
        run()
