"""Gaunt products: the Clebsch-Gordan product on the even paths with fixed weights, by both ways, and nothing on the odd ones."""

import math

import pytest
import torch
from sympy.physics.wigner import wigner_3j as sympy_3j

from tesseral.o3 import spherical_harmonics
from tesseral.ops import tensor_product, tensor_product_plan
from tesseral.ops.gaunt import GauntPlan, gaunt_path_weight, gaunt_product, natural_irreps
from tests.contracts import EAGER, GRAPH, Case, name_of

DEGREES = [(0, 0, 0), (1, 1, 1), (2, 1, 3), (2, 3, 1), (3, 3, 4)]


def signals(plan: GauntPlan, channels: int = 3, rows: int = 4) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(rows, (lmax + 1) ** 2, channels, dtype=torch.float64) for lmax in (plan.lmax1, plan.lmax2)]


def by_paths(plan: GauntPlan, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The Clebsch-Gordan product with all paths that exist, each with the weight of the Gaunt product."""
    channels = x.shape[-1]
    irreps = [natural_irreps(lmax, channels) for lmax in (plan.lmax1, plan.lmax2, plan.lmax_out)]
    paths = [
        (l1, l2, l3, "uuu", True)
        for l1 in range(plan.lmax1 + 1)
        for l2 in range(plan.lmax2 + 1)
        for l3 in range(plan.lmax_out + 1)
        if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0
    ]
    product = tensor_product_plan(*irreps, paths, irrep_normalization="none", path_normalization="none")
    weights = torch.tensor([gaunt_path_weight(*path[:3]) for path in paths], dtype=torch.float64)
    result = tensor_product(x.flatten(-2), y.flatten(-2), weights.repeat_interleave(channels), product)
    return result.unflatten(-1, (-1, channels))


@pytest.mark.parametrize("method", ["grid", "fourier"])
@pytest.mark.parametrize("degrees", DEGREES, ids=str)
def test_equals_the_product_of_the_even_paths(degrees: tuple[int, int, int], method: str) -> None:
    plan = GauntPlan(*degrees, method)
    x, y = signals(plan)
    torch.testing.assert_close(gaunt_product(plan, x, y), by_paths(plan, x, y), rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["grid", "fourier"])
def test_is_the_product_of_functions(method: str) -> None:
    plan = GauntPlan(2, 1, 3, method)
    x, y = signals(plan)
    points = torch.nn.functional.normalize(torch.randn(10, 3, dtype=torch.float64), dim=1)

    def values(signal: torch.Tensor) -> torch.Tensor:
        lmax = math.isqrt(signal.shape[1]) - 1
        return spherical_harmonics(list(range(lmax + 1)), points, normalize=True) @ signal

    torch.testing.assert_close(values(gaunt_product(plan, x, y)), values(x) * values(y), rtol=0, atol=1e-12)


def test_path_weights_are_those_of_the_literature() -> None:
    for l1, l2, l3 in [(0, 2, 2), (1, 1, 2), (2, 2, 2), (1, 2, 3), (3, 3, 4)]:
        known = math.sqrt((2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1) / (4 * math.pi)) * abs(float(sympy_3j(l1, l2, l3, 0, 0, 0)))
        assert abs(abs(gaunt_path_weight(l1, l2, l3)) - known) < 1e-14
    assert gaunt_path_weight(1, 2, 2) == gaunt_path_weight(1, 1, 3) == 0.0


def test_antisymmetric_paths_are_missing() -> None:
    plan = GauntPlan(2, 2, 2)
    x, y = signals(plan)
    torch.testing.assert_close(gaunt_product(plan, x, y), gaunt_product(plan, y, x), rtol=0, atol=1e-13)
    vectors = torch.zeros_like(x)
    vectors[:, 1:4] = x[:, 1:4]
    others = torch.zeros_like(y)
    others[:, 1:4] = y[:, 1:4]
    assert gaunt_product(plan, vectors, others)[:, 1:4].abs().max() < 1e-14
    assert torch.linalg.cross(vectors[:, 1:4], others[:, 1:4], dim=1).abs().max() > 0.1


def test_mistakes_are_named() -> None:
    plan = GauntPlan(1, 1, 1)
    with pytest.raises(ValueError, match=r"y has shape \(2, 9, 1\), expected 4 components"):
        gaunt_product(plan, torch.zeros(2, 4, 1), torch.zeros(2, 9, 1))
    with pytest.raises(ValueError, match="must be 0 or more"):
        GauntPlan(1, -1, 1)
    with pytest.raises(ValueError, match="expected 'grid' or 'fourier'"):
        GauntPlan(1, 1, 1, "healpix")


def function(method: str):
    plan = GauntPlan(2, 1, 2, method)
    return lambda dtype: Flat(plan)


class Flat(torch.nn.Module):
    """The product on flat features of two channels."""

    def __init__(self, plan: GauntPlan) -> None:
        super().__init__()
        self.plan = plan

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return gaunt_product(self.plan, x.unflatten(-1, (-1, 2)), y.unflatten(-1, (-1, 2))).flatten(-2)


CASES = [Case(method, function(method), ["2x0e+2x1o+2x2e", "2x0e+2x1o"], "2x0e+2x1o+2x2e") for method in ("grid", "fourier")]


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case: Case, check) -> None:
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", CASES[:1], ids=str)
def test_contract_graph(case: Case, check) -> None:
    check(case)
