"""Layers out of pickles that e3nn wrote, such as whole models of MACE: built anew from what the pickle says of them."""

from collections.abc import Mapping
from typing import Any

from torch import nn


def take_over(layer: nn.Module, state: Mapping[str, Any]) -> None:
    """Give a layer that was built anew the parameters and buffers, the mode and the other attributes of the pickled one."""
    for kind in ("_parameters", "_buffers"):
        for name, tensor in state[kind].items():
            delattr(layer, name)
            getattr(layer, kind)[name] = tensor
    layer.training = state["training"]
    for name, value in state.items():
        if not name.startswith("_") and name not in layer.__dict__:
            setattr(layer, name, value)
