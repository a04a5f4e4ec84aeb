"""Calls of the compiled spherical harmonics of :mod:`tesseral.kernels.harmonics_source`; without autograd, for CPU tensors."""

from __future__ import annotations

import array
import ctypes
import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from tesseral.kernels import cpu_build, harmonics_source

_SCALARS = {torch.float32: "float", torch.float64: "double"}
_SERIAL_ROWS = 4096  # up to this many vectors one thread is as fast as several
HIGHEST = 12
"""Up to this degree harmonics are compiled; the source grows with its square."""


@dataclass(frozen=True)
class Harmonics:
    """Blocks of harmonics: their degrees, their scales relative to "component", and whether the vectors are normalised first."""

    degrees: tuple[int, ...]
    scales: tuple[float, ...]
    normalize: bool

    @property
    def dim(self) -> int:
        return sum(2 * l + 1 for l in self.degrees)


@functools.lru_cache(maxsize=64)
def _function(harmonics: Harmonics, dtype: torch.dtype) -> ctypes._CFuncPtr:
    source = harmonics_source.emit(harmonics.degrees, harmonics.scales, harmonics.normalize, _SCALARS[dtype], cpu_build.target())
    function = cpu_build.load(source).tesseral_harmonics
    function.argtypes, function.restype = [ctypes.c_void_p], None
    return function


def _run(
    harmonics: Harmonics, mode: int, x: Tensor, g: Tensor | None, u: Tensor | None, y: Tensor | None, gx: Tensor | None
) -> None:
    threads = max(1, torch.get_num_threads()) if x.shape[0] > _SERIAL_ROWS else 1
    pointers = [0 if t is None else t.data_ptr() for t in (x, g, u, y, gx)]
    packed = array.array("q", [mode, threads, x.shape[0], *pointers])
    _function(harmonics, x.dtype)(packed.buffer_info()[0])


def values(x: Tensor, harmonics: Harmonics) -> Tensor:
    """Harmonics (rows, dim) of the vectors (rows, 3)."""
    y = x.new_empty(x.shape[0], harmonics.dim)
    _run(harmonics, 0, x, None, None, y, None)
    return y


def gradient(g: Tensor, x: Tensor, harmonics: Harmonics) -> Tensor:
    """The gradient of <g, harmonics> with respect to the vectors."""
    gx = torch.empty_like(x)
    _run(harmonics, 1, x, g, None, None, gx)
    return gx


def second_gradient(u: Tensor, g: Tensor, x: Tensor, harmonics: Harmonics) -> tuple[Tensor, Tensor]:
    """Gradients of <u, gradient> with respect to g and to the vectors."""
    gg, gx = torch.empty_like(g), torch.empty_like(x)
    _run(harmonics, 2, x, g, u, gg, gx)
    return gg, gx
