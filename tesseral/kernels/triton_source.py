"""Triton for the channelwise programs: one program per row and block of channels, sums in registers, nothing atomic.

The roles of the slots and the *B-form* are those of :mod:`tesseral.kernels.cpu_source`: the fold operand (harmonics) and the
coefficients make a few scalars per item, multiply-adds over the channels do the rest. What is different on a GPU:

- Outputs summed over different maps are computed in different *passes*, each over its own CSR order: messages in the order of
  destinations, the gradient of the gathered features in the order of sources. Outputs per item join the pass that already reads
  most of what they need.
- A pass cuts the paths into *groups* that share no output and runs them, and blocks of their channels, side by side.
- Sums over channels (gradients of the harmonics) are made per block; a second step adds the blocks. Rows with very many items
  (shared weights, species) are split, and a second step adds the parts. The order of every sum is fixed: results are
  bit-identical from run to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tesseral.kernels.cpu_source import Refused, Roles, roles
from tesseral.kernels.spec import ITEM, OUTPUT, SHARED, Path, Program
from tesseral.kernels.triton_body import Body

_WARP = 32
_MOST_TERMS = 20_000  # coefficients times terms beyond which the unrolled kernel would take minutes to compile
_LONG = 300  # statements of a kernel; Triton's compile time grows with their square, so longer passes are several kernels


@dataclass(frozen=True)
class Tiling:
    """How channels are cut: at most ``lanes`` (a power of two) in a block run by ``warps`` warps, fewer where a thread
    would need more than about ``registers`` registers for what lives through the loop."""

    lanes: int = 128
    warps: int = 1
    registers: int = 96


@dataclass(frozen=True)
class Pass:
    """A walk over the rows of ``axis`` (a map, or ``SHARED``: one row of all items) and the outputs computed at their items."""

    axis: str
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Launch:
    """What the executor must know of the generated kernels of a pass.

    ``kernels`` holds their names and the numbers of blocks of channels they compute. Their arguments are ``inputs``, ``outputs``,
    the maps gathered through, the order and pointers of the axis, and the sizes. ``partial`` are the outputs with one part per
    block of channels, ``covered`` those every entry of which is written.
    """

    kernels: tuple[tuple[str, int], ...]
    axis: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    maps: tuple[str, ...]
    partial: frozenset[int]
    covered: frozenset[int]


def refuse(program: Program) -> Roles:
    """The roles of the program's slots. Raises :class:`Refused` where no kernel is made for it."""
    found = roles(program)
    size = sum(len(p.coefficients) for p in program.form.paths) * sum(map(len, program.outputs))
    if size > _MOST_TERMS:
        raise Refused(f"its {size} products would make too long a kernel (at most {_MOST_TERMS})")
    return found


def passes(program: Program) -> tuple[Pass, ...]:
    """The passes of a program: one per map that outputs are summed over; outputs per item go where they cost the fewest reads."""
    by_axis: dict[str, list[int]] = {}
    items = []
    for number, slot in enumerate(program.output_slots):
        if slot.index == ITEM:
            items.append(number)
        else:
            by_axis.setdefault(slot.index, []).append(number)
    if items:

        def added_reads(axis: str) -> int:
            there = by_axis.get(axis, [])
            return _reads(program, axis, [*there, *items]) - _reads(program, axis, there)

        best = min((*by_axis, SHARED), key=added_reads)
        other = min((SHARED, *program.form.indices), key=added_reads)
        if 2 * added_reads(other) < added_reads(best):  # a pass in an order of its own scatters what lies by item
            best = other
        by_axis.setdefault(best, []).extend(items)
    return tuple(Pass(axis, tuple(sorted(outputs))) for axis, outputs in by_axis.items())


def _used(program: Program, outputs: Sequence[int]) -> list[int]:
    """The inputs that the outputs depend on."""
    return sorted({t for n in outputs for term in program.outputs[n] for t in term.tensors if t != OUTPUT})


def _reads(program: Program, axis: str, outputs: Sequence[int]) -> int:
    """Numbers read per item when the rows of ``axis`` are visited one after the other."""
    return sum(program.input_slots[n].dim for n in _used(program, outputs) if program.input_slots[n].index not in (axis, SHARED))


def emit(program: Program, scalar: str, tiling: Tiling) -> tuple[str, tuple[Launch, ...]]:
    """The Python source of the program's kernels for ``scalar`` "float32" or "float64", and how to launch them."""
    parts = [*(f"# {line}" for line in repr(program).splitlines()), "import triton\nimport triton.language as tl\n"]
    launches = []
    for number, one in enumerate(passes(program)):
        emitter = _PassEmitter(program, f"pass{number}", one, scalar, tiling)
        parts += [*emitter.functions, *(emitter.entry(groups) for groups in emitter.kernels)]
        launches.append(emitter.launch())
    return "\n".join(parts), tuple(launches)


