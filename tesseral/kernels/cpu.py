"""Generated C++ kernels: compiled once by the system compiler, cached on disk, called through ctypes."""

from __future__ import annotations

import array
import atexit
import ctypes
import functools
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tesseral.kernels import cpu_build, cpu_elementwise, cpu_source, memory
from tesseral.kernels.cpu_spline_source import NO_SPLINES, Splines
from tesseral.kernels.fused import Numbers
from tesseral.kernels.index_map import IndexMap
from tesseral.kernels.reference import count_items
from tesseral.kernels.spec import ITEM, SHARED, Program

_SCALARS = {torch.float32: "float", torch.float64: "double"}
_STREAM_BYTES = 16 << 20  # results larger than this are written past the caches
_SERIAL_WORK = 20_000  # multiply-adds below which one thread is as fast as several


def refusal(program: Program, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why this backend cannot run the program; None when it can."""
    if device.type != "cpu":
        return f"the tensors are on {device}"
    if dtype not in _SCALARS:
        return f"{dtype} is not float32 or float64"
    reason = _unsupported(program)
    if reason:
        return reason
    missing = cpu_build.missing_compiler()
    if missing:
        _warn(missing)
    return missing


@functools.cache
def _warn(missing: str) -> None:
    warnings.warn(
        f"{missing}: equivariant operations run on the reference backend, many times slower", RuntimeWarning, stacklevel=2
    )


@functools.lru_cache(maxsize=4096)
def _unsupported(program: Program) -> str | None:
    try:
        cpu_source.roles(program)
    except cpu_source.Refused as reason:
        return str(reason) if cpu_elementwise.refusal(program) else None
    return None


@dataclass(frozen=True)
class SplineTensors:
    """What the splines of a program are made from: distances (items,), a factor (items,), coefficients and tangents of them.

    Factors and tangents are there where they are used.
    """

    distances: Tensor
    factor: Tensor | None
    table: Tensor
    tangents: Tensor | None
    intervals: int
    step: Numbers


class Kernel:
    """A compiled program: call it with tensors, maps and rows.

    Inputs that are splines are left out of the tensors, and outputs that are splines of the results, which end with their
    gradients by the distances and by the coefficients, where those are wanted.
    """

    def __init__(self, program: Program, dtype: torch.dtype, axis: str | None, splines: Splines = NO_SPLINES) -> None:
        self.program, self.dtype, self.axis, self.splines = program, dtype, axis, splines
        self._spline_inputs, self._spline_outputs = dict(splines.inputs), dict(splines.outputs)
        text = self._source()
        library = cpu_build.load(text, _started.pop(text, None))
        self._run = library.tesseral_run
        self._run.argtypes, self._run.restype = [ctypes.c_void_p], None
        self.names = program.form.indices
        self.private = [number for number, slot in enumerate(program.output_slots) if slot.index not in (ITEM, axis)]
        used = {slot.index for slot in (*program.input_slots, *program.output_slots)}
        self.used = [name in used for name in self.names]
        self.work = _work_per_item(program)

    def _source(self) -> str:
        return source(self.program, self.dtype, self.axis, self.splines)

    def __call__(
        self,
        tensors: Sequence[Tensor],
        maps: Sequence[IndexMap],
        rows: Sequence[int],
        splines: SplineTensors | None = None,
    ) -> tuple[Tensor, ...]:
        items = splines.distances.shape[0] if splines is not None else count_items(self.program, tensors, maps)
        threads = max(1, torch.get_num_threads()) if items * self.work > _SERIAL_WORK else 1
        tensors = [t if t.is_contiguous() else t.contiguous() for t in tensors]
        counts = {ITEM: items, SHARED: 1, **dict(zip(self.names, rows, strict=True))}
        outputs = [
            memory.empty((counts[slot.index], slot.dim), self.dtype) if n not in self._spline_outputs else None
            for n, slot in enumerate(self.program.output_slots)
        ]
        ends = self._gradients(splines)
        scratch = (threads - 1) * sum(t.numel() for n, t in enumerate(outputs) if t is not None and n in self.private)
        if self.splines.of_table and ends[1] is not None:
            scratch += (threads - 1) * ends[1].numel()
        workspace = memory.empty((scratch,), self.dtype) if scratch else None
        stream = sum(t.numel() for t in outputs if t is not None) * self.dtype.itemsize > _STREAM_BYTES
        arguments = [threads, items, int(stream), workspace.data_ptr() if workspace is not None else 0]
        alive = []
        for name, used, m, count in zip(self.names, self.used, maps, rows, strict=True):
            if not used:
                arguments += [count, 0, 0, 0]
                continue
            index, order, pointers = _prepare(m, count, name, name == self.axis)
            alive += [index, order, pointers]
            arguments += [count, *(0 if t is None else t.data_ptr() for t in (index, order, pointers))]
        given = iter(tensors)
        arguments += [0 if n in self._spline_inputs else next(given).data_ptr() for n in range(self.program.num_inputs)]
        arguments += [0 if t is None else t.data_ptr() for t in outputs]
        if splines is not None:
            made_from = [
                0 if t is None else t.data_ptr() for t in (splines.distances, splines.factor, splines.table, splines.tangents)
            ]
            arguments += [*made_from, splines.intervals, splines.step.address, *(0 if t is None else t.data_ptr() for t in ends)]
        packed = array.array("q", arguments)
        self._run(packed.buffer_info()[0])
        return tuple(t for t in (*outputs, *ends) if t is not None)

    def _gradients(self, splines: SplineTensors | None) -> tuple[Tensor | None, Tensor | None]:
        """Space for the gradients by the distances and by the coefficients."""
        if splines is None:
            return None, None
        return (
            torch.empty_like(splines.distances) if self.splines.of_distances else None,
            memory.empty(splines.table.shape, self.dtype) if self.splines.of_table else None,
        )


def _work_per_item(program: Program) -> int:
    """Multiply-adds per item, roughly."""
    slots = program.form.slots
    widest = [
        max((c for slot, n in zip(slots, p.segments) for c in slot.segments[n].channels), default=1) for p in program.form.paths
    ]
    return sum(len(p.coefficients) * channels for p, channels in zip(program.form.paths, widest))


_INDEX_SOURCE = """\
typedef long long i64;
extern "C" i64 tesseral_check(const i64* index, i64 n, i64 rows) {
  i64 outside = 0, turned = 0;
  for (i64 k = 0; k < n; k++) outside |= (index[k] < 0) | (index[k] >= rows);
  for (i64 k = 1; k < n; k++) turned |= index[k] < index[k - 1];
  return outside * 2 + turned;
}
extern "C" void tesseral_sort(const i64* index, i64 n, i64 rows, i64* order, i64* pointers) {
  for (i64 r = 0; r <= rows; r++) pointers[r] = 0;
  for (i64 k = 0; k < n; k++) pointers[index[k] + 1]++;
  for (i64 r = 0; r < rows; r++) pointers[r + 1] += pointers[r];
  if (!order) return;
  for (i64 k = 0; k < n; k++) order[pointers[index[k]]++] = k;
  for (i64 r = rows; r > 0; r--) pointers[r] = pointers[r - 1];
  pointers[0] = 0;
}
"""


@functools.cache
def _index_library() -> ctypes.CDLL:
    library = cpu_build.load(_INDEX_SOURCE)
    library.tesseral_check.argtypes = [ctypes.c_void_p, ctypes.c_longlong, ctypes.c_longlong]
    library.tesseral_check.restype = ctypes.c_longlong
    library.tesseral_sort.argtypes = [ctypes.c_void_p, ctypes.c_longlong, ctypes.c_longlong, ctypes.c_void_p, ctypes.c_void_p]
    library.tesseral_sort.restype = None
    return library


def _prepare(m: IndexMap, rows: int, name: str, ordered: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The index, checked, and with its order and pointers where they are needed and not known."""
    index, library = m.index.contiguous(), _index_library()
    items = index.shape[0]
    status = library.tesseral_check(index.data_ptr(), items, rows)
    if status >= 2:
        raise ValueError(f"map {name!r} must lie in 0..{rows - 1}; found {int(index.min())}..{int(index.max())}")
    if not ordered:
        return index, None, None
    if m.pointers is not None and (status == 0 or m.order is not None):
        return index, None if status == 0 else m.order.contiguous(), m.pointers.contiguous()  # type: ignore[union-attr]
    pointers = torch.empty(rows + 1, dtype=torch.int64)
    order = m.order.contiguous() if m.order is not None and status else torch.empty(items, dtype=torch.int64) if status else None
    known = m.order is not None
    library.tesseral_sort(index.data_ptr(), items, rows, 0 if order is None or known else order.data_ptr(), pointers.data_ptr())
    return index, order, pointers


def source(program: Program, dtype: torch.dtype, axis: str | None = None, splines: Splines = NO_SPLINES) -> str:
    """The C++ source of the program, as it is compiled on this machine."""
    return cpu_source.emit(program, _SCALARS[dtype], cpu_build.target(), axis, splines)


@functools.lru_cache(maxsize=1024)
def kernel(program: Program, dtype: torch.dtype, axis: str | None) -> Kernel | cpu_elementwise.Kernel:
    """The compiled program, from memory, the disk cache or the compiler."""
    return Kernel(program, dtype, axis) if channelwise(program) else cpu_elementwise.Kernel(program, dtype)


@functools.lru_cache(maxsize=1024)
def spline_kernel(program: Program, dtype: torch.dtype, splines: Splines) -> Kernel:
    """The compiled program of which some inputs and outputs are splines."""
    return Kernel(program, dtype, cpu_source.axis_of(program), splines)


@functools.lru_cache(maxsize=4096)
def channelwise(program: Program) -> bool:
    """Whether the generator of fused kernels covers the program."""
    try:
        cpu_source.roles(program)
    except cpu_source.Refused:
        return False
    return True


# Compilers at work on sources that will be needed soon.
_started: dict[str, subprocess.Popen] = {}


@functools.lru_cache(maxsize=4096)
def anticipate(program: Program, dtype: torch.dtype, splines: Splines = NO_SPLINES) -> None:
    """Begin compiling a program that will be needed soon, beside whatever runs now."""
    if not channelwise(program):
        return
    begin(source(program, dtype, cpu_source.axis_of(program), splines))


def begin(text: str) -> None:
    """Begin compiling a source that will be needed soon."""
    process = cpu_build.start(text)
    if process is not None:
        _started[text] = process
        atexit.register(_discard, text)


def _discard(text: str) -> None:
    process = _started.pop(text, None)
    if process is not None:
        cpu_build.finish(text, process)


def execute(program: Program, tensors: Sequence[Tensor], maps: Sequence[IndexMap], rows: Sequence[int]) -> tuple[Tensor, ...]:
    """Run ``program``; arguments as in :func:`tesseral.kernels.reference.execute`."""
    return kernel(program, tensors[0].dtype, cpu_source.axis_of(program))(tensors, maps, rows)
