"""Products with index symmetries against e3nn's, and the contract."""

import e3nn.o3
import pytest
import torch

from tesseral.nn import ReducedTensorProduct
from tesseral.o3 import to_layout
from tests.contracts import EAGER, GRAPH, Case, double_precision, name_of


def peer(formula, **options):
    def reference(layer, *inputs):
        with double_precision():
            theirs = e3nn.o3.ReducedTensorProducts(formula, **options)
        assert str(theirs.irreps_out) == str(layer.irreps_out)
        z = theirs(*(to_layout(x, irreps, "ir_mul", "mul_ir") for x, irreps in zip(inputs, layer.irreps_in, strict=True)))
        return to_layout(z, layer.irreps_out, "mul_ir", "ir_mul")

    return reference


PROBLEMS = [
    ("ij=-ji", {"i": "1o"}),
    ("ij=ji", {"i": "2x0e+2x1o"}),
    ("ijk=jik=ikj", {"i": "0e+1o"}),
    ("ij", {"i": "0e+1o", "j": "2x1e"}),
    ("ij=ji", {"i": "1o+2e", "filter_ir_out": ["0e", "1o", "3o"]}),
]
CASES = []
for formula, options in PROBLEMS:
    built = ReducedTensorProduct(formula, **options)
    CASES.append(
        Case(
            f"{formula} {options}",
            lambda dtype, formula=formula, options=options: ReducedTensorProduct(formula, dtype=dtype, **options),
            list(built.irreps_in),
            built.irreps_out,
            reference=peer(formula, **options),
        )
    )


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, check):
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", CASES[2:3], ids=str)
def test_contract_graph(case, check):
    check(case)


def test_leading_axes_broadcast():
    layer = ReducedTensorProduct("ijk=jki", i="1o")
    assert layer(torch.randn(4, 1, 3), torch.randn(5, 3), torch.randn(3)).shape == (4, 5, layer.irreps_out.dim)


def test_wrong_number_of_features():
    with pytest.raises(ValueError, match="product of 2 features, got 1"):
        ReducedTensorProduct("ij=ji", i="1o")(torch.zeros(3))
