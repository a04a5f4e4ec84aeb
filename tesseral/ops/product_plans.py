"""The ready-made products: full, elementwise, and the square; which paths they have, and with which coefficients.

Their inputs are simplified first (neighbouring blocks of one irrep merged), as in e3nn.
"""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.o3 import Irrep, Irreps
from tesseral.ops.tensor_product import TensorProductPlan, regrouping, tensor_product, tensor_product_plan

Filter = frozenset[Irrep] | None


class ReadyProduct(NamedTuple):
    """A plan for simplified inputs, and the columns that simplify them (``None`` where nothing moves)."""

    plan: TensorProductPlan
    columns1: tuple[int, ...] | None
    columns2: tuple[int, ...] | None

    def __call__(
        self, x: Float[Tensor, "*batch1 dim1"], y: Float[Tensor, "*batch2 dim2"], weight: Float[Tensor, "..."] | None = None
    ) -> Float[Tensor, "*out dim_out"]:
        return tensor_product(_taken(x, self.columns1), _taken(y, self.columns2), weight, self.plan)


def wanted(irreps: Iterable[object] | None) -> Filter:
    """The irreps of a filter as a set."""
    return None if irreps is None else frozenset(Irrep(ir) for ir in irreps)


@functools.lru_cache(maxsize=512)
def full_product(
    irreps_in1: Irreps, irreps_in2: Irreps, kept: Filter, irrep_normalization: str = "component", convention: str = "0.6"
) -> ReadyProduct:
    """All pairs of channels and all irreps (of ``kept``), sorted; layout ``ir_mul``.

    >>> full_product(Irreps("2x0e+1o"), Irreps("1o"), None).plan.irreps_out
    1x0e+2x1o+1x1e+1x2e
    """
    first, second = irreps_in1.simplify(), irreps_in2.simplify()
    found = [
        (i, j, m * n, ir)
        for i, (m, a) in enumerate(first)
        for j, (n, b) in enumerate(second)
        for ir in a * b
        if kept is None or ir in kept
    ]
    irreps_out, places, _ = Irreps([(mul, ir) for *_, mul, ir in found]).sort()
    instructions = [(i, j, places[k], "uvuv", False) for k, (i, j, *_) in enumerate(found)]
    plan = tensor_product_plan(
        first, second, irreps_out, instructions, irrep_normalization=irrep_normalization, convention=convention
    )
    return ReadyProduct(plan, regrouping(irreps_in1, first), regrouping(irreps_in2, second))


@functools.lru_cache(maxsize=512)
def elementwise_product(
    irreps_in1: Irreps, irreps_in2: Irreps, kept: Filter, irrep_normalization: str = "component", convention: str = "0.6"
) -> ReadyProduct:
    """Irrep i of the first input times irrep i of the second; layout ``ir_mul``. Raises ``ValueError`` for unlike numbers.

    >>> elementwise_product(Irreps("5x1o+5x1e"), Irreps("10x1e"), wanted(["0e", "0o"])).plan.irreps_out
    5x0o+5x0e
    """
    first, second = in_step(irreps_in1.simplify(), irreps_in2.simplify())
    found = [
        (i, mul, ir)
        for i, ((mul, a), (_, b)) in enumerate(zip(first, second, strict=True))
        for ir in a * b
        if kept is None or ir in kept
    ]
    irreps_out = Irreps([(mul, ir) for _, mul, ir in found])
    instructions = [(i, i, k, "uuu", False) for k, (i, _, _) in enumerate(found)]
    plan = tensor_product_plan(
        first, second, irreps_out, instructions, irrep_normalization=irrep_normalization, convention=convention
    )
    return ReadyProduct(plan, regrouping(irreps_in1, first), regrouping(irreps_in2, second))


@functools.lru_cache(maxsize=512)
def square(
    irreps_in: Irreps,
    irreps_out: Irreps | None,
    kept: Filter,
    irrep_normalization: str = "component",
    convention: str = "0.6",
) -> ReadyProduct:
    """An input times itself, each pair of channels once: complete and sorted (or the irreps ``kept``) without weights, or fully
    connected into ``irreps_out``; layout ``ir_mul``. Raises ``ValueError`` for an unknown normalisation.

    >>> square(Irreps("2x1o"), None, None).plan.irreps_out
    1x0e+2x0e+1x1e+1x2e+2x2e
    """
    if irrep_normalization not in ("component", "norm", "none"):
        raise ValueError(f"unknown irrep_normalization {irrep_normalization!r}: expected 'component', 'norm' or 'none'")
    source = irreps_in.simplify()
    if irreps_out is None:
        irreps_out, instructions = square_paths(source, kept, irrep_normalization)
    else:
        instructions = square_into_paths(source, irreps_out, irrep_normalization)
    plan = tensor_product_plan(source, source, irreps_out, instructions, irrep_normalization="none", convention=convention)
    columns = regrouping(irreps_in, source)
    return ReadyProduct(plan, columns, columns)


