"""The convolution with splines for weights: the compiled passes against the composition, to second order and beyond."""

import pytest
import torch

from tesseral.kernels import cpu
from tesseral.kernels.index_map import sort
from tesseral.ops import ConvolutionPlan, Knots, convolution, spline, spline_convolution

KNOTS = Knots(10, 3.0)
NODES = 6
FEATURES = ("8x0e+16x1o+20x2e", "5x0e", "7x0e+3x1o", "33x0o+2x1e")


def inputs(plan, edges=25, dtype=torch.float64, order="unsorted"):
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()  # noqa: E731
    lengths = (3.3 * torch.rand(edges, generator=generator, dtype=torch.float64)).to(dtype).requires_grad_()
    edge_index = torch.randint(NODES, (2, edges), generator=generator)
    if order == "sorted":
        edge_index = edge_index[:, torch.argsort(edge_index[1], stable=True)]
    return (draw(NODES, plan.irreps_in.dim), draw(edges, 9), lengths, draw(KNOTS.rows, plan.weight_numel)), edge_index


def composition(plan, x, y, lengths, coefficients, knots, edge_index):
    return convolution(plan, x, y, spline(lengths, coefficients, knots), edge_index)


def plan_of(features):
    return ConvolutionPlan(features, "0e+1o+2e", features)


def derivatives(function, plan, tensors, edge_index, through=(True, True, True)):
    """The value, first gradients without those of the coefficients (forces), and the gradients of a loss of them."""
    value = function(plan, *tensors, KNOTS, edge_index)
    chosen = [t for t, want in zip(tensors, through, strict=False) if want]
    first = torch.autograd.grad(value.square().sum(), chosen, create_graph=True)
    second = torch.autograd.grad(sum(g.pow(3).sum() for g in first), tensors)
    return value, *first, *second


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("order", ["sorted", "unsorted"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-5)])
def test_two_orders_equal_the_composition(features, order, dtype, tolerance):
    plan = plan_of(features)
    tensors, edge_index = inputs(plan, dtype=dtype, order=order)
    found = derivatives(spline_convolution, plan, tensors, edge_index)
    for a, b in zip(found, derivatives(composition, plan, tensors, edge_index), strict=True):
        assert (a - b).abs().max() <= tolerance * b.abs().max()


@pytest.mark.parametrize("through", [(True, False, False), (False, True, False), (False, False, True), (True, False, True)])
def test_first_gradients_of_some(through):
    plan = plan_of(FEATURES[2])
    tensors, edge_index = inputs(plan)
    found = derivatives(spline_convolution, plan, tensors, edge_index, through)
    for a, b in zip(found, derivatives(composition, plan, tensors, edge_index, through), strict=True):
        assert (a - b).abs().max() <= 1e-13 * b.abs().max()


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("lengths", [True, False])
def test_second_gradients_through_those_of_the_coefficients(features, lengths):
    plan = plan_of(features)
    tensors, edge_index = inputs(plan)

    def second(function):
        value = function(plan, *tensors, KNOTS, edge_index)
        first = torch.autograd.grad(value.square().sum(), tensors[0 if lengths else 3 :], create_graph=True)
        return torch.autograd.grad(sum(g.pow(3).sum() for g in first), tensors)

    for a, b in zip(second(spline_convolution), second(composition), strict=True):
        assert (a - b).abs().max() <= 1e-13 * b.abs().max()


def test_gradients_of_two_orders_are_those_of_differences():
    plan = ConvolutionPlan("2x0e+1x1o", "0e+1o+2e", "0e+1o")
    tensors, edge_index = inputs(plan, edges=5)
    function = lambda *t: spline_convolution(plan, *t, KNOTS, edge_index)  # noqa: E731
    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)


