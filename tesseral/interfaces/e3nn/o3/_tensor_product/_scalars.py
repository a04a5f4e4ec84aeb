"""Fully connected products with scalars, such as the types of atoms, one-hot or embedded.

With few scalars an outer product of channels, then a linear map. With many, the scalars are contracted with the weights first,
which gives each row a linear map of its own: its matrices serve all components. Where there are few different rows of scalars, as
in a structure of three elements in a model of 89, each kind of row gets its linear map once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tesseral.kernels import fused
from tesseral.o3 import Irreps
from tesseral.ops.linear import linear, linear_by_group
from tesseral.ops.linear_plan import LinearPlan, linear_plan, merged_paths
from tesseral.ops.tensor_product import Instruction


@dataclass(frozen=True)
class ScalarProduct:
    """The blocks of both inputs of each path, as (offset, components, channels) and (offset, channels), and the linear maps:
    of the outer product, and of the features with the weights of one row of scalars (None if some are pseudoscalars).
    ``scalars_first``: whether the latter is less work where each row has scalars of its own.
    """

    ends: tuple[tuple[tuple[int, int, int], tuple[int, int]], ...]
    shapes: tuple[tuple[int, int, int], ...]
    mixing: LinearPlan
    of_one: LinearPlan | None
    scalars_first: bool = False

    def __call__(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """The product of features in layout ``ir_mul``."""
        found = None if self.of_one is None else _kinds(x, y, weight)
        if found is not None and self.of_one is not None:
            rows, kinds = found
            return linear_by_group(x, kinds, self._weights_of(rows, weight), self.of_one)
        if self.of_one is not None and self.scalars_first and fused.available(x, y, weight) and _in_rows(x, y, weight):
            return linear(x, self._weights_of(y, weight), self.of_one)
        pieces = []
        for (a, components, u), (b, v) in self.ends:
            block = x[..., a : a + components * u].unflatten(-1, (components, u, 1))
            pieces.append((block * y[..., None, None, b : b + v]).flatten(-3))
        return linear(_joined(pieces), weight, self.mixing)

    def _weights_of(self, scalars: Tensor, weight: Tensor) -> Tensor:
        """The weights (rows, ...) of the linear maps that rows of scalars stand for."""
        pieces = zip(weight.split([math.prod(shape) for shape in self.shapes]), self.shapes, self.ends, strict=True)
        found = []
        for (first, v), paths in itertools.groupby(pieces, lambda path: path[2][1]):  # successive ones that take the same scalars
            matrices = [piece.view(u, v, w).transpose(0, 1).reshape(v, u * w) for piece, (u, _, w), _ in paths]
            found.append(scalars[:, first : first + v] @ _joined(matrices))
        return _joined(found)


def _joined(columns: list[Tensor]) -> Tensor:
    return torch.cat(columns, dim=-1) if len(columns) > 1 else columns[0]


# So many scalars to a kind should make a linear map for each kind cheaper than one for the outer product; with as many kinds as
# scalars (3) it is not, as measured.
_SCALARS_TO_A_KIND = 4
# How many times as long a multiply-add takes with a matrix that serves one row only, as measured.
_MATRIX_OF_A_ROW = 4


def _kinds(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor] | None:
    """The different rows of scalars, and which of them each row has; None where they are not few, or not to be looked at."""
    if y.requires_grad or not fused.available(x, y, weight):  # first of all: looking at a size would fix it for a tracer
        return None
    if not _in_rows(x, y, weight) or not y.shape[0] or y.shape[1] < _SCALARS_TO_A_KIND:
        return None
    rows, kinds = torch.unique(y, dim=0, return_inverse=True)
    return (rows, kinds) if len(rows) * _SCALARS_TO_A_KIND <= y.shape[1] else None


def _in_rows(x: Tensor, y: Tensor, weight: Tensor) -> bool:
    return x.ndim == y.ndim == 2 and weight.ndim == 1 and x.shape[0] == y.shape[0]


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
    shapes = tuple((p.path_shape[0], p.path_shape[1], p.path_shape[2]) for p in paths)
    if any(ir.p != 1 for _, ir in second):
        return ScalarProduct(ends, shapes, mixing, None)
    one = linear_plan(first, last, instructions=[(p.i_in1, p.i_out) for p in paths])
    scaled = tuple(replace(a, coefficient=b.coefficient) for a, b in zip(one.paths, mixing.paths, strict=True))
    one = replace(one, paths=scaled, groups=merged_paths(scaled, first, last))
    work = [(u * w * (v + _MATRIX_OF_A_ROW * n), u * v * n * w) for (u, v, w), n in zip(shapes, dims, strict=True)]
    return ScalarProduct(ends, shapes, mixing, one, sum(a for a, _ in work) < sum(b for _, b in work))
