"""Nothing."""

from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.util.jit import compile_mode


@compile_mode("trace")
class Identity(nn.Module):
    """Features as they are, where the irreps agree up to merging."""

    def __init__(self, irreps_in: Any, irreps_out: Any) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in).simplify(), Irreps(irreps_out).simplify()
        assert self.irreps_in == self.irreps_out, f"{self.irreps_in} is not {self.irreps_out}"
        self.register_buffer("output_mask", torch.ones(self.irreps_out.dim))

    def forward(self, features: Tensor) -> Tensor:
        return features

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.irreps_in} -> {self.irreps_out})"
