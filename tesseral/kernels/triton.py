"""Generated Triton kernels for GPUs: Python source cached on disk by content, compiled by Triton at the first launch.

With ``TRITON_INTERPRET=1`` in the environment before Triton is first imported, the same kernels run on the CPU, slowly, to be
checked. They have been compiled for Ampere, Hopper and MI300 and run under the interpreter; on a GPU they have not been run yet:
``python -m benchmarks.gpu_convolution`` checks and measures them there.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from tesseral.kernels import triton_source
from tesseral.kernels.cpu_build import cache_folder
from tesseral.kernels.cpu_source import Refused
from tesseral.kernels.index_map import IndexMap, sort
from tesseral.kernels.reference import count_items
from tesseral.kernels.spec import ITEM, SHARED, Program
from tesseral.kernels.triton_source import Launch, Tiling

_SCALARS = {torch.float32: "float32", torch.float64: "float64"}
_LONG_ROW = 256  # items per row beyond which rows are split
_PROGRAMS = 4096  # programs that a launch of split rows aims at


def refusal(program: Program, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why this backend cannot run the program; None when it can."""
    if dtype not in _SCALARS:
        return f"{dtype} is not float32 or float64"
    if reason := _unsupported(program):
        return reason
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (pip install triton)"
    if device.type == "cuda":
        return None
    if device.type != "cpu":
        return f"triton kernels run on CUDA and ROCm devices; the tensors are on {device}"
    if os.environ.get("TRITON_INTERPRET") != "1":
        return "triton kernels run on GPUs and the tensors are on the CPU (TRITON_INTERPRET=1 interprets them there, slowly)"
    if not _interpreted():
        return "TRITON_INTERPRET=1 was set after triton had been imported; set it before Python starts"
    return None


@functools.lru_cache(maxsize=4096)
def _unsupported(program: Program) -> str | None:
    try:
        triton_source.refuse(program)
    except Refused as reason:
        return str(reason)
    return None


@functools.cache
def _interpreted() -> bool:
    """Whether triton was imported as an interpreter."""
    import triton.language
    from triton.runtime.interpreter import InterpretedFunction

    return isinstance(triton.language.sum, InterpretedFunction)


def source(program: Program, dtype: torch.dtype, tiling: Tiling | None = None) -> str:
    """The Python source of the program's kernels."""
    return triton_source.emit(program, _SCALARS[dtype], tiling or Tiling())[0]


