"""Harmonics as layers: the irreps and values of e3nn's, without its limits."""

import e3nn.o3
import pytest
import torch

from tesseral.nn import SphericalHarmonics, SphericalHarmonicsAlphaBeta
from tesseral.o3 import Irreps
from tests.contracts import EAGER, GRAPH, Case, double_precision, name_of


def peer(layer, x):
    with double_precision():
        return e3nn.o3.SphericalHarmonics(str(layer.irreps_out), layer.normalize, layer.normalization)(x)


CASES = [
    Case(
        f"{irreps} {normalize} {normalization}",
        lambda dtype, irreps=irreps, normalize=normalize, normalization=normalization: SphericalHarmonics(
            irreps, normalize, normalization
        ),
        ["1o"],
        irreps,
        reference=peer,
    )
    for irreps, normalize, normalization in [
        ("0e+1o+2e+3o", True, "component"),
        ("2x1o+3o", False, "integral"),
        ("2e+0e", True, "norm"),
    ]
]


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids=str)
def test_contract(case, check):
    check(case)


def test_repeated_degrees_are_those_of_e3nn():
    x = torch.randn(4, 3, dtype=torch.float64)
    layer = CASES[1].function()
    torch.testing.assert_close(layer(x), peer(layer, x))


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", CASES[:1], ids=str)
def test_contract_graph(case, check):
    check(case)


@pytest.mark.parametrize("out", [2, [0, 1, 2], "0e+1o+2e", "1e", "0e+1e+2e", "2x1o+1o"])
def test_irreps_are_those_of_e3nn(out):
    theirs = e3nn.o3.SphericalHarmonics(out if isinstance(out, (int, list)) else e3nn.o3.Irreps(out), True)
    ours = SphericalHarmonics(out, True)
    assert (str(ours.irreps_in), str(ours.irreps_out)) == (str(theirs.irreps_in), str(theirs.irreps_out))


def test_angles():
    alpha, beta = torch.randn(2, 5, dtype=torch.float64)
    for normalization in ("integral", "component", "norm"):
        ours, theirs = (c([0, 2, 3], normalization) for c in (SphericalHarmonicsAlphaBeta, e3nn.o3.SphericalHarmonicsAlphaBeta))
        torch.testing.assert_close(ours(alpha, beta.abs()), theirs(alpha, beta.abs()))


def test_beyond_degree_twelve_and_at_zero():
    assert SphericalHarmonics(20, True)(torch.randn(2, 3)).shape == (2, 41)
    x = torch.zeros(1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(SphericalHarmonics(Irreps("0e+1o+2e"), True)(x).sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SphericalHarmonics("1o+2o", True), "parities differ"),
        (lambda: SphericalHarmonics("1e", True, irreps_in="1o"), "parities differ"),
        (lambda: SphericalHarmonics("1o", True, irreps_in="2e"), "functions of one vector"),
        (lambda: SphericalHarmonics("1o", True, "orthonormal"), "normalization must be"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
