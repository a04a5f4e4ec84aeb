"""Products as layers against e3nn's with the same weights, and the contract."""

import e3nn.o3
import pytest
import torch

from tesseral.nn import ElementwiseTensorProduct, FullTensorProduct, FullyConnectedTensorProduct, TensorProduct, TensorSquare
from tesseral.o3 import Irreps, to_layout
from tests.contracts import EAGER, GRAPH, Case, double_precision, name_of


def peer(build, merged=False):
    """e3nn's product with the weights of ours, in our layout."""

    def reference(layer, *inputs):
        with double_precision():
            theirs = build()
        if getattr(layer, "weight", None) is not None:
            with torch.no_grad():
                theirs.weight.copy_(layer.weight)
        irreps = [layer.irreps_in] if len(inputs) == 1 else [layer.irreps_in1, layer.irreps_in2]
        z = theirs(*(to_layout(x, r, "ir_mul", "mul_ir") for x, r in zip(inputs, irreps, strict=True)))
        assert Irreps(str(theirs.irreps_out)) == layer.irreps_out
        return to_layout(z, layer.irreps_out, "mul_ir", "ir_mul")

    return reference


FEATURES, HARMONICS = "3x0e+2x1o+1x1e+2x2e", "1x0e+2x1o+1x2e"
UNMERGED = "2x1o+1x1o+2x0e"
PATHS = [(1, 1, 0, "uvw", True), (1, 1, 1, "uvv", True), (3, 1, 2, "uvu", True)]
CASES = [
    Case(
        "chosen paths",
        lambda dtype: TensorProduct(FEATURES, HARMONICS, "4x0e+2x1e+2x2o", PATHS, dtype=dtype),
        [FEATURES, HARMONICS],
        "4x0e+2x1e+2x2o",
        reference=peer(lambda: e3nn.o3.TensorProduct(FEATURES, HARMONICS, "4x0e+2x1e+2x2o", PATHS)),
    ),
    Case(
        "fully connected",
        lambda dtype: FullyConnectedTensorProduct(FEATURES, HARMONICS, "2x0e+3x1o+1x1e+1x1o", dtype=dtype),
        [FEATURES, HARMONICS],
        "2x0e+3x1o+1x1e+1x1o",
        reference=peer(lambda: e3nn.o3.FullyConnectedTensorProduct(FEATURES, HARMONICS, "2x0e+3x1o+1x1e+1x1o")),
    ),
    Case(
        "full",
        lambda dtype: FullTensorProduct(UNMERGED, HARMONICS, ["1o", "0e", "2o"]),
        [UNMERGED, HARMONICS],
        FullTensorProduct(UNMERGED, HARMONICS, ["1o", "0e", "2o"]).irreps_out,
        reference=peer(lambda: e3nn.o3.FullTensorProduct(UNMERGED, HARMONICS, ["1o", "0e", "2o"])),
    ),
    Case(
        "elementwise",
        lambda dtype: ElementwiseTensorProduct("2x1o+1x1o+2x2e", "4x1e+1x0o"),
        ["2x1o+1x1o+2x2e", "4x1e+1x0o"],
        ElementwiseTensorProduct("2x1o+1x1o+2x2e", "4x1e+1x0o").irreps_out,
        reference=peer(lambda: e3nn.o3.ElementwiseTensorProduct("2x1o+1x1o+2x2e", "4x1e+1x0o")),
    ),
    Case(
        "square",
        lambda dtype: TensorSquare(UNMERGED),
        [UNMERGED],
        TensorSquare(UNMERGED).irreps_out,
        reference=peer(lambda: e3nn.o3.TensorSquare(UNMERGED)),
    ),
    Case(
        "square, fully connected",
        lambda dtype: TensorSquare(UNMERGED, "2x0e+3x1e+1x2e", dtype=dtype),
        [UNMERGED],
        "2x0e+3x1e+1x2e",
        reference=peer(lambda: e3nn.o3.TensorSquare(UNMERGED, "2x0e+3x1e+1x2e")),
    ),
]


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, check):
    check(case)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", [CASES[1], CASES[2], CASES[5]], ids=str)
def test_contract_graph(case, check):
    check(case)


@pytest.mark.parametrize("normalization", ["component", "norm", "none"])
def test_normalisations_of_the_square(normalization):
    x = torch.randn(3, Irreps(UNMERGED).dim, dtype=torch.float64)
    layer = TensorSquare(UNMERGED, irrep_normalization=normalization)
    reference = peer(lambda: e3nn.o3.TensorSquare(UNMERGED, irrep_normalization=normalization))
    torch.testing.assert_close(layer(x), reference(layer, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("build", [lambda: FullTensorProduct("8x1o", "8x1o"), lambda: TensorSquare("16x1o+8x2e")])
def test_component_normalisation(build):
    layer = build()
    inputs = [torch.randn(3000, 24) for _ in range(2)] if isinstance(layer, FullTensorProduct) else [torch.randn(3000, 88)]
    z = layer(*inputs)
    for block in layer.irreps_out.slices():
        # the scalar square of a channel has a mean, so its second moment is what counts
        assert z[:, block].square().mean().item() == pytest.approx(1.0, rel=0.1)


def test_weights_from_outside():
    layer = FullyConnectedTensorProduct("2x1o", "1x1o", "2x0e", shared_weights=False)
    assert not list(layer.parameters())
    w = torch.randn(5, layer.weight_numel)
    assert layer(torch.randn(5, 6), torch.randn(5, 3), w).shape == (5, 2)


def test_the_matrix_of_the_right_factor():
    layer = TensorProduct(FEATURES, HARMONICS, "4x0e+2x1e+2x2o", PATHS, dtype=torch.float64)
    x, y = (torch.randn(2, irreps.dim, dtype=torch.float64) for irreps in (layer.irreps_in1, layer.irreps_in2))
    torch.testing.assert_close((x[:, None] @ layer.right(y))[:, 0], layer(x, y))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ElementwiseTensorProduct("3x1o", "2x1o"), "they must be as many"),
        (lambda: TensorSquare("3x1o", "2x0e", ["0e"]), "either irreps_out or filter_ir_out"),
        (lambda: TensorSquare("3x1o", irrep_normalization="l2"), "unknown irrep_normalization 'l2'"),
    ],
)
def test_what_makes_no_sense_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
