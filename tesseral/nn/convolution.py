"""Messages along the edges of a graph: the layer in which equivariant networks spend their time."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tesseral.o3.clebsch_gordan import Convention
from tesseral.ops.convolution import ConvolutionPlan, convolution
from tesseral.ops.spline import SplineWeights
from tesseral.ops.spline_convolution import spline_convolution


class Convolution(torch.nn.Module):
    r"""Products of node features and edge harmonics, weighted per edge, path and channel, and summed at the destination.

    ``irreps_out`` says which irreps to keep (its multiplicities are ignored); the layer's own ``irreps_out`` has one block per
    path, sorted by irrep. It has no parameters: ``w`` has ``weight_numel`` columns, one row of channels per path, paths
    ordered by (entry of ``irreps_in``, entry of ``irreps_sh``, output degree). Layout ``ir_mul``; normalised as e3nn's *uvu*
    product (component, element); see :func:`tesseral.ops.convolution.convolution` for the equation and the errors.
    ``w`` may be :class:`~tesseral.ops.SplineWeights`, splines of the edges' lengths, which then are never in memory edge by edge.

    >>> conv = Convolution("8x0e+8x1o", "0e+1o", "0e+1o")
    >>> x, y, w = torch.randn(3, 32), torch.randn(4, 4), torch.randn(4, conv.weight_numel)
    >>> conv(x, y, w, torch.tensor([[0, 1, 2, 0], [1, 0, 0, 2]])).shape
    torch.Size([3, 64])
    """

    def __init__(self, irreps_in, irreps_sh, irreps_out, backend: str = "auto", convention: Convention = "0.6") -> None:
        super().__init__()
        self.plan = ConvolutionPlan(irreps_in, irreps_sh, irreps_out, convention)
        self.irreps_in, self.irreps_sh, self.irreps_out = self.plan.irreps_in, self.plan.irreps_sh, self.plan.irreps_out
        self.weight_numel = self.plan.weight_numel
        self.backend = backend

    def forward(
        self,
        x: Float[Tensor, "nodes features"],
        y: Float[Tensor, "edges harmonics"],
        w: Float[Tensor, "edges weights"] | SplineWeights,
        edge_index: Int64[Tensor, "2 edges"],
        source_order: Int64[Tensor, " edges"] | None = None,
        destination_pointers: Int64[Tensor, " nodes+1"] | None = None,
    ) -> Float[Tensor, "nodes messages"]:
        """Edges come in any order; a graph's ``source_order`` and ``destination_pointers`` save sorting them."""
        edges = (edge_index, source_order, destination_pointers, self.backend)
        if isinstance(w, SplineWeights):
            return spline_convolution(self.plan, x, y, w.lengths, w.coefficients, w.knots, *edges)
        return convolution(self.plan, x, y, w, *edges)

    def extra_repr(self) -> str:
        return f"{self.plan} | ir_mul, backend={self.backend!r}"
