"""What a linear map does with which block: paths, where their weights lie, and what they are multiplied with."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from tesseral.kernels import fused
from tesseral.o3 import Irreps


@dataclass(frozen=True)
class LinearPath:
    """Block ``i_in`` to block ``i_out`` by the weights from ``start``, row-major (mul_in, mul_out), times ``coefficient``."""

    i_in: int
    i_out: int
    start: int
    coefficient: float


@dataclass(frozen=True)
class LinearPlan:
    """What a linear map does, as plain numbers: blocks ``(offset, components, channels)``, paths, biased blocks."""

    blocks_in: tuple[tuple[int, int, int], ...]
    blocks_out: tuple[tuple[int, int, int], ...]
    paths: tuple[LinearPath, ...]
    biased: tuple[int, ...]
    layout: str

    groups: tuple[tuple[int, int, float, tuple[int, ...]], ...]
    """Paths whose weights are one matrix, as (i_out, start, coefficient, (i_in, ...)): one product each."""

    def __post_init__(self) -> None:
        # worked out now, because Dynamo cannot enter a cached property
        assert min(self.dim_in, self.dim_out, self.weight_numel, self.bias_numel) >= 0

    @cached_property
    def dim_in(self) -> int:
        return sum(components * channels for _, components, channels in self.blocks_in)

    @cached_property
    def dim_out(self) -> int:
        return sum(components * channels for _, components, channels in self.blocks_out)

    @cached_property
    def weight_numel(self) -> int:
        return sum(self.blocks_in[p.i_in][2] * self.blocks_out[p.i_out][2] for p in self.paths)

    @cached_property
    def bias_numel(self) -> int:
        return sum(self.blocks_out[i][2] for i in self.biased)

    @cached_property
    def compiled(self) -> fused.Blocks:
        """The same in the terms of the compiled code (layout ``ir_mul``)."""
        ends = [(self.blocks_in[p.i_in], self.blocks_out[p.i_out], p) for p in self.paths]
        rows = [(a, n, b, m, components, p.start, p.coefficient) for (a, components, n), (b, _, m), p in ends if n * m]
        return fused.Blocks(tuple(rows), self.dim_in, self.dim_out, self.weight_numel)

    def matrices(self, weight: Tensor) -> list[Tensor]:
        """Views (..., channels in, channels out) of the weights, one for each matrix that they form."""
        found = []
        for i_out, start, _, i_ins in self.groups:
            n, m = sum(self.blocks_in[i][2] for i in i_ins), self.blocks_out[i_out][2]
            found.append(weight[..., start : start + n * m].unflatten(-1, (n, m)))
        return found

    def scaled(self, factor: float) -> "LinearPlan":
        """The plan of the map times ``factor``."""
        paths = tuple(replace(p, coefficient=p.coefficient * factor) for p in self.paths)
        groups = tuple((i_out, start, coefficient * factor, i_ins) for i_out, start, coefficient, i_ins in self.groups)
        return replace(self, paths=paths, groups=groups)


def linear_plan(
    irreps_in: object,
    irreps_out: object,
    *,
    biases: bool = False,
    instructions: Sequence[tuple[int, int]] | None = None,
    path_normalization: str = "element",
    f_in: int | None = None,
    layout: str = "ir_mul",
) -> LinearPlan:
    r"""The plan of a linear map, with e3nn's order of weights and its coefficients.

    Paths go from every block to every block of the same irrep, input outer, unless ``instructions`` lists pairs
    ``(i_in, i_out)``. The coefficient is :math:`(f \sum n)^{-1/2}` over the paths into the same block (``"element"``) or
    :math:`(f\, n \cdot \#\text{paths})^{-1/2}` (``"path"``), with n input channels and the factor ``f_in`` where there is one.
    ``biases`` adds one to each channel of the 0e blocks. Raises ``ValueError`` for an instruction between different irreps.

    >>> plan = linear_plan("4x0e+2x1o", "3x1o+5x0e")
    >>> plan.weight_numel, [(p.i_in, p.i_out, p.coefficient) for p in plan.paths]
    (26, [(0, 1, 0.5), (1, 0, 0.7071067811865475)])
    """
    first, last = Irreps(irreps_in), Irreps(irreps_out)
    if layout not in ("ir_mul", "mul_ir"):
        raise ValueError(f"layout must be 'mul_ir' or 'ir_mul', got {layout!r}")
    if path_normalization not in ("element", "path"):
        raise ValueError(f"unknown path_normalization {path_normalization!r}: expected 'element' or 'path'")
    if instructions is None:
        instructions = [(i, j) for i, (_, a) in enumerate(first) for j, (_, b) in enumerate(last) if a == b]
    for i, j in instructions:
        if not (0 <= i < len(first) and 0 <= j < len(last)) or first[i].ir != last[j].ir:
            raise ValueError(f"no linear map by the instruction ({i}, {j}) from {first} to {last}: it must join equal irreps")
    paths, start = [], 0
    for i, j in instructions:
        same = [k for k, other in instructions if other == j]
        fan_in = sum(first[k].mul for k in same) if path_normalization == "element" else first[i].mul * len(same)
        paths.append(LinearPath(i, j, start, 1.0 / math.sqrt(max(1, fan_in * (f_in or 1)))))
        start += first[i].mul * last[j].mul
    biased = tuple(j for j, (mul, ir) in enumerate(last) if biases and ir.is_scalar() and mul)
    return LinearPlan(_blocks(first), _blocks(last), tuple(paths), biased, layout, merged_paths(paths, first, last))


def merged_paths(paths: Sequence[LinearPath], first: Irreps, last: Irreps) -> tuple[tuple[int, int, float, tuple[int, ...]], ...]:
    """The ``groups`` of a plan: paths into the same block whose weights follow each other merged, the empty ones dropped."""
    groups: list[tuple[int, int, float, tuple[int, ...]]] = []
    end = -1
    for path in paths:
        size = first[path.i_in].mul * last[path.i_out].mul
        if not size:
            continue
        if groups and groups[-1][0] == path.i_out and groups[-1][2] == path.coefficient and end == path.start:
            i_out, start, coefficient, i_ins = groups[-1]
            groups[-1] = (i_out, start, coefficient, (*i_ins, path.i_in))
        else:
            groups.append((path.i_out, path.start, path.coefficient, (path.i_in,)))
        end = path.start + size
    return tuple(groups)


def _blocks(irreps: Irreps) -> tuple[tuple[int, int, int], ...]:
    return tuple((s.start, ir.dim, mul) for s, (mul, ir) in zip(irreps.slices(), irreps, strict=True))
