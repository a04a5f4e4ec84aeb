"""Cutoffs: value one, smoothness at the cutoff, zero beyond, and the contract."""

import math

import pytest
import torch

from tesseral.nn import BumpCutoff, CosineCutoff, PolynomialCutoff, soft_unit_step
from tests.contracts import EAGER, GRAPH, Case, name_of

CUTOFFS = {
    "polynomial": lambda dtype: PolynomialCutoff(5.0),
    "polynomial of a fractional power": lambda dtype: PolynomialCutoff(5.0, 4.5),
    "cosine": lambda dtype: CosineCutoff(5.0),
    "bump": lambda dtype: BumpCutoff(5.0),
    "step": lambda dtype: soft_unit_step,
}


def distances(dtype, batch):
    return (torch.linspace(0.9, 4.0, batch, dtype=dtype),)


CASES = [Case(name, build, [None], None, draw=distances) for name, build in CUTOFFS.items()]


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, check):
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract_graph(case, check):
    check(case)


def derivatives(f, r: float, order: int) -> list[float]:
    x = torch.tensor(r, dtype=torch.float64, requires_grad=True)
    values, y = [], f(x)
    for _ in range(order + 1):
        values.append(float(y.detach()))
        (y,) = torch.autograd.grad(y, x, create_graph=True) if y.requires_grad else (torch.zeros_like(x),)
    return values


SMOOTH = [PolynomialCutoff(5.0), PolynomialCutoff(5.0, 2), PolynomialCutoff(5.0, 3.5), CosineCutoff(5.0), BumpCutoff(5.0)]


@pytest.mark.parametrize("cutoff", SMOOTH, ids=repr)
def test_twice_continuously_differentiable_at_the_cutoff(cutoff):
    for r in (5.0, 5.0 + 1e-12, 5.3):
        assert derivatives(cutoff, r, 2) == pytest.approx([0, 0, 0], abs=1e-12)
    # value, slope and curvature go to zero at least as the third, second and first power of the distance
    for d in (1e-2, 1e-3, 1e-4):
        value, slope, curvature = derivatives(cutoff, 5.0 - d, 2)
        assert abs(value) < 2 * d**3 + 1e-14
        assert abs(slope) < 6 * d**2 + 1e-13
        assert abs(curvature) < 12 * d


def test_behlers_cosine_is_only_once_differentiable():
    _, slope, curvature = derivatives(CosineCutoff(5.0, power=1), 5.0 - 1e-6, 2)
    assert slope == pytest.approx(0, abs=1e-6)
    assert curvature == pytest.approx(math.pi**2 / 50, rel=1e-4)


@pytest.mark.parametrize("cutoff", SMOOTH, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_derivatives_are_finite_everywhere(cutoff, dtype):
    near = 5.0 - torch.logspace(-8, 0, 200, dtype=torch.float64)
    r = torch.cat([torch.zeros(1), torch.linspace(1e-3, 6, 500), near]).to(dtype).requires_grad_()
    y = cutoff(r)
    for _ in range(4):
        assert bool(torch.isfinite(y).all())
        (y,) = torch.autograd.grad(y.sum(), r, create_graph=True)


@pytest.mark.parametrize("cutoff", SMOOTH, ids=repr)
def test_falls_from_one(cutoff):
    r = torch.linspace(0, 5, 101, dtype=torch.float64)
    y = cutoff(r)
    assert y[0].item() == pytest.approx(1.0)
    assert bool((y.diff() <= 0).all())


def test_the_published_polynomial():
    x = 0.3
    value = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
    assert PolynomialCutoff(2.0, 6)(torch.tensor(0.6, dtype=torch.float64)).item() == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PolynomialCutoff(0.0), "positive distance in Å, got 0.0"),
        (lambda: PolynomialCutoff(5.0, 1), "at least 2, got 1"),
        (lambda: CosineCutoff(5.0, 0), "at least 1, got 0"),
        (lambda: BumpCutoff(float("nan")), "positive distance"),
    ],
)
def test_what_makes_no_sense_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
