"""Calls of the compiled activation on the sphere of :mod:`tesseral.kernels.sphere_source`; without autograd, for CPU tensors."""

from __future__ import annotations

import array
import ctypes
import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from tesseral.kernels import cpu_build, memory, sphere_source

_SCALARS = {torch.float32: "float", torch.float64: "double"}
_SERIAL_WORK = 20_000  # points of the grid times channels below which one thread is as fast as several


@dataclass(frozen=True)
class Sphere:
    """Orders m of the coefficients, matrices (rings, coefficients) to and from the rings, and the number of meridians."""

    orders: tuple[int, ...]
    to_ring: tuple[tuple[float, ...], ...]
    from_ring: tuple[tuple[float, ...], ...]
    meridians: int


@functools.lru_cache(maxsize=64)
def _function(sphere: Sphere, dtype: torch.dtype) -> ctypes._CFuncPtr:
    pieces = sphere.orders, sphere.to_ring, sphere.from_ring, sphere.meridians
    function = cpu_build.load(sphere_source.emit(*pieces, _SCALARS[dtype], cpu_build.target())).tesseral_sphere
    function.argtypes, function.restype = [ctypes.c_void_p], None
    return function


def _run(mode: int, sphere: Sphere, x: Tensor, g: Tensor | None, u: Tensor | None, y: Tensor | None, gx: Tensor | None) -> None:
    channels = x.shape[1] // (len(sphere.orders) + 1)
    work = x.shape[0] * channels * len(sphere.to_ring) * sphere.meridians
    threads = max(1, torch.get_num_threads()) if work > _SERIAL_WORK else 1
    pointers = [0 if t is None else t.data_ptr() for t in (x, g, u, y, gx)]
    packed = array.array("q", [mode, threads, x.shape[0], channels, *pointers])
    _function(sphere, x.dtype)(packed.buffer_info()[0])


def values(x: Tensor, sphere: Sphere) -> Tensor:
    """The activation (rows, K channels) of rows of K coefficients and gates, (rows, (K + 1) channels)."""
    count = len(sphere.orders)
    y = memory.empty((x.shape[0], x.shape[1] // (count + 1) * count), x.dtype)
    _run(0, sphere, x, None, None, y, None)
    return y


def gradient(g: Tensor, x: Tensor, sphere: Sphere) -> Tensor:
    """The gradient of <g, activation> with respect to x."""
    gx = memory.empty(x.shape, x.dtype)
    _run(1, sphere, x, g, None, None, gx)
    return gx


def second_gradient(u: Tensor, g: Tensor, x: Tensor, sphere: Sphere) -> tuple[Tensor, Tensor]:
    """Gradients of <u, gradient> with respect to g and to x."""
    gg, gx = memory.empty(g.shape, x.dtype), memory.empty(x.shape, x.dtype)
    _run(2, sphere, x, g, u, gg, gx)
    return gg, gx
