"""Every rule: compiled value, gradient and second gradient against the definition; and what they do not compute."""

import copy
import pickle
from itertools import pairwise

import pytest
import torch

from tesseral.kernels import cpu_build, fused
from tesseral.nn import BesselBasis, Gate, PolynomialCutoff, RadialEmbedding
from tesseral.nn.gate import _rule as gate_rule
from tesseral.nn.radial_embedding import _rule as radial_rule
from tesseral.ops.fused import apply
from tesseral.ops.linear import _ByGroup
from tesseral.ops.linear_plan import linear_plan
from tesseral.ops.perceptron import PerceptronRule, perceptron_layers
from tesseral.ops.spherical_harmonics import HarmonicsRule, _plan

pytestmark = pytest.mark.skipif(cpu_build.missing_compiler() is not None, reason="no C++ compiler")

GATE = Gate("5x0e+3x0o", [torch.nn.functional.silu, torch.tanh], "7x0e", [torch.nn.functional.silu], "4x1o+3x2e")
RADIAL = RadialEmbedding(BesselBasis(3.0, 8), PolynomialCutoff(3.0, 6))
GROUPED = linear_plan("6x0e+4x1o+2x0e", "70x0e+5x1o+1x2e")


def perceptron(dims, act="silu"):
    return PerceptronRule(perceptron_layers(dims, act, 1.7)), [dims[:1], *pairwise(dims)]


RULES = {
    "perceptron": (*perceptron((8, 64, 40, 97)),),
    "perceptron of one layer": (*perceptron((5, 3)),),
    "tanh": (*perceptron((3, 9, 20, 4), "tanh"),),
    "gate": (gate_rule(GATE, GATE._table), [(GATE.irreps_in.dim,)]),
    "by group": (_ByGroup(GROUPED, torch.arange(101) % 3), [(GROUPED.dim_in,), (3, GROUPED.weight_numel)]),
    "by row": (_ByGroup(GROUPED, None), [(GROUPED.dim_in,), ("rows", GROUPED.weight_numel)]),
    "harmonics": (HarmonicsRule(_plan((0, 1, 2, 3, 4), True, "component")), [(3,)]),
    "homogeneous harmonics": (HarmonicsRule(_plan((5, 1, 1), False, "norm")), [(3,)]),
    "radial": (radial_rule(RADIAL, RADIAL._functions), [(3,)]),
}


def inputs(shapes, dtype=torch.float64, rows=101):
    torch.manual_seed(0)
    first, *others = shapes
    shapes = [[rows if n == "rows" else n for n in shape] for shape in others]
    return [torch.randn(rows, *first, dtype=dtype), *(torch.randn(shape, dtype=dtype) for shape in shapes)]


def derivatives(function, tensors):
    tensors = [t.clone().requires_grad_() for t in tensors]
    value = function(*tensors)
    torch.manual_seed(1)
    g = torch.randn_like(value).requires_grad_()
    first = torch.autograd.grad(value, tensors, g, create_graph=True)
    second = torch.autograd.grad((first[0] * torch.randn_like(first[0])).sum(), [g, *tensors], allow_unused=True)
    return [value, *first, *(torch.zeros_like(t) if s is None else s for s, t in zip(second, [g, *tensors], strict=True))]


@pytest.mark.parametrize("name", RULES)
def test_slices_keep_their_second_derivatives(name):
    """A slice is copied before compiled code sees it; the copy must not be where derivatives end."""
    rule, shapes = RULES[name]
    tensors = inputs(shapes)
    tensors[0] = torch.cat([tensors[0], torch.ones_like(tensors[0])], 1)

    def of_slice(function):
        return lambda x, *rest: function(x[:, : x.shape[1] // 2], *rest)

    found = derivatives(of_slice(lambda *t: apply(rule, *t)), tensors)
    expected = derivatives(of_slice(rule.definition), tensors)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("name", RULES)
def test_compiled_code_is_the_definition(name, dtype, tolerance, threads, monkeypatch):
    monkeypatch.setattr(fused, "_SERIAL_WORK", 0)
    rule, shapes = RULES[name]
    tensors = inputs(shapes, dtype)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = derivatives(lambda *t: apply(rule, *t), tensors)
        again = derivatives(lambda *t: apply(rule, *t), tensors)
    finally:
        torch.set_num_threads(before)
    for a, b, c in zip(found, derivatives(rule.definition, tensors), again, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * max(1.0, float(b.detach().abs().max())))
        assert torch.equal(a, c)


@pytest.mark.parametrize("name", RULES)
def test_no_rows(name):
    rule, shapes = RULES[name]
    if name == "by group":
        rule = _ByGroup(GROUPED, torch.arange(0))
    for a, b in zip(
        *(derivatives(f, inputs(shapes, rows=0)) for f in (lambda *t: apply(rule, *t), rule.definition)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("name", RULES)
def test_third_derivatives(name):
    rule, shapes = RULES[name]
    tensors = inputs(shapes)

    def third(function):
        x = tensors[0].clone().requires_grad_()
        value = function(x, *tensors[1:])
        value = (value * torch.arange(value.numel(), dtype=x.dtype).reshape(value.shape).cos()).square().sum()
        for _ in range(2):
            value = torch.autograd.grad(value, x, create_graph=True)[0].square().sum()
        return torch.autograd.grad(value, x)[0]

    expected = third(rule.definition)
    torch.testing.assert_close(third(lambda *t: apply(rule, *t)), expected, rtol=0, atol=1e-10 * float(expected.abs().max()))


def test_harmonics_and_radial_functions_of_the_zero_vector():
    zero = torch.zeros(1, 3, dtype=torch.float64)
    for name in ("harmonics", "radial"):
        rule, _ = RULES[name]
        for value in derivatives(lambda *t, rule=rule: apply(rule, *t), [zero]):
            assert bool(torch.isfinite(value).all())
    torch.testing.assert_close(apply(RULES["radial"][0], zero), RADIAL.definition(zero))


def test_a_pass_for_the_positions_does_not_compute_gradients_of_weights(monkeypatch):
    rule, shapes = RULES["perceptron"]
    x, *weights = (t.requires_grad_() for t in inputs(shapes))
    asked = []
    original = fused.perceptron_gradient
    monkeypatch.setattr(fused, "perceptron_gradient", lambda *a: asked.append(a[-2:]) or original(*a))
    torch.autograd.grad(apply(rule, x, *weights).sum(), x)
    torch.autograd.grad(apply(rule, x, *weights).sum(), weights)
    apply(rule, x, *weights).sum().backward()
    assert asked == [(True, False), (False, True), (True, True)]
    assert all(w.grad is not None for w in weights)


def test_transformations_and_forward_mode_take_the_definition():
    rule, shapes = RULES["gate"]
    x = inputs(shapes, rows=3)[0]
    tangent = torch.randn_like(x)
    value, slope = torch.func.jvp(lambda x: apply(rule, x), (x,), (tangent,))
    step = 1e-6
    torch.testing.assert_close(
        slope, (apply(rule, x + step * tangent) - apply(rule, x - step * tangent)) / (2 * step), rtol=0, atol=1e-7
    )
    torch.testing.assert_close(torch.func.vmap(lambda x: apply(rule, x))(x), value)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda rule: pickle.loads(pickle.dumps(rule))])
def test_copies_of_plans_that_were_used_have_tables_of_their_own(copied):
    rule, shapes = RULES["by group"]
    apply(rule, *inputs(shapes))
    numbers, original = copied(rule).plan.compiled._table, rule.plan.compiled._table
    assert numbers._values == original._values
    assert numbers.address == numbers._values.buffer_info()[0] != original.address
