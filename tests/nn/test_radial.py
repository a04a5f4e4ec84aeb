"""Radial bases: limits, orthogonality, the published formulas, e3nn's family, and the contract."""

import math

import e3nn.math
import numpy as np
import pytest
import torch

from tesseral.nn import (
    MLP,
    BesselBasis,
    ExponentialNormalBasis,
    GaussianBasis,
    PolynomialCutoff,
    RadialEmbedding,
    SoftOneHot,
    sinc,
    soft_one_hot,
)
from tests.contracts import EAGER, GRAPH, Case, double_precision, name_of

SOFT = ["gaussian", "cosine", "smooth_finite", "fourier", "bessel"]


def distances(dtype, batch):
    return (torch.linspace(0.35, 4.3, batch, dtype=dtype),)


BASES = {
    "bessel": lambda dtype: BesselBasis(5.0, 8),
    "bessel with trained frequencies": lambda dtype: BesselBasis(5.0, 4, "nequip", trainable=True, dtype=dtype),
    "gaussian": lambda dtype: GaussianBasis(5.0, 5, start=0.5),
    "exponential normal": lambda dtype: ExponentialNormalBasis(5.0, 5),
    **{f"soft one-hot, {basis}": (lambda dtype, basis=basis: SoftOneHot(5.0, 4, basis)) for basis in SOFT},
}
CASES = [Case(name, build, [None], None, draw=distances) for name, build in BASES.items()]


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, check):
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract_graph(case, check):
    check(case)


def test_bessel_functions_are_orthonormal():
    nodes, weights = np.polynomial.legendre.leggauss(60)
    r, w = torch.from_numpy((nodes + 1) * 2.5), torch.from_numpy(weights * 2.5)
    b = BesselBasis(5.0, 8)(r)
    torch.testing.assert_close((b * (w * r**2)[:, None]).T @ b, torch.eye(8, dtype=torch.float64))


def test_bessel_formula_of_nequip():
    r = torch.linspace(0.1, 5, 7, dtype=torch.float64)[:, None]
    n = torch.arange(1, 4)
    torch.testing.assert_close(BesselBasis(4.0, 3, "nequip")(r[:, 0]), 2 / 4 * torch.sin(n * math.pi * r / 4) / r)


def test_limit_and_derivatives_at_zero():
    # sin(kr)/r = k - k^3 r^2/6 + ...: value k, slope 0, curvature -k^3/3
    r = torch.zeros((), dtype=torch.float64, requires_grad=True)
    for n in range(3):
        value = BesselBasis(2.0, 3)(r)[n]
        (slope,) = torch.autograd.grad(value, r, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, r)
        k = (n + 1) * math.pi / 2
        assert (value.item(), slope.item(), curvature.item()) == pytest.approx((k, 0, -(k**3) / 3), rel=1e-14)


def test_sinc_and_its_derivatives_are_accurate_everywhere():
    x = np.concatenate([np.logspace(-12, 1, 300), [0.25 - 1e-15, 0.25, 0.25 + 1e-15]])
    y = torch.tensor(x, requires_grad=True)
    value = sinc(y)
    (slope,) = torch.autograd.grad(value.sum(), y, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), y)
    # sin(x)/x = mean over (0, 1) of cos(xt): exact to rounding by quadrature, also near zero
    t, w = np.polynomial.legendre.leggauss(40)
    t, w = (t + 1) / 2, w / 2
    phase = x[:, None] * t
    np.testing.assert_allclose(value.detach(), np.cos(phase) @ w, atol=1e-15)
    np.testing.assert_allclose(slope.detach(), (-t * np.sin(phase)) @ w, atol=1e-14)
    np.testing.assert_allclose(curvature, (-(t**2) * np.cos(phase)) @ w, atol=1e-13)


