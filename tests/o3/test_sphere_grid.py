import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from e3nn import o3 as e3nn_o3

from tesseral.o3 import Irreps, gaunt_array, rand_matrix
from tesseral.o3.sphere_grid import SphereTransform, equiangular_grid, gauss_legendre_grid
from tesseral.o3.spherical_harmonics import spherical_harmonics

from .golden import golden

NORMALIZATIONS = ["integral", "component", "norm"]
GRIDS = [equiangular_grid(9, 9), equiangular_grid(10, 9), equiangular_grid(14, 21), gauss_legendre_grid(5, 9)]


def monomial_integral(i, j, k):
    """Integral of x^i y^j z^k over the unit sphere."""
    if i % 2 or j % 2 or k % 2:
        return 0.0
    gamma = math.gamma
    return 2 * gamma((i + 1) / 2) * gamma((j + 1) / 2) * gamma((k + 1) / 2) / gamma((i + j + k + 3) / 2)


@pytest.mark.parametrize(
    ("family", "rings", "meridians", "degree"),
    [
        (equiangular_grid, 1, 2, 1),
        (equiangular_grid, 7, 8, 7),
        (equiangular_grid, 8, 9, 7),
        (equiangular_grid, 12, 5, 4),
        (gauss_legendre_grid, 1, 2, 1),
        (gauss_legendre_grid, 4, 8, 7),
        (gauss_legendre_grid, 6, 30, 11),
    ],
)
def test_integrates_exactly_to_its_degree_and_not_beyond(family, rings, meridians, degree):
    grid = family(rings, meridians)
    assert grid.degree == degree
    assert grid.points.shape == (rings, meridians, 3)
    np.testing.assert_allclose(np.linalg.norm(grid.points, axis=-1), 1.0)
    x, y, z = np.moveaxis(grid.points, -1, 0)

    def error(i, j, k):
        integral = float(grid.integrate(torch.from_numpy(x**i * y**j * z**k)))
        return abs(integral - monomial_integral(i, j, k))

    exponents = [e for e in itertools.product(range(degree + 2), repeat=3) if sum(e) <= degree + 1]
    assert max(error(*e) for e in exponents if sum(e) <= degree) < 2e-14
    assert max(error(*e) for e in exponents if sum(e) == degree + 1) > 1e-6


def test_equiangular_weights_are_those_of_soft():
    def soft_weights(b):  # Kostelec and Rockmore, J. Fourier Anal. Appl. 14, 145 (2008), eq. 2.13, for 2b rings
        j, k = np.arange(2 * b)[:, None], np.arange(b)
        series = np.sin((2 * j + 1) * (2 * k + 1) * np.pi / (4 * b)) / (2 * k + 1)
        return 2 / b * np.sin(np.pi * (2 * j[:, 0] + 1) / (4 * b)) * series.sum(1)

    for b in (1, 3, 8):
        grid = equiangular_grid(2 * b, 5)
        np.testing.assert_allclose(grid.weights * 5 / (2 * np.pi), soft_weights(b), rtol=1e-13)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_round_trip(grid, normalization):
    transform = SphereTransform(4, grid, normalization)
    x = torch.randn(3, 2, 25, dtype=torch.float64)
    torch.testing.assert_close(transform.from_grid(transform.to_grid(x)), x, rtol=0, atol=1e-13)


def test_round_trip_at_high_degree():
    for grid in (equiangular_grid(81, 81), gauss_legendre_grid(41, 81)):
        x = torch.randn(2, 41**2, dtype=torch.float64)
        transform = SphereTransform(40, grid, "integral")
        torch.testing.assert_close(transform.from_grid(transform.to_grid(x)), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_values_are_the_sum_of_harmonics(grid):
    x = torch.randn(25, dtype=torch.float64)
    Y = spherical_harmonics(list(range(5)), torch.from_numpy(grid.points), False)
    torch.testing.assert_close(SphereTransform(4, grid, "integral").to_grid(x), Y @ x, rtol=0, atol=1e-13)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_equal_to_e3nn(normalization):
    for version in ("0.6.0", "0.4.4"):
        fixture = golden(version)
        transform = SphereTransform(4, equiangular_grid(10, 9), normalization)
        values = transform.to_grid(torch.from_numpy(fixture["grid_x"]))
        np.testing.assert_allclose(values.numpy(), fixture[f"grid_{normalization}"], atol=1e-13)

    values = torch.randn(2, 12, 13, dtype=torch.float64)
    for lmax, lmax_in in ((5, None), (3, None), (3, 5)):
        torch.set_default_dtype(torch.float64)  # the accuracy of e3nn's weights
        expected = e3nn_o3.FromS2Grid((12, 13), lmax, normalization, lmax_in)(values)
        torch.set_default_dtype(torch.float32)
        actual = SphereTransform(lmax, equiangular_grid(12, 13), normalization, lmax_in).from_grid(values)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-13)


