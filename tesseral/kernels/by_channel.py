"""Programs whose features lie in memory channel by channel (layout ``mul_ir``), as e3nn's do: read and written by cpu kernels.

The rows of a slot are brought into the kernels' layout one item at a time, in the first cache. To change the layout of whole
tensors before and after a kernel would take as long as the kernel, which is bound by memory.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from tesseral.kernels import cpu, cpu_build, cpu_source, layout_source
from tesseral.kernels.cpu_spline_source import NO_SPLINES
from tesseral.kernels.spec import ITEM, OUTPUT, Program, Slot


def supported(program: Program, slots: Sequence[int]) -> bool:
    """Whether there is a kernel for rows of these slots of the program's form channel by channel."""
    inside = all(program.form.slots[n].index == ITEM for n in slots)
    return inside and not program.form.indices and cpu.channelwise(program)


def execute(program: Program, tensors: Sequence[Tensor], slots: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Run a supported program on tensors whose rows are channel by channel in ``slots`` of its form; so are the results."""
    return _kernel(program, tensors[0].dtype, slots)(tensors, (), ())


@functools.lru_cache(maxsize=1024)
def anticipate(program: Program, dtype: torch.dtype, slots: tuple[int, ...]) -> None:
    """Begin compiling a supported program that will be needed soon, beside whatever runs now."""
    cpu.begin(_source(program, dtype, slots))


@functools.lru_cache(maxsize=1024)
def _kernel(program: Program, dtype: torch.dtype, slots: tuple[int, ...]) -> _Kernel:
    return _Kernel(program, dtype, slots)


class _Kernel(cpu.Kernel):
    def __init__(self, program: Program, dtype: torch.dtype, slots: tuple[int, ...]) -> None:
        self.slots = slots
        super().__init__(program, dtype, None)

    def _source(self) -> str:
        return _source(self.program, self.dtype, self.slots)


def _source(program: Program, dtype: torch.dtype, slots: tuple[int, ...]) -> str:
    return _Emitter(program, "float" if dtype == torch.float32 else "double", cpu_build.target(), slots).source()


class _Emitter(cpu_source._Emitter):
    """The source whose rows in some slots pass through a buffer."""

    def __init__(self, program: Program, scalar: str, target: cpu_source.Target, slots: tuple[int, ...]) -> None:
        super().__init__(program, scalar, target, None, NO_SPLINES)
        self.buffers: dict[str, Slot] = {}  # of the tensors, by the names of their memory
        for number, terms in enumerate(program.outputs):
            for term in terms:
                for slot, tensor in enumerate(term.tensors):
                    name = f"out{number}" if tensor == OUTPUT else f"in{tensor}"
                    if slot in slots and _moves(program.form.slots[slot]):
                        self.buffers[name] = program.form.slots[slot]

    def streamed(self, output: int) -> bool:
        return f"out{output}" not in self.buffers and super().streamed(output)

    def _prelude(self) -> str:
        degrees = sorted({s.components for slot in self.buffers.values() for s in slot.segments} & {*layout_source.DEGREES})
        ways = [self._way(name, slot) for name, slot in self.buffers.items()]
        return "\n".join([super()._prelude(), layout_source.functions(self.width, degrees), *ways])

    def _row(self, index: str, dim: int, base: str) -> str:
        row = super()._row(index, dim, base)
        if base not in self.buffers:
            return row
        return f"read_{base}({row})" if base.startswith("in") else f"buffer_{base}()"

    def _work_function(self, calls: list[str]) -> str:
        outputs = [(base, slot) for base, slot in self.buffers.items() if base.startswith("out")]
        writes = [f"write_{base}(o{base[3:]}, {super(_Emitter, self)._row(ITEM, slot.dim, base)});" for base, slot in outputs]
        return super()._work_function(calls + writes)

    def _way(self, name: str, slot: Slot) -> str:
        """The buffer of a tensor's row, and the function that fills it from memory or writes it there."""
        reads = name.startswith("in")
        lines = []
        for offset, segment in zip(slot.offsets, slot.segments, strict=True):
            n, m = segment.components, segment.channels[0]
            ends = f"x + {offset}, y + {offset}"
            if n == 1 or m == 1:
                lines.append(f"  __builtin_memcpy(y + {offset}, x + {offset}, {n * m} * sizeof(T));")
            elif n in layout_source.DEGREES:
                lines.append(f"  {'narrow' if reads else 'wide'}{n}({ends}, {m});")
            else:
                move = f"y[{offset} + j * {m} + i] = x[{offset} + i * {n} + j];"
                move = move if reads else f"y[{offset} + i * {n} + j] = x[{offset} + j * {m} + i];"
                lines.append(f"  for (int i = 0; i < {m}; i++) for (int j = 0; j < {n}; j++) {move}")
        body = "\n".join(lines)
        buffer = f"static thread_local T buffer[{slot.dim}] ALIGNED;"
        if reads:
            return f"static T* read_{name}(const T* x) {{\n  {buffer}\n  T* y = buffer;\n{body}\n  return y;\n}}"
        return (
            f"static T* buffer_{name}() {{ {buffer} return buffer; }}\nstatic void write_{name}(const T* x, T* y) {{\n{body}\n}}"
        )


def _moves(slot: Slot) -> bool:
    return any(s.components > 1 and s.channels and s.channels[0] > 1 for s in slot.segments)
