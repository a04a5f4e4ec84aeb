"""The SO(2) convolution as a layer: messages in the frames of the edges, where high degrees are cheap."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tesseral.ops.so2 import SO2Plan, edge_frames, so2_convolution
from tesseral.ops.so2_product import SO2ProductPlan, so2_convolution_by_products
from tesseral.ops.spherical_harmonics import spherical_harmonics

METHODS = ("auto", "so2", "product")


class SO2Convolution(torch.nn.Module):
    r"""Messages that mix channels and degrees, :math:`\sum_{e \to n} D_e^T W (s_e \odot D_e x_{source(e)})`; layout ``ir_mul``.

    ``mmax`` (default: the highest degree) is the highest order kept in the frame of an edge. ``parity`` keeps the weights that
    commute with reflections (see :mod:`tesseral.ops.so2`); without it parities are ignored. ``method`` is ``"so2"``,
    ``"product"`` (the same function as a product with harmonics, for full mmax; its channels are mixed at the nodes) or
    ``"auto"``: the faster of the two, as measured. Weights start standard normal and keep the mean square of a message.

    ``edges`` of :meth:`edges` are worked out once and serve all layers of a network that have the same degrees, mmax and method.
    Raises ``ValueError`` for an unknown method, and for ``"product"`` with orders left out.

    >>> layer = SO2Convolution("8x0e+8x1o", "8x0e+8x1o")
    >>> edge_index = torch.tensor([[0, 1, 2, 0], [1, 0, 0, 2]])
    >>> layer(torch.randn(3, 32), layer.edges(torch.randn(4, 3)), edge_index).shape
    torch.Size([3, 32])
    """

    def __init__(
        self,
        irreps_in: object,
        irreps_out: object,
        mmax: int | None = None,
        parity: bool = True,
        method: str = "auto",
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, got {method!r}")
        self.plan = SO2Plan(irreps_in, irreps_out, mmax, parity)
        self.irreps_in, self.irreps_out, self.backend = self.plan.irreps_in, self.plan.irreps_out, backend
        self.method = faster_method(self.plan) if method == "auto" else method
        self.product = SO2ProductPlan(self.plan) if self.method == "product" else None
        self.scales_numel = self.irreps_in.num_irreps
        self.weight = torch.nn.Parameter(torch.randn(self.plan.weight_numel, dtype=dtype, device=device))
        columns, starts, at = [], [], 0
        for mul, _ in self.irreps_in:
            starts.append(at)
            at += mul
        for order in self.plan.source.orders:
            columns += [starts[i] + u for i in order.blocks for u in range(self.irreps_in[i].mul)]
        self._columns: Tensor
        self.register_buffer("_columns", torch.tensor(columns, dtype=torch.int64, device=device), persistent=False)

    def edges(self, vectors: Float[Tensor, "edges 3"]) -> Float[Tensor, "edges entries"]:
        """What the layer needs to know of the edges: rows of Wigner matrices, or harmonics."""
        if self.product is None:
            return edge_frames(self.plan.lmax, vectors, self.plan.mmax)
        degrees = list(range(self.product.lmax_harmonics + 1))
        return spherical_harmonics(degrees, vectors, normalize=True, normalization="component")

    def forward(
        self,
        x: Float[Tensor, "nodes features"],
        edges: Float[Tensor, "edges entries"],
        edge_index: Int64[Tensor, "2 edges"],
        scales: Float[Tensor, "edges scales"] | None = None,
        source_order: Int64[Tensor, " edges"] | None = None,
        destination_pointers: Int64[Tensor, " nodes+1"] | None = None,
    ) -> Float[Tensor, "nodes messages"]:
        """``scales`` (edges, irreps_in.num_irreps) multiply the irreps of each message: what a radial network gives."""
        graph = (source_order, destination_pointers, self.backend)
        if self.product is not None:
            return so2_convolution_by_products(self.product, x, edges, self.weight, edge_index, scales, *graph)
        scales = None if scales is None else scales.index_select(1, self._columns)
        return so2_convolution(self.plan, x, edges, self.weight, edge_index, scales, *graph)

    def extra_repr(self) -> str:
        return f"{self.plan} | ir_mul, method={self.method!r}, backend={self.backend!r}"


def faster_method(plan: SO2Plan) -> str:
    """``"product"`` where the product with harmonics is the faster way, else ``"so2"``.

    Measured on a CPU, forward and backward, 25 neighbours (``python -m benchmarks.so2``). The product stays ahead to degree 5,
    but its kernels take minutes to compile from there.

    >>> faster_method(SO2Plan("32x0e+32x1o", "32x0e+32x1o")), faster_method(SO2Plan("32x0e", "32x8e"))
    ('product', 'so2')
    """
    return "product" if plan.lmax <= PRODUCT_UP_TO and plan.mmax == plan.lmax else "so2"


PRODUCT_UP_TO = 4
"""The highest degree at which the product is the faster form, compilation counted."""
