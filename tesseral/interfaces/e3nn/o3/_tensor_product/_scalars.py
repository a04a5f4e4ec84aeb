"""Fully connected products with scalars, such as the one-hot types of atoms: an outer product of channels, then a linear map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tesseral.o3 import Irreps
from tesseral.ops.linear import LinearPlan, linear, linear_plan, merged_paths
from tesseral.ops.tensor_product import Instruction


@dataclass(frozen=True)
class ScalarProduct:
    """The blocks of both inputs of each path, as (offset, components, channels) and (offset, channels), and the linear map."""

    ends: tuple[tuple[tuple[int, int, int], tuple[int, int]], ...]
    mixing: LinearPlan

    def __call__(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """The product of features in layout ``ir_mul``."""
        pieces = []
        for (a, components, u), (b, v) in self.ends:
            block = x[..., a : a + components * u].unflatten(-1, (components, u, 1))
            pieces.append((block * y[..., None, None, b : b + v]).flatten(-3))
        return linear(torch.cat(pieces, dim=-1) if len(pieces) > 1 else pieces[0], weight, self.mixing)


def scalar_product(
    first: Irreps, second: Irreps, last: Irreps, paths: Sequence[Instruction], shared: bool
) -> ScalarProduct | None:
    """The product by these paths; None where it is of another kind."""
    fits = shared and paths and all(ir.l == 0 for _, ir in second) and any(mul > 1 for mul, _ in second)
    if not fits or any(p.connection_mode != "uvw" or not p.has_weight or not math.prod(p.path_shape) for p in paths):
        return None
    between = Irreps([(first[p.i_in1].mul * second[p.i_in2].mul, last[p.i_out].ir) for p in paths])
    plan = linear_plan(between, last, instructions=[(n, p.i_out) for n, p in enumerate(paths)])
    dims = [last[p.i_out].ir.dim for p in paths]  # the coefficients of (l, 0, l) are 1 / sqrt(2l+1)
    scaled = tuple(
        replace(mix, coefficient=p.path_weight / math.sqrt(dim)) for mix, p, dim in zip(plan.paths, paths, dims, strict=True)
    )
    mixing = replace(plan, paths=scaled, groups=merged_paths(scaled, between, last))
    starts1, starts2 = first.slices(), second.slices()
    ends = tuple(
        ((starts1[p.i_in1].start, first[p.i_in1].ir.dim, first[p.i_in1].mul), (starts2[p.i_in2].start, second[p.i_in2].mul))
        for p in paths
    )
    return ScalarProduct(ends, mixing)
