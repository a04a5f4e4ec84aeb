"""Signals on the sphere against e3nn's, and against what they mean."""

import math
import pickle

import e3nn.io
import numpy as np
import pytest
import torch

from tesseral.groups import equivariance_error
from tesseral.o3 import Irreps, SphericalTensor, gauss_legendre_grid, rand_matrix
from tesseral.o3.spherical_tensor import parities
from tests.contracts import double_precision

SPACE = SphericalTensor(4, 1, -1)
POINTS = torch.tensor([[4.0, 0.0, 4.0], [0.0, 5.0, 0.0], [-1.0, -1.0, 2.0]], dtype=torch.float64)


@pytest.fixture
def theirs():
    with double_precision():
        yield e3nn.io.SphericalTensor(4, 1, -1)


def test_what_e3nn_computes(theirs):
    signal, samples = torch.randn(2, 25, dtype=torch.float64), torch.randn(2, 40, 3, dtype=torch.float64)
    values = torch.randn(2, 40, dtype=torch.float64)
    torch.testing.assert_close(SPACE.with_peaks_at(POINTS), theirs.with_peaks_at(POINTS), atol=1e-9, rtol=1e-9)
    heights = torch.tensor([-1.5, 2.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(SPACE.with_peaks_at(POINTS, heights), theirs.with_peaks_at(POINTS, heights), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(SPACE.sum_of_diracs(samples, values), theirs.sum_of_diracs(samples, values))
    torch.testing.assert_close(SPACE.from_samples_on_s2(samples, values), theirs.from_samples_on_s2(samples, values))
    torch.testing.assert_close(SPACE.norms(signal), theirs.norms(signal))
    torch.testing.assert_close(SPACE.signal_xyz(signal, samples), theirs.signal_xyz(signal, samples))
    ours, grid = SPACE.signal_on_grid(signal), theirs.signal_on_grid(signal)
    torch.testing.assert_close(ours[0], grid.grid)
    torch.testing.assert_close(ours[1], grid.values)


def test_irreps_and_their_parities():
    for lmax, p_val, p_arg in [(0, 1, -1), (3, 1, 1), (3, -1, 1), (2, -1, -1)]:
        space = SphericalTensor(lmax, p_val, p_arg)
        assert str(space.irreps) == str(e3nn.io.SphericalTensor(lmax, p_val, p_arg))
        assert parities(space.irreps) == (lmax, p_val, p_arg)
        assert pickle.loads(pickle.dumps(space)) == space
    for wrong in ("1o+0e", "0e+1o+2o", "2x0e", ""):
        with pytest.raises(ValueError, match="no signal"):
            parities(wrong)


def test_empty_sets_of_points():
    assert SPACE.with_peaks_at(torch.zeros(0, 3)).shape == (25,)
    assert SPACE.sum_of_diracs(torch.zeros(2, 0, 3), torch.zeros(2, 0)).shape == (2, 25)
    assert SPACE.from_samples_on_s2(torch.zeros(2, 0, 10, 3), torch.zeros(2, 0, 10)).shape == (2, 0, 25)


def test_peaks_are_found_where_they_are_also_at_the_poles():
    directions = torch.nn.functional.normalize(POINTS, dim=-1)
    space = SphericalTensor(8)
    signal = space.sum_of_diracs(directions, torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))
    points, values = space.find_peaks(signal)
    assert (values[:-1] >= values[1:]).all()
    assert (points[:3] * directions).sum(-1).min() > 0.995  # the tails of the others move them a little
    x = points.clone().requires_grad_()
    (slope,) = torch.autograd.grad(space.signal_xyz(signal, x).sum(), x)
    assert slope.abs().max() < 1e-7  # stationary on the sphere
    lonely = space.dirac(torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(space.find_peaks(lonely)[0][0], torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64))


def test_peaks_turn_with_the_signal():
    signal, R = torch.randn(25, dtype=torch.float64), rand_matrix(dtype=torch.float64)
    points, values = SPACE.find_peaks(signal)
    turned, same = SPACE.find_peaks(SPACE.rotated(signal, R))
    assert len(values) == len(same)
    torch.testing.assert_close(values, same)
    torch.testing.assert_close(points @ R.T, turned, atol=1e-6, rtol=0)


def test_no_more_peaks_than_there_are():
    """Y_lm with m = 0, l = 2 has its maxima at the two poles; e3nn finds neither."""
    signal = torch.zeros(9, dtype=torch.float64)
    signal[6] = 1.0
    points, values = SphericalTensor(2).find_peaks(signal)
    torch.testing.assert_close(points.abs(), torch.tensor([[0.0, 1, 0], [0, 1, 0]], dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(values, values.new_full((2,), math.sqrt(5 / (4 * math.pi))))


def test_correlation():
    a, b = torch.randn(2, 25, dtype=torch.float64)
    R = rand_matrix(5, dtype=torch.float64)
    by_grid = []
    for rotation in R:
        product = SPACE.product(a, SPACE.rotated(b, rotation), 0)
        by_grid.append(product[0] * math.sqrt(4 * math.pi))  # the integral of the product
    torch.testing.assert_close(SPACE.cross_correlation(a, b, R), torch.stack(by_grid))
    rotation, overlap = SPACE.best_rotation(SPACE.rotated(a, R[0]), a)
    torch.testing.assert_close(overlap, a @ a)
    torch.testing.assert_close(rotation, R[0], atol=1e-6, rtol=0)


def test_products_are_equivariant():
    out = SphericalTensor(6).irreps
    error = equivariance_error(lambda x, y: SPACE.product(x, y, 6), [SPACE.irreps, SPACE.irreps], out, "O(3)")
    print(error)
    assert float(error) < 1e-12


def test_product_of_values():
    a, b = torch.randn(2, 25, dtype=torch.float64)
    product = SPACE.product(a, b, 8)
    torch.testing.assert_close(
        SphericalTensor(8).signal_xyz(product, POINTS), SPACE.signal_xyz(a, POINTS) * SPACE.signal_xyz(b, POINTS)
    )


def test_surfaces_are_closed_and_drawn():
    signal = torch.randn(25)
    grid = gauss_legendre_grid(8, 10)
    points, values = SPACE.surface(signal, grid, center=torch.tensor([1.0, 2.0, 3.0]))
    assert points.shape == (10, 11, 3)
    torch.testing.assert_close(points[:, 0], points[:, -1])
    distance = (points - torch.tensor([1.0, 2.0, 3.0])).norm(dim=-1)
    torch.testing.assert_close(distance, values.abs())
    assert SPACE.surface(signal, grid, relu=True)[1].min() >= 0
    axes = SPACE.plot(signal, grid=grid)
    axes.figure.savefig("/dev/null", format="png")
    traces = SPACE.plotly_surface(torch.randn(2, 25), torch.zeros(2, 3), grid=grid)
    assert len(traces) == 2
    assert isinstance(traces[0]["surfacecolor"], np.ndarray)


def test_dtype_is_kept_and_gradients_flow():
    for dtype in (torch.float32, torch.float64):
        points = POINTS.to(dtype).requires_grad_()
        y = SPACE.sum_of_diracs(points, torch.ones(3, dtype=dtype))
        assert y.dtype == dtype
        assert torch.autograd.grad(y.sum(), points)[0].isfinite().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SphericalTensor(-1), "lmax >= 0"),
        (lambda: SphericalTensor(2, -1).with_peaks_at(POINTS), "p_val must be 1"),
        (lambda: SphericalTensor(0).with_peaks_at(POINTS), "no signal of lmax = 0 takes these 3 values"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_irreps_are_those_of_the_signal():
    assert SPACE.irreps == Irreps("0e+1o+2e+3o+4e")
    assert SPACE.dim == 25
