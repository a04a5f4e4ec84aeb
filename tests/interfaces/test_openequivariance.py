"""OpenEquivariance's layers against their definition: gather, e3nn's product on each edge, sum at the nodes."""

import copy
import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from tesseral.interfaces import openequivariance as oeq
from tesseral.interfaces.e3nn import o3, using
from tesseral.ops.layout import to_layout

NODES, EDGES = 5, 17
CHANNELWISE = (
    "4x0e+4x1o+2x2e",
    "0e+1o+2e",
    "4x0e+4x1o+4x1o+2x1o+2x2e",
    [
        (0, 0, 0, "uvu", True),
        (1, 1, 0, "uvu", True),
        (0, 1, 1, "uvu", True),
        (1, 0, 2, "uvu", True),
        (2, 1, 3, "uvu", True, 0.3),
        (2, 2, 4, "uvu", True),
    ],
)
SCALARS = ("3x0e", "0e+1o", "3x0e+3x1o", [(0, 0, 0, "uvu", True), (0, 1, 1, "uvu", True)])
MIXING = ("2x0e+3x1o", "0e+1o", "4x1o", [(0, 1, 0, "uvw", True), (1, 0, 0, "uvw", True)])
PROBLEMS = {"channelwise": CHANNELWISE, "scalars": SCALARS, "mixing": MIXING}


def problem(name, **more):
    return oeq.TPProblem(*PROBLEMS[name], **{"shared_weights": False, "irrep_dtype": np.float64, **more})


def arguments(problem, edges=EDGES, dtype=torch.float64):
    torch.manual_seed(0)
    x = torch.randn(NODES, problem.irreps_in1.dim, dtype=dtype)
    y = torch.randn(edges, problem.irreps_in2.dim, dtype=dtype)
    w = torch.randn(*(() if problem.shared_weights else (edges,)), problem.weight_numel, dtype=dtype)
    return x, y, w, torch.randint(NODES, (edges,)), torch.randint(NODES, (edges,))


def defined(problem, x, y, w, rows, cols):
    """The sum, by e3nn's layer in its own layout."""
    ends = (problem.irreps_in1, problem.irreps_in2, problem.irreps_out)
    layer = o3.TensorProduct(*ends, problem.instructions_raw, internal_weights=False, shared_weights=problem.shared_weights)
    z = layer(x[cols], y, w)
    return torch.zeros(len(x), z.shape[1], dtype=z.dtype).index_add(0, rows, z)


