"""Activations on grids against e3nn's, and how equivariant they are at which resolution."""

import e3nn.nn
import e3nn.o3
import pytest
import torch
from torch.nn.functional import silu

from tesseral.groups import equivariance_error
from tesseral.nn import S2Activation, SO3Activation
from tesseral.o3 import Irreps, equiangular_grid, gauss_legendre_grid
from tests.contracts import EAGER, GRAPH, Case, double_precision, name_of

SIGNAL = "0e+1o+2e+3o"


def s2_peer(layer, x):
    with double_precision():
        theirs = e3nn.nn.S2Activation(SIGNAL, torch.tanh, 20, lmax_out=2)
    assert str(theirs.irreps_out) == str(layer.irreps_out)
    return theirs(x)


def so3_peer(layer, x):
    with double_precision():
        theirs = e3nn.nn.SO3Activation(2, 1, torch.tanh, 4)
    return theirs(x)


CASES = [
    Case(
        "sphere",
        lambda dtype: S2Activation(SIGNAL, torch.tanh, equiangular_grid(20, 19), lmax_out=2, moment="e3nn"),
        [SIGNAL],
        "0e+1o+2e",
        reference=s2_peer,
        tolerance=2e-3,  # of the grid
    ),
    Case(
        "rotations",
        lambda dtype: SO3Activation(2, 1, torch.tanh, equiangular_grid(8, 16), moment="e3nn"),
        ["0e+3x1o+5x2e"],
        "0e+3x1o",
        reference=so3_peer,
        tolerance=0.2,
    ),
]


@pytest.mark.parametrize("check", [check for check in EAGER if "equivariance" not in check.__name__], ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, check):
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract_graph(case, check):
    check(case)


@pytest.mark.parametrize(("case", "tolerance"), [(CASES[0], 1e-13), (CASES[1], 1e-13)], ids=str)
def test_equal_to_e3nn_to_rounding(case, tolerance):
    x = case.inputs()
    layer = case.function()
    torch.testing.assert_close(layer(*x), case.reference(layer, *x), atol=tolerance, rtol=tolerance)


def test_the_error_falls_with_the_grid():
    errors = []
    for rings in (5, 10, 20, 40):
        layer = S2Activation(SIGNAL, torch.tanh, gauss_legendre_grid(rings, 2 * rings))
        errors.append(float(equivariance_error(layer, [SIGNAL], SIGNAL, "SO(3)")))
    print(errors)
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[3] < 1e-6


def test_inversion_is_exact_on_a_symmetric_grid():
    layer = S2Activation("0o+1e+2o", torch.tanh, gauss_legendre_grid(4, 8))
    assert layer.irreps_out == Irreps("0o+1e+2o")
    x = torch.randn(3, 9, dtype=torch.float64)
    inversion = -torch.eye(3, dtype=torch.float64)
    before = layer(x @ layer.irreps_in.D_from_matrix(inversion).T)
    torch.testing.assert_close(before, layer(x) @ layer.irreps_out.D_from_matrix(inversion).T, atol=1e-14, rtol=0)


def test_even_functions_of_odd_signals_are_even():
    assert S2Activation("0o+1e", torch.abs, gauss_legendre_grid(4, 8)).irreps_out == Irreps("0e+1o")


def test_a_randomly_turned_grid_gives_the_same_on_the_mean():
    plain = S2Activation(SIGNAL, torch.tanh, gauss_legendre_grid(30, 60))
    turned = S2Activation(SIGNAL, torch.tanh, gauss_legendre_grid(30, 60), random_rotation=True)
    x = torch.randn(3, 16, dtype=torch.float64)
    torch.testing.assert_close(plain(x), turned(x), atol=1e-5, rtol=0)
    coarse = S2Activation(SIGNAL, torch.tanh, gauss_legendre_grid(4, 7), random_rotation=True)
    assert not torch.equal(coarse(x), coarse(x))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: S2Activation("2x0e", silu, gauss_legendre_grid(4, 8)), "no signal"),
        (lambda: S2Activation("0o+1e", silu, gauss_legendre_grid(4, 8)), "breaks the parity"),
        (lambda: S2Activation("0e+1o", silu, gauss_legendre_grid(1, 8)), "too coarse for lmax = 1"),
        (lambda: SO3Activation(3, 1, silu, gauss_legendre_grid(3, 8)), "too coarse for lmax = 3"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
