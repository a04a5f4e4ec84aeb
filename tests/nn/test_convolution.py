"""The public layer: equivariance, every derivative, every transform, every way of compiling."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from tesseral.kernels.dispatch import BackendError
from tesseral.nn.convolution import Convolution
from tesseral.o3 import Irreps, rand_matrix

UNEQUAL = ("3x0e+2x1o+1x2e+1x1e", "0e+1o+2e", "0e+0o+1o+1e+2e")
BACKENDS = ["reference", "cpu"]


def problem(conv, nodes=4, edges=7, dtype=torch.float64):
    x, y = torch.randn(nodes, conv.irreps_in.dim, dtype=dtype), torch.randn(edges, conv.irreps_sh.dim, dtype=dtype)
    return x, y, torch.randn(edges, conv.weight_numel, dtype=dtype), torch.randint(0, nodes - 1, (2, edges))


@pytest.fixture(params=BACKENDS)
def conv(request):
    return Convolution(*UNEQUAL, backend=request.param)


def test_equivariance(conv):
    x, y, w, edge_index = problem(conv)
    out = conv(x, y, w, edge_index)
    for sign in (1.0, -1.0):
        matrix = sign * rand_matrix(dtype=torch.float64)
        x_turned = x @ conv.irreps_in.D_from_matrix(matrix, layout="ir_mul").T
        y_turned = y @ conv.irreps_sh.D_from_matrix(matrix).T
        turned = conv(x_turned, y_turned, w, edge_index)
        error = (turned - out @ conv.irreps_out.D_from_matrix(matrix, layout="ir_mul").T).abs().max() / out.abs().max()
        print(f"equivariance error {error:.1e}")
        assert error < 1e-13


def test_derivatives_of_all_orders(conv):
    small = Convolution("2x0e+1x1o", "0e+1o", "0e+1o", backend=conv.backend)
    x, y, w, edge_index = problem(small, nodes=2, edges=3)
    arguments = tuple(t.requires_grad_() for t in (x, y, w))

    def function(*t):
        return small(*t, edge_index)

    assert torch.autograd.gradcheck(function, arguments, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, arguments)


def test_hessian_is_symmetric(conv):
    conv = Convolution("2x0e+1x1o", "0e+1o", "0e+1o", backend=conv.backend)
    x, y, w, edge_index = problem(conv, nodes=3, edges=4)
    joined = torch.cat([x.flatten(), y.flatten(), w.flatten()])

    def energy(flat):
        a, b, c = flat.split([x.numel(), y.numel(), w.numel()])
        return (conv(a.view_as(x), b.view_as(y), c.view_as(w), edge_index) ** 3).sum()

    hessian = torch.autograd.functional.hessian(energy, joined)
    assert hessian.abs().max() > 1
    assert (hessian - hessian.T).abs().max() < 1e-12 * hessian.abs().max()


def test_torch_func(conv):
    conv = Convolution("2x0e+1x1o", "0e+1o", "0e+1o", backend=conv.backend)
    x, y, w, edge_index = problem(conv, nodes=3, edges=4)

    def energy(x, y, w):
        return (conv(x, y, w, edge_index) ** 2).sum()

    leaves = [t.clone().requires_grad_() for t in (x, y, w)]
    expected = torch.autograd.grad(energy(*leaves), leaves)
    for a, b in zip(torch.func.grad(energy, argnums=(0, 1, 2))(x, y, w), expected, strict=True):
        torch.testing.assert_close(a, b)
    tangents = tuple(map(torch.randn_like, (x, y, w)))
    _, along = torch.func.jvp(energy, (x, y, w), tangents)
    torch.testing.assert_close(along, sum((g * t).sum() for g, t in zip(expected, tangents, strict=True)))
    batch = torch.randn(3, *x.shape, dtype=x.dtype)
    expected_batch = torch.stack([conv(b, y, w, edge_index) for b in batch])
    torch.testing.assert_close(torch.func.vmap(lambda b: conv(b, y, w, edge_index))(batch), expected_batch)
    per_sample = torch.func.vmap(torch.func.grad(lambda b: energy(b, y, w)))(batch)
    torch.testing.assert_close(per_sample[1], torch.func.grad(energy)(batch[1], y, w))
    hessian = torch.func.hessian(lambda y: energy(x, y, w))(y)
    torch.testing.assert_close(hessian, torch.autograd.functional.hessian(lambda y: energy(x, y, w), y))


def test_checkpoint_and_partial_gradients(conv):
    x, y, w, edge_index = problem(conv)
    y.requires_grad_()
    out = conv(x, y, w, edge_index).pow(2).sum()
    again = checkpoint(conv, x, y, w, edge_index, use_reentrant=False).pow(2).sum()
    (a,), (b,) = torch.autograd.grad(out, y), torch.autograd.grad(again, y)
    torch.testing.assert_close(a, b)
    assert x.grad is None


def test_float32_follows_float64():
    conv = Convolution("20x0e+20x1o", "0e+1o+2e", "0e+1o+2e")
    x, y, w, edge_index = problem(conv, edges=60)
    exact, single = conv(x, y, w, edge_index), conv(x.float(), y.float(), w.float(), edge_index)
    assert single.dtype == torch.float32
    assert (single - exact).abs().max() < 1e-6 * exact.abs().max()


def test_backends_are_arguments():
    conv = Convolution(*UNEQUAL, backend="triton")
    arguments = problem(conv)
    with pytest.raises(BackendError, match="'triton' cannot run this program"):
        conv(*arguments)
    with pytest.raises(ValueError, match="'fast'"):
        Convolution(*UNEQUAL, backend="fast")(*arguments)


def test_copies_and_prints():
    conv = Convolution("4x0e", "0e+1o", "0e+1o")
    arguments = problem(conv)
    assert torch.equal(copy.deepcopy(conv)(*arguments), conv(*arguments))
    assert repr(conv) == "Convolution(4x0e x 1x0e+1x1o -> 4x0e+4x1o | 2 paths | 8 weights per edge | ir_mul, backend='auto')"
    assert conv.irreps_out == Irreps("4x0e+4x1o")


@pytest.mark.compile
def test_compile_fullgraph_with_gradients():
    conv = Convolution("4x0e+2x1o", "0e+1o", "0e+1o")
    arguments = problem(conv)
    compiled = torch.compile(conv, fullgraph=True, dynamic=True, backend="aot_eager")
    leaves = [[t.clone().requires_grad_() for t in arguments[:3]] for _ in range(2)]
    outputs = [f(*some, arguments[3]) for f, some in zip((compiled, conv), leaves, strict=True)]
    torch.testing.assert_close(*outputs)
    for out in outputs:
        out.pow(2).sum().backward()
    for a, b in zip(*leaves, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.compile
def test_export_with_any_number_of_nodes_and_edges():
    conv = Convolution("4x0e+2x1o", "0e+1o", "0e+1o")
    nodes, edges = torch.export.Dim("nodes"), torch.export.Dim("edges")
    exported = torch.export.export(conv, problem(conv), dynamic_shapes=({0: nodes}, {0: edges}, {0: edges}, {1: edges}))
    other = problem(conv, nodes=9, edges=21)
    torch.testing.assert_close(exported.module()(*other), conv(*other))


@pytest.mark.compile
def test_energy_and_forces_traced_then_compiled_train():
    """Forces inside the graph (make_fx), then the gradient of a loss through the compiled graph: compiled force training."""
    from torch.fx.experimental.proxy_tensor import make_fx

    conv = Convolution("4x0e+2x1o", "0e+1o", "0e+1o")

    def energy_and_forces(x, y, w, edge_index):
        y = y.detach().requires_grad_()
        energy = conv(x, y, w, edge_index).pow(2).sum()
        return energy, torch.autograd.grad(energy, y, create_graph=True)[0]

    x, y, w, edge_index = problem(conv)
    traced = make_fx(energy_and_forces, tracing_mode="symbolic")(x, y, w, edge_index)
    assert "tesseral.multilinear" in traced.code
    compiled = torch.compile(traced, backend="aot_eager", dynamic=True)
    gradients = []
    for function in (compiled, energy_and_forces):
        leaf = w.clone().requires_grad_()
        energy, forces = function(x, y, leaf, edge_index)
        (energy + forces.pow(2).sum()).backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.compile
def test_the_operation_passes_opcheck():
    from tesseral.kernels.index_map import IndexMap, flatten

    conv = Convolution("4x0e+2x1o", "0e+1o", "0e+1o")
    x, y, w, edge_index = problem(conv)
    tensors = [t.requires_grad_() for t in (x, y, w)]
    maps = flatten([IndexMap(edge_index[0]), IndexMap(edge_index[1])])
    torch.library.opcheck(torch.ops.tesseral.multilinear.default, (conv.plan.program.key, tensors, maps, [4, 4], "auto"))
