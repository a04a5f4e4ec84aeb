"""Programs that join equal channels (*uuu*, of any degree) on the CPU: tables of multiply-adds, and one loop that obeys them.

Symmetric contractions and their derivatives are polynomials: for each channel, an output component is a sum of coefficients times
products of components of the inputs. Written out as C++ they would be thousands of statements and seconds of compiling for each
program; as tables they cost nothing to compile, and a table's entry, read once, serves a block of channels. Vector registers
stand in memory that the first caches hold:

- *load*: the components of all inputs, those of a row that is the same as for the last item only once,
- *products*: each product of two registers that anything needs, once (cubes are products of products),
- *sums*: ``out += c a b`` over pairs of registers, grouped by the output.

Items are visited in the order of the first map (species, say), so that what is summed over a map is written once for each row.
Threads share the channels, not the items, wherever a sum over items is wanted: results do not depend on their number.
"""

from __future__ import annotations

import array
import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from tesseral.kernels import cpu_build, memory
from tesseral.kernels.cpu_source import Refused
from tesseral.kernels.index_map import IndexMap, sort
from tesseral.kernels.reference import count_items
from tesseral.kernels.spec import ITEM, OUTPUT, SHARED, Program, Slot

_MOST_REGISTERS = 1 << 16
_SCALARS = {torch.float32: ("float", numpy.float32), torch.float64: ("double", numpy.float64)}
_MOST_TENSORS = 64  # inputs and outputs, as in the loop's ``rows``
_SERIAL_WORK = 20_000  # multiply-adds below which one thread is as fast as several


@dataclass(frozen=True)
class Tables:
    """A program as loads, products and sums over registers: inputs first, then outputs, then products.

    ``inputs`` and ``outputs`` list for each tensor its first register and the column of each register in a row. ``products`` is
    (count, 2); ``sums`` is (count, 2) with ``coefficients``, and sums ``groups[g, 1]`` to ``groups[g + 1, 1]`` belong to register
    ``groups[g, 0]``.
    """

    channels: int
    inputs: tuple[tuple[int, numpy.ndarray], ...]
    outputs: tuple[tuple[int, numpy.ndarray], ...]
    registers: int
    products: numpy.ndarray
    sums: numpy.ndarray
    coefficients: numpy.ndarray
    groups: numpy.ndarray

    @property
    def operations(self) -> int:
        """Multiply-adds per item and channel."""
        return len(self.products) + len(self.sums)


