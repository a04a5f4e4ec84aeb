"""Extracting blocks against e3nn, and the contract."""

import e3nn.nn
import pytest
import torch

from tesseral.nn import Extract, ExtractIr
from tesseral.o3 import Irreps, to_layout
from tests.contracts import EAGER, GRAPH, Case, name_of

ARGUMENTS = ("2x1o+3x0e+4x1o+1x2e", ["4x1o+1x2e", "3x0e", "1x2e+2x1o"], [[2, 3], [1], [3, 0]])


def peer(layer, x):
    theirs = e3nn.nn.Extract(*ARGUMENTS)(to_layout(x, ARGUMENTS[0], "ir_mul", "mul_ir"))
    return tuple(to_layout(y, irreps, "mul_ir", "ir_mul") for y, irreps in zip(theirs, ARGUMENTS[1], strict=True))


CASES = [
    Case("several", lambda dtype: Extract(*ARGUMENTS), [ARGUMENTS[0]], tuple(ARGUMENTS[1]), reference=peer),
    Case("one irrep", lambda dtype: ExtractIr(ARGUMENTS[0], "1o"), [ARGUMENTS[0]], "2x1o+4x1o"),
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


def test_neighbouring_blocks_are_views():
    x = torch.randn(5, Irreps(ARGUMENTS[0]).dim)
    first, second, third = Extract(*ARGUMENTS)(x)
    assert first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    assert third.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()


def test_an_irrep_that_is_absent_gives_nothing():
    layer = ExtractIr("2x1o", "2e")
    assert layer(torch.randn(3, 6)).shape == (3, 0)
    assert layer.irreps_out == Irreps()


@pytest.mark.parametrize(
    ("outs", "instructions", "message"),
    [
        (["3x0e"], [[0]], "blocks .0. of .* are 2x1o, not 3x0e"),
        (["3x0e"], [[7]], "not 3x0e"),
        (["3x0e"], [], "0 instructions for 1 outputs"),
    ],
)
def test_what_does_not_fit_is_refused(outs, instructions, message):
    with pytest.raises(ValueError, match=message):
        Extract(ARGUMENTS[0], outs, instructions)
