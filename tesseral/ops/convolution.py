"""The channelwise convolution of a graph: features times harmonics times weights, summed over the edges that arrive at a node."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor

from tesseral.kernels.index_map import IndexMap
from tesseral.kernels.operator import multilinear
from tesseral.kernels.spec import OUTPUT, Form, Program, Segment, Slot, Term, path
from tesseral.o3 import Irreps
from tesseral.o3.clebsch_gordan import Convention, wigner_3j_array


class ConvolutionPath(NamedTuple):
    """One product of irreps: numbers of the entries of ``irreps_in`` and ``irreps_sh``, and of the block of ``irreps_out``."""

    i_in: int
    i_sh: int
    i_out: int


class ConvolutionPlan:
    r"""What a convolution computes, worked out once: its paths, its irreps and its program.

    Paths are ordered by (entry of ``irreps_in``, entry of ``irreps_sh``, output degree); a path is kept when its irrep occurs in
    ``irreps_out``, whose multiplicities are ignored. Each path has one row of weights (one number per channel) and its own
    block of output; blocks are sorted stably by irrep. Coefficients are :math:`\sqrt{2l_{out}+1}` times the 3j symbol, e3nn's
    *component* and *element* normalisation of its *uvu* product.

    ``convention`` is e3nn's sign convention of the 3j symbols, "0.6" or "0.4".

    >>> plan = ConvolutionPlan("4x0e+2x1o", "0e+1o", "0e+1o")
    >>> plan.irreps_out, plan.weight_numel
    (4x0e+2x0e+4x1o+2x1o, 12)
    """

    def __init__(self, irreps_in, irreps_sh, irreps_out, convention: Convention = "0.6") -> None:
        self.irreps_in, self.irreps_sh, wanted = Irreps(irreps_in), Irreps(irreps_sh), {ir for _, ir in Irreps(irreps_out)}
        if any(mul != 1 for mul, _ in self.irreps_sh):
            raise ValueError(f"irreps_sh must have multiplicity 1 everywhere, as spherical harmonics have; got {self.irreps_sh}")
        self.convention = convention
        products = [
            (i, j, ir)
            for i, (_, ir_in) in enumerate(self.irreps_in)
            for j, (_, ir_sh) in enumerate(self.irreps_sh)
            for ir in ir_in * ir_sh
            if ir in wanted
        ]
        order = sorted(range(len(products)), key=lambda n: (products[n][2].l, products[n][2].p))
        self.paths = tuple(ConvolutionPath(i, j, order.index(n)) for n, (i, j, _) in enumerate(products))
        self.irreps_out = Irreps([(self.irreps_in[products[n][0]].mul, products[n][2]) for n in order])
        self.weight_numel = sum(self.irreps_in[i].mul for i, _, _ in products)
        self.program = _program(
            tuple((mul, ir.l) for mul, ir in self.irreps_in),
            tuple(ir.l for _, ir in self.irreps_sh),
            tuple((p.i_in, p.i_sh, p.i_out, ir.l) for p, (_, _, ir) in zip(self.paths, products, strict=True)),
            convention,
        )
        self._arguments = (str(self.irreps_in), str(self.irreps_sh), "+".join(map(str, sorted(wanted))), convention)

    def __reduce__(self):
        return ConvolutionPlan, self._arguments

    def __repr__(self) -> str:
        product = f"{self.irreps_in} x {self.irreps_sh} -> {self.irreps_out}"
        return f"{product} | {len(self.paths)} paths | {self.weight_numel} weights per edge"


@functools.lru_cache(maxsize=256)
def _program(features: tuple, harmonics: tuple, paths: tuple, convention: Convention) -> Program:
    outputs = {out: Segment(2 * l + 1, (features[i][0],)) for i, _, out, l in paths}
    form = Form(
        (
            Slot("source", tuple(Segment(2 * l + 1, (mul,)) for mul, l in features)),
            Slot("item", tuple(Segment(2 * l + 1) for l in harmonics)),
            Slot("item", tuple(Segment(1, (features[i][0],)) for i, _, _, _ in paths)),
            Slot("destination", tuple(outputs[n] for n in range(len(paths)))),
        ),
        tuple(
            path(
                (i, j, number, out),
                ("u", "", "u", "u"),
                math.sqrt(2 * l + 1) * wigner_3j_array(features[i][1], harmonics[j], l, convention=convention)[:, :, None, :],
            )
            for number, (i, j, out, l) in enumerate(paths)
        ),
    )
    return Program(form, ((Term((0, 1, 2, OUTPUT)),),))


def convolution(
    plan: ConvolutionPlan,
    x: Float[Tensor, "nodes features"],
    y: Float[Tensor, "edges harmonics"],
    w: Float[Tensor, "edges weights"],
    edge_index: Int64[Tensor, "2 edges"],
    source_order: Int64[Tensor, " edges"] | None = None,
    destination_pointers: Int64[Tensor, " nodes+1"] | None = None,
    backend: str = "auto",
) -> Float[Tensor, "nodes messages"]:
    r"""Messages of all edges, summed at their destination:

    .. math:: out_n^{(p)} = \sum_{e \to n} w_e^{(p)} \odot \left( x_{source(e)}^{(i_p)} \otimes y_e^{(j_p)} \right)^{(l_p)}.

    Features are ``ir_mul``: blocks (2l+1, channels). ``edge_index`` is (source, destination) in any order. Where the edges are
    sorted by destination, ``destination_pointers`` (CSR) saves the sort, and ``source_order`` (the stable argsort of the
    sources) the transposed one in the backward pass. There is no normalisation by the number of neighbours. Raises
    ``ValueError`` for shapes that do not fit and :class:`~tesseral.kernels.dispatch.BackendError` where the backend named
    cannot run.
    """
    if not plan.paths:
        return x.new_zeros((x.shape[0], 0))
    source = IndexMap(edge_index[0], source_order, None)
    destination = IndexMap(edge_index[1], None, destination_pointers)
    nodes = x.shape[0]
    return multilinear(plan.program, (x, y, w), (source, destination), (nodes, nodes), backend)[0]