def _taken(x: Tensor, columns: tuple[int, ...] | None) -> Tensor:
    return x if columns is None else x.index_select(-1, torch.tensor(columns, device=x.device))


def in_step(first: Irreps, second: Irreps) -> tuple[Irreps, Irreps]:
    """Both irreps cut into blocks of equal multiplicities. Raises ``ValueError`` for unlike numbers.

    >>> in_step(Irreps("2x0e+2x1o"), Irreps("3x0e+1x1o"))
    (2x0e+1x1o+1x1o, 2x0e+1x0e+1x1o)
    """
    if first.num_irreps != second.num_irreps:
        raise ValueError(f"{first} has {first.num_irreps} irreps and {second} has {second.num_irreps}: they must be as many")
    left, right_ = [list(block) for block in first if block.mul], [list(block) for block in second if block.mul]
    a: list[tuple[int, Irrep]] = []
    b: list[tuple[int, Irrep]] = []
    while left:
        mul = min(left[0][0], right_[0][0])
        for rest, blocks in ((left, a), (right_, b)):
            blocks.append((mul, rest[0][1]))
            rest[0][0] -= mul
            if not rest[0][0]:
                rest.pop(0)
    return Irreps(a), Irreps(b)


def _pair_weight(ir1: Irrep, ir2: Irrep, out: Irrep, normalization: str) -> float:
    return {"component": float(out.dim), "norm": float(ir1.dim * ir2.dim), "none": 1.0}[normalization]


def _self_weight(ir: Irrep, out: Irrep, normalization: str) -> float:
    """The same for a channel times itself, whose components are not independent."""
    if normalization == "component":
        return out.dim / (ir.dim + 2) if out.l == 0 else out.dim / 2
    if normalization == "norm":
        return float(out.dim * ir.dim) if out.l == 0 else ir.dim * (ir.dim + 2) / 2
    return 1.0


def square_paths(irreps: Irreps, kept: Filter, normalization: str) -> tuple[Irreps, list[tuple]]:
    """The sorted irreps (of ``kept``) of a feature times itself, each pair of channels once, and the instructions for them.

    >>> square_paths(Irreps("1x1o"), None, "none")
    (1x0e+1x2e, [(0, 0, 0, 'uuu', False, 1.0), (0, 0, 1, 'uuu', False, 1.0)])
    """
    out: list[tuple[int, Irrep]] = []
    instructions: list[tuple] = []
    for i, (m, a) in enumerate(irreps):
        for j, (n, b) in list(enumerate(irreps))[i:]:
            for ir in a * b:
                if kept is not None and ir not in kept:
                    continue
                weight = _pair_weight(a, b, ir, normalization)
                if i < j:
                    instructions.append((i, j, len(out), "uvuv", False, weight))
                    out.append((m * n, ir))
                    continue
                if m > 1:
                    instructions.append((i, i, len(out), "uvu<v", False, weight))
                    out.append((m * (m - 1) // 2, ir))
                if ir.l % 2 == 0:
                    instructions.append((i, i, len(out), "uuu", False, _self_weight(a, ir, normalization)))
                    out.append((m, ir))
    sorted_out, places, _ = Irreps(out).sort()
    return sorted_out, [(i, j, places[k], *rest) for i, j, k, *rest in instructions]


def square_into_paths(irreps: Irreps, irreps_out: Irreps, normalization: str) -> list[tuple]:
    """The instructions, all with weights, of a feature times itself into ``irreps_out``.

    >>> square_into_paths(Irreps("2x1o"), Irreps("5x1e"), "none")
    [(0, 0, 0, 'u<vw', True, 1.0)]
    """
    instructions: list[tuple] = []
    for i, (m, a) in enumerate(irreps):
        for j, (_, b) in list(enumerate(irreps))[i:]:
            for k, (_, ir) in enumerate(irreps_out):
                if ir not in a * b:
                    continue
                weight = _pair_weight(a, b, ir, normalization)
                if i < j:
                    instructions.append((i, j, k, "uvw", True, weight))
                    continue
                if m > 1:
                    instructions.append((i, i, k, "u<vw", True, weight))
                if ir.l % 2 == 0:
                    instructions.append((i, i, k, "uuw", True, _self_weight(a, ir, normalization)))
    return instructions
