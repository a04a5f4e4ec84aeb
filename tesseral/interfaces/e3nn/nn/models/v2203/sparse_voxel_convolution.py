"""A convolution on sparse voxels, of MinkowskiEngine."""

import importlib
from typing import Any

from torch import Tensor

from tesseral.interfaces.e3nn.nn.models._voxels import VoxelConvolution, lattice_within


class Convolution(VoxelConvolution):
    """Sparse tensors of MinkowskiEngine to sparse tensors. Raises ``ModuleNotFoundError`` without that package."""

    lattice: Tensor

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any,
        irreps_sh: Any,
        diameter: float | int,
        num_radial_basis: int,
        steps: Any = (1.0, 1.0, 1.0),
    ) -> None:
        engine = importlib.import_module("MinkowskiEngine")
        super().__init__(irreps_in, irreps_out, irreps_sh)
        self.num_radial_basis = num_radial_basis
        self.register_buffer("lattice", lattice_within(diameter / 2, steps))
        self.set_filters(self.lattice, diameter / 2, num_radial_basis)
        self.kernel_generator = engine.KernelGenerator(self.lattice.shape[:3], dimension=3)
        self.conv_fn = engine.MinkowskiConvolutionFunction()

    def kernel(self) -> Tensor:
        """The filter (z * y * x, dim_in, dim_out): the engine counts the first axis fastest."""
        return self.matrices(self.lattice.shape[:3].numel()).permute(2, 1, 0, 3, 4).flatten(0, 2)

    def forward(self, x: Any) -> Any:
        engine, mode = (importlib.import_module(n) for n in ("MinkowskiEngine", "MinkowskiEngineBackend._C"))
        keys = (x.coordinate_map_key, x.coordinate_map_key, x._manager)
        out = self.conv_fn.apply(x.F, self.kernel(), self.kernel_generator, mode.ConvolutionMode.DEFAULT, *keys)
        return engine.SparseTensor(self.sc(x.F) + out, coordinate_map_key=x.coordinate_map_key, coordinate_manager=x._manager)
