"""Layers of the drop-in tree under torch.compile and torch.export; run without the jaxtyping checker."""

import pytest
import torch

from tesseral.interfaces.e3nn import nn, o3
from tesseral.interfaces.e3nn.util.test import assert_auto_jitable, assert_torch_compile

LAYERS = {
    "linear": lambda: o3.Linear("4x0e+3x1o", "2x1o+5x0e"),
    "product": lambda: o3.FullyConnectedTensorProduct("2x0e+2x1o", "1x1o+1x2e", "2x1o+2x1e"),
    "gate": lambda: nn.Gate("3x0e", [torch.tanh], "4x0e", [torch.tanh], "2x1o+2x2e"),
}


@pytest.mark.compile
@pytest.mark.parametrize("name", LAYERS)
def test_export(name):
    assert_auto_jitable(LAYERS[name]())


@pytest.mark.compile
@pytest.mark.parametrize("name", LAYERS)
def test_compile(name):
    layer = LAYERS[name]()
    dims = [layer.irreps_in1.dim, layer.irreps_in2.dim] if hasattr(layer, "irreps_in1") else [layer.irreps_in.dim]
    xs = [torch.randn(5, dim) for dim in dims]
    compiled = assert_torch_compile("eager", lambda: layer, *xs)
    torch.testing.assert_close(compiled(*xs), layer(*xs))
