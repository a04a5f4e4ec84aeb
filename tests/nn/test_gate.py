"""The gate against e3nn, with gates of both parities, and the contract."""

import e3nn.nn
import pytest
import torch
from torch.nn.functional import silu

from tesseral.nn import Gate
from tesseral.o3 import Irreps, to_layout
from tests.contracts import EAGER, GRAPH, Case, name_of

PROBLEMS = {
    "one kind of gate": ("4x0e", [silu], "5x0e", [torch.sigmoid], "3x1o+2x2e"),
    "even and odd scalars": ("4x0e+3x0o", [silu, torch.tanh], "3x0e+2x0e", [silu, silu], "3x1o+2x2o"),
    "odd gates change parity": ("2x0o", [torch.abs], "3x0o+2x0e", [torch.tanh, torch.sigmoid], "3x1o+2x1e"),
    "a gated block with gates of two parities": ("1x0e", [silu], "2x0o+4x0e", [torch.tanh, silu], "5x1o+1x2e"),
    "the same irrep twice, unsorted": (
        "2x0e+3x0e",
        [silu, torch.tanh],
        "3x0e+1x0e+2x0e",
        [silu, torch.tanh, None],
        "2x2e+1x1o+3x2e",
    ),
    "no scalars": ("", [], "2x0e", [silu], "2x3o"),
    "only scalars": ("4x0e+1x0o", [silu, None], "", [], ""),
}


def peer(arguments):
    def reference(gate, x):
        theirs = e3nn.nn.Gate(*arguments).double()
        assert str(theirs.irreps_in) == str(gate.irreps_in)
        assert Irreps(str(theirs.irreps_out)) == gate.irreps_out
        return to_layout(theirs(to_layout(x, gate.irreps_in, "ir_mul", "mul_ir")), gate.irreps_out, "mul_ir", "ir_mul")

    return reference


def build(arguments):
    return lambda dtype: Gate(*arguments, normalization="e3nn")


CASES = [
    Case(
        name,
        build(arguments),
        [Gate(*arguments).irreps_in],
        Gate(*arguments).irreps_out,
        reference=peer(arguments),
        smooth=torch.abs not in arguments[1],
    )
    for name, arguments in PROBLEMS.items()
]


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, check):
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_contract_graph(case, check):
    check(case)


def test_ours_is_normalised_by_the_exact_integral():
    gate = Gate("1x0e", [silu], "1x0e", [torch.sigmoid], "1x1o")
    x = torch.tensor([[1.0, 0.5, 1.0, 2.0, 3.0]], dtype=torch.float64)
    y = gate(x)
    assert y[0, 0].item() == pytest.approx(silu(x[0, 0]).item() * 1.6765324703310907, rel=1e-12)
    assert (y[0, 1:] / x[0, 2:]).tolist() == pytest.approx([torch.sigmoid(x[0, 1]).item() * 1.8462285469] * 3, rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("2x0e", [], "", [], ""), "0 functions for the 1 blocks of scalars"),
        (("2x1o", [silu], "", [], ""), "scalars must be scalars"),
        (("", [], "2x0e", [silu], "3x1o"), "2 gates .* for 3 gated"),
        (("2x0o", [silu], "", [], ""), "neither even nor odd"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Gate(*arguments)


def test_repr_names_the_layout():
    assert repr(Gate("1x0e", [silu], "1x0e", [silu], "1x1o")) == "Gate(2x0e+1x1o -> 1x0e+1x1o, ir_mul)"
