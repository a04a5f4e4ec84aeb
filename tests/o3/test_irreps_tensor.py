"""Typed tensors: every operation commutes with rotations or refuses; both layouts; pytrees."""

import copy
import pickle

import pytest
import torch
from torch.utils import _pytree as pytree

from tesseral.o3 import Irreps, IrrepsTensor, concatenate, rand_angles, rand_matrix, rand_quaternion, stack, to_layout
from tesseral.o3.rotations import angles_to_matrix, axis_angle_to_matrix, quaternion_to_matrix, rotation_vector_to_matrix

IRREPS = "2x0e+4x1o+1x0o+2x1o+2x2e"


def sample(layout="mul_ir", leading=(5,), irreps=IRREPS):
    return IrrepsTensor.randn(irreps, leading, layout, dtype=torch.float64)


def same(a, b):
    assert a.irreps == b.irreps
    torch.testing.assert_close(a.array, b.to_layout(a.layout).array)


UNARY = {
    "negative": lambda x: -x,
    "times a number": lambda x: 2.5 * x / 3,
    "times invariants": lambda x: x * torch.linspace(0.1, 1, 5, dtype=torch.float64)[:, None],
    "sum of itself": lambda x: x + x - 3 * x,
    "a block": lambda x: x["4x1o"],
    "blocks": lambda x: x[..., "4x1o+1x0o"],
    "rows": lambda x: x[1:3],
    "a row": lambda x: x[2],
    "by multiplicity": lambda x: x.slice_by_mul[1:8],
    "sorted": lambda x: x.sort(),
    "simplified": lambda x: x.sort().simplify(),
    "regrouped": lambda x: x.regroup(),
    "filtered": lambda x: x.filter("1o+0e"),
    "dropped": lambda x: x.filter(drop="0o"),
    "low degrees": lambda x: x.filter(lmax=1),
    "rechunked": lambda x: x.rechunk("2x0e+1x1o+3x1o+1x0o+2x1o+2x2e"),
    "other layout": lambda x: x.to_layout("ir_mul"),
    "norms": lambda x: x.norm(),
    "channels on an axis": lambda x: x.filter(drop="0o").mul_to_axis(),
    "and back": lambda x: x.filter(drop="0o").mul_to_axis().axis_to_mul(),
    "extended": lambda x: x.extend_with_zeros(Irreps(IRREPS) + Irreps("3o")),
    "mean": lambda x: x.mean(0),
    "joined": lambda x: concatenate([x, 2 * x.filter("1o")]),
    "stacked": lambda x: stack([x, 2 * x], 1),
    "reshaped": lambda x: x.reshape(5, 1),
    "times one scalar": lambda x: x * x.filter("0o"),
    "times a scalar each": lambda x: x * x.norm(),
    "divided by norms": lambda x: x / x.norm(),
}


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
@pytest.mark.parametrize("name", UNARY)
def test_commutes_with_rotations_and_inversion_in_both_layouts(name, layout):
    x, operation = sample(layout), UNARY[name]
    R = -rand_matrix(dtype=torch.float64)
    y = operation(x)
    same(operation(x.transform_by_matrix(R)), y.transform_by_matrix(R))
    same(operation(x.to_layout("mul_ir" if layout == "ir_mul" else "ir_mul")), y)


def test_all_ways_to_rotate_agree():
    x = sample()
    angles, q = rand_angles(dtype=torch.float64), rand_quaternion(dtype=torch.float64)
    axis, angle = torch.randn(3, dtype=torch.float64), torch.tensor(1.2, dtype=torch.float64)
    same(x.transform_by_angles(*angles), x.transform_by_matrix(angles_to_matrix(*angles)))
    same(x.transform_by_angles(*angles, k=torch.tensor(1)), x.transform_by_matrix(-angles_to_matrix(*angles)))
    same(x.transform_by_quaternion(q), x.transform_by_matrix(quaternion_to_matrix(q)))
    same(x.transform_by_axis_angle(axis, angle), x.transform_by_matrix(axis_angle_to_matrix(axis, angle)))
    same(x.transform_by_log_coordinates(axis), x.transform_by_matrix(rotation_vector_to_matrix(axis)))


def test_one_rotation_for_each_row():
    x, R = sample(), rand_matrix(5, dtype=torch.float64)
    y = x.transform_by_matrix(R)
    for i in range(5):
        same(y[i], x[i].transform_by_matrix(R[i]))


def test_chunks_are_blocks():
    x = sample("ir_mul")
    flat = to_layout(x.array, x.irreps, "ir_mul", "mul_ir")
    torch.testing.assert_close(torch.cat([c.flatten(-2) for c in x.chunks], -1), flat)
    same(IrrepsTensor.from_chunks(IRREPS, x.chunks), x)


def test_dot_is_the_sum_of_squares_of_norms():
    x = sample()
    torch.testing.assert_close(x.dot(x.to_layout("ir_mul")), x.norm(squared=True).array.sum(-1))


def test_norm_has_a_gradient_at_zero():
    x = torch.zeros(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(IrrepsTensor("1o", x).norm().array.sum(), x)
    assert gradient.tolist() == [0, 0, 0]


def test_pytrees_transformations_pickle_and_deepcopy():
    x = sample()
    leaves, structure = pytree.tree_flatten(x)
    assert len(leaves) == 1
    same(pytree.tree_unflatten(leaves, structure), x)
    same(pickle.loads(pickle.dumps(x)), x)
    same(copy.deepcopy(x), x)
    mapped = torch.func.vmap(lambda row: row.norm() * row.filter("0o"))(x)
    same(mapped, x.norm() * x.filter("0o"))
    gradient = torch.func.grad(lambda t: t.norm(squared=True).array.sum())(x)
    same(gradient, 2 * x)


@pytest.mark.compile
def test_compiles_and_exports():
    x = sample()

    def function(t):
        return t.regroup().norm() + t.regroup().norm()

    torch._dynamo.reset()
    same(torch.compile(function, fullgraph=True, backend="aot_eager")(x), function(x))

    class Layer(torch.nn.Module):
        def forward(self, t):
            return function(t)

    same(torch.export.export(Layer(), (x,)).module()(x), function(x))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: IrrepsTensor("1o", torch.zeros(4)), ValueError, "1x1o has dimension 3, got an array of shape"),
        (lambda x: IrrepsTensor("1o", torch.zeros(3), "channels"), ValueError, "layout must be"),
        (lambda x: x + x.filter("1o"), ValueError, "must have the same irreps"),
        (lambda x: x + 1, ValueError, "do not combine"),
        (lambda x: x * torch.ones(5, 27), ValueError, "only invariants multiply"),
        (lambda x: x * x.filter("2x0e"), ValueError, "give one scalar"),
        (lambda x: x / x.filter("1o"), ValueError, "only scalars divide"),
        (lambda x: x["1o"], IndexError, "is not in"),
        (lambda x: concatenate([x, x])[IRREPS], IndexError, "is twice in"),
        (lambda x: x[:, 3], IndexError, "indexed by irreps"),
        (lambda x: x.sum(-1), ValueError, "no meaning"),
        (lambda x: x.rechunk("1o"), ValueError, "not the same irreps"),
        (lambda x: x.mul_to_axis(3), ValueError, "3 does not divide"),
        (lambda x: x.extend_with_zeros("1o"), ValueError, "has no place"),
        (lambda x: concatenate([]), ValueError, "no tensors"),
        (lambda x: stack([x, x.filter("1o")]), ValueError, "same irreps"),
    ],
)
def test_what_would_break_the_symmetry_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(sample())
