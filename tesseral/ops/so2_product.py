r"""The SO(2) convolution at full mmax as what it is: a product with harmonics of all degrees up to twice the highest.

The fused kernel forms the products of each edge and sums them at the nodes, where the channels are mixed: no matrix product for
each edge, but many more paths, :math:`O(l^5)` instead of :math:`O(l^3)` per edge and channel. Same result, same weights; which
is faster depends on degree and channels (``method="auto"`` of :class:`tesseral.nn.SO2Convolution`).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tesseral.kernels.index_map import IndexMap
from tesseral.kernels.operator import multilinear
from tesseral.kernels.spec import OUTPUT, Form, Program, Segment, Slot, Term, path
from tesseral.o3 import Irrep, wigner_3j_array
from tesseral.ops.linear import linear
from tesseral.ops.linear_plan import LinearPath, LinearPlan
from tesseral.ops.so2 import SO2Plan


class SO2ProductPlan:
    """The product that equals an SO(2) convolution: its paths (block in, degree of the harmonic, block out) and its weights.

    Raises ``ValueError`` for a plan that leaves orders out: no product equals it.

    >>> plan = SO2ProductPlan(SO2Plan("1x0e+1x1o+1x2e", "1x0e+1x1o+1x2e", parity=False))
    >>> len(plan.paths), plan.lmax_harmonics
    (19, 4)
    """

    def __init__(self, plan: SO2Plan) -> None:
        if plan.mmax < plan.lmax:
            raise ValueError(
                f"a convolution without the orders above mmax={plan.mmax} is no product of tensors; use method='so2'"
            )
        self.plan, self.lmax_harmonics = plan, 2 * plan.lmax
        self.paths: list[tuple[int, int, int]] = []
        bases = []
        for i, (_, a) in enumerate(plan.irreps_in):
            for j, (_, b) in enumerate(plan.irreps_out):
                degrees = [l for l in range(abs(a.l - b.l), a.l + b.l + 1) if not plan.parity or a.p * b.p == (-1) ** l]
                if not degrees:
                    continue
                self.paths += [(i, l, j) for l in degrees]
                bases.append((i, j, _orders_of(a, b, plan.parity), [_at_pole(a, l, b, plan.parity) for l in degrees]))
        self._bases = tuple(bases)
        self._program()

    def _program(self) -> None:
        irreps_in, irreps_out = self.plan.irreps_in, self.plan.irreps_out
        # One block for each (block in, harmonic, degree out), whatever the number of blocks of that degree.
        products = list(dict.fromkeys((i, l, irreps_out[j].ir.l, irreps_out[j].ir.p) for i, l, j in self.paths))
        features = tuple(Segment(ir.dim, (mul,)) for mul, ir in irreps_in)
        slots = (
            Slot("source", features),
            Slot("item", tuple(Segment(2 * l + 1) for l in range(self.lmax_harmonics + 1))),
            Slot("destination", tuple(Segment(2 * l3 + 1, (irreps_in[i].mul,)) for i, _, l3, _ in products)),
            Slot("item", tuple(Segment(1, (mul,)) for mul, _ in irreps_in)),
        )
        arrays = [math.sqrt(2 * l3 + 1) * wigner_3j_array(irreps_in[i].ir.l, l, l3) for i, l, l3, _ in products]
        plain = tuple(path((i, l, n), ("u", "", "u"), arrays[n]) for n, (i, l, _, _) in enumerate(products))
        scaled = tuple(path((i, l, n, i), ("u", "", "u", "u"), arrays[n][..., None]) for n, (i, l, _, _) in enumerate(products))
        self.program = Program(Form(slots[:3], plain), ((Term((0, 1, OUTPUT)),),))
        self.program_scaled = Program(Form(slots, scaled), ((Term((0, 1, OUTPUT, 2)),),))
        offsets, blocks_in = 0, []
        for i, _, l3, _ in products:
            mul = irreps_in[i].mul
            blocks_in.append((offsets, 2 * l3 + 1, mul))
            offsets += (2 * l3 + 1) * mul
        blocks_out = tuple((s.start, ir.dim, mul) for s, (mul, ir) in zip(irreps_out.slices(), irreps_out, strict=True))
        paths, start = [], 0
        for i, l, j in self.paths:
            n = products.index((i, l, irreps_out[j].ir.l, irreps_out[j].ir.p))
            paths.append(LinearPath(n, j, start, 1.0))
            start += irreps_in[i].mul * irreps_out[j].mul
        groups = tuple((p.i_out, p.start, 1.0, (p.i_in,)) for p in paths)
        self.linear = LinearPlan(tuple(blocks_in), blocks_out, tuple(paths), (), "ir_mul", groups)

    def weights(self, weight: Float[Tensor, " weights"]) -> Float[Tensor, " product_weights"]:
        """The weights of the product, (channels in, channels out) of each path, from those of the SO(2) convolution."""
        blocks = _matrices(self.plan, weight)
        pieces = []
        for i, j, orders, columns in self._bases:
            matrix = torch.linalg.inv(torch.tensor(columns, dtype=torch.float64, device=weight.device)).to(weight.dtype)
            stacked = torch.stack([blocks[kind, m, i, j] for kind, m in orders])
            pieces.append(torch.einsum("op,ouv->puv", matrix, stacked).flatten())
        return torch.cat(pieces) if pieces else weight

    def __reduce__(self):
        return SO2ProductPlan, (self.plan,)


def so2_convolution_by_products(
    product: SO2ProductPlan,
    x: Float[Tensor, "nodes features"],
    harmonics: Float[Tensor, "edges harmonics"],
    weight: Float[Tensor, " weights"],
    edge_index: Int64[Tensor, "2 edges"],
    scales: Float[Tensor, "edges irreps"] | None = None,
    source_order: Int64[Tensor, " edges"] | None = None,
    destination_pointers: Int64[Tensor, " nodes+1"] | None = None,
    backend: str = "auto",
) -> Float[Tensor, "nodes messages"]:
    """:func:`tesseral.ops.so2.so2_convolution`, computed as a product with the component-normalised harmonics of the edges.

    ``harmonics`` hold all degrees up to ``product.lmax_harmonics``; ``scales`` one number for each irrep of the features.
    """
    maps = IndexMap(edge_index[0], source_order, None), IndexMap(edge_index[1], None, destination_pointers)
    program = product.program if scales is None else product.program_scaled
    tensors = (x, harmonics) if scales is None else (x, harmonics, scales)
    sums = multilinear(program, tensors, maps, (x.shape[0], x.shape[0]), backend)[0]
    return linear(sums, product.weights(weight), product.linear)


def _natural(ir: Irrep) -> bool:
    return ir.p == (-1) ** ir.l


def _orders_of(a: Irrep, b: Irrep, parity: bool) -> list[tuple[str, int]]:
    """Which matrices join two irreps: ("r", m) and ("i", m)."""
    lowest = min(a.l, b.l)
    real, imaginary = [("r", m) for m in range(lowest + 1)], [("i", m) for m in range(1, lowest + 1)]
    if not parity:
        return real + imaginary
    return real if _natural(a) == _natural(b) else imaginary


def _at_pole(a: Irrep, l: int, b: Irrep, parity: bool) -> list[float]:
    """What the path through the harmonic of degree l, taken at the pole, puts into the matrices of :func:`_orders_of`."""
    entries = math.sqrt((2 * b.l + 1) * (2 * l + 1)) * wigner_3j_array(a.l, l, b.l)[:, l, :]
    sign = -1.0 if parity and _natural(a) and not _natural(b) else 1.0  # see RotationPlan: unnatural blocks are stored times i
    return [
        entries[a.l + m, b.l + m] if kind == "r" else sign * entries[a.l + m, b.l - m] for kind, m in _orders_of(a, b, parity)
    ]


def _matrices(plan: SO2Plan, weight: Tensor) -> dict[tuple[str, int, int, int], Tensor]:
    """The part of the mixing matrix of each kind and order that joins block i to block j."""
    mixing, found, at = plan.mixing, {}, 0
    irreps_in, irreps_out = plan.irreps_in, plan.irreps_out
    for (p, q), (n, k, is_complex), where in zip(mixing.pairs, mixing.sizes, mixing.linear.paths, strict=True):
        source, target = plan.source.orders[p], plan.target.orders[q]
        for kind in ("r", "i") if is_complex else ("r",):
            matrix = where.coefficient * weight[at : at + n * k].view(n, k)
            at += n * k
            rows = matrix.split([irreps_in[i].mul for i in source.blocks], 0)
            for i, row in zip(source.blocks, rows, strict=True):
                columns = row.split([irreps_out[j].mul for j in target.blocks], 1)
                for j, block in zip(target.blocks, columns, strict=True):
                    crossed = plan.parity and _natural(irreps_in[i].ir) != _natural(irreps_out[j].ir)
                    found["i" if crossed else kind, source.m, i, j] = block
    return found
