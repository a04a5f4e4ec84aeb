"""Normalised activations against integrals and against e3nn."""

import math

import e3nn.nn
import pytest
import torch
from e3nn.math import normalize2mom
from torch.nn.functional import gelu, silu

from tesseral.nn import Activation, Normalized, parity_of, second_moment_scale
from tests.contracts import EAGER, GRAPH, Case, name_of

CASES = [
    Case(
        "both parities and vectors",
        lambda dtype: Activation("3x0e+2x0o+2x0o+2x1o", [silu, torch.tanh, None, None], "e3nn"),
        ["3x0e+2x0o+2x0o+2x1o"],
        "3x0e+2x0o+2x0o+2x1o",
        reference=lambda f, x: torch.cat(
            [e3nn.nn.Activation("3x0e+2x0o+2x0o", [silu, torch.tanh, None])(x[..., :7]), x[..., 7:]], -1
        ),
    ),
    Case("even function of odd scalars", lambda dtype: Activation("3x0o", [torch.cosh]), ["3x0o"], "3x0e"),
]


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, check):
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract_graph(case, check):
    check(case)


@pytest.mark.parametrize("act", [silu, torch.tanh, torch.sigmoid, torch.relu, torch.abs, gelu, torch.nn.functional.softplus])
def test_e3nn_constants(act):
    scale = normalize2mom(act).cst
    assert second_moment_scale(act, "e3nn") == pytest.approx(float(scale), rel=1e-12)
    assert second_moment_scale(act) == pytest.approx(float(scale), rel=3e-3)


@pytest.mark.parametrize(
    ("act", "moment"),
    [
        (torch.relu, 0.5),
        (torch.abs, 1.0),
        (torch.sin, (1 - math.exp(-2)) / 2),
        (torch.cos, (1 + math.exp(-2)) / 2),
        (torch.square, 3.0),
        (torch.sign, 1.0),
        (lambda x: torch.exp(x / 2), math.exp(0.5)),
    ],
)
def test_the_integral_is_exact(act, moment):
    assert second_moment_scale(act) ** -2 == pytest.approx(moment, rel=1e-13)


def test_unscaled_and_refused():
    assert second_moment_scale(silu, "none") == 1.0
    with pytest.raises(ValueError, match="unknown normalization 'monte carlo'"):
        second_moment_scale(silu, "monte carlo")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot be normalised"):
        second_moment_scale(torch.zeros_like)


def test_a_module_with_parameters_is_an_activation():
    act = torch.nn.PReLU(init=0.5)
    # half the normal numbers have weight 1, half 1/4
    assert Normalized(act).scale == pytest.approx((1 / 2 + 1 / 8) ** -0.5, rel=1e-6)


def test_the_default_device_does_not_matter():
    with torch.device("meta"):
        assert second_moment_scale(torch.nn.functional.mish) == pytest.approx(second_moment_scale(torch.nn.functional.mish))
        assert parity_of(torch.tanh) == -1


@pytest.mark.parametrize(
    ("irreps", "acts", "message"),
    [
        ("2x0e", [], "0 functions for the 1 blocks"),
        ("2x1e", [silu], "breaks the symmetry of 1e"),
        ("2x0o", [silu], "neither even nor odd"),
    ],
)
def test_what_breaks_the_symmetry_is_refused(irreps, acts, message):
    with pytest.raises(ValueError, match=message):
        Activation(irreps, acts)