@functools.lru_cache(maxsize=1024)
def tables(program: Program) -> Tables:
    """The program's tables. Raises :class:`~tesseral.kernels.cpu_source.Refused` for programs of another kind."""
    form = program.form
    extents = {form.slots[s].segments[p.segments[s]].channels for p in form.paths for s in range(len(form.slots))}
    if not form.paths or len(extents) != 1 or any(letters != "u" for p in form.paths for letters in p.subscripts):
        raise Refused("its slots do not share one channel index of one length")
    ((channels,),) = extents
    if program.num_inputs + len(program.outputs) > _MOST_TENSORS:
        raise Refused(f"it has more than {_MOST_TENSORS} inputs and outputs")
    count = 0
    places: list[tuple[int, numpy.ndarray]] = []
    for layout in (*program.input_slots, *program.output_slots):
        columns = _columns(layout, channels)
        places.append((count, columns))
        count += len(columns)
    inputs, outputs = tuple(places[: program.num_inputs]), tuple(places[program.num_inputs :])
    heavy = max(form.symmetric_slots, key=len, default=(0,))
    first = [[offset // channels for offset in layout.offsets] for layout in form.slots]  # register of a segment in its row
    known: dict[tuple[int, ...], int] = {}
    products: list[tuple[int, int]] = []

    def register(factors: tuple[int, ...]) -> int:
        if len(factors) == 1:
            return factors[0]
        if factors not in known:
            pair = register(factors[:-1]), factors[-1]
            known[factors] = count + len(products)
            products.append(pair)
        return known[factors]

    groups: list[tuple[int, int]] = []
    sums: list[tuple[int, int]] = []
    coefficients: list[float] = []
    for number, terms in enumerate(program.outputs):
        found: dict[int, dict[tuple[tuple[int, ...], tuple[int, ...]], float]] = {}
        for term in terms:
            for p in form.paths:
                start = [first[slot][segment] for slot, segment in enumerate(p.segments)]
                for index, value in p.coefficients:
                    light: list[int] = []
                    dense: list[int] = []
                    for slot, tensor in enumerate(term.tensors):
                        if tensor == OUTPUT:
                            target = outputs[number][0] + start[slot] + index[slot]
                        else:
                            (dense if slot in heavy else light).append(inputs[tensor][0] + start[slot] + index[slot])
                    halves = _halves(sorted(light), sorted(dense))
                    entry = found.setdefault(target, {})
                    entry[halves] = entry.get(halves, 0.0) + term.factor * value
        for target, entry in sorted(found.items()):
            groups.append((target, len(sums)))
            for (a, b), value in sorted(entry.items()):
                sums.append((register(a), register(b)))
                coefficients.append(value)
    groups.append((0, len(sums)))
    if count + len(products) > _MOST_REGISTERS:
        raise Refused(f"it needs {count + len(products)} registers; {_MOST_REGISTERS} are supported")
    return Tables(
        channels,
        inputs,
        outputs,
        count + len(products),
        numpy.array(products, dtype=numpy.uint16).reshape(-1, 2),
        numpy.array(sums, dtype=numpy.uint16).reshape(-1, 2),
        numpy.array(coefficients),
        numpy.array(groups, dtype=numpy.int32),
    )


def _columns(slot: Slot, channels: int) -> numpy.ndarray:
    if any(segment.channels != (channels,) for segment in slot.segments):
        raise Refused("its segments differ in their numbers of channels")
    return numpy.arange(0, slot.dim, channels, dtype=numpy.int32)


def _halves(light: list[int], dense: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two factors of a product; there are at least two registers to share."""
    both = light or dense
    if light and dense:
        return tuple(light), tuple(dense)
    if len(both) < 2:
        raise Refused("one of its terms has a single factor")
    return tuple(both[: len(both) // 2]), tuple(both[len(both) // 2 :])


def refusal(program: Program) -> str | None:
    """Why tables cannot express the program; None when they can."""
    try:
        tables(program)
    except Refused as reason:
        return str(reason)
    return None


class Kernel:
    """A program with its tables: call it with tensors, maps and rows, as :func:`tesseral.kernels.reference.execute`."""

    def __init__(self, program: Program, dtype: torch.dtype) -> None:
        self.program, self.dtype, self.tables = program, dtype, tables(program)
        self.slots = (*program.input_slots, *program.output_slots)
        self.coefficients = self.tables.coefficients.astype(_SCALARS[dtype][1])
        self.names = program.form.indices
        used = {slot.index for slot in self.slots}
        self.used = [name in used for name in self.names]
        self.summed = any(slot.index != ITEM for slot in program.output_slots)
        self._run = _library(_SCALARS[dtype][0]).tesseral_tables
        self._run.argtypes, self._run.restype = [ctypes.c_void_p], None

    def __call__(self, tensors: Sequence[Tensor], maps: Sequence[IndexMap], rows: Sequence[int]) -> tuple[Tensor, ...]:
        t = self.tables
        items = count_items(self.program, tensors, maps)
        threads = max(1, torch.get_num_threads()) if items * t.operations * t.channels > _SERIAL_WORK else 1
        tensors = [x if x.is_contiguous() else x.contiguous() for x in tensors]
        counts = {ITEM: items, SHARED: 1, **dict(zip(self.names, rows, strict=True))}
        outputs = [memory.empty((counts[slot.index], slot.dim), self.dtype) for slot in self.program.output_slots]
        for slot, value in zip(self.program.output_slots, outputs, strict=True):
            if slot.index != ITEM:
                value.zero_()
        index: dict[str, Tensor] = {}
        order = None
        for name, used, m, count in zip(self.names, self.used, maps, rows, strict=True):
            if used:
                if items and not 0 <= int(m.index.min()) <= int(m.index.max()) < count:
                    raise ValueError(f"map {name!r} must lie in 0..{count - 1}; found {int(m.index.min())}..{int(m.index.max())}")
                if not index and not (m.pointers is not None and m.order is None):
                    order = m.order.contiguous() if m.order is not None else sort(m.index, count).order
                index[name] = m.index.contiguous()
        parts = 1 if self.summed else threads
        arguments = [threads, parts, items, t.channels, t.registers, 0 if order is None else order.data_ptr()]
        arguments += [len(t.inputs), len(t.outputs), len(t.products), len(t.groups) - 1]
        arguments += [x.ctypes.data for x in (t.products, t.sums, self.coefficients, t.groups)]
        for slot, value, (register, columns) in zip(self.slots, (*tensors, *outputs), (*t.inputs, *t.outputs), strict=True):
            kind = 0 if slot.index == ITEM else 1 if slot.index == SHARED else 2
            where = index[slot.index].data_ptr() if kind == 2 else 0
            arguments += [value.data_ptr(), slot.dim, kind, where, register, len(columns), columns.ctypes.data]
        packed = array.array("q", arguments)
        self._run(packed.buffer_info()[0])
        return tuple(outputs)


@functools.cache
def _library(scalar: str) -> ctypes.CDLL:
    return cpu_build.load(source(scalar))


def source(scalar: str) -> str:
    """The loop for "float" or "double"."""
    width = cpu_build.target().vector_bytes // (4 if scalar == "float" else 8)
    return f"typedef {scalar} T;\nenum {{ W = {width} }};\n{_SOURCE}"


_SOURCE = """\
#include <stdlib.h>
#include <string.h>
typedef long long i64;
typedef unsigned short u16;
typedef T V __attribute__((vector_size(W * sizeof(T)), may_alias));
struct Operand { T* data; i64 dim, kind; const i64* index; i64 first, count; const int* columns; };
struct Job {
  i64 threads, parts, items, channels, registers; const i64* order;
  i64 inputs, outputs, products, groups; const u16* product; const u16* sum; const T* coefficient; const int* group;
  Operand operand[1];
};
static inline i64 row_of(const Operand& o, i64 e) { return o.kind == 0 ? e : o.kind == 1 ? 0 : o.index[e]; }

template <int B> static void unit(const Job& j, i64 c, i64 begin, i64 end, T* buffer) {
  enum { L = B * W };
  const i64 lanes = j.channels - c < L ? j.channels - c : L;
  Operand const* out = j.operand + j.inputs;
  i64 rows[64];
  for (i64 t = 0; t < j.inputs + j.outputs; t++) rows[t] = -1;
  memset(buffer, 0, j.registers * L * sizeof(T));
  const i64 base = out[j.outputs - 1].first + out[j.outputs - 1].count;
  auto flush = [&](const Operand& o, i64 row) {
    for (i64 m = 0; m < o.count; m++) {
      T* p = o.data + row * o.dim + o.columns[m] + c; T* r = buffer + (o.first + m) * L;
      for (i64 i = 0; i < lanes; i++) p[i] += r[i];
      memset(r, 0, L * sizeof(T));
    }
  };
  for (i64 k = begin; k < end; k++) {
    const i64 e = j.order ? j.order[k] : k;
    for (i64 t = 0; t < j.inputs; t++) {
      const Operand& o = j.operand[t]; const i64 row = row_of(o, e);
      if (row == rows[t]) continue;
      rows[t] = row;
      const T* p = o.data + row * o.dim + c; T* r = buffer + o.first * L;
      if (lanes == L) for (i64 m = 0; m < o.count; m++) memcpy(r + m * L, p + o.columns[m], L * sizeof(T));
      else for (i64 m = 0; m < o.count; m++) memcpy(r + m * L, p + o.columns[m], lanes * sizeof(T));
    }
    for (i64 n = 0; n < j.outputs; n++) {
      i64& last = rows[j.inputs + n]; const i64 row = row_of(out[n], e);
      if (out[n].kind && row != last) { if (last >= 0) flush(out[n], last); last = row; }
    }
    for (i64 p = 0; p < j.products; p++) {
      const V* a = (const V*)(buffer + j.product[2 * p] * L); const V* b = (const V*)(buffer + j.product[2 * p + 1] * L);
      V* r = (V*)(buffer + (base + p) * L);
      for (int v = 0; v < B; v++) r[v] = a[v] * b[v];
    }
    i64 n = 0;
    for (i64 g = 0; g < j.groups; g++) {
      const i64 target = j.group[2 * g], stop = j.group[2 * g + 3];
      while (target >= out[n].first + out[n].count) n++;
      V s[B], u[B];
      V* r = (V*)(buffer + target * L);
      for (int v = 0; v < B; v++) { s[v] = out[n].kind ? r[v] : (V){}; u[v] = (V){}; }
      i64 i = j.group[2 * g + 1];
      for (; i + 2 <= stop; i += 2) {
        const V* a = (const V*)(buffer + j.sum[2 * i] * L); const V* b = (const V*)(buffer + j.sum[2 * i + 1] * L);
        const V* d = (const V*)(buffer + j.sum[2 * i + 2] * L); const V* f = (const V*)(buffer + j.sum[2 * i + 3] * L);
        const T x = j.coefficient[i], y = j.coefficient[i + 1];
        for (int v = 0; v < B; v++) { s[v] += x * a[v] * b[v]; u[v] += y * d[v] * f[v]; }
      }
      if (i < stop) {
        const V* a = (const V*)(buffer + j.sum[2 * i] * L); const V* b = (const V*)(buffer + j.sum[2 * i + 1] * L);
        for (int v = 0; v < B; v++) s[v] += j.coefficient[i] * a[v] * b[v];
      }
      for (int v = 0; v < B; v++) r[v] = s[v] + u[v];
    }
    for (i64 n = 0; n < j.outputs; n++) {
      const Operand& o = out[n];
      if (o.kind) continue;
      T* p = o.data + e * o.dim + c; const T* r = buffer + o.first * L;
      if (lanes == L) for (i64 m = 0; m < o.count; m++) memcpy(p + o.columns[m], r + m * L, L * sizeof(T));
      else for (i64 m = 0; m < o.count; m++) memcpy(p + o.columns[m], r + m * L, lanes * sizeof(T));
    }
  }
  for (i64 n = 0; n < j.outputs; n++) if (out[n].kind && rows[j.inputs + n] >= 0) flush(out[n], rows[j.inputs + n]);
}

template <int B> static void work(const Job& j) {
  enum { L = B * W };
  const i64 blocks = (j.channels + L - 1) / L, units = blocks * j.parts;
  #pragma omp parallel num_threads(j.threads)
  {
    T* buffer = (T*)aligned_alloc(64, (j.registers * L * sizeof(T) + 63) / 64 * 64);
    #pragma omp for schedule(static)
    for (i64 n = 0; n < units; n++) {
      const i64 part = n / blocks;
      unit<B>(j, n % blocks * L, j.items * part / j.parts, j.items * (part + 1) / j.parts, buffer);
    }
    free(buffer);
  }
}

extern "C" void tesseral_tables(const i64* a) {
  const Job& j = *(const Job*)a;
  if (j.channels > W) work<2>(j);
  else work<1>(j);
}
"""
