"""Helpers of e3nn."""

import math
from collections.abc import Iterable

from tesseral.interfaces.e3nn.util.default_type import (
    explicit_default_types,
    torch_get_default_device,
    torch_get_default_tensor_type,
)

__all__ = ["explicit_default_types", "prod", "torch_get_default_device", "torch_get_default_tensor_type"]


def prod(x: Iterable):
    """The product of some numbers."""
    return math.prod(x)
