"""Radial bases."""

from typing import Any

from torch import Tensor

from tesseral.nn.radial import soft_one_hot


def soft_one_hot_linspace(
    x: Tensor, start: float, end: float, number: int, basis: Any = None, cutoff: bool | None = None
) -> Tensor:
    """:func:`tesseral.nn.soft_one_hot`: (...) to (..., number). Raises ``ValueError`` without a ``basis`` and ``cutoff``."""
    if cutoff is None:
        raise ValueError("cutoff must be specified: True for functions that vanish at both ends, else False")
    return soft_one_hot(x, start, end, number, basis, bool(cutoff))