def test_third_order():
    plan = plan_of("3x0e+2x1o")
    (x, y, lengths, coefficients), edge_index = inputs(plan, edges=4)

    def third(function):
        value = lambda r: function(plan, x, y, r, coefficients, KNOTS, edge_index).square().sum()  # noqa: E731
        hessian = torch.autograd.functional.hessian(value, lengths, create_graph=True)
        return torch.autograd.grad(hessian.pow(2).sum(), (lengths, coefficients))

    for a, b in zip(third(spline_convolution), third(composition), strict=True):
        assert torch.allclose(a, b, rtol=1e-10)


def test_the_compiled_passes_are_taken(monkeypatch):
    plan = plan_of(FEATURES[0])
    tensors, edge_index = inputs(plan)
    calls, run = [], cpu.spline_kernel
    monkeypatch.setattr(cpu, "spline_kernel", lambda *a: calls.append(a) or run(*a))
    derivatives(spline_convolution, plan, tensors, edge_index)
    assert len(calls) == 4  # the value, its gradient, that one's, and the value's again: the cotangents depend on the value


def test_no_weights_of_edges_in_memory():
    """Inputs and outputs of the passes are the size of nodes, of harmonics and of the coefficients."""
    plan = plan_of(FEATURES[0])
    tensors, edge_index = inputs(plan, edges=400)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        spline_convolution(plan, *tensors, KNOTS, edge_index)
    assert max(sizes) < 400 * plan.weight_numel / 10


def test_threads_agree_and_repeats_are_bit_identical():
    plan = plan_of("32x0e+32x1o")
    tensors, edge_index = inputs(plan, edges=600, dtype=torch.float32)
    before, found = torch.get_num_threads(), {}
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found[threads] = derivatives(spline_convolution, plan, tensors, edge_index)
            again = derivatives(spline_convolution, plan, tensors, edge_index)
            assert all(torch.equal(a, b) for a, b in zip(found[threads], again, strict=True))
    finally:
        torch.set_num_threads(before)
    for a, b in zip(found[1], found[3], strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


def test_orders_that_are_known():
    plan = plan_of(FEATURES[2])
    tensors, edge_index = inputs(plan, order="sorted")
    known = sort(edge_index[1], NODES)
    order = torch.argsort(edge_index[0], stable=True)
    a = spline_convolution(plan, *tensors, KNOTS, edge_index, order, known.pointers)
    assert torch.equal(a, spline_convolution(plan, *tensors, KNOTS, edge_index))


@pytest.mark.parametrize("edges", [0, 1])
def test_few_edges(edges):
    plan = plan_of(FEATURES[2])
    tensors, edge_index = inputs(plan, edges=edges)
    for value in derivatives(spline_convolution, plan, tensors, edge_index):
        assert value.isfinite().all()


def test_nothing_beyond_the_last_knot():
    plan = plan_of(FEATURES[1])
    (x, y, lengths, coefficients), edge_index = inputs(plan)
    far = (lengths.detach() + 3.0).requires_grad_()
    value, *gradients = derivatives(spline_convolution, plan, (x, y, far, coefficients), edge_index)
    assert not value.any()
    assert not any(g.any() for g in gradients)


def test_coefficients_of_another_convolution_are_refused():
    plan = plan_of(FEATURES[1])
    (x, y, lengths, coefficients), edge_index = inputs(plan)
    with pytest.raises(ValueError, match="need"):
        spline_convolution(plan, x, y, lengths, coefficients[:-1], KNOTS, edge_index)


@pytest.mark.compile
def test_compiles_and_exports():
    plan = plan_of("4x0e+4x1o")
    tensors, edge_index = inputs(plan)

    class Layer(torch.nn.Module):
        def forward(self, x, y, lengths, coefficients, edge_index):
            return spline_convolution(plan, x, y, lengths, coefficients, KNOTS, edge_index)

    expected = Layer()(*tensors, edge_index)
    assert torch.allclose(torch.compile(Layer(), fullgraph=True)(*tensors, edge_index), expected)
    detached = tuple(t.detach() for t in tensors)
    assert torch.allclose(torch.export.export(Layer(), (*detached, edge_index)).module()(*detached, edge_index), expected)
