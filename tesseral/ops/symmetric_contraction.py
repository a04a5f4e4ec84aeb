r"""Symmetric contractions: polynomials of a node's features with weights that depend on its species, MACE's product basis.

For output irrep k and channel c,

.. math:: y^{(k)}_{n,mc} = \sum_{\nu=1}^{N} \sum_{\eta} W^{(k\nu)}_{s(n),\eta c}
          \sum_{a_1 \dots a_\nu} Q^{(k\nu\eta)}_{m, a_1 \dots a_\nu}\, x_{n,a_1 c} \cdots x_{n,a_\nu c},

where :math:`a` runs over the components of all input irreps and :math:`Q^{(k\nu\eta)}`, the generalised Clebsch-Gordan
coefficients, over a basis of the symmetric equivariant tensors: orthonormal and divided by :math:`\sqrt{\nu!}`, so that
components of unit variance give components of about unit variance for each :math:`\eta`.
Source: Batatia et al., NeurIPS 35, 11423 (2022), eqs. 10-11.

All orders are one program: a form of degree N in the features and a constant 1.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tesseral.kernels.index_map import IndexMap
from tesseral.kernels.operator import multilinear
from tesseral.kernels.spec import ITEM, OUTPUT, Form, Path, Program, Segment, Slot, Term
from tesseral.o3 import Irrep, Irreps
from tesseral.o3.clebsch_gordan import Convention, wigner_3j_array
from tesseral.o3.reduce import reduce_tensor

_LETTERS = "ijkl"


class WeightBlock(NamedTuple):
    """Columns ``start`` to ``start + copies * channels`` of the weights: (copies, channels) for an output block and an order."""

    i_out: int
    order: int
    copies: int
    start: int


class SymmetricContractionPlan:
    """What a symmetric contraction computes, worked out once: its weights and its program.

    All blocks of ``irreps_in`` and ``irreps_out`` have one multiplicity, the number of channels. ``correlation`` is the highest
    order, 1 to 4. Raises ``ValueError`` otherwise, and for an output irrep that no order can give.

    >>> plan = SymmetricContractionPlan("8x0e+8x1o", "8x0e+8x1o", 2)
    >>> plan
    8x0e+8x1o -> 8x0e+8x1o | orders 1 to 2 | 40 weights per species
    >>> plan.blocks[1]
    WeightBlock(i_out=0, order=2, copies=2, start=8)
    """

    def __init__(self, irreps_in, irreps_out, correlation: int, convention: Convention = "0.6") -> None:
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        multiplicities = {mul for mul, _ in (*self.irreps_in, *self.irreps_out)}
        if len(multiplicities) != 1:
            raise ValueError(f"all multiplicities must be equal; got {self.irreps_in} -> {self.irreps_out}")
        if not 1 <= correlation <= len(_LETTERS):
            raise ValueError(f"correlation must be 1 to {len(_LETTERS)}, got {correlation}")
        (self.channels,) = multiplicities
        self.correlation, self.convention = correlation, convention
        irreps = tuple(ir for _, ir in self.irreps_in)
        blocks, start = [], 0
        for i_out, (_, ir) in enumerate(self.irreps_out):
            for order in range(1, correlation + 1):
                copies = len(symmetric_basis(irreps, ir, order, convention))
                if copies:
                    blocks.append(WeightBlock(i_out, order, copies, start))
                    start += copies * self.channels
            if not any(block.i_out == i_out for block in blocks):
                raise ValueError(f"{ir} cannot be made of {self.irreps_in} with correlation {correlation}")
        self.blocks, self.weight_numel = tuple(blocks), start
        self.program = _program(
            irreps, tuple(ir for _, ir in self.irreps_out), self.blocks, self.channels, correlation, convention
        )

    def weights_from_couplings(self, couplings: Mapping[tuple[int, int], Tensor]) -> Tensor:
        """Weights (species, weight_numel) from weights (species, paths, channels) of :func:`coupled_basis` by (i_out, order).

        These are the parameters of MACE's models (with convention "0.4"), whose paths are not independent: several weights of
        theirs act as one of ours.
        """
        irreps = tuple(ir for _, ir in self.irreps_in)
        columns = []
        for block in self.blocks:
            ir = self.irreps_out[block.i_out].ir
            basis = symmetric_basis(irreps, ir, block.order, self.convention) * math.factorial(block.order)  # the dual basis
            paths = coupled_basis(irreps, ir, block.order, self.convention)
            overlap = numpy.einsum("kz,pz->kp", basis.reshape(len(basis), -1), paths.reshape(len(paths), -1)) / ir.dim
            given = couplings[block.i_out, block.order]
            matrix = torch.as_tensor(overlap, dtype=given.dtype, device=given.device)
            columns.append(torch.einsum("kp,spc->skc", matrix, given).flatten(1))
        return torch.cat(columns, dim=1)

    def __reduce__(self):
        return SymmetricContractionPlan, (str(self.irreps_in), str(self.irreps_out), self.correlation, self.convention)

    def __repr__(self) -> str:
        orders = f"orders 1 to {self.correlation}"
        return f"{self.irreps_in} -> {self.irreps_out} | {orders} | {self.weight_numel} weights per species"


@functools.cache
def symmetric_basis(irreps: tuple[Irrep, ...], ir_out: Irrep, order: int, convention: Convention = "0.6") -> numpy.ndarray:
    r"""The coefficients Q, (copies, 2l+1, dim, ..., dim), of a product of ``order`` equal factors.

    The norm of each component is :math:`1/\sqrt{\nu!}`.

    >>> symmetric_basis((Irrep("0e"), Irrep("1o")), Irrep("0e"), 3).shape
    (2, 1, 4, 4, 4)
    """
    letters = _LETTERS[:order]
    formula = "=".join([letters, *(letters[:i] + letters[i + 1] + letters[i] + letters[i + 2 :] for i in range(order - 1))])
    space = Irreps([(1, ir) for ir in irreps])
    found = reduce_tensor(formula, filter_ir_out=[ir_out], convention=convention, **dict.fromkeys(letters, space))
    basis = found.change_of_basis / math.sqrt(math.factorial(order))
    return basis.reshape(-1, ir_out.dim, *(space.dim,) * order)


@functools.cache
def coupled_basis(irreps: tuple[Irrep, ...], ir_out: Irrep, order: int, convention: Convention = "0.6") -> numpy.ndarray:
    r"""Coefficients (paths, 2l+1, dim, ..., dim) of all ways of coupling ``order`` equal factors from left to right.

    Each coupling has the factor :math:`\sqrt{2l+1}` (component normalisation); paths are in the order of their intermediate
    irreps, the last first. They span the same polynomials as :func:`symmetric_basis`, with repetitions.
    """
    chosen = [tensor for ir, tensor in _couplings(irreps, order, convention) if ir == ir_out]
    dim = sum(ir.dim for ir in irreps)
    return numpy.array(chosen).reshape(len(chosen), ir_out.dim, *(dim,) * order)


@functools.cache
def _couplings(irreps: tuple[Irrep, ...], order: int, convention: Convention) -> list[tuple[Irrep, numpy.ndarray]]:
    dim = sum(ir.dim for ir in irreps)
    places = list(itertools.accumulate((ir.dim for ir in irreps), initial=0))
    unit = numpy.eye(dim)
    if order == 1:
        return [(ir, unit[at : at + ir.dim]) for ir, at in zip(irreps, places, strict=False)]
    found = []
    for left, tensor in _couplings(irreps, order - 1, convention):
        for right, at in zip(irreps, places, strict=False):
            for ir in left * right:
                cg = math.sqrt(ir.dim) * wigner_3j_array(ir.l, left.l, right.l, convention)
                product = numpy.zeros((ir.dim, *tensor.shape[1:], dim))
                product[..., at : at + right.dim] = numpy.einsum("j...,ijl->i...l", tensor, cg)
                found.append((ir, product))
    return sorted(found, key=lambda item: (item[0].l, item[0].p))


@functools.lru_cache(maxsize=64)
def _program(
    irreps: tuple[Irrep, ...],
    outputs: tuple[Irrep, ...],
    blocks: tuple[WeightBlock, ...],
    channels: int,
    correlation: int,
    convention: Convention,
) -> Program:
    features = Slot(ITEM, (Segment(1, (channels,)), *(Segment(ir.dim, (channels,)) for ir in irreps)))  # the constant first
    place = [(0, 0)] + [(segment, m) for segment, ir in enumerate(irreps, 1) for m in range(ir.dim)]
    found: dict[tuple[int, ...], dict[tuple[int, ...], float]] = {}
    for number, block in enumerate(blocks):
        basis = symmetric_basis(irreps, outputs[block.i_out], block.order, convention)
        choices = list(itertools.combinations(range(correlation), block.order))  # the slots that are not the constant
        for copy, m, *components in numpy.argwhere(basis).tolist():
            value = float(basis[(copy, m, *components)]) / len(choices)
            for choice in choices:
                at = [(0, 0)] * correlation
                for slot, component in zip(choice, components, strict=True):
                    at[slot] = place[component + 1]
                path = found.setdefault((*(segment for segment, _ in at), number, block.i_out), {})
                path[(*(component for _, component in at), copy, m)] = value
    form = Form(
        (
            *(features,) * correlation,
            Slot("species", tuple(Segment(block.copies, (channels,)) for block in blocks)),
            Slot(ITEM, tuple(Segment(ir.dim, (channels,)) for ir in outputs)),
        ),
        tuple(Path(key, ("u",) * len(key), tuple(sorted(values.items()))) for key, values in found.items()),
    )
    return Program(form, ((Term((0,) * correlation + (1, OUTPUT)),),))


def symmetric_contraction(
    plan: SymmetricContractionPlan,
    x: Float[Tensor, "nodes features"],
    weights: Float[Tensor, "species weights"],
    species: Int64[Tensor, " nodes"],
    backend: str = "auto",
) -> Float[Tensor, "nodes outputs"]:
    """The contraction of node features (nodes, irreps_in.dim), layout ``ir_mul``, with the weights of each node's species.

    ``species`` holds rows of ``weights``. Raises ``ValueError`` for tensors that do not fit the plan and
    :class:`~tesseral.kernels.dispatch.BackendError` where the backend named cannot run.

    >>> plan = SymmetricContractionPlan("1x0e", "1x0e", 3)
    >>> x = torch.tensor([[2.0]])
    >>> symmetric_contraction(plan, x, torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([0])) * 6**0.5
    tensor([[8.]])
    """
    if x.shape[-1] != plan.irreps_in.dim or weights.shape[-1] != plan.weight_numel:
        raise ValueError(
            f"features and weights must have {plan.irreps_in.dim} and {plan.weight_numel} columns, "
            f"got {tuple(x.shape)} and {tuple(weights.shape)}"
        )
    extended = torch.cat([x.new_ones(x.shape[0], plan.channels), x], dim=1)
    return multilinear(plan.program, (extended, weights), (IndexMap(species),), (weights.shape[0],), backend)[0]
