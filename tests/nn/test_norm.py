"""Norms against e3nn, statistics of the normalised features, and the contract."""

import e3nn.nn
import e3nn.o3
import pytest
import torch
from torch.nn.functional import silu

from tesseral.groups import equivariance_error
from tesseral.nn import BatchNorm, LayerNorm, Norm, NormActivation
from tesseral.o3 import Irreps, to_layout
from tests.contracts import (
    EAGER,
    GRAPH,
    Case,
    check_empty,
    check_equivariance,
    check_gradients,
    check_reference,
    check_second_gradients,
    double_precision,
    name_of,
)

IRREPS = "3x0e+2x0o+4x1o+1x1e+2x0e+2x2e"


def peer(build, out=None):
    def reference(layer, x):
        with double_precision():
            theirs = build()
        state = {name: value for name, value in layer.state_dict().items() if name in theirs.state_dict()}
        theirs.load_state_dict({**theirs.state_dict(), **state})
        if hasattr(theirs, "biases"):
            theirs.biases.data.copy_(layer.bias)
        theirs.train(layer.training)
        y = theirs(to_layout(x, layer.irreps_in, "ir_mul", "mul_ir"))
        return to_layout(y, layer.irreps_out, "mul_ir", "ir_mul")

    return reference


def batch_norm(training, **options):
    def build(dtype):
        layer = BatchNorm(IRREPS, dtype=dtype, **options)
        for tensor in (layer.weight, layer.bias, layer.running_mean):
            if tensor is not None:
                torch.nn.init.normal_(tensor)
        if layer.running_var is not None:
            torch.nn.init.uniform_(layer.running_var, 0.5, 2.0)
        return layer.train(training)

    return build


def norm_activation(dtype):
    layer = NormActivation(IRREPS, silu, bias=True, dtype=dtype)
    torch.nn.init.normal_(layer.bias)
    return layer


def layer_norm(**options):
    def build(dtype):
        layer = LayerNorm(IRREPS, dtype=dtype, **options)
        torch.nn.init.normal_(layer.weight)
        torch.nn.init.normal_(layer.bias)
        return layer

    return build


def e3nn_norm_activation():
    return e3nn.nn.NormActivation(e3nn.o3.Irreps(IRREPS), silu, bias=True)


CASES = [
    Case("norm", lambda dtype: Norm(IRREPS), [IRREPS], "14x0e", reference=peer(lambda: e3nn.o3.Norm(IRREPS))),
    Case("squared norm", lambda dtype: Norm(IRREPS, True), [IRREPS], "14x0e", reference=peer(lambda: e3nn.o3.Norm(IRREPS, True))),
    Case("norm activation", norm_activation, [IRREPS], IRREPS, reference=peer(e3nn_norm_activation)),
    Case("unnormalised norm activation", lambda dtype: NormActivation(IRREPS, torch.tanh, False), [IRREPS], IRREPS),
    Case("batch norm, evaluation", batch_norm(False), [IRREPS], IRREPS, reference=peer(lambda: e3nn.nn.BatchNorm(IRREPS))),
    Case(
        "instance norm",
        batch_norm(True, instance=True, normalization="norm"),
        [IRREPS],
        IRREPS,
        draw=lambda dtype, batch: (torch.randn(batch, 4, Irreps(IRREPS).dim, dtype=dtype),),
        reference=peer(lambda: e3nn.nn.BatchNorm(IRREPS, instance=True, normalization="norm")),
    ),
    Case("layer norm", layer_norm(), [IRREPS], IRREPS),
    Case("layer norm, together, not centred", layer_norm(together=True, center=False), [IRREPS], IRREPS),
]
TRAINING = Case(
    "batch norm, training",
    batch_norm(True),
    [IRREPS],
    IRREPS,
    draw=lambda dtype, batch: (torch.randn(5 if batch else 0, Irreps(IRREPS).dim, dtype=dtype),),
    reference=peer(lambda: e3nn.nn.BatchNorm(IRREPS)),
)


@pytest.mark.parametrize("check", EAGER, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case, check):
    check(case)


@pytest.mark.parametrize(
    "check", [check_equivariance, check_gradients, check_second_gradients, check_empty, check_reference], ids=name_of
)
def test_contract_of_training(check):
    check(TRAINING)


