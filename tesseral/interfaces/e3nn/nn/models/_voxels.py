"""What the convolutions on voxels have in common."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn import o3
from tesseral.interfaces.e3nn.math import soft_one_hot_linspace


def unit_lattice(size: int, steps: Sequence[float | int]) -> Tensor:
    """Points (x, y, z, 3) of ``size`` a diameter, in units of the radius along the axis of the shortest step."""
    r = torch.linspace(-1, 1, size)
    axes = [r * step / min(steps) for step in steps]
    return torch.stack(torch.meshgrid(*(a[a.abs() <= 1] for a in axes), indexing="ij"), dim=-1)


def lattice_within(radius: float | int, steps: Sequence[float | int]) -> Tensor:
    """Points (x, y, z, 3) of a lattice up to a radius along each axis."""
    axes = []
    for step in steps:
        number = math.floor(radius / step)
        axes.append(torch.arange(-number, number + 1.0) * step)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


class VoxelConvolution(nn.Module):
    """Self-interaction, and the product with harmonics of the lattice, weighted by learned radial functions."""

    emb: Tensor
    sh: Tensor

    def __init__(self, irreps_in: Any, irreps_out: Any, irreps_sh: Any) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out, self.irreps_sh = map(o3.Irreps, (irreps_in, irreps_out, irreps_sh))
        self.sc = o3.Linear(self.irreps_in, self.irreps_out)

    def set_filters(self, lattice: Tensor, end: float | int, number: int) -> None:
        """Radial functions and harmonics at the points of a lattice, the product, and its random weights."""
        embedded = soft_one_hot_linspace(lattice.norm(dim=-1), 0.0, end, number, basis="smooth_finite", cutoff=True)
        self.register_buffer("emb", embedded)
        self.register_buffer("sh", o3.spherical_harmonics(self.irreps_sh, lattice, True, "component"))
        ends = (self.irreps_in, self.irreps_sh, self.irreps_out)
        self.tp = o3.FullyConnectedTensorProduct(*ends, shared_weights=False, compile_left_right=False, compile_right=True)
        self.weight = nn.Parameter(torch.randn(number, self.tp.weight_numel))

    def matrices(self, factor: float | int) -> Tensor:
        """The filter (x, y, z, dim_in, dim_out)."""
        return self.tp.right(self.sh, self.emb @ self.weight / factor)

    def alone(self, x: Tensor) -> Tensor:
        """The self-interaction of an image (batch, dim, x, y, z)."""
        return self.sc(x.transpose(1, 4)).transpose(1, 4)


class LowPassFilter(nn.Module):
    """Images (..., x, y, z) smoothed by a Gaussian that leaves details larger than ``scale``, and thinned out by ``stride``.

    ``transposed`` is the adjoint, which enlarges images.
    """

    kernel: Tensor

    def __init__(
        self, scale: float | int, stride: int = 1, transposed: bool = False, steps: Sequence[float | int] = (1, 1, 1)
    ) -> None:
        super().__init__()
        sigma = 0.5 * (scale**2 - 1) ** 0.5
        size = int(1 + 2 * 2.5 * sigma)
        size += size % 2 == 0
        squares = (size // 2 * unit_lattice(size, steps)).norm(dim=-1).pow(2)
        kernel = torch.exp(-squares / (2 * sigma**2))
        kernel = kernel / kernel.sum() * (stride**3 if transposed else 1)
        self.register_buffer("kernel", kernel[None, None])
        self.scale, self.stride, self.size, self.transposed = scale, stride, size, transposed

    def forward(self, image: Tensor) -> Tensor:
        if self.scale <= 1:
            assert self.stride == 1, (
                f"nothing is smoothed at the scale {self.scale}, so nothing can be thinned out by {self.stride}"
            )
            return image
        convolve = nn.functional.conv_transpose3d if self.transposed else nn.functional.conv3d
        found = convolve(image.reshape(-1, 1, *image.shape[-3:]), self.kernel, padding=self.size // 2, stride=self.stride)
        return found.reshape(*image.shape[:-3], *found.shape[-3:])
