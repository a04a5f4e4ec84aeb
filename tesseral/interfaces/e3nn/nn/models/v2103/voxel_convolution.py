"""A convolution on voxels whose filter has a size in voxels."""

from typing import Any

import torch
from torch import Tensor

from tesseral.interfaces.e3nn.nn.models._voxels import LowPassFilter, VoxelConvolution, unit_lattice

__all__ = ["Convolution", "LowPassFilter"]


class Convolution(VoxelConvolution):
    """Images (batch, irreps_in.dim, x, y, z) to images; further arguments are those of ``torch.nn.functional.conv3d``.

    >>> conv = Convolution("0e+1e", "0e+2o", "0e+1o+2e", 3)
    >>> conv(torch.randn(1, 4, 5, 5, 5)).shape
    torch.Size([1, 6, 5, 5, 5])
    """

    def __init__(self, irreps_in: Any, irreps_out: Any, irreps_sh: Any, size: int, steps: Any = (1, 1, 1), **kwargs: Any) -> None:
        super().__init__(irreps_in, irreps_out, irreps_sh)
        self.size = self.num_rbfs = size
        self.kwargs = {"padding": size // 2, **kwargs}
        self.set_filters(unit_lattice(size, steps), 1.0, size)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.matrices(self.size**1.5).permute(4, 3, 0, 1, 2)
        return self.alone(x) + 0.1 * torch.nn.functional.conv3d(x, kernel, **self.kwargs)
