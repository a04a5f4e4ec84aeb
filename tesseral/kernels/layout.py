"""From one layout of features to the other, in one pass over the rows: plain CPU tensors, without autograd."""

from __future__ import annotations

import array
import ctypes
import functools
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tesseral.kernels import cpu_build, layout_source, memory
from tesseral.kernels.fused import Numbers, _threads

_SCALARS = {torch.float32: "float", torch.float64: "double"}


def _source(scalar: str, vector_bytes: int) -> str:
    lanes = vector_bytes // (4 if scalar == "float" else 8)
    cases = [
        "\n".join(f"    case {n}: {kind}{n}(x, y, {count}); return;" for n in layout_source.DEGREES)
        for kind, count in (("narrow", "a"), ("wide", "b"))
    ]
    return "\n".join([_HEAD % (scalar, vector_bytes), layout_source.functions(lanes), _LOOP % tuple(cases)])


_HEAD = """
#include <cstring>
typedef %s T;
typedef T X __attribute__((vector_size(%d), aligned(sizeof(T)), may_alias));
"""

_LOOP = """
static void block(const T* x, T* y, long a, long b) {  // (a, b) to (b, a)
  if (a == 1 || b == 1) { std::memcpy(y, x, sizeof(T) * a * b); return; }
  switch (b) {  // (m, components) to (components, m)
%s
  }
  switch (a) {
%s
  }
  for (long j = 0; j < b; ++j)
    for (long i = 0; i < a; ++i) y[j * a + i] = x[i * b + j];
}

extern "C" void tesseral_layout(const long* n) {
  const long rows = n[1], stride = n[2], dim = n[3], blocks = n[4];
  const long* table = (const long*)n[5];
  const T* x = (const T*)n[6];
  T* y = (T*)n[7];
  #pragma omp parallel for num_threads(n[0]) if (n[0] > 1)
  for (long r = 0; r < rows; ++r)
    for (long k = 0; k < blocks; ++k) {
      const long* t = table + 3 * k;
      block(x + r * stride + t[0], y + r * dim + t[0], t[1], t[2]);
    }
}
"""


@dataclass(frozen=True)
class Transposition:
    """Blocks of a row, (offset, a, b), that are matrices (a, b) and become (b, a); they cover the row."""

    blocks: tuple[tuple[int, int, int], ...]
    dim: int

    @cached_property
    def inverse(self) -> Transposition:
        return Transposition(tuple((offset, b, a) for offset, a, b in self.blocks), self.dim)

    @cached_property
    def _table(self) -> Numbers:
        return Numbers("q", [number for block in self.blocks for number in block] or [0])


@functools.cache
def _function(dtype: torch.dtype) -> ctypes._CFuncPtr:
    function = cpu_build.load(_source(_SCALARS[dtype], cpu_build.target().vector_bytes)).tesseral_layout
    function.argtypes, function.restype = [ctypes.c_void_p], None
    return function


def transpose(x: Tensor, transposition: Transposition) -> Tensor:
    """The rows (rows, dim), whose entries are contiguous, with their blocks transposed."""
    y = memory.empty((x.shape[0], transposition.dim), x.dtype)
    numbers = (
        _threads(x.shape[0] * transposition.dim), x.shape[0], x.stride(0), transposition.dim, len(transposition.blocks),
        transposition._table.address, x.data_ptr(), y.data_ptr(),
    )  # fmt: skip
    packed = array.array("q", numbers)
    _function(x.dtype)(packed.buffer_info()[0])
    return y
