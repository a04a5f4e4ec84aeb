"""Compiled splines against their definition."""

import pytest
import torch

from tesseral.kernels import spline
from tesseral.kernels.spline import Knots
from tesseral.ops.spline import SplineRule

KNOTS = Knots(7, 3.0)


def derivative(order, x, table):
    """The spline's derivative by the distance, from the definition."""
    y = lambda x: SplineRule(KNOTS).definition(x[None], table)[0]  # noqa: E731
    for _ in range(order):
        y = torch.func.jacfwd(y)
    return torch.stack([y(value) for value in x])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("width", [1, 21])
def test_three_contractions(dtype, order, width):
    generator = torch.Generator().manual_seed(order)
    draw = lambda *shape: torch.randn(shape, generator=generator, dtype=dtype)  # noqa: E731
    x = torch.rand(30, generator=generator, dtype=dtype) * 3.3  # some beyond the cutoff
    table, g, factor = draw(KNOTS.rows, width), draw(30, width), draw(30)
    expected = derivative(order, x, table) * factor[:, None]
    tolerance = 1e-12 if dtype == torch.float64 else 2e-4
    assert torch.allclose(spline.gather(x, table, KNOTS, order, factor), expected, rtol=tolerance, atol=tolerance)
    assert torch.allclose(
        spline.dot(x, table, g, KNOTS, order, factor), (expected * g).sum(1), rtol=tolerance, atol=10 * tolerance
    )
    scattered = spline.scatter(x, g, KNOTS, order, factor)
    assert torch.allclose((scattered * table).sum(), (expected * g).sum(), rtol=tolerance, atol=30 * tolerance)


def test_no_edges():
    x, table = torch.zeros(0), torch.zeros(KNOTS.rows, 5)
    assert spline.gather(x, table, KNOTS, 0).shape == (0, 5)
    assert not spline.scatter(x, torch.zeros(0, 5), KNOTS, 0).any()


def test_same_at_any_number_of_threads():
    x, table, g = torch.rand(4000) * 3, torch.randn(KNOTS.rows, 37), torch.randn(4000, 37)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append((spline.gather(x, table, KNOTS, 0), spline.dot(x, table, g, KNOTS, 1), spline.scatter(x, g, KNOTS, 0)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
