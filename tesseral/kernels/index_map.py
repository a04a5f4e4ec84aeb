"""The integer maps from items to rows, with what is already known about their order."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class IndexMap(NamedTuple):
    """The map from items to rows, ``index (items,)`` int64, and optionally its order.

    ``pointers (rows + 1,)`` are CSR pointers into the items sorted by row; ``order (items,)`` is the stable argsort of
    ``index``. With ``pointers`` and no ``order`` the items are sorted already. Without ``pointers`` a backend that needs the
    order works it out.
    """

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody wants here
    order: Tensor | None = None
    pointers: Tensor | None = None


def flatten(maps: list[IndexMap]) -> list[Tensor]:
    """Three tensors a map, an empty one for what is unknown: the form in which maps pass through a traced graph."""
    flat = []
    for index, order, pointers in maps:
        empty = index.new_empty(0)
        flat += [index, empty if order is None else order, empty if pointers is None else pointers]
    return flat


def unflatten(flat: list[Tensor]) -> list[IndexMap]:
    """Inverse of :func:`flatten`; an empty order of no items counts as unknown, which it is as good as."""
    return [
        IndexMap(flat[i], flat[i + 1] if flat[i + 1].numel() else None, flat[i + 2] if flat[i + 2].numel() else None)
        for i in range(0, len(flat), 3)
    ]


def sort(index: Tensor, rows: int) -> IndexMap:
    """The map with its order and pointers worked out.

    >>> sort(torch.tensor([1, 0, 1]), 3).pointers
    tensor([0, 1, 3, 3])
    """
    order = torch.argsort(index, stable=True)
    return IndexMap(index, order, torch.searchsorted(index[order], torch.arange(rows + 1, device=index.device)))
