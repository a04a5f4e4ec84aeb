"""The way from one layout of features to the other as an operation: compiled where that is possible."""

from __future__ import annotations

import functools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral import o3
from tesseral.kernels import fused
from tesseral.kernels.function import Function
from tesseral.kernels.layout import Transposition, transpose
from tesseral.o3 import Irreps
from tesseral.o3.layout import check_layout


def to_layout(x: Float[Tensor, "*batch dim"], irreps: Irreps, source: str, target: str) -> Float[Tensor, "*batch dim"]:
    """:func:`tesseral.o3.to_layout`, in one pass over the memory and as cheap in every order of derivative.

    Same values and errors; ``x`` itself where nothing moves.

    >>> to_layout(torch.tensor([0.0, 1.0, 2.0, 10.0, 11.0, 12.0]), Irreps("2x1o"), "mul_ir", "ir_mul")
    tensor([ 0., 10.,  1., 11.,  2., 12.])
    """
    if source == target or x.shape[-1:] != (irreps.dim,) or not fused.available(x):
        return o3.to_layout(x, irreps, source, target)
    way = transposition(irreps, source, target)
    if way is None:
        return x
    rows = x if x.ndim == 2 else x.reshape(-1, irreps.dim)
    y = _Layout.apply(rows, way)
    return y if x.ndim == 2 else y.reshape(x.shape)


@functools.lru_cache(maxsize=512)
def transposition(irreps: Irreps, source: str, target: str) -> Transposition | None:
    """The way of rows of ``irreps`` from one layout to the other: the blocks that move, those between them merged.

    None where nothing moves.
    """
    check_layout(source)
    check_layout(target)
    blocks: list[tuple[int, int, int]] = []
    for (mul, ir), place in zip(irreps, irreps.slices(), strict=True):
        if mul > 1 and ir.l > 0:
            blocks.append((place.start, mul, ir.dim) if source == "mul_ir" else (place.start, ir.dim, mul))
        elif blocks and blocks[-1][1] == 1:
            blocks[-1] = (blocks[-1][0], 1, place.stop - blocks[-1][0])
        elif mul:
            blocks.append((place.start, 1, place.stop - place.start))
    return Transposition(tuple(blocks), irreps.dim) if any(a > 1 for _, a, _ in blocks) else None


class _Layout(Function):
    """Rows with transposed blocks; the gradient goes the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, transposition: Transposition) -> Tensor:
        ctx.transposition = transposition
        return transpose(x if x.stride(-1) == 1 else x.contiguous(), transposition)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None]:  # type: ignore[override]
        if fused.available(grad):
            return _Layout.apply(grad, ctx.transposition.inverse), None
        return _by_definition(grad, ctx.transposition.inverse), None


def _by_definition(x: Tensor, transposition: Transposition) -> Tensor:
    """The same in torch operations, for a gradient that somebody watches."""
    pieces = [x[..., o : o + a * b].unflatten(-1, (a, b)).transpose(-1, -2).flatten(-2) for o, a, b in transposition.blocks]
    return torch.cat(pieces, dim=-1)
