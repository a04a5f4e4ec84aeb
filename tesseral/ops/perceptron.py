r"""Perceptrons without biases: radial networks, where a model with few channels spends most of its multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.kernels import fused
from tesseral.kernels.fused import Layers
from tesseral.ops.fused import apply


def perceptron(x: Float[Tensor, "*batch n_in"], weights: Sequence[Tensor], layers: Layers) -> Float[Tensor, "*batch n_out"]:
    r"""Layers :math:`x \leftarrow c f(a_i\, x W_i)`, the last one linear; :math:`a_i`, c and f are those of ``layers``.

    >>> layers = perceptron_layers([2, 4, 3], "silu", 1.0)
    >>> perceptron(torch.zeros(5, 2), [torch.ones(2, 4), torch.ones(4, 3)], layers).shape
    torch.Size([5, 3])
    """
    rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
    y = apply(PerceptronRule(layers), rows, *weights)
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], layers.dims[-1])


def perceptron_layers(dims: Sequence[int], activation: str, scale: float) -> Layers:
    r"""The plan of a perceptron with factors :math:`a = n^{-1/2}`, n the number of inputs of a layer."""
    return Layers(tuple(dims), tuple(1 / math.sqrt(max(1, n)) for n in dims[:-1]), activation, scale)


class PerceptronRule:
    """The perceptron, its gradient and second gradient; tensors are x (rows, width) and the matrices."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers

    def definition(self, *tensors: Tensor) -> Tensor:
        x, *weights = tensors
        act: Any = {"silu": torch.nn.functional.silu, "tanh": torch.tanh}[self.layers.activation]
        for i, (weight, factor) in enumerate(zip(weights, self.layers.factors, strict=True)):
            x = x @ (weight * factor)
            if i < len(weights) - 1:
                x = act(x) * self.layers.scale
        return x

    def value(self, *tensors: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, *weights = tensors
        y, z = fused.perceptron(x, weights, self.layers)
        return y, (z,)

    def gradient(
        self, g: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor], wanted: Sequence[bool]
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        x, *weights = tensors
        gx, gh, gw = fused.perceptron_gradient(g, x, kept[0], weights, self.layers, wanted[0], any(wanted[1:]))
        absent: list[Tensor | None] = [None] * len(weights)
        found = [gx, *(gw or absent)]
        return [value for value, want in zip(found, wanted, strict=True) if want and value is not None], (gh,)

    def second_gradient(
        self,
        cotangents: Sequence[Tensor | None],
        g: Tensor,
        tensors: Sequence[Tensor],
        kept: Sequence[Tensor],
        wanted: Sequence[bool],
    ) -> list[Tensor | None] | None:
        (u, *others), (x, *weights), (z, gh) = cotangents, tensors, kept
        if u is None or any(c is not None for c in others):
            return None
        gg, gx, gw = fused.perceptron_second_gradient(u, g, x, z, gh, weights, self.layers, any(wanted[2:]))
        absent: list[Tensor | None] = [None] * len(weights)
        return [gg, gx, *(gw or absent)]
