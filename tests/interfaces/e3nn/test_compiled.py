"""Layers of the drop-in tree under torch.compile and torch.export; run without the jaxtyping checker."""

import pytest
import torch

from tesseral.interfaces.e3nn import nn, o3
from tesseral.interfaces.e3nn.util.jit import get_tracing_inputs
from tesseral.interfaces.e3nn.util.test import assert_auto_jitable, assert_torch_compile

LAYERS = {
    "linear": lambda: o3.Linear("4x0e+3x1o", "2x1o+5x0e"),
    "product": lambda: o3.FullyConnectedTensorProduct("2x0e+2x1o", "1x1o+1x2e", "2x1o+2x1e"),
    "product with weights from outside": lambda: o3.TensorProduct(
        "2x1o", "1x1o", "2x1e", [(0, 0, 0, "uvu", True)], internal_weights=False, shared_weights=False
    ),
    "square": lambda: o3.TensorSquare("2x0e+1x1o"),
    "perceptron": lambda: nn.FullyConnectedNet([3, 4, 2], torch.tanh),
    "dropout": lambda: nn.Dropout("3x0e+2x1o", 0.5),
    "gate": lambda: nn.Gate("3x0e", [torch.tanh], "4x0e", [torch.tanh], "2x1o+2x2e"),
}


@pytest.mark.compile
@pytest.mark.parametrize("name", LAYERS)
def test_export(name):
    layer = LAYERS[name]()
    exported = assert_auto_jitable(layer)
    given = get_tracing_inputs(layer)[0]["forward"]
    more = [torch.cat([x, x]) for x in given]  # another number of rows
    exported.eval()
    torch.testing.assert_close(exported(*more), layer(*more))


@pytest.mark.compile
@pytest.mark.parametrize("name", LAYERS)
def test_compile(name):
    layer = LAYERS[name]()
    xs = get_tracing_inputs(layer.eval())[0]["forward"]
    compiled = assert_torch_compile("eager", lambda: layer, *xs)
    torch.testing.assert_close(compiled(*xs), layer(*xs))
