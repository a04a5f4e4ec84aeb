"""Splines of a distance: derivatives of any order, smoothness, and how closely they follow a function."""

import pytest
import torch

from tesseral.nn import MLP, BesselBasis, PolynomialCutoff, RadialEmbedding
from tesseral.ops.spline import Knots, SplineRule, interpolation, spline

KNOTS = Knots(6, 2.0)


def inputs(edges=12, width=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    x = (torch.rand(edges, generator=generator, dtype=dtype) * 2.3).requires_grad_()
    return x, torch.randn(KNOTS.rows, width, generator=generator, dtype=dtype, requires_grad=True)


def test_derivatives_of_two_orders():
    assert torch.autograd.gradcheck(lambda x, c: spline(x, c, KNOTS), inputs())
    assert torch.autograd.gradgradcheck(lambda x, c: spline(x, c, KNOTS), inputs())


def test_training_on_forces_equals_the_definition():
    def gradients(function):
        x, table = inputs()
        (force,) = torch.autograd.grad(function(x, table).square().sum(), x, create_graph=True)
        return torch.autograd.grad(force.pow(3).sum(), (x, table))

    compiled, defined = gradients(lambda x, c: spline(x, c, KNOTS)), gradients(SplineRule(KNOTS).definition)
    assert all(torch.allclose(a, b, rtol=1e-11) for a, b in zip(compiled, defined, strict=True))


def test_hessian_is_that_of_the_definition():
    x, table = inputs(4)
    energy = lambda function: lambda x: function(x, table).pow(2).sum()  # noqa: E731
    found = torch.func.hessian(energy(lambda x, c: spline(x, c, KNOTS)))(x)
    assert torch.allclose(found, torch.func.hessian(energy(SplineRule(KNOTS).definition))(x), rtol=1e-11)


def test_two_continuous_derivatives_at_the_knots():
    _, table = inputs()
    knots = torch.arange(1, KNOTS.intervals, dtype=torch.float64) * KNOTS.step
    below, above = (knots - 1e-9).requires_grad_(), (knots + 1e-9).requires_grad_()
    for order in range(3):
        left, right = spline(below, table, KNOTS)[:, 0], spline(above, table, KNOTS)[:, 0]
        for _ in range(order):
            (left,) = torch.autograd.grad(left.sum(), below, create_graph=True)
            (right,) = torch.autograd.grad(right.sum(), above, create_graph=True)
        assert torch.allclose(left, right, atol=1e-5)


def test_follows_a_radial_network_to_fourth_order():
    torch.manual_seed(0)
    network = MLP([8, 32, 32, 4], dtype=torch.float64)
    vectors = torch.nn.functional.pad(torch.linspace(0.7, 5.1, 300, dtype=torch.float64)[:, None], (0, 2))
    basis, cutoff = BesselBasis(5.0, 8), PolynomialCutoff(5.0)
    exact = network(RadialEmbedding(basis, cutoff)(vectors))
    errors = []
    for knots in (64, 128, 256):
        values = RadialEmbedding(basis, cutoff, knots).functions(vectors).through(network)
        errors.append((values - exact).abs().max() / exact.abs().max())
    assert errors[0] < 0.1
    assert errors[2] < 1e-3
    assert errors[1] < errors[0] / 8
    assert errors[2] < errors[1] / 8


def test_vanishes_at_the_cutoff():
    torch.manual_seed(0)
    vectors = torch.tensor([[0.0, 4.999, 0.0], [0.0, 5.0, 0.0], [7.0, 0.0, 0.0]], dtype=torch.float64)
    radial = RadialEmbedding(BesselBasis(5.0, 8), PolynomialCutoff(5.0), 64).functions(vectors)
    weights = radial.through(MLP([8, 16, 3], dtype=torch.float64))
    assert weights[0].abs().max() < 1e-4
    assert not weights[1:].any()


def test_interpolates_cubics_exactly():
    x = torch.linspace(0, 1.99, 50, dtype=torch.float64)
    points = (torch.arange(KNOTS.rows + 2, dtype=torch.float64)[:, None] - 2) * KNOTS.step
    cubic = lambda x: 1 - x + 2 * x**2 - 0.3 * x**3  # noqa: E731
    assert torch.allclose(spline(x, interpolation(cubic(points)), KNOTS)[:, 0], cubic(x), atol=1e-13)


def test_wrong_number_of_coefficients():
    with pytest.raises(ValueError, match="8 rows of coefficients for 6 intervals: expected 9"):
        spline(torch.zeros(2), torch.zeros(8, 1), KNOTS)


@pytest.mark.compile
def test_compiles_in_one_graph():
    x, table = inputs(dtype=torch.float32)
    compiled = torch.compile(lambda x, c: spline(x, c, KNOTS), fullgraph=True)
    assert torch.allclose(compiled(x, table), spline(x, table, KNOTS), atol=1e-5)
