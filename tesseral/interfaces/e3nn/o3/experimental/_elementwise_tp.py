"""The elementwise product that compiles; here the classic one does."""

from typing import Any

import torch
from torch import Tensor

from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.o3._tensor_product._sub import ElementwiseTensorProduct as _Classic
from tesseral.interfaces.e3nn.o3.experimental._full_tp import wanted


class ElementwiseTensorProduct(_Classic):
    """The classic :class:`~tesseral.interfaces.e3nn.o3.ElementwiseTensorProduct` with a sorted output."""

    def __init__(
        self, irreps_in1: Any, irreps_in2: Any, *, filter_ir_out: Any = None, irrep_normalization: str = "component"
    ) -> None:
        super().__init__(irreps_in1, irreps_in2, wanted(filter_ir_out), irrep_normalization)
        self._unsorted = self.irreps_out
        self.irreps_out, _, self.inv = Irreps(self._unsorted).sort()

    def forward(self, x: Tensor, y: Tensor, weight: None = None) -> Tensor:  # type: ignore[override]
        chunks = super().forward(x, y).split([block.dim for block in self._unsorted], -1)
        return torch.cat([chunks[i] for i in self.inv], dim=-1)
