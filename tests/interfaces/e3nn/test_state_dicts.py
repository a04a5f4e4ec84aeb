"""Checkpoints of e3nn 0.4.4: loaded strictly, without a word about the convention, they give 0.4.4's numbers.

``golden_0.4.4.npz`` was written by e3nn 0.4.4 in float64: state dict, inputs and output of each layer, all with odd paths.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from tesseral.interfaces.e3nn import nn, o3, using

MID = "2x0e+2x1o+2x1e+2x2e+2x2o"


def channelwise():
    irreps, harmonics, out, paths = o3.Irreps(MID), o3.Irreps("0e+1o+2e"), [], []
    for i, (mul, a) in enumerate(irreps):
        for j, (_, b) in enumerate(harmonics):
            for c in a * b:
                if c in irreps:
                    paths.append((i, j, len(out), "uvu", True))
                    out.append((mul, c))
    return o3.TensorProduct(irreps, harmonics, out, paths, shared_weights=False)


LAYERS = {
    "uvu": channelwise,
    "fully": lambda: o3.FullyConnectedTensorProduct(MID, "2x1e+2x2e", "2x2e+1x1o"),
    "full": lambda: o3.FullTensorProduct("1x1o+1x2e", "1x2e+1x3o"),
    "linear": lambda: o3.Linear(MID, "3x0e+2x2o", biases=True),
    "gate": lambda: nn.Gate("3x0e", [torch.nn.functional.silu], "4x0e", [torch.sigmoid], "2x1o+2x2e"),
    "perceptron": lambda: nn.FullyConnectedNet([4, 6, 3], torch.nn.functional.silu),
    "batchnorm": lambda: nn.BatchNorm(MID).eval(),
    "norm": lambda: nn.NormActivation(o3.Irreps(MID), torch.tanh, bias=True),
}
ODD = ("uvu", "fully", "full")  # their numbers depend on the convention


@pytest.fixture(autouse=True)
def _double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def golden(name):
    """State dict, inputs and output."""
    with np.load(Path(__file__).with_name("golden_0.4.4.npz")) as file:
        parts = {key.split("|", 1)[1]: torch.from_numpy(file[key]) for key in file.files if key.startswith(name + "|")}
    state = {key.removeprefix("state|"): value for key, value in parts.items() if key.startswith("state|")}
    inputs = [parts[f"input|{i}"] for i in range(3) if f"input|{i}" in parts]
    return state, inputs, parts["output|0"]


@pytest.mark.parametrize("name", LAYERS)
def test_a_checkpoint_tells_its_convention(name):
    state, inputs, output = golden(name)
    layer = LAYERS[name]()
    layer.load_state_dict(state, strict=True)
    torch.testing.assert_close(layer(*inputs), output, rtol=1e-11, atol=1e-12)
    assert list(layer.state_dict()) == list(state)
    assert all(torch.equal(layer.state_dict()[key], value) for key, value in state.items())


@pytest.mark.parametrize("name", ODD)
def test_the_wrong_sign_would_be_seen(name):
    state, inputs, output = golden(name)
    layer = LAYERS[name]()
    layer.load_state_dict({key: value for key, value in state.items() if "_w3j_" not in key}, strict=False)
    wrong = layer(*inputs)
    assert (wrong - output).abs().max() > 0.1 * output.abs().max()
    with using("0.4"):
        named = LAYERS[name]()
    named.load_state_dict({key: value for key, value in state.items() if "_w3j_" not in key}, strict=False)
    torch.testing.assert_close(named(*inputs), output, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ODD)
def test_built_for_the_convention_it_has_the_tensors(name):
    state, _, _ = golden(name)
    with using("0.4"):
        layer = LAYERS[name]()
    for key, value in layer.state_dict().items():
        if "_w3j_" in key:
            torch.testing.assert_close(value, state[key], rtol=0, atol=1e-14)


def test_the_convention_follows_every_load():
    state, inputs, _ = golden("fully")
    layer = LAYERS["fully"]()
    new = {key: value.clone() for key, value in layer.state_dict().items()}
    before = layer(*inputs)
    layer.load_state_dict(state)
    assert layer.convention == "0.4"
    layer.load_state_dict(new)
    assert layer.convention == "0.6"
    torch.testing.assert_close(layer(*inputs), before)


def test_tensors_of_both_conventions_or_none_are_refused():
    state, _, _ = golden("fully")
    key = "_compiled_main_left_right._w3j_1_2_2"
    mixed = {**state, key: -state[key]}
    with pytest.raises(ValueError, match=r"has the convention 0\.6 but .* has 0\.4"):
        LAYERS["fully"]().load_state_dict(mixed)
    with pytest.raises(ValueError, match="no Clebsch-Gordan tensor"):
        LAYERS["fully"]().load_state_dict({**state, key: 2 * state[key]})


def test_checkpoints_in_single_precision_and_whole_models():
    state, inputs, output = golden("fully")
    model = torch.nn.Sequential(torch.nn.Identity(), LAYERS["fully"]())
    model.float().load_state_dict({f"1.{key}": value.float() for key, value in state.items()})
    found = model[1](*(x.float() for x in inputs))
    torch.testing.assert_close(found.double(), output, rtol=1e-4, atol=1e-5)