class _PassEmitter:
    def __init__(self, program: Program, name: str, one: Pass, scalar: str, tiling: Tiling) -> None:
        self.program, self.form, self.name, self.axis, self.outputs = program, program.form, name, one.axis, one.outputs
        self.scalar, self.tiling, self.roles = scalar, tiling, refuse(program)
        self.inputs = _used(program, self.outputs)
        gathered = {program.input_slots[n].index for n in self.inputs} - {ITEM, SHARED, self.axis}
        self.maps = tuple(name for name in self.form.indices if name in gathered)
        self.partial = frozenset(
            n for n in self.outputs if program.outputs[n][0].slot == self.roles.fold and self.roles.fold_is_free
        )
        self.arguments = [f"in{n}" for n in self.inputs] + [f"out{n}" for n in self.outputs]
        self.arguments += [f"index{self.form.indices.index(m)}" for m in self.maps]
        self.functions: list[str] = []
        self.blocks: list[int] = []  # blocks of channels of each group
        self.kernels: list[list[int]] = []  # the groups of each kernel
        self.length = 0  # statements of the last kernel
        self.written: dict[int, list[set[int]]] = {n: [] for n in self.outputs}  # columns written by each group
        for number, paths in enumerate(self._groups()):
            self._group(number, paths)

    def _groups(self) -> list[list[Path]]:
        """The paths in groups: together are those that read the same segment of left or write the same segment of an output."""
        keys = []
        for p in self.form.paths:
            found: set[tuple] = {("left", p.segments[self.roles.left])}
            for n in self.outputs:
                if n not in self.partial:
                    found |= {(n, p.segments[term.slot]) for term in self.program.outputs[n]}
            keys.append(found)
        groups: list[tuple[set[tuple], list[int]]] = []
        for number, found in enumerate(keys):
            members = [number]
            for other in [group for group in groups if group[0] & found]:
                groups.remove(other)
                found, members = found | other[0], other[1] + members
            groups.append((found, members))
        return [[self.form.paths[n] for n in sorted(members)] for _, members in sorted(groups, key=lambda group: min(group[1]))]

    def _group(self, number: int, paths: list[Path]) -> None:
        left = self.roles.left
        extent = self.form.slots[left].segments[paths[0].segments[left]].channels[0]
        body = Body(self, extent, _WARP, paths)
        words = 1 if self.scalar == "float32" else 2
        lanes = max(_WARP, min(self.tiling.lanes, 1 << (extent - 1).bit_length()))
        while (
            lanes > _WARP * self.tiling.warps and body.vectors * words * lanes > self.tiling.registers * _WARP * self.tiling.warps
        ):
            lanes //= 2
        body = Body(self, extent, lanes, paths)
        length = len(body.source())
        if not self.kernels or self.length + length > _LONG:
            self.kernels.append([])
            self.length = 0
        self.kernels[-1].append(number)
        self.length += length
        signature = ", ".join(
            [*self.arguments, "order", "items", "rows", "splits", "row", "begin", "end", "place", "number", "block"]
        )
        self.functions.append(
            f"\n@triton.jit\ndef {self.name}_group{number}({signature}, ORDERED: tl.constexpr):\n"
            + "\n".join("    " + line for line in body.source())
        )
        self.blocks.append(-(-extent // lanes))
        for n, columns in body.written.items():
            self.written[n].append(columns)

    def _kernel_name(self, groups: list[int]) -> str:
        return f"{self.name}_from{groups[0]}"

    def entry(self, groups: list[int]) -> str:
        """The kernel of some groups: finds its row, its share of the row's items, its group and its block of channels."""
        total, skipped = sum(self.blocks[n] for n in groups), sum(self.blocks[: groups[0]])
        names = ", ".join([*self.arguments, "order", "pointers", "items", "rows", "splits"])
        lines = [
            '\n@triton.jit(do_not_specialize=["items", "rows", "splits"])',
            f"def {self._kernel_name(groups)}({names}, ORDERED: tl.constexpr):",
            "    program = tl.program_id(0)",
            f"    number = program % {total} + {skipped}",
            f"    split = (program // {total}) % splits",
            f"    row = (program // ({total} * splits)).to(tl.int64)",
            "    first = tl.load(pointers + row)",
            "    count = tl.load(pointers + row + 1) - first",
            "    begin = first + count * split // splits",
            "    end = first + count * (split + 1) // splits",
            "    place = row + split * rows",
        ]
        passed = ", ".join([*self.arguments, "order", "items", "rows", "splits", "row", "begin", "end", "place", "number"])
        for group in groups:
            start = sum(self.blocks[:group])
            call = f"{self.name}_group{group}({passed}, number - {start}, ORDERED)"
            if len(groups) == 1:
                lines.append(f"    {call}")
            elif group == groups[-1]:
                lines += ["    else:", f"        {call}"]
            else:
                lines += [
                    f"    {'if' if group == groups[0] else 'elif'} number < {start + self.blocks[group]}:",
                    f"        {call}",
                ]
        return "\n".join(lines) + "\n"

    def launch(self) -> Launch:
        covered = set()
        for n in self.outputs:
            every = set(range(self.program.output_slots[n].dim))
            parts = self.written[n]
            if all(part == every for part in parts) if n in self.partial else set().union(*parts) == every:
                covered.add(n)
        return Launch(
            tuple((self._kernel_name(groups), sum(self.blocks[n] for n in groups)) for groups in self.kernels),
            self.axis,
            tuple(self.inputs),
            self.outputs,
            self.maps,
            self.partial,
            frozenset(covered),
        )
