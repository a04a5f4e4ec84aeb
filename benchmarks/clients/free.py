"""e3nn's calls made nearly free: what remains is the client's own time, so the ratio to it is the most any replacement can gain.

Each layer returns one number a row, spread over the output: gradients of every order still reach all inputs and weights.
"""

from __future__ import annotations

import torch
from torch import Tensor


def make_free() -> None:
    """Replace the forwards of the real e3nn's layers."""
    from e3nn import nn, o3

    o3.TensorProduct.forward = _product  # type: ignore[method-assign]
    o3.Linear.forward = lambda self, x, weight=None, bias=None: _spread(x, _own(self, weight), dim=self.irreps_out.dim)
    o3.SphericalHarmonics.forward = lambda self, x: _spread(x, dim=self.irreps_out.dim)
    nn.Gate.forward = lambda self, x: _spread(x, dim=self.irreps_out.dim)
    nn.Activation.forward = lambda self, x, dim=-1: _spread(x, dim=self.irreps_out.dim)
    nn.FullyConnectedNet.forward = lambda self, x: _spread(x, *(layer.weight for layer in self), dim=self.hs[-1])


def _product(self: torch.nn.Module, x: Tensor, y: Tensor, weight: Tensor | None = None) -> Tensor:
    return _spread(x, y, _own(self, weight), dim=self.irreps_out.dim)


def _own(layer: torch.nn.Module, weight: Tensor | None) -> Tensor:
    return layer.weight if weight is None else weight


def _spread(x: Tensor, *others: Tensor, dim: int) -> Tensor:
    total = x[..., :1]
    for other in others:
        if other.numel():
            total = total + (other[..., :1] if other.ndim == x.ndim and other.shape[:-1] == x.shape[:-1] else other.flatten()[0])
    return total.expand(*total.shape[:-1], dim)