def test_product_of_functions_is_the_gaunt_product():
    # The product of functions of degrees 3 and 2 has degree 5; its coefficients are exact, by Gaunt's integrals.
    f, g = torch.randn(16, dtype=torch.float64), torch.randn(9, dtype=torch.float64)
    for grid in (gauss_legendre_grid(6, 11), equiangular_grid(11, 11)):
        product = SphereTransform(3, grid, "integral").to_grid(f) * SphereTransform(2, grid, "integral").to_grid(g)
        actual = SphereTransform(5, grid, "integral").from_grid(product).numpy()
        expected = np.zeros(36)
        for l1, l2, l3 in itertools.product(range(4), range(3), range(6)):
            if abs(l1 - l2) <= l3 <= l1 + l2:
                a, b, c = (slice(l * l, (l + 1) ** 2) for l in (l1, l2, l3))
                expected[c] += np.einsum("ijk,i,j->k", gaunt_array(l1, l2, l3), f[a].numpy(), g[b].numpy())
        np.testing.assert_allclose(actual, expected, atol=1e-13)


@pytest.mark.parametrize(("normalization", "variance"), [("component", 1.0), ("norm", 1.0)])
def test_every_degree_adds_the_same_variance(normalization, variance):
    transform = SphereTransform(4, gauss_legendre_grid(5, 9), normalization)
    for l in range(5):
        total = 0.0
        for m in range(2 * l + 1):  # exact expectation over independent coefficients
            x = torch.zeros(25, dtype=torch.float64)
            x[l * l + m] = 1.0 if normalization == "component" else (2 * l + 1) ** -0.5
            total = total + transform.to_grid(x) ** 2
        torch.testing.assert_close(total, torch.full_like(total, variance / 5))


def test_rotating_coefficients_rotates_the_function():
    R = rand_matrix(dtype=torch.float64)
    grid = gauss_legendre_grid(7, 13)
    transform = SphereTransform(4, grid, "integral")
    irreps = Irreps.spherical_harmonics(4)
    x = torch.randn(25, dtype=torch.float64)
    rotated_points = torch.from_numpy(grid.points) @ R  # R^-1 applied to each point
    expected = spherical_harmonics(list(range(5)), rotated_points, False) @ x
    actual = transform.to_grid(irreps.D_from_matrix(R) @ x)
    error = (actual - expected).abs().max().item()
    assert error < 1e-12, error


def test_grid_too_coarse_for_the_way_back():
    with pytest.raises(ValueError, match=r"equiangular_grid\(8, 9\) integrates exactly to degree 7, but .* lmax = 4 need 8"):
        SphereTransform(4, equiangular_grid(8, 9)).from_grid(torch.zeros(8, 9))
    assert SphereTransform(4, equiangular_grid(3, 2)).to_grid(torch.zeros(25)).shape == (3, 2)


def test_bad_arguments():
    transform = SphereTransform(1, gauss_legendre_grid(2, 3))
    with pytest.raises(ValueError, match=r"lmax = 1 has 4 coefficients, got \(2, 5\)"):
        transform.to_grid(torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"shape \(..., 2, 3\), got \(3, 2\)"):
        transform.from_grid(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="at least one ring"):
        equiangular_grid(0, 3)
    with pytest.raises(ValueError, match="at least one ring"):
        gauss_legendre_grid(3, 0)
    with pytest.raises(ValueError, match="lmax must be 0 or more"):
        SphereTransform(-1, gauss_legendre_grid(2, 3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dtypes_and_empty_batches(dtype):
    transform = SphereTransform(3, gauss_legendre_grid(4, 7))
    x = torch.randn(5, 16, dtype=torch.float64).to(dtype)
    values = transform.to_grid(x)
    assert values.dtype == transform.from_grid(values).dtype == dtype
    torch.testing.assert_close(values.double(), transform.to_grid(x.double()), rtol=0, atol=50 * torch.finfo(dtype).eps)
    assert transform.to_grid(x[:0]).shape == (0, 4, 7)
    assert transform.from_grid(values[:0]).shape == (0, 16)


def test_independent_of_defaults():
    with torch.device("meta"):
        transform = SphereTransform(2, gauss_legendre_grid(3, 5))
    x = torch.randn(9, dtype=torch.float64)
    torch.testing.assert_close(transform.from_grid(transform.to_grid(x)), x, rtol=0, atol=1e-13)
    assert transform.from_grid(transform.to_grid(x.to("meta"))).is_meta


def test_gradients_and_functional_transforms():
    transform = SphereTransform(2, gauss_legendre_grid(3, 5))
    x = torch.randn(2, 9, dtype=torch.float64, requires_grad=True)

    def function(x):
        return transform.from_grid(transform.to_grid(x).tanh())

    assert torch.autograd.gradcheck(function, x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, x)
    torch.testing.assert_close(torch.vmap(function)(x), function(x))


def test_pickle():
    transform = SphereTransform(2, equiangular_grid(6, 7), "norm", lmax_in=4)
    other = pickle.loads(pickle.dumps(transform))
    assert repr(other) == repr(transform) == "SphereTransform(lmax=2, equiangular_grid(6, 7), normalization='norm')"
    assert other.grid is transform.grid
    assert torch.equal(other.analysis, transform.analysis)


class Activation(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.transform = SphereTransform(3, gauss_legendre_grid(6, 11))

    def forward(self, x):
        return self.transform.from_grid(self.transform.to_grid(x).relu())


@pytest.mark.compile
def test_compiles_and_exports():
    module = Activation()
    x = torch.randn(4, 16)
    torch.testing.assert_close(torch.compile(module, fullgraph=True, backend="aot_eager")(x), module(x))
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    other = torch.randn(7, 16)
    torch.testing.assert_close(program.module()(other), module(other))