def load(text: str) -> ModuleType:
    """The module of a generated source: a file in the cache folder named by content, for Triton reads functions from files."""
    name = f"tesseral_triton_{hashlib.sha256(text.encode()).hexdigest()[:40]}"
    if name in sys.modules:
        return sys.modules[name]
    path = cache_folder() / f"{name}.py"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.replace(temporary, path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


class Kernel:
    """A program's kernels: call it with tensors, maps and rows."""

    def __init__(self, program: Program, dtype: torch.dtype, tiling: Tiling) -> None:
        self.program, self.dtype, self.tiling = program, dtype, tiling
        text, self.launches = triton_source.emit(program, _SCALARS[dtype], tiling)
        self.module = load(text)

    def __call__(self, tensors: Sequence[Tensor], maps: Sequence[IndexMap], rows: Sequence[int]) -> tuple[Tensor, ...]:
        items = count_items(self.program, tensors, maps)
        counts = {ITEM: items, SHARED: 1, **dict(zip(self.program.form.indices, rows, strict=True))}
        if items == 0:
            return tuple(tensors[0].new_zeros(counts[slot.index], slot.dim) for slot in self.program.output_slots)
        named = dict(zip(self.program.form.indices, maps, strict=True))
        if tensors[0].device.type == "cpu":
            for name, m in named.items():
                _check(m, counts[name], name)
        tensors = [t.contiguous() for t in tensors]
        outputs: dict[int, Tensor] = {}
        device = torch.cuda.device(tensors[0].device) if tensors[0].is_cuda else contextlib.nullcontext()
        with device:
            for launch in self.launches:
                self._run(launch, tensors, named, counts, outputs)
        return tuple(outputs[n] for n in range(len(self.program.outputs)))

    def _run(
        self,
        launch: Launch,
        tensors: Sequence[Tensor],
        maps: dict[str, IndexMap],
        counts: dict[str, int],
        outputs: dict[int, Tensor],
    ) -> None:
        items, rows = counts[ITEM], counts[launch.axis]
        if launch.axis == SHARED:
            index = torch.arange(0, 2 * items, items, device=tensors[0].device)
            order, pointers = None, index
        else:
            order, pointers = _ordered(maps[launch.axis], rows, launch.axis)
        splits = _splits(items, rows)
        buffers = []
        for n in launch.outputs:
            slot = self.program.output_slots[n]
            parts = sum(blocks for _, blocks in launch.kernels) if n in launch.partial else 1
            shape = (parts, items) if slot.index == ITEM else (parts * splits, rows)
            make = torch.empty if n in launch.covered else torch.zeros
            buffers.append(make((*shape, slot.dim), dtype=self.dtype, device=tensors[0].device))
        arguments: list[Any] = (
            [tensors[n] for n in launch.inputs] + buffers + [maps[name].index.contiguous() for name in launch.maps]
        )
        arguments += [pointers if order is None else order, pointers, items, rows, splits]
        options = {"ORDERED": order is not None, "num_warps": self.tiling.warps, "enable_fp_fusion": True}
        for name, blocks in launch.kernels:
            getattr(self.module, name)[(rows * splits * blocks,)](*arguments, **options)
        for n, buffer in zip(launch.outputs, buffers, strict=True):
            outputs[n] = buffer[0] if buffer.shape[0] == 1 else buffer.sum(0)


def _splits(items: int, rows: int) -> int:
    """In how many parts each row's items are taken, so that a few long rows still fill a GPU."""
    if items <= _LONG_ROW * rows:
        return 1
    return max(1, min(-(-items // (rows * 64)), _PROGRAMS // rows))


def _ordered(m: IndexMap, rows: int, name: str) -> tuple[Tensor | None, Tensor]:
    """The order of the items by row (None when they are in order) and CSR pointers. What the map states is trusted."""
    if m.pointers is not None:
        return None if m.order is None else m.order.contiguous(), m.pointers.contiguous()
    if m.order is not None:
        row = torch.arange(rows + 1, device=m.index.device)
        return m.order.contiguous(), torch.searchsorted(m.index[m.order], row)
    if m.index.is_cuda:
        torch._assert_async(((m.index >= 0) & (m.index < rows)).all(), f"map {name!r} must lie in 0..{rows - 1}")
    found = sort(m.index, rows)
    assert found.pointers is not None
    return found.order, found.pointers


def _check(m: IndexMap, rows: int, name: str) -> None:
    low, high = int(m.index.min()), int(m.index.max())
    if low < 0 or high >= rows:
        raise ValueError(f"map {name!r} must lie in 0..{rows - 1}; found {low}..{high}")


@functools.lru_cache(maxsize=1024)
def kernel(program: Program, dtype: torch.dtype, tiling: Tiling = Tiling()) -> Kernel:  # noqa: B008 (frozen)
    """The program's kernels, from memory, the disk cache or the generator."""
    return Kernel(program, dtype, tiling)


def execute(program: Program, tensors: Sequence[Tensor], maps: Sequence[IndexMap], rows: Sequence[int]) -> tuple[Tensor, ...]:
    """Run ``program``; arguments as in :func:`tesseral.kernels.reference.execute`.

    On a GPU, given orders and pointers are trusted; an index that has to be sorted is checked without waiting for the result.
    """
    return kernel(program, tensors[0].dtype)(tensors, maps, rows)
