"""The weights of each path, as views into the flat vector that holds them all."""

import math
from collections.abc import Iterator, Sequence

from jaxtyping import Float
from torch import Tensor

Shapes = Sequence[tuple[int, ...] | None]  # of the weights of each path; None for a path without weights


def weight_slices(shapes: Shapes) -> list[slice | None]:
    """Where in the flat weights each path has its own; ``None`` for paths without weights, which take no place.

    >>> weight_slices([(2, 3), None, (4,)])
    [slice(0, 6, None), None, slice(6, 10, None)]
    """
    slices: list[slice | None] = []
    start = 0
    for shape in shapes:
        stop = start + (0 if shape is None else math.prod(shape))
        slices.append(None if shape is None else slice(start, stop))
        start = stop
    return slices


def weight_view(shapes: Shapes, weight: Float[Tensor, "*batch numel"], number: int) -> Float[Tensor, "..."]:
    """The weights (..., *shape) of path ``number``: writing to the view writes to ``weight``.

    Raises ``ValueError`` for a path without weights.

    >>> import torch
    >>> weight_view([(2, 3), None, (4,)], torch.arange(10.0), 2)
    tensor([6., 7., 8., 9.])
    """
    place, shape = weight_slices(shapes)[number], shapes[number]
    if place is None or shape is None:
        raise ValueError(f"path {number} has no weights")
    return weight[..., place].unflatten(-1, shape)


def weight_views(shapes: Shapes, weight: Float[Tensor, "*batch numel"]) -> Iterator[tuple[int, Tensor]]:
    """The number and the view of each path with weights, in order."""
    for number, shape in enumerate(shapes):
        if shape is not None:
            yield number, weight_view(shapes, weight, number)
