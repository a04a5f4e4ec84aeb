"""Dropout of whole irreps."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.o3 import Irreps


class Dropout(nn.Module):
    """In training, zero each irrep of each entry with probability p, all its components at once, and divide the rest by 1 - p.

    Layout ``ir_mul``. Raises ``ValueError`` for p outside [0, 1).

    >>> Dropout("2x0e+1x1o", 0.5)
    Dropout(2x0e+1x1o, ir_mul, p=0.5)
    >>> Dropout("2x0e+1x1o", 0.5).eval()(torch.ones(5))
    tensor([1., 1., 1., 1., 1.])
    """

    def __init__(self, irreps_in: object, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"the probability p must lie in [0, 1), got {p}")
        self.irreps_in = self.irreps_out = Irreps(irreps_in)
        self.p = p
        self._blocks = tuple((ir.dim, mul) for mul, ir in self.irreps_in if mul)
        self._count = self.irreps_in.num_irreps

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        if not self.training or self.p == 0 or not self._count:
            return x
        kept = torch.rand((*x.shape[:-1], self._count), dtype=x.dtype, device=x.device) >= self.p
        factors = kept.to(x.dtype) / (1 - self.p)
        pieces = [
            f.repeat((1,) * (x.ndim - 1) + (d,))
            for f, (d, _) in zip(factors.split([n for _, n in self._blocks], -1), self._blocks)
        ]
        return x * torch.cat(pieces, dim=-1)

    def __repr__(self) -> str:
        return f"Dropout({self.irreps_in}, ir_mul, p={self.p})"
