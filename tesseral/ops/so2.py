r"""SO(2) convolutions: turn every edge onto the polar axis, where a product with harmonics only mixes equal orders m, and back.

In the frame of an edge, whose direction is the pole, the harmonics of the edge have m = 0 only. A product with all of them, with
weights and mixing of channels, is then any linear map that commutes with turning about the edge: for every order m one matrix
that acts on the pair :math:`(x_{+m}, x_{-m})` as a complex number acts on the plane,

.. math:: y_{+m} = W^r_m x_{+m} - W^i_m x_{-m}, \qquad y_{-m} = W^r_m x_{-m} + W^i_m x_{+m}.

Mixing costs :math:`O(l^3)` instead of :math:`O(l^6)`; orders above ``mmax`` can be left out, which keeps the symmetry.
``Wr`` are the products with even :math:`l_1+l_2+l_3`, ``Wi`` the odd ones. Under O(3) the former join irreps of equal naturality
:math:`p(-1)^l`, the latter those of opposite: ``parity=True`` keeps just these.

The frame is a rotation matrix, from one of two charts (shortest turns to the pole +y and, below the equator, from the pole -y).
Wigner matrices are polynomials in it: no angles, finite derivatives everywhere, and since nothing depends on the roll about
the edge, nothing depends on the chart. Source: Passaro and Zitnick, ICML 2023, arXiv:2302.03655.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tesseral.kernels.index_map import IndexMap
from tesseral.kernels.operator import multilinear
from tesseral.kernels.spec import OUTPUT, Form, Program, Segment, Slot, Term, path
from tesseral.o3 import Irreps, wigner_D_all
from tesseral.ops.complex_linear import ComplexLinear, Pair
from tesseral.ops.fused import apply
from tesseral.ops.linear import linear
from tesseral.ops.linear_plan import LinearPath, LinearPlan


def edge_rotations(vectors: Float[Tensor, "edges 3"], roll: Float[Tensor, " edges"] | None = None) -> Float[Tensor, "edges 3 3"]:
    r"""Rotations that turn the direction of each vector onto the pole, :math:`R\,v/|v| = \hat y`.

    With :math:`u = v/|v|` and :math:`s = \pm 1` the sign of :math:`u_y`, the matrix is the shortest turn to the
    pole (s = 1), or half a turn about x and then the shortest turn. ``roll`` turns about the pole by so many radians afterwards;
    nothing equivariant depends on it. A vector of length zero gives a finite matrix with finite derivatives that is no rotation.

    >>> R = edge_rotations(torch.tensor([[0.0, 0.0, 2.0], [0.0, -1.0, 0.0]]))
    >>> R @ torch.tensor([[[0.0], [0.0], [1.0]], [[0.0], [-1.0], [0.0]]])
    tensor([[[0.],
             [1.],
             [0.]],
            [[0.],
             [1.],
             [0.]]])
    """
    square = vectors.square().sum(-1, keepdim=True)
    u = vectors * torch.where(square > 0, square, torch.ones_like(square)).rsqrt()
    x, y, z = u.unbind(-1)
    s = torch.where(y >= 0, torch.ones_like(y), -torch.ones_like(y))
    k = 1 / (1 + s * y)
    rows = [1 - k * x * x, -s * x, -k * x * z, x, y, z, -s * k * x * z, -z, s * (1 - k * z * z)]
    R = torch.stack(rows, -1).unflatten(-1, (3, 3))
    if roll is None:
        return R
    c, i, zero = roll.cos(), roll.sin(), torch.zeros_like(roll)
    turn = torch.stack([c, zero, i, zero, zero + 1, zero, -i, zero, c], -1).unflatten(-1, (3, 3))
    return turn @ R


def edge_frames(
    lmax: int, vectors: Float[Tensor, "edges 3"], mmax: int | None = None, roll: Float[Tensor, " edges"] | None = None
) -> Float[Tensor, "edges entries"]:
    r"""The rows :math:`|m| \le m_{max}` of the Wigner matrices of :func:`edge_rotations`, degrees 0 to ``lmax`` after each other.

    Worked out once for a graph, they serve all its layers. Raises ``ValueError`` for mmax < 0.

    >>> edge_frames(2, torch.randn(4, 3), mmax=1).shape  # 1 + 3·3 + 3·5
    torch.Size([4, 25])
    """
    mmax = lmax if mmax is None else mmax
    if mmax < 0:
        raise ValueError(f"mmax must not be negative, got {mmax}")
    matrices = wigner_D_all(lmax, edge_rotations(vectors, roll), check=False)
    return torch.cat([D[:, max(l - mmax, 0) : l + mmax + 1].flatten(1) for l, D in enumerate(matrices)], -1)


class Order(NamedTuple):
    """Packed components of one order: where they begin, 1 component (m = 0) or 2 (+m, then -m), and the blocks in a component."""

    m: int
    start: int
    components: int
    channels: int
    blocks: tuple[int, ...]


class RotationPlan:
    """How features ``ir_mul`` are turned into the frames of edges and packed by order, and back.

    The packed features of an edge are: for each order m the components +m of all blocks with l >= m, then -m. With ``parity``
    the blocks of unnatural parity are kept apart at m = 0 and enter as (-m, +m) with a sign, so that one real matrix serves both
    components of each order (see the module). ``lmax`` and ``mmax`` are those of the frames, not less than the irreps need.

    >>> RotationPlan("2x0e+1x1o", mmax=1, lmax=1, parity=False).dim
    5
    """

    def __init__(self, irreps: object, mmax: int, lmax: int, parity: bool) -> None:
        self.irreps = Irreps(irreps)
        self.mmax, self.lmax, self.parity = mmax, lmax, parity
        if self.irreps.lmax > lmax:
            raise ValueError(f"frames of degree up to {lmax} cannot turn {self.irreps}")
        self.orders = tuple(self._orders())
        self.dim = sum(order.components * order.channels for order in self.orders)
        self.scales = sum(order.channels for order in self.orders)
        arguments = (tuple((mul, ir.l, ir.p) for mul, ir in self.irreps), mmax, lmax, parity)
        self.inward, self.inward_scaled, self.outward = _rotation_programs(self.orders, *arguments)

    def _orders(self) -> Iterator[Order]:
        start = 0
        for m in range(self.mmax + 1):
            present = [i for i, (mul, ir) in enumerate(self.irreps) if ir.l >= m and mul]
            kinds = [present]
            if self.parity and m == 0:
                kinds = [[i for i in present if _natural(self.irreps[i].ir) == kind] for kind in (True, False)]
            for blocks in kinds:
                if blocks:
                    order = Order(m, start, 2 if m else 1, sum(self.irreps[i].mul for i in blocks), tuple(blocks))
                    start += order.components * order.channels
                    yield order

    def naturality(self, order: Order) -> bool:
        """Whether the blocks at m = 0 have natural parity (-1)^l; all count as natural where parity is ignored."""
        return not self.parity or _natural(self.irreps[order.blocks[0]].ir)

    def __reduce__(self):
        return RotationPlan, (str(self.irreps), self.mmax, self.lmax, self.parity)

    def __repr__(self) -> str:
        return f"RotationPlan({self.irreps}, mmax={self.mmax}, {'O(3)' if self.parity else 'SO(3)'})"


def rotate_to_edges(
    plan: RotationPlan,
    x: Float[Tensor, "nodes features"],
    frames: Float[Tensor, "edges entries"],
    index: Int64[Tensor, " edges"],
    scales: Float[Tensor, "edges scales"] | None = None,
    order: Int64[Tensor, " edges"] | None = None,
    pointers: Int64[Tensor, " nodes+1"] | None = None,
    backend: str = "auto",
) -> Float[Tensor, "edges packed"]:
    """The features of node ``index[e]`` in the frame of edge e, packed by order, times ``scales``: one per order and channel.

    ``order`` (the stable argsort of ``index``) and ``pointers`` (CSR) save the backward pass a sort.
    """
    maps, rows = (IndexMap(index, order, pointers),), (x.shape[0],)
    if scales is None:
        return multilinear(plan.inward, (x, frames), maps, rows, backend)[0]
    return multilinear(plan.inward_scaled, (x, frames, scales), maps, rows, backend)[0]


def rotate_from_edges(
    plan: RotationPlan,
    packed: Float[Tensor, "edges packed"],
    frames: Float[Tensor, "edges entries"],
    index: Int64[Tensor, " edges"],
    nodes: int,
    pointers: Int64[Tensor, " pointers"] | None = None,
    backend: str = "auto",
) -> Float[Tensor, "nodes features"]:
    """The transpose of :func:`rotate_to_edges`: back from the frames, summed over the edges of each node."""
    return multilinear(plan.outward, (packed, frames), (IndexMap(index, None, pointers),), (nodes,), backend)[0]


class MixingPlan:
    r"""The matrices between packed features: what commutes with turning about the edge.

    ``weight`` is flat: for each pair of equal orders :math:`W^r` (channels in, channels out), row-major, followed without
    ``parity`` for m > 0 by :math:`W^i`; each divided by the square root of the number of terms that are summed. ``extra`` adds
    outputs of order 0, invariants of the edge, after the packed features. Raises ``ValueError`` for sides that do not fit.

    >>> source, target = (RotationPlan(irreps, 1, 1, True) for irreps in ("2x0e+1x1o", "3x1o"))
    >>> MixingPlan(source, target).weight_numel  # m = 0: (2 + 1)·3; m = 1: 1·3
    12
    """

    def __init__(self, source: RotationPlan, target: RotationPlan, extra: int = 0) -> None:
        if (source.mmax, source.parity) != (target.mmax, target.parity):
            raise ValueError(f"both sides need the same mmax and parity, got {source} and {target}")
        self.source, self.target, self.extra, self.parity = source, target, extra, source.parity
        self.weight_numel = 0
        ends = [
            (i, j, a, b.channels)
            for i, a in enumerate(source.orders)
            for j, b in enumerate(target.orders)
            if a.m == b.m and (a.m or source.naturality(a) == target.naturality(b))
        ]
        if extra:
            ends += [(i, len(target.orders), a, extra) for i, a in enumerate(source.orders) if not a.m and source.naturality(a)]
        blocks_out = (*self._blocks(target), *([(target.dim, 1, extra)] if extra else []))
        paths, sizes, start = [], [], 0
        real: list[tuple[int, int, int, int, int, int, float]] = []
        pairs: list[Pair] = []
        for i, j, a, channels in ends:
            twofold = 2 if a.m and not self.parity else 1
            paths.append(LinearPath(i, j, start, 1 / math.sqrt(twofold * a.channels)))
            at, last = self.weight_numel, paths[-1].coefficient
            if twofold == 2:
                pairs.append(Pair(a.start, a.channels, blocks_out[j][0], channels, at, last))
            else:
                real.append((a.start, a.channels, blocks_out[j][0], channels, 1, at, last))
            sizes.append((a.channels, channels, twofold == 2))
            start += twofold**2 * a.channels * channels
            self.weight_numel += twofold * a.channels * channels
        self.pairs, self.sizes = tuple((i, j) for i, j, *_ in ends), tuple(sizes)
        self.dim = target.dim + extra
        groups = tuple((p.i_out, p.start, p.coefficient, (p.i_in,)) for p in paths)
        self.linear = LinearPlan(self._blocks(source), blocks_out, tuple(paths), (), "ir_mul", groups)
        self.complex = None
        if pairs:
            dims = (source.dim, self.dim)
            self.complex = ComplexLinear(
                lambda x, w: linear(x, self.matrices(w), self.linear), real, pairs, dims, self.weight_numel
            )

    def _blocks(self, plan: RotationPlan) -> tuple[tuple[int, int, int], ...]:
        """Orders as blocks (offset, components, channels) of a linear map; pairs of complex numbers are one component."""
        return tuple(
            (o.start, o.components if self.parity else 1, o.channels * (1 if self.parity else o.components)) for o in plan.orders
        )

    def matrices(self, weight: Float[Tensor, " weights"]) -> Float[Tensor, " entries"]:
        """The entries of all matrices, real: complex ones as [[Wr, Wi], [-Wi, Wr]]."""
        if self.parity:
            return weight
        pieces, at = [], 0
        for n, k, is_complex in self.sizes:
            size = n * k
            if is_complex:
                a, b = weight[at : at + size].view(n, k), weight[at + size : at + 2 * size].view(n, k)
                pieces.append(torch.cat([torch.cat([a, b], 1), torch.cat([-b, a], 1)]).flatten())
            else:
                pieces.append(weight[at : at + size])
            at += size * (2 if is_complex else 1)
        return torch.cat(pieces) if pieces else weight

    def __reduce__(self):
        return MixingPlan, (self.source, self.target, self.extra)


def mix_orders(
    plan: MixingPlan, packed: Float[Tensor, "edges packed"], weight: Float[Tensor, " weights"]
) -> Float[Tensor, "edges mixed"]:
    """The packed features of each edge, mixed order by order."""
    return linear(packed, weight, plan.linear) if plan.complex is None else apply(plan.complex, packed, weight)


class SO2Plan:
    r"""What an SO(2) convolution computes: its irreps, its frames and its weights.

    ``mmax`` (default: the highest degree) is the highest order kept. ``parity`` keeps what commutes with O(3); without it
    parities are ignored and only rotations commute. At full mmax it is the product with harmonics of all degrees up to twice the
    highest, with full mixing of channels: :class:`tesseral.ops.so2_product.SO2ProductPlan` gives the weights of that product.

    >>> SO2Plan("4x0e+4x1o+4x2e", "4x0e+4x1o+4x2e", parity=False).weight_numel // 16  # the 19 paths of L = 2
    19
    >>> SO2Plan("4x0e+4x1o+4x2e", "4x0e+4x1o+4x2e").weight_numel // 16
    14
    """

    def __init__(self, irreps_in: object, irreps_out: object, mmax: int | None = None, parity: bool = True) -> None:
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        self.lmax = max(self.irreps_in.lmax, self.irreps_out.lmax)
        self.mmax = self.lmax if mmax is None else mmax
        if not 0 <= self.mmax <= self.lmax:
            raise ValueError(f"mmax must lie between 0 and the highest degree {self.lmax}, got {mmax}")
        self.parity = parity
        self.source = RotationPlan(self.irreps_in, self.mmax, self.lmax, parity)
        self.target = RotationPlan(self.irreps_out, self.mmax, self.lmax, parity)
        self.mixing = MixingPlan(self.source, self.target)
        self.weight_numel = self.mixing.weight_numel

    def __reduce__(self):
        return SO2Plan, (str(self.irreps_in), str(self.irreps_out), self.mmax, self.parity)

    def __repr__(self) -> str:
        group = "O(3)" if self.parity else "SO(3)"
        return f"{self.irreps_in} -> {self.irreps_out} | {group}, mmax {self.mmax} | {self.weight_numel} weights"


def so2_convolution(
    plan: SO2Plan,
    x: Float[Tensor, "nodes features"],
    frames: Float[Tensor, "edges entries"],
    weight: Float[Tensor, " weights"],
    edge_index: Int64[Tensor, "2 edges"],
    scales: Float[Tensor, "edges scales"] | None = None,
    source_order: Int64[Tensor, " edges"] | None = None,
    destination_pointers: Int64[Tensor, " nodes+1"] | None = None,
    backend: str = "auto",
) -> Float[Tensor, "nodes messages"]:
    r"""Messages of all edges, turned, mixed, turned back and summed at their destination:

    .. math:: out_n = \sum_{e \to n} D_e^T\, W \left(s_e \odot D_e\, x_{source(e)}\right).

    ``frames`` are :func:`edge_frames` of the plan's lmax and mmax. ``scales`` has ``plan.source.scales`` columns, one for each
    order m >= 0 and channel. Layout ``ir_mul``; no normalisation by the number of neighbours. Raises ``ValueError`` for shapes
    that do not fit.
    """
    packed = rotate_to_edges(plan.source, x, frames, edge_index[0], scales, source_order, backend=backend)
    mixed = mix_orders(plan.mixing, packed, weight)
    return rotate_from_edges(plan.target, mixed, frames, edge_index[1], x.shape[0], destination_pointers, backend)


def _natural(ir: tuple[int, int]) -> bool:
    return ir[1] == (-1) ** ir[0]


@functools.lru_cache(maxsize=256)
def _rotation_programs(
    orders: tuple[Order, ...], irreps: tuple[tuple[int, int, int], ...], mmax: int, lmax: int, parity: bool
) -> tuple[Program, Program, Program]:
    """To the frames, the same with scales, and back; all are forms of features, rows of frames and packed features."""
    rows: list[Segment] = []
    row_of: dict[tuple[int, int], int] = {}
    for l in range(lmax + 1):
        for m in range(-min(l, mmax), min(l, mmax) + 1):
            row_of[l, m] = len(rows)
            rows.append(Segment(2 * l + 1))
    packed: list[Segment] = []
    scales: list[Segment] = []
    terms = []
    for order in orders:
        first = len(scales)
        scales += [Segment(1, (irreps[i][0],)) for i in order.blocks]
        for component in range(order.components):
            for number, i in enumerate(order.blocks):
                mul, l, p = irreps[i]
                m, sign = (order.m, 1.0) if component == 0 else (-order.m, 1.0)
                if parity and order.m and p != (-1) ** l:  # multiplied by i: (+m, -m) becomes (-(-m), +m)
                    m, sign = -m, -1.0 if component == 0 else 1.0
                terms.append((i, row_of[l, m], len(packed), first + number, sign, l))
                packed.append(Segment(1, (mul,)))
    features = tuple(Segment(2 * l + 1, (mul,)) for mul, l, _ in irreps)
    slots = Slot("node", features), Slot("item", tuple(rows)), Slot("item", tuple(packed)), Slot("item", tuple(scales))
    plain = [path((i, d, o), ("u", "", "u"), [((k, k, 0), sign) for k in range(2 * l + 1)]) for i, d, o, _, sign, l in terms]
    scaled = [
        path((i, d, o, s), ("u", "", "u", "u"), [((k, k, 0, 0), sign) for k in range(2 * l + 1)]) for i, d, o, s, sign, l in terms
    ]
    form, form_scaled = Form(slots[:3], tuple(plain)), Form(slots, tuple(scaled))
    inward, outward = Program(form, ((Term((0, 1, OUTPUT)),),)), Program(form, ((Term((OUTPUT, 1, 0)),),))
    return inward, Program(form_scaled, ((Term((0, 1, OUTPUT, 2)),),)), outward
