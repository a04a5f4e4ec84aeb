r"""Matrix products in bfloat16 with sums in float32, geometry and energies in float64.

Features and weights of linear maps and networks are rounded to 8 bits; sums of products are float32. Convolutions, contractions
and the values at the knots of splines are float32 throughout; the geometry and sums of energies are float64, as ever.
On a GPU that is what the tensor cores are for; on a CPU it costs time (``docs/kernels.md`` has numbers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.graph import Graph

Precision = Literal["float32", "float64", "bf16-products"]
"""The type of a network's weights and features, or float32 with matrix products in bfloat16."""


def dtype_of(precision: Precision) -> torch.dtype:
    """The type of the weights.

    >>> dtype_of("bf16-products")
    torch.float32
    """
    return torch.float64 if precision == "float64" else torch.float32


@dataclass(frozen=True)
class BFloat16Products:
    """The energy function of a float32 ``model`` whose matrix products are in bfloat16; differentiable to any order, as it is.

    Source of the scheme: Micikevicius et al., Mixed precision training, ICLR 2018; bfloat16 needs no scaling of the loss.
    Raises ``ValueError`` for a model in another precision, whose products would be rounded although its weights are exact.
    """

    model: Any

    def __post_init__(self) -> None:
        found = getattr(self.model, "dtype", torch.float32)
        if found != torch.float32:
            raise ValueError(
                f"products in bfloat16 are for float32 models, this one is {found}: load it with dtype=torch.float32"
            )

    def __call__(self, graph: Graph) -> Float[Tensor, " graphs"]:
        """Energies in eV."""
        with torch.autocast(graph.positions.device.type, torch.bfloat16):
            return self.model(graph)

    def node_energies(self, graph: Graph) -> Float[Tensor, " nodes"]:
        """Energies of the atoms in eV."""
        with torch.autocast(graph.positions.device.type, torch.bfloat16):
            return self.model.node_energies(graph)