@pytest.mark.parametrize("shared", [False, True], ids=["rows", "shared"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_convolution(name, shared):
    p = problem(name, shared_weights=shared)
    given = arguments(p)
    torch.testing.assert_close(oeq.TensorProductConv(p)(*given), defined(p, *given), rtol=1e-12, atol=1e-12)
    x, y, w, *_ = given
    torch.testing.assert_close(
        oeq.TensorProduct(p)(x[[0, 1]], y[:2], w if shared else w[:2]),
        o3.TensorProduct(*PROBLEMS[name], internal_weights=False, shared_weights=shared)(
            x[[0, 1]], y[:2], w if shared else w[:2]
        ),
    )


@pytest.mark.parametrize("name", ["channelwise", "scalars"])
def test_products_of_edges_are_never_in_memory(name):
    layer = oeq.TensorProductConv(problem(name))
    assert layer._program is not None
    assert set(layer._program.form.indices) == {"source", "destination"}


@pytest.mark.parametrize("name", PROBLEMS)
def test_other_layout(name):
    p, q = problem(name), problem(name, layout="ir_mul")
    x, y, w, rows, cols = arguments(p)
    turned = to_layout(x, p.irreps_in1, "mul_ir", "ir_mul"), to_layout(y, p.irreps_in2, "mul_ir", "ir_mul")
    expected = oeq.transpose_irreps(oeq.TensorProductConv(p)(x, y, w, rows, cols), p.irreps_out, "mul_ir", "ir_mul")
    torch.testing.assert_close(oeq.TensorProductConv(q)(*turned, w, rows, cols), expected)
    torch.testing.assert_close(
        oeq.TensorProduct(q)(turned[0][cols], turned[1], w),
        oeq.transpose_irreps(oeq.TensorProduct(p)(x[cols], y, w), p.irreps_out, "mul_ir", "ir_mul"),
    )


def test_derivatives():
    p = problem("channelwise")
    *tensors, rows, cols = arguments(p, edges=6)
    layer = oeq.TensorProductConv(p)
    tensors = [t.requires_grad_() for t in tensors]
    assert torch.autograd.gradcheck(lambda *t: layer(*t, rows, cols), tensors)
    assert torch.autograd.gradgradcheck(lambda *t: layer(*t, rows, cols), tensors)


def test_order_of_the_edges_given():
    p = problem("channelwise")
    x, y, w, rows, cols = arguments(p)
    order = torch.argsort(rows * NODES + cols)
    y, w, rows, cols = y[order], w[order], rows[order], cols[order]
    layer = oeq.TensorProductConv(p, deterministic=True, kahan=True)
    sender = torch.argsort(cols * NODES + rows, stable=True)
    x.requires_grad_()
    for perm in (sender, None):
        z = layer(x, y, w, rows, cols, perm)
        torch.testing.assert_close(z, defined(p, x, y, w, rows, cols))
        (gradient,) = torch.autograd.grad(z.square().sum(), x)
        (expected,) = torch.autograd.grad(defined(p, x, y, w, rows, cols).square().sum(), x)
        torch.testing.assert_close(gradient, expected)


def test_no_edges_and_single_precision():
    p = problem("channelwise")
    layer = oeq.TensorProductConv(p)
    assert layer(*arguments(p, edges=0)).abs().sum() == 0
    given = arguments(p)
    single = layer(*(t.float() if t.is_floating_point() else t for t in given))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), layer(*given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PROBLEMS)
def test_copies_have_no_state(name):
    p = problem(name)
    layer, given = oeq.TensorProductConv(p), arguments(p)
    assert not layer.state_dict()
    assert not list(layer.parameters())
    for other in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer), layer.to(torch.float64)):
        assert torch.equal(other(*given), layer(*given))


def test_sign_convention_is_that_of_layers_built_there():
    odd = ("2x1o", "2e", "2x2o", [(0, 0, 0, "uvu", True)])
    with using("0.4"):
        old = oeq.TPProblem(*odd, shared_weights=False)
    new = oeq.TPProblem(*odd, shared_weights=False)
    given = arguments(new)
    torch.testing.assert_close(oeq.TensorProductConv(old)(*given), -oeq.TensorProductConv(new)(*given))
    torch.testing.assert_close(
        oeq.TensorProductConv(old)(*given),
        torch.zeros(NODES, 10, dtype=torch.float64).index_add(
            0, given[3], oeq.TensorProduct(old)(given[0][given[4]], *given[1:3])
        ),
    )


def test_errors():
    with pytest.raises(ValueError, match="internal_weights=False"):
        problem("scalars", internal_weights=True)
    with pytest.raises(ValueError, match="'mul_ir' or 'ir_mul'"):
        problem("scalars", layout="ir mul")
    with pytest.raises(ValueError, match=r"torch\.float32"):
        oeq.torch_to_oeq_dtype(torch.bfloat16)
    assert oeq.torch_to_oeq_dtype(torch.float32) is np.float32
    assert oeq.torch_ext_so_path() is None
    p = problem("scalars")
    assert p.clone().plan == p.plan
    assert p.clone() is not p


@pytest.mark.parametrize("present", [False, True], ids=["absent", "present"])
def test_install_answers_for_it_only_where_it_is_absent(present, tmp_path):
    if present:
        (tmp_path / "openequivariance.py").write_text("mine = True")
    script = """
        from tesseral.interfaces.e3nn import install
        install()
        import openequivariance
        print(openequivariance.__name__, hasattr(openequivariance, "mine"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}"},
    )  # fmt: skip
    assert done.stdout.split() == (
        ["openequivariance", "True"] if present else ["tesseral.interfaces.openequivariance", "False"]
    ), done.stderr


@pytest.mark.compile
@pytest.mark.parametrize("name", PROBLEMS)
def test_compiled(name):
    p = problem(name)
    layer, given = oeq.TensorProductConv(p), arguments(p)
    compiled = torch.compile(layer, fullgraph=True)
    torch.testing.assert_close(compiled(*given), layer(*given))
