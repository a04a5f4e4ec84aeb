"""Batch normalisation."""

from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.util.jit import compile_mode


@compile_mode("unsupported")
class BatchNorm(nn.Module):
    """Scalars 0e lose their mean, every irrep is divided by the root of its mean square over the batch.

    ``reduce`` takes the mean or the maximum of the square over the middle axes before the mean over the batch; ``instance``
    normalises each entry by itself; ``normalization`` takes the mean or the sum ("norm") over components.
    """

    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(
        self,
        irreps: Any,
        eps: float = 1e-05,
        momentum: float = 0.1,
        affine: bool = True,
        reduce: str = "mean",
        instance: bool = False,
        include_bias: bool | str = True,
        normalization: str = "component",
    ) -> None:
        super().__init__()
        if isinstance(include_bias, str):  # the order of e3nn 0.4, which has no such argument
            normalization = include_bias
            include_bias = True
        assert reduce in ("mean", "max"), f"reduce needs to be 'mean' or 'max', got {reduce!r}"
        assert normalization in ("norm", "component"), f"normalization needs to be 'norm' or 'component', got {normalization!r}"
        self.irreps, self.eps, self.momentum, self.affine = Irreps(irreps), eps, momentum, affine
        self.reduce, self.instance, self.include_bias, self.normalization = reduce, instance, include_bias, normalization
        scalars = sum(mul for mul, ir in self.irreps if ir.is_scalar())
        count = self.irreps.num_irreps
        self.register_buffer("running_mean", None if instance else torch.zeros(scalars))
        self.register_buffer("running_var", None if instance else torch.ones(count))
        self.register_parameter("weight", nn.Parameter(torch.ones(count)) if affine else None)
        if include_bias:
            self.register_parameter("bias", nn.Parameter(torch.zeros(scalars)) if affine else None)
        self._set_blocks()

    def _set_blocks(self) -> None:
        self.irs = [(mul, ir.dim, ir.is_scalar()) for mul, ir in self.irreps]

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if "irs" not in state:  # a pickle of e3nn 0.4
            self.include_bias = True
            self._set_blocks()

    def forward(self, input: Tensor) -> Tensor:
        x = input.reshape(input.shape[0], -1, input.shape[-1])
        blocks = x.split([mul * dim for mul, dim, _ in self.irs], -1)
        out, means, squares, first, first_scalar = [], [], [], 0, 0
        for block, (mul, dim, scalar) in zip(blocks, self.irs, strict=True):
            block = block.unflatten(-1, (mul, dim))
            channels, scalars = slice(first, first + mul), slice(first_scalar, first_scalar + mul)
            if scalar:
                mean = self._mean(block, scalars)
                means.append(mean)
                block = block - mean.reshape(-1, 1, mul, 1)
            square = self._square(block, channels)
            squares.append(square)
            factor = (square + self.eps).rsqrt()
            block = block * (factor * self.weight[channels] if self.affine else factor).reshape(-1, 1, mul, 1)
            if scalar and self.affine and self.include_bias:
                block = block + self.bias[scalars].reshape(mul, 1)
            out.append(block.flatten(-2))
            first, first_scalar = first + mul, first_scalar + (mul if scalar else 0)
        if self.training and not self.instance:
            self._learn(self.running_mean, means)
            self._learn(self.running_var, squares)
        return torch.cat(out, dim=-1).reshape(input.shape) if out else input

    def _mean(self, block: Tensor, scalars: slice) -> Tensor:
        if self.instance:
            return block.mean((1, 3))
        return block.mean((0, 1, 3)) if self.training else self.running_mean[scalars]  # type: ignore[index]

    def _square(self, block: Tensor, channels: slice) -> Tensor:
        if not self.training and not self.instance:
            return self.running_var[channels]  # type: ignore[index]
        square = block.square().sum(-1) if self.normalization == "norm" else block.square().mean(-1)
        square = square.mean(1) if self.reduce == "mean" else square.amax(1)
        return square if self.instance else square.mean(0)

    def _learn(self, running: Any, found: list[Tensor]) -> None:
        if found:
            with torch.no_grad():
                running.mul_(1 - self.momentum).add_(torch.cat(found), alpha=self.momentum)

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self.irreps}, eps={self.eps}, momentum={self.momentum})"