@pytest.mark.compile
@pytest.mark.parametrize("check", GRAPH, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract_graph(case, check):
    check(case)


def test_running_averages_are_those_of_e3nn():
    ours = BatchNorm(IRREPS, dtype=torch.float64)
    with double_precision():
        theirs = e3nn.nn.BatchNorm(IRREPS)
    for _ in range(3):
        x = torch.randn(6, 2, ours.irreps_in.dim, dtype=torch.float64)
        ours(x)
        theirs(to_layout(x, IRREPS, "ir_mul", "mul_ir"))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_an_empty_batch_leaves_the_averages():
    layer = BatchNorm(IRREPS)
    before = layer.running_var.clone()
    assert layer(torch.zeros(0, layer.irreps_in.dim)).shape == (0, layer.irreps_in.dim)
    assert torch.equal(layer.running_var, before)


def test_layer_norm_gives_blocks_of_unit_mean_square():
    layer = LayerNorm("16x0e+8x1o+4x2e", eps=1e-12, affine=False)
    y = layer(5 * torch.randn(7, layer.irreps_in.dim, dtype=torch.float64) + 3)
    for block in layer.irreps_in.slices():
        torch.testing.assert_close(y[:, block].square().mean(1), torch.ones(7, dtype=torch.float64))
    torch.testing.assert_close(y[:, :16].mean(1), torch.zeros(7, dtype=torch.float64))


def test_layer_norm_of_equiformer_v2():
    # scalars: LayerNorm of torch; l > 0: one root mean square, each degree weighted 1/((2l+1) L)
    layer = LayerNorm("8x0e+8x1o+8x2e", together=True, dtype=torch.float64)
    x = torch.randn(5, 72, dtype=torch.float64)
    y = layer(x)
    torch.testing.assert_close(y[:, :8], torch.nn.functional.layer_norm(x[:, :8], (8,)))
    square = (x[:, 8:32].square().mean(1) + x[:, 32:].square().mean(1)) / 2
    torch.testing.assert_close(y[:, 8:], x[:, 8:] / (square[:, None] + 1e-5).sqrt())


@pytest.mark.parametrize("layer", [Norm(IRREPS), NormActivation(IRREPS, torch.tanh), LayerNorm(IRREPS)], ids=repr)
def test_gradients_at_zero_are_finite(layer):
    x = torch.zeros(2, Irreps(IRREPS).dim, requires_grad=True)
    (first,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x, allow_unused=True) if first.requires_grad else (None,)
    assert bool(torch.isfinite(first).all())
    assert second is None or bool(torch.isfinite(second).all())


def test_dividing_each_component_would_be_caught():
    layer = torch.nn.LayerNorm(Irreps(IRREPS).dim).double()
    assert float(equivariance_error(layer, IRREPS, IRREPS)) > 1e-3


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="unknown normalization 'max'"):
        BatchNorm(IRREPS, normalization="max")
    with pytest.raises(ValueError, match=r"epsilon must be positive, got 0\.0"):
        NormActivation(IRREPS, torch.tanh, epsilon=0.0)


@pytest.mark.parametrize("options", [{"reduce": "max"}, {"reduce": "max", "instance": True}, {"reduce": "max", "affine": False}])
def test_largest_square_over_the_middle_axes_is_that_of_e3nn(options):
    ours = BatchNorm("3x0e+2x1o", dtype=torch.float64, **options)
    with double_precision():
        theirs = e3nn.nn.BatchNorm("3x0e+2x1o", **options)
    x = torch.randn(4, 5, 9, dtype=torch.float64)
    expected = to_layout(theirs(to_layout(x, ours.irreps_in, "ir_mul", "mul_ir")), ours.irreps_in, "mul_ir", "ir_mul")
    torch.testing.assert_close(ours(x), expected)
    if not options.get("instance"):
        torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_factors_without_biases():
    ours = BatchNorm("3x0e+2x1o", affine="factor")
    assert [name for name, _ in ours.named_parameters()] == ["weight"]
    torch.testing.assert_close(ours(torch.ones(4, 9))[:, :3], torch.zeros(4, 3))
    with pytest.raises(ValueError, match="affine is True, False or 'factor'"):
        BatchNorm("0e", affine="bias")
    with pytest.raises(ValueError, match="unknown reduction 'sum'"):
        BatchNorm("0e", reduce="sum")