@pytest.mark.parametrize("basis", SOFT)
@pytest.mark.parametrize("vanish", [True, False])
@pytest.mark.parametrize("number", [2, 7])
def test_soft_one_hot_agrees_with_e3nn(basis, vanish, number):
    # without the points that e3nn gets wrong: x = start of the Bessel basis, and x just outside
    x = torch.linspace(0.51 if basis == "bessel" else -0.6, 3.9, 50, dtype=torch.float64)
    with double_precision():
        expected = e3nn.math.soft_one_hot_linspace(x, 0.5, 3.0, number, basis, vanish)
    torch.testing.assert_close(soft_one_hot(x, 0.5, 3.0, number, basis, vanish), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("build", BASES.values(), ids=BASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_derivatives_are_finite_from_zero_on(build, dtype):
    basis, cutoff = build(dtype), PolynomialCutoff(5.0)
    r = torch.cat([torch.zeros(1), torch.logspace(-12, 1, 300)]).to(dtype).requires_grad_()
    y = basis(r) * cutoff(r)[:, None]
    for _ in range(4):
        assert bool(torch.isfinite(y).all())
        (y,) = torch.autograd.grad(y.sum(), r, create_graph=True)


def test_exponential_normal_formula():
    # TorchMD-Net: means from exp(-5) to 1 over 50 functions, betas (2/50 (1 - exp(-5)))^-2, alpha 5/cutoff
    basis = ExponentialNormalBasis(4.0, 50)(torch.tensor(1.3, dtype=torch.float64))
    means = np.linspace(math.exp(-5), 1, 50)
    beta = (2 / 50 * (1 - math.exp(-5))) ** -2
    np.testing.assert_allclose(basis, np.exp(-beta * (math.exp(-5 * 1.3 / 4) - means) ** 2))


def test_gaussians_of_schnet():
    basis = GaussianBasis(30.0, 301)(torch.tensor([0.1], dtype=torch.float64))
    assert basis[0, :3].tolist() == pytest.approx([math.exp(-0.5), 1.0, math.exp(-0.5)])


@pytest.mark.parametrize("knots", [16, 128])
def test_splines_end_with_two_derivatives(knots: int):
    """What is left just inside the cutoff falls with the third power of the distance to it; outside there is nothing."""
    torch.manual_seed(0)
    embedding, network = RadialEmbedding(BesselBasis(5.0, 8), PolynomialCutoff(5.0), knots), MLP([8, 16, 4], dtype=torch.float64)

    def weights(r: float):
        return embedding.functions(torch.tensor([[r, 0.0, 0.0]], dtype=torch.float64)).through(network)[0]

    step = 5 / knots
    left = [weights(5 - part * step).abs().max().item() for part in (0.1, 0.01)]
    assert left[0] > 0
    assert left[1] == pytest.approx(left[0] / 1000, rel=1e-3)
    exact = RadialEmbedding(BesselBasis(5.0, 8), PolynomialCutoff(5.0))
    for r in (1.3, 4.1, 4.99 - step):
        found = network(exact(torch.tensor([[r, 0.0, 0.0]], dtype=torch.float64)))[0]
        assert (weights(r) - found).abs().max() < 10 * step**4


def test_any_shape():
    r = torch.rand(2, 3, dtype=torch.float64) * 5
    assert BesselBasis(5.0, 4)(r).shape == (2, 3, 4)
    torch.testing.assert_close(BesselBasis(5.0, 4)(r)[1, 2], BesselBasis(5.0, 4)(r[1, 2]))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BesselBasis(5.0, 8, "l2"), "unknown normalization 'l2'"),
        (lambda: BesselBasis(-1.0), "positive distance"),
        (lambda: GaussianBasis(5.0, 1), "at least 2 functions, got 1"),
        (lambda: ExponentialNormalBasis(5.0, 1), "at least 2 functions, got 1"),
        (lambda: SoftOneHot(5.0, 4, "hat"), "unknown basis 'hat'"),
    ],
)
def test_what_makes_no_sense_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
