"""Polynomials of node features: MACE's product basis."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tesseral.o3.clebsch_gordan import Convention
from tesseral.ops.symmetric_contraction import SymmetricContractionPlan, symmetric_contraction


class SymmetricContraction(torch.nn.Module):
    r"""Symmetric contraction of orders 1 to ``correlation`` with weights for each species and channel.

    ``irreps_in`` and ``irreps_out`` have one multiplicity. Parameter ``weight`` is (species, weight_numel), for each output block
    and order (copies, channels); it begins normal with standard deviation 1 / copies. Layout ``ir_mul``; see
    :mod:`tesseral.ops.symmetric_contraction` for the equation and the errors.
    Source: Batatia et al., NeurIPS 35, 11423 (2022).

    >>> layer = SymmetricContraction("8x0e+8x1o+8x2e", "8x0e+8x1o", 3, species=4)
    >>> layer(torch.randn(5, 72), torch.tensor([0, 1, 3, 1, 2])).shape
    torch.Size([5, 32])
    """

    def __init__(
        self,
        irreps_in,
        irreps_out,
        correlation: int,
        species: int,
        *,
        backend: str = "auto",
        convention: Convention = "0.6",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.plan = SymmetricContractionPlan(irreps_in, irreps_out, correlation, convention)
        self.irreps_in, self.irreps_out, self.backend = self.plan.irreps_in, self.plan.irreps_out, backend
        columns = [
            torch.randn(species, block.copies * self.plan.channels, dtype=dtype, device=device) / block.copies
            for block in self.plan.blocks
        ]
        self.weight = torch.nn.Parameter(torch.cat(columns, dim=1))

    def forward(self, x: Float[Tensor, "nodes dim_in"], species: Int64[Tensor, " nodes"]) -> Float[Tensor, "nodes dim_out"]:
        """Contract features (nodes, irreps_in.dim); ``species`` counts from 0 to the number of species."""
        return symmetric_contraction(self.plan, x, self.weight, species, self.backend)

    def extra_repr(self) -> str:
        return f"{self.plan} | {self.weight.shape[0]} species, layout=ir_mul, backend={self.backend!r}"
