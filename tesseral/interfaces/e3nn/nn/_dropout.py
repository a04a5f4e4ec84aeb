"""Dropout of whole irreps."""

from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.util.jit import compile_mode


@compile_mode("script")
class Dropout(nn.Module):
    """In training, each irrep of each entry of the first axis is zero with probability p, else divided by 1 - p."""

    def __init__(self, irreps: Any, p: float) -> None:
        super().__init__()
        self.irreps, self.p = Irreps(irreps), p
        self._set_blocks()

    def _set_blocks(self) -> None:
        self._blocks = tuple((mul, ir.dim) for mul, ir in self.irreps)

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if "_blocks" not in state:  # a pickle of e3nn's own layer
            self._set_blocks()

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p <= 0 or not self._blocks:
            return x
        pieces = []
        for mul, dim in self._blocks:  # a draw for each block, in e3nn's order
            noise = x.new_zeros(x.shape[0], mul)
            if self.p < 1:
                noise = torch.bernoulli(noise + (1 - self.p)) / (1 - self.p)
            pieces.append(noise.unsqueeze(-1).expand(-1, -1, dim).flatten(1))
        noise = torch.cat(pieces, dim=-1)
        return x * noise.reshape(x.shape[0], *(1,) * (x.ndim - 2), noise.shape[-1])

    def _make_tracing_inputs(self, n: int) -> list[dict]:
        return [{"forward": (self.irreps.randn(5, -1),)} for _ in range(n)]

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self.irreps}, p={self.p})"
