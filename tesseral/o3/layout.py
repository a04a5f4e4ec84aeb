"""The two layouts of a feature tensor, and the way from one to the other.

A feature tensor (..., irreps.dim) is a concatenation of blocks, one for each ``mul x ir``. In layout ``"mul_ir"``, e3nn's, a
block is (mul, 2l+1) with the components of one irrep side by side; in ``"ir_mul"``, that of our layers, it is (2l+1, mul) with
the channels of one component side by side. Blocks with mul = 1 or l = 0 are the same in both.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tesseral.o3.irreps import Irreps, IrrepsLike

Layout = Literal["mul_ir", "ir_mul"]


def check_layout(layout: str) -> None:
    """Raise ``ValueError`` for the name of no layout."""
    if layout not in ("mul_ir", "ir_mul"):
        raise ValueError(f"layout must be 'mul_ir' or 'ir_mul', got {layout!r}")


def to_layout(x: Float[Tensor, "*batch dim"], irreps: IrrepsLike, source: str, target: str) -> Float[Tensor, "*batch dim"]:
    """Rearrange features from the layout ``source`` to the layout ``target``; the last axis of ``x`` is ``irreps.dim``.

    ``x`` itself is returned when the two agree, also because every block has mul = 1 or l = 0. Differentiable, and usable under
    ``torch.compile`` and ``vmap``. Raises ``ValueError`` when the last axis does not fit, or for an unknown layout.

    >>> x = torch.tensor([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])
    >>> to_layout(x, "2x1o", "mul_ir", "ir_mul")
    tensor([ 0., 10.,  1., 11.,  2., 12.])
    """
    irreps = Irreps(irreps)
    check_layout(source)
    check_layout(target)
    if x.shape[-1] != irreps.dim:
        raise ValueError(f"the last axis of a tensor of irreps {irreps} must be {irreps.dim}, got shape {tuple(x.shape)}")
    if source == target:
        return x
    pieces: list[Tensor] = []
    start = 0  # of the run of blocks that are the same in both layouts
    for (mul, ir), place in zip(irreps, irreps.slices()):
        if mul <= 1 or ir.l == 0:
            continue
        if start < place.start:
            pieces.append(x[..., start : place.start])
        shape = (mul, ir.dim) if source == "mul_ir" else (ir.dim, mul)
        pieces.append(x[..., place].unflatten(-1, shape).transpose(-1, -2).flatten(-2))
        start = place.stop
    if not pieces:
        return x
    if start < irreps.dim:
        pieces.append(x[..., start:])
    return torch.cat(pieces, -1) if len(pieces) > 1 else pieces[0]


def permutation(irreps: IrrepsLike, source: str, target: str) -> Int[np.ndarray, "dim"]:
    """The indices with ``to_layout(x, irreps, source, target) == x[..., permutation(irreps, source, target)]``.

    >>> permutation("0e+2x1o", "mul_ir", "ir_mul").tolist()
    [0, 1, 4, 2, 5, 3, 6]
    """
    irreps = Irreps(irreps)
    check_layout(source)
    check_layout(target)
    index = np.arange(irreps.dim)
    if source == target:
        return index
    for (mul, ir), place in zip(irreps, irreps.slices()):
        shape = (mul, ir.dim) if source == "mul_ir" else (ir.dim, mul)
        index[place] = index[place].reshape(shape).T.reshape(-1)
    return index
