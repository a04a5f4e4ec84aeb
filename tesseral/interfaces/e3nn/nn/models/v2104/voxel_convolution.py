"""A convolution on voxels whose filter has a diameter in physical units."""

from typing import Any

import torch
from torch import Tensor

from tesseral.interfaces.e3nn.nn.models._voxels import LowPassFilter, VoxelConvolution, lattice_within

__all__ = ["Convolution", "LowPassFilter"]


class Convolution(VoxelConvolution):
    """Images (batch, irreps_in.dim, x, y, z) of voxels of size ``steps`` to images; further arguments are those of ``conv3d``.

    >>> conv = Convolution("0e+1e", "0e+2o", "0e+1o+2e", diameter=3.0, num_radial_basis=2)
    >>> conv(torch.randn(1, 4, 5, 5, 5)).shape
    torch.Size([1, 6, 5, 5, 5])
    """

    lattice: Tensor

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any,
        irreps_sh: Any,
        diameter: float | int,
        num_radial_basis: int,
        steps: Any = (1.0, 1.0, 1.0),
        **kwargs: Any,
    ) -> None:
        super().__init__(irreps_in, irreps_out, irreps_sh)
        self.num_radial_basis = num_radial_basis
        self.register_buffer("lattice", lattice_within(diameter / 2, steps))
        self.kwargs = {"padding": tuple(n // 2 for n in self.lattice.shape[:3]), **kwargs}
        self.set_filters(self.lattice, diameter / 2, num_radial_basis)

    def kernel(self) -> Tensor:
        """The filter (dim_out, dim_in, x, y, z)."""
        return self.matrices(self.lattice.shape[:3].numel()).permute(4, 3, 0, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.alone(x) + torch.nn.functional.conv3d(x, self.kernel(), **self.kwargs)
