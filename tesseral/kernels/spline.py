"""Calls of the C++ of :mod:`tesseral.kernels.spline_source`: cubic splines of a distance with vector values.

Functions of plain contiguous CPU tensors without autograd. ``x`` (edges,) are distances, ``table`` (intervals + 3, width) the
coefficients of the B-splines, ``order`` the derivative by x; ``factor`` (edges,) multiplies each edge.
"""

from __future__ import annotations

import array
import ctypes
import functools
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tesseral.kernels import cpu_build, memory, spline_source
from tesseral.kernels.fused import Numbers

_SCALARS = {torch.float32: "float", torch.float64: "double"}
_SERIAL_WORK = 50_000  # numbers below which one thread is as fast as several


@dataclass(frozen=True)
class Knots:
    """Intervals of equal length from 0 to the cutoff, where all splines end."""

    intervals: int
    cutoff: float

    @property
    def rows(self) -> int:
        """Number of coefficients: those of the splines that overlap the range."""
        return self.intervals + 3

    @property
    def step(self) -> float:
        return self.cutoff / self.intervals

    @cached_property
    def constants(self) -> Numbers:
        """The step, for C++."""
        return Numbers("d", [self.step])


def gather(x: Tensor, table: Tensor, knots: Knots, order: int, factor: Tensor | None = None) -> Tensor:
    """The spline at each distance: (edges, width)."""
    y = memory.empty((x.shape[0], table.shape[1]), table.dtype)
    _run(0, knots, order, x, factor, table, None, y, table.shape[1])
    return y


def scatter(x: Tensor, g: Tensor, knots: Knots, order: int, factor: Tensor | None = None) -> Tensor:
    """The gradient of <g, gather> with respect to the coefficients: (intervals + 3, width)."""
    table = g.new_empty(knots.rows, g.shape[1])
    _run(1, knots, order, x, factor, table, g, None, g.shape[1])
    return table


def dot(x: Tensor, table: Tensor, g: Tensor, knots: Knots, order: int, factor: Tensor | None = None) -> Tensor:
    """<g, gather> of each edge by itself: (edges,)."""
    y = torch.empty_like(x)
    _run(2, knots, order, x, factor, table, g, y, table.shape[1])
    return y


@functools.cache
def _library(dtype: torch.dtype) -> ctypes.CDLL:
    library = cpu_build.load(spline_source.emit(_SCALARS[dtype], cpu_build.target()))
    library.tesseral_spline.argtypes, library.tesseral_spline.restype = [ctypes.c_void_p, ctypes.c_void_p], None
    return library


def _run(
    mode: int,
    knots: Knots,
    order: int,
    x: Tensor,
    factor: Tensor | None,
    table: Tensor,
    g: Tensor | None,
    y: Tensor | None,
    width: int,
) -> None:
    edges = x.shape[0]
    threads = max(1, torch.get_num_threads()) if edges * width > _SERIAL_WORK else 1
    addresses = [0 if t is None else t.data_ptr() for t in (x, factor, table, g, y)]
    packed = array.array("q", [mode, threads, edges, width, knots.intervals, order, *addresses])
    _library(x.dtype).tesseral_spline(packed.buffer_info()[0], knots.constants.address)
