"""Calls of the C++ of :mod:`tesseral.kernels.row_product_source`: linear maps by blocks with matrices of each row's own.

Functions of plain CPU tensors without autograd, contiguous and of one dtype, float32 or float64.
"""

from __future__ import annotations

import array
import ctypes
import functools

import torch
from torch import Tensor

from tesseral.kernels import cpu_build, memory, row_product_source
from tesseral.kernels.fused import _SCALARS, Blocks, _threads

_STREAM_BYTES = 16 << 20  # gradients larger than this are written past the caches


def linear(x: Tensor, weight: Tensor, blocks: Blocks, transposed: bool) -> Tensor:
    """Rows x (rows, dim_in) times their own matrices, ``weight`` (rows, weights): (rows, dim_out).

    The matrices are stored (width out, width in) if ``transposed``.
    """
    y = memory.empty((x.shape[0], blocks.dim_out), x.dtype)
    _run("linear", transposed, x, weight, y, blocks)
    return y


def outer(x: Tensor, y: Tensor, blocks: Blocks) -> Tensor:
    """The gradient of the weights, x^T y of each row: (rows, weights)."""
    weight = memory.empty((x.shape[0], blocks.weights), x.dtype)
    _run("outer", weight.numel() * weight.itemsize > _STREAM_BYTES, x, weight, y, blocks)
    return weight


def _run(name: str, option: bool, x: Tensor, weight: Tensor, y: Tensor, blocks: Blocks) -> None:
    rows = x.shape[0]
    zeros, runs = blocks._zeros
    numbers = (
        _threads(rows * blocks.work), rows, int(option), x.stride(0), weight.stride(0), y.stride(0), len(blocks.paths), zeros,
        blocks._table.address, runs.address, x.data_ptr(), weight.data_ptr(), y.data_ptr(),
    )  # fmt: skip
    packed = array.array("q", numbers)
    getattr(_library(x.dtype), f"tesseral_row_{name}")(packed.buffer_info()[0], blocks._coefficients.address)


@functools.cache
def _library(dtype: torch.dtype) -> ctypes.CDLL:
    library = cpu_build.load(row_product_source.emit(_SCALARS[dtype], cpu_build.target()))
    for name in ("linear", "outer"):
        function = getattr(library, f"tesseral_row_{name}")
        function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p], None
    return library
