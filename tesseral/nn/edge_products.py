"""Products of an edge's own features with those of the neighbourhood of its atom: what strictly local networks are made of.

Both layers are multilinear programs: the weighted harmonics of a neighbourhood are summed, and gathered again, without a copy for
each edge. Layout ``ir_mul``.
"""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tesseral.kernels.index_map import IndexMap
from tesseral.kernels.operator import multilinear
from tesseral.kernels.spec import ITEM, OUTPUT, SHARED, Form, Program, Segment, Slot, Term, path
from tesseral.o3 import Irreps
from tesseral.o3.clebsch_gordan import wigner_3j_array

Degrees = tuple[int, ...]


class WeightedHarmonics(nn.Module):
    r"""Channels of harmonics, :math:`V_{e,\,lmu} = w_{e,\,lu} Y_{lm}(e)`, for each edge or summed over those of an atom.

    ``irreps_sh`` has multiplicity one; the weights (edges, degrees * channels) have a row of channels for each of its irreps.

    >>> layer = WeightedHarmonics("0e+1o", 8)
    >>> y, w = torch.randn(5, 4), torch.randn(5, layer.weight_numel)
    >>> layer(y, w).shape, layer.summed(y, w, torch.tensor([0, 0, 1, 1, 1]), 3).shape
    (torch.Size([5, 32]), torch.Size([3, 32]))
    """

    def __init__(self, irreps_sh: object, channels: int, factor: float = 1.0, backend: str = "auto") -> None:
        super().__init__()
        self.irreps_sh, self.channels, self.factor, self.backend = Irreps(irreps_sh), channels, factor, backend
        if any(mul != 1 for mul, _ in self.irreps_sh):
            raise ValueError(f"harmonics have multiplicity 1 everywhere; got {self.irreps_sh}")
        self.irreps_out = Irreps([(channels, ir) for _, ir in self.irreps_sh])
        self.weight_numel = channels * len(self.irreps_sh)
        degrees = tuple(ir.l for _, ir in self.irreps_sh)
        self._weighted = _weighting(degrees, channels, factor, ITEM)
        self._summed = _weighting(degrees, channels, factor, "destination")

    def forward(self, y: Float[Tensor, "edges sh"], w: Float[Tensor, "edges weights"]) -> Float[Tensor, "edges features"]:
        """The features of each edge."""
        return multilinear(self._weighted, (y, w), (), (), self.backend)[0]

    def summed(
        self,
        y: Float[Tensor, "edges sh"],
        w: Float[Tensor, "edges weights"],
        destination: Int64[Tensor, " edges"],
        nodes: int,
        pointers: Int64[Tensor, " pointers"] | None = None,
    ) -> Float[Tensor, "nodes features"]:
        """The sum over the edges that arrive at a node; ``pointers`` where the edges are sorted by destination."""
        return multilinear(self._summed, (y, w), (IndexMap(destination, None, pointers),), (nodes,), self.backend)[0]

    def extra_repr(self) -> str:
        return f"{self.irreps_sh} -> {self.irreps_out}, ir_mul, backend={self.backend!r}"


