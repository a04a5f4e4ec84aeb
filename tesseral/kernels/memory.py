"""Memory for large results, kept for the next call.

The C library returns large blocks to the system at once, and every fresh page costs a fault: filling a new 70 MB tensor takes
longer than computing it. Tensors from :func:`empty` return their block to a pool when they die (with every view of them), as
CUDA tensors do. Blocks that were not needed lately are given back: the pool never holds more than was in use at one time since
the last :func:`release`.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Sequence

import numpy
import torch
from torch import Tensor

SMALLEST = 1 << 20  # bytes; the C library keeps smaller blocks itself
_ALIGNMENT = 64
_NUMPY = {torch.float32: numpy.float32, torch.float64: numpy.float64}

_lock = threading.RLock()  # reentrant: a block may die while the garbage collector runs inside the lock
_free: dict[int, list[numpy.ndarray]] = {}


class _Lease(numpy.ndarray):
    """A view of a block that can be watched by a weak reference."""


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An uninitialised CPU tensor, 64-byte aligned when large.

    >>> empty((3, 4), torch.float64).shape
    torch.Size([3, 4])
    """
    count = math.prod(shape)
    bytes_ = count * dtype.itemsize
    if bytes_ < SMALLEST or dtype not in _NUMPY:
        return torch.empty(tuple(shape), dtype=dtype)
    size = _round(bytes_ + _ALIGNMENT)
    with _lock:
        blocks = _free.get(size)
        block = blocks.pop() if blocks else None
    if block is None:
        block = numpy.empty(size, dtype=numpy.uint8)
    offset = -block.ctypes.data % _ALIGNMENT
    lease = block[offset : offset + bytes_].view(_Lease)
    weakref.finalize(lease, _take_back, size, block).atexit = False
    return torch.from_numpy(lease.view(_NUMPY[dtype]).reshape(tuple(shape)))


def release() -> int:
    """Give all idle blocks back to the system; returns their size in bytes."""
    with _lock:
        total = sum(size * len(blocks) for size, blocks in _free.items())
        _free.clear()
    return total


def _take_back(size: int, block: numpy.ndarray) -> None:
    with _lock:
        _free.setdefault(size, []).append(block)


def _round(size: int) -> int:
    """The next size of a scale with eight steps to the octave, so that batches of similar size share blocks."""
    step = 1 << max(12, size.bit_length() - 4)
    return -(-size // step) * step
