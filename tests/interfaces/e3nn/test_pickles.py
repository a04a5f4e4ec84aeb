"""Whole layers that e3nn pickled, unpickled as tesseral's: the same numbers; and what is damaged is refused."""

import io
import pickle

import pytest
import torch
from e3nn import nn, o3

from tesseral.interfaces.e3nn import o3 as our_o3

MIXED = "4x0e+2x0o+3x1o+2x1e+2x2e"


class Ours(pickle.Unpickler):
    """Finds tesseral's classes under e3nn's names, as :func:`tesseral.interfaces.e3nn.install` would."""

    def find_class(self, module, name):
        if module.partition(".")[0] == "e3nn":
            module = "tesseral.interfaces." + module
        return super().find_class(module, name)


def ours(layer):
    return Ours(io.BytesIO(pickle.dumps(layer))).load()


def shapes_of(layer):
    """The last axes of its inputs."""
    if isinstance(layer, o3.TensorProduct) and not isinstance(layer, o3.TensorSquare):
        return [(layer.irreps_in1.dim,), (layer.irreps_in2.dim,)]
    special = {nn.FullyConnectedNet: [(5,)], o3.ToS2Grid: [(4,)], o3.SphericalHarmonicsAlphaBeta: [(), ()]}
    irreps = getattr(layer, "irreps_in", getattr(layer, "irreps", None))
    return special.get(type(layer)) or [(irreps.dim,)]


@pytest.mark.parametrize(
    "build",
    [
        lambda: o3.FullyConnectedTensorProduct(MIXED, "0e+1o+2e", MIXED),
        lambda: o3.TensorProduct("4x1o", "3x2e", "4x1o", [(0, 0, 0, "uvu", True, 0.3)], irrep_normalization="norm"),
        lambda: o3.FullTensorProduct(MIXED, "0e+1o"),
        lambda: o3.Linear(MIXED, "3x1o+7x0e", biases=True),
        lambda: o3.Linear(MIXED, "3x1o+7x0e", path_normalization="path", instructions=[(0, 1), (2, 0)]),
        lambda: o3.Linear(MIXED, "3x1o+7x0e", f_in=2, f_out=3),
        lambda: nn.Activation("3x0e+2x0o", [torch.nn.functional.silu, torch.tanh]),
        lambda: nn.FullyConnectedNet([5, 7, 3], torch.nn.functional.silu),
        lambda: o3.SphericalHarmonics("0e+1o+2e", True, "component"),
        lambda: o3.FullyConnectedTensorProduct(MIXED, "0e+1o", MIXED, compile_right=True),
        lambda: o3.ElementwiseTensorProduct(MIXED, MIXED),
        lambda: o3.TensorSquare(MIXED, "3x0e+1o"),
        lambda: o3.Norm(MIXED),
        lambda: o3.ToS2Grid(1, (4, 5)),
        lambda: o3.SphericalHarmonicsAlphaBeta([0, 2, 1]),
        lambda: nn.Gate("3x0e+2x0o", [torch.nn.functional.silu, torch.tanh], "4x0e", [torch.sigmoid], "2x1o+2x2e"),
        lambda: nn.Gate("3x0e", [torch.tanh], "", [], ""),
        lambda: nn.Extract(MIXED, ["4x0e+3x1o", "2x2e"], [(0, 2), (4,)]),
        lambda: nn.Extract(MIXED, ["4x0e+3x1o"], [(0, 2)]),
        lambda: nn.Extract(MIXED, ["4x0e+3x1o"], [(0, 2)], squeeze_out=True),
        lambda: nn.ExtractIr(MIXED, "1o"),
        lambda: nn.BatchNorm(MIXED, normalization="norm"),
        lambda: nn.BatchNorm(MIXED, instance=True, reduce="max", include_bias=False),
        lambda: nn.Dropout(MIXED, 0.5),
        lambda: nn.NormActivation(o3.Irreps(MIXED), torch.sigmoid, bias=True),
        lambda: nn.S2Activation("0e+1o+2e", torch.tanh, 20),
    ],
)
def test_the_same_numbers(build):
    layer = build().double().eval()
    again = ours(layer)
    assert type(again).__module__.startswith("tesseral.")
    assert not again.training
    batch = (6, 2) if isinstance(layer, o3.Linear) and layer.weight.ndim == 3 else (6,)
    inputs = [torch.randn(*batch, *shape, dtype=torch.float64) for shape in shapes_of(layer)]
    # e3nn's Clebsch-Gordan tensors were cast from float32
    torch.testing.assert_close(again(*inputs), layer(*inputs), rtol=1e-5, atol=1e-6)
    assert list(again.state_dict()) == list(layer.state_dict())
    assert [name for name, _ in again.named_parameters()] == [name for name, _ in layer.named_parameters()]
    twice = pickle.loads(pickle.dumps(again))
    torch.testing.assert_close(twice(*inputs), again(*inputs), rtol=0, atol=0)


def test_the_pickled_tensors_tell_the_convention():
    def turned(sign):
        layer = o3.FullyConnectedTensorProduct("2x1o", "2x2e", "2x2o")
        with torch.no_grad():
            layer._compiled_main_left_right._w3j_1_2_2.mul_(sign)
        return ours(layer)

    assert turned(1).convention == "0.6"
    assert turned(-1).convention == "0.4"


def test_coefficients_of_no_normalisation_are_refused():
    layer = o3.Linear("4x0e", "3x0e")
    layer.instructions = [layer.instructions[0]._replace(path_weight=0.123)]
    with pytest.raises(ValueError, match="which no normalisation gives: load its state dict"):
        ours(layer)


def test_random_numbers_are_left_alone():
    data = pickle.dumps(o3.Linear("4x0e", "3x0e"))
    torch.manual_seed(0)
    Ours(io.BytesIO(data)).load()
    after = torch.randn(1)
    torch.manual_seed(0)
    assert torch.randn(1).equal(after)
    assert isinstance(Ours(io.BytesIO(data)).load(), our_o3.Linear)


def test_experimental_products_are_refused():
    with pytest.raises(ValueError, match=r"e3nn\.o3\.experimental was pickled.*build it anew"):
        ours(o3.experimental.FullTensorProductv2("2x0e+1o", "0e+1o"))