class NeighborhoodProduct(nn.Module):
    r"""An edge's features times those of its atom, :math:`V'_e = \sum_p W_p \odot (V_e \otimes A_{i(e)})^{(p)}`.

    All irreps have one multiplicity, the channels, which do not mix. Paths into an irrep of ``irreps_out`` are in the order of
    the irreps of both inputs, each with the factor :math:`\sqrt{2l+1}`. Parameter ``weight`` is (paths, channels), or (paths, 1)
    without ``coupled``, uniform with mean square one. Raises ``ValueError`` where no path exists.
    Source: Musaelian et al., Nat. Commun. 14, 579 (2023), eq. 8.

    >>> layer = NeighborhoodProduct("4x0e+4x1o", "4x0e+4x1o", "4x0e+4x1o+4x1e")
    >>> layer(torch.randn(5, 16), torch.randn(2, 16), torch.tensor([0, 0, 1, 1, 1])).shape
    torch.Size([5, 28])
    """

    def __init__(
        self,
        irreps_edge: object,
        irreps_node: object,
        irreps_out: object,
        coupled: bool = True,
        backend: str = "auto",
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.irreps_edge, self.irreps_node, self.irreps_out = Irreps(irreps_edge), Irreps(irreps_node), Irreps(irreps_out)
        multiplicities = {mul for mul, _ in (*self.irreps_edge, *self.irreps_node, *self.irreps_out)}
        if len(multiplicities) != 1:
            raise ValueError(
                f"all multiplicities must be equal; got {self.irreps_edge} x {self.irreps_node} -> {self.irreps_out}"
            )
        (self.channels,), self.backend = multiplicities, backend
        self.paths = tuple(
            (i, j, k)
            for k, (_, out) in enumerate(self.irreps_out)
            for i, (_, a) in enumerate(self.irreps_edge)
            for j, (_, b) in enumerate(self.irreps_node)
            if out in a * b
        )
        if not self.paths:
            raise ValueError(f"{self.irreps_edge} times {self.irreps_node} gives nothing of {self.irreps_out}")
        shape = (len(self.paths), self.channels if coupled else 1)
        self.weight = nn.Parameter((2 * torch.rand(shape, dtype=dtype, device=device) - 1) * math.sqrt(3))
        edge, node, out = (tuple(ir.l for _, ir in irreps) for irreps in (self.irreps_edge, self.irreps_node, self.irreps_out))
        self._program = _product(edge, node, out, self.paths, self.channels)

    def forward(
        self,
        x: Float[Tensor, "edges features"],
        nodes: Float[Tensor, "nodes neighborhood"],
        destination: Int64[Tensor, " edges"],
        pointers: Int64[Tensor, " nodes+1"] | None = None,
    ) -> Float[Tensor, "edges out"]:
        """Features of the edges from their own and those of the node at which they arrive."""
        weight = self.weight.expand(-1, self.channels).reshape(1, -1)
        maps = (IndexMap(destination, None, pointers),)
        return multilinear(self._program, (x, nodes, weight), maps, (nodes.shape[0],), self.backend)[0]

    def extra_repr(self) -> str:
        product = f"{self.irreps_edge} x {self.irreps_node} -> {self.irreps_out}"
        return f"{product} | {len(self.paths)} paths | ir_mul, backend={self.backend!r}"


@functools.lru_cache(maxsize=256)
def _weighting(degrees: Degrees, channels: int, factor: float, target: str) -> Program:
    form = Form(
        (
            Slot(ITEM, tuple(Segment(2 * l + 1) for l in degrees)),
            Slot(ITEM, tuple(Segment(1, (channels,)) for _ in degrees)),
            Slot(target, tuple(Segment(2 * l + 1, (channels,)) for l in degrees)),
        ),
        tuple(path((n, n, n), ("", "u", "u"), [((m, 0, m), factor) for m in range(2 * l + 1)]) for n, l in enumerate(degrees)),
    )
    return Program(form, ((Term((0, 1, OUTPUT)),),))


@functools.lru_cache(maxsize=256)
def _product(edge: Degrees, node: Degrees, out: Degrees, paths: tuple[tuple[int, int, int], ...], channels: int) -> Program:
    def segments(degrees: Degrees) -> tuple[Segment, ...]:
        return tuple(Segment(2 * l + 1, (channels,)) for l in degrees)

    form = Form(
        (
            Slot(ITEM, segments(edge)),
            Slot("destination", segments(node)),
            Slot(SHARED, tuple(Segment(1, (channels,)) for _ in paths)),
            Slot(ITEM, segments(out)),
        ),
        tuple(
            path(
                (i, j, number, k),
                ("u", "u", "u", "u"),
                math.sqrt(2 * out[k] + 1) * wigner_3j_array(edge[i], node[j], out[k])[:, :, None, :],
            )
            for number, (i, j, k) in enumerate(paths)
        ),
    )
    return Program(form, ((Term((0, 1, 2, OUTPUT)),),))
