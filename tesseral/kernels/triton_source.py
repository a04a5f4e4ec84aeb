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
from tesseral.kernels.spec import ITEM, OUTPUT, SHARED, Path, Program, Term

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
        body = _Body(self, extent, _WARP, paths)
        words = 1 if self.scalar == "float32" else 2
        lanes = max(_WARP, min(self.tiling.lanes, 1 << (extent - 1).bit_length()))
        while (
            lanes > _WARP * self.tiling.warps and body.vectors * words * lanes > self.tiling.registers * _WARP * self.tiling.warps
        ):
            lanes //= 2
        body = _Body(self, extent, lanes, paths)
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


class _Body:
    """The statements of one group for one block of channels: ``head`` before the loop over items, ``loop``, ``tail`` after it."""

    def __init__(self, emitter: _PassEmitter, extent: int, lanes: int, paths: list[Path]) -> None:
        self.emitter, self.program, self.form, self.roles = emitter, emitter.program, emitter.form, emitter.roles
        self.extent, self.lanes = extent, lanes
        self.masked = extent % lanes != 0
        self.head: list[str] = []
        self.loop: list[str] = []
        self.tail: list[str] = []
        self.known: dict[tuple, str] = {}
        self.sums: dict[
            tuple[int, int, int], str
        ] = {}  # (output, segment, component), segment -1 and column for sums over channels
        self.written: dict[int, set[int]] = {n: set() for n in emitter.outputs}
        self.vectors = 8  # registers per channel that live through the loop, and a few for what does not
        remaining: dict[tuple[int, int], int] = {}
        for p in paths:
            for key in self._targets(p):
                remaining[key] = remaining.get(key, 0) + 1
        for p in paths:
            self._path(p)
            for key in self._targets(p):
                remaining[key] -= 1
                if not remaining[key]:
                    self._complete(*key)
        for n in sorted(emitter.partial):
            self._complete(n, -1)

    def source(self) -> list[str]:
        """The function's lines. Indices of the next item are asked for while the present one is computed."""
        emitter, maps = self.emitter, [self.form.indices.index(m) for m in self.emitter.maps]
        lines = [f"u = block * {self.lanes} + tl.arange(0, {self.lanes})"]
        if self.masked:
            lines.append(f"inside = u < {self.extent}")
        lines += [f"zero = tl.zeros([{self.lanes}], tl.{emitter.scalar})", *self.head]
        lines += ["if ORDERED:", "    e = tl.load(order + begin, mask=begin < end, other=0)", "else:", "    e = begin"]
        lines += [f"row{m} = tl.load(index{m} + e, mask=begin < end, other=0)" for m in maps]
        lines += ["for k in range(begin, end):", "    if ORDERED:"]
        lines += ["        e_next = tl.load(order + k + 1, mask=k + 1 < end, other=0)", "    else:", "        e_next = k + 1"]
        lines += [f"    row{m}_next = tl.load(index{m} + e_next, mask=k + 1 < end, other=0)" for m in maps]
        lines += ["    " + line for line in self.loop]
        lines += ["    e = e_next", *(f"    row{m} = row{m}_next" for m in maps), *self.tail]
        return lines

    # --- names, loads and pointers -----------------------------------------------------------------------------------------

    def name(self, key: tuple, expression: str, before: bool = False) -> str:
        """A local holding ``expression``, made once per key, ``before`` the loop where it does not change in it."""
        if key not in self.known:
            self.known[key] = f"v{len(self.known)}"
            (self.head if before else self.loop).append(f"{self.known[key]} = {expression}")
        return self.known[key]

    def _before(self, tensor: int) -> bool:
        return self.program.input_slots[tensor].index in (SHARED, self.emitter.axis)

    def _position(self, index: str) -> str:
        return "row" if index == self.emitter.axis else "e" if index == ITEM else f"row{self.form.indices.index(index)}"

    def _pointer(self, tensor: int, channels: bool) -> str:
        slot = self.program.input_slots[tensor]
        row = "" if slot.index == SHARED else f" + {self._position(slot.index)} * {slot.dim}"
        return self.name(("pointer", tensor, channels), f"in{tensor}{row}{' + u' if channels else ''}", self._before(tensor))

    def _mask(self, loading: bool) -> str:
        return "" if not self.masked else ", mask=inside, other=0.0" if loading else ", mask=inside"

    def _column(self, slot: int, segment: int, component: int) -> int:
        return self.form.slots[slot].offsets[segment] + component * self.extent

    def load(self, tensor: int, slot: int, segment: int, component: int) -> str:
        """The vector of channels of a component."""
        before, key = self._before(tensor), ("load", tensor, segment, component)
        if key not in self.known and before:
            self.vectors += 1
        return self.name(
            key, f"tl.load({self._pointer(tensor, True)} + {self._column(slot, segment, component)}{self._mask(True)})", before
        )

    def _scalar(self, tensor: int, column: int) -> str:
        return self.name(("scalar", tensor, column), f"tl.load({self._pointer(tensor, False)} + {column})", self._before(tensor))

    # --- a path and its outputs ----------------------------------------------------------------------------------------------

    def _targets(self, p: Path) -> list[tuple[int, int]]:
        """(output, segment) of the sums the path adds to."""
        return sorted(
            {
                (n, p.segments[term.slot])
                for n in self.emitter.outputs
                if n not in self.emitter.partial
                for term in self.program.outputs[n]
            }
        )

    def _path(self, p: Path) -> None:
        self.p = p
        left, right, fold = self.roles.left, self.roles.right, self.roles.fold
        self.pairs: dict[
            tuple[int, int], list[tuple[int, float]]
        ] = {}  # (component of left, of right) -> [(of fold, coefficient)]
        for index, value in p.coefficients:
            pair = (index[left], index[right] if right is not None else 0)
            self.pairs.setdefault(pair, []).append((index[fold] if fold is not None else 0, value))
        for output in self.emitter.outputs:
            by_slot: dict[int, list[Term]] = {}
            for term in self.program.outputs[output]:
                by_slot.setdefault(term.slot, []).append(term)
            for slot, terms in by_slot.items():
                if slot == right:
                    self._output_right(output, terms)
                elif slot == left:
                    self._output_left(output, terms)
                elif slot == fold:
                    self._output_fold(output, terms)
                else:
                    self._output_weight(output, slot, terms)

    def _scaled(self, term: Term, vector: str) -> str:
        """The term's factor times its weights times ``vector``."""
        loads = sorted(
            self.load(term.tensors[slot], slot, self.p.segments[slot], 0)
            for slot in self.roles.weights
            if term.tensors[slot] != OUTPUT
        )
        weight = [] if not loads else loads if len(loads) == 1 else [self.name(("product", *loads), " * ".join(loads))]
        return " * ".join([*([] if term.factor == 1.0 else [repr(term.factor)]), *weight, *([vector] if vector else [])])

    def _alpha(self, terms: list[Term], a: int) -> str:
        """Sum over terms of weight times left."""
        left = self.roles.left
        products = sorted(self._scaled(term, self.load(term.tensors[left], left, self.p.segments[left], a)) for term in terms)
        return self.name(("alpha", *products), " + ".join(products))

    def _matrix(self, tensor: int | None, pair: tuple[int, int]) -> tuple[str, bool]:
        """The folded coefficient of (left, right) components, and whether it enters with a minus."""
        combination, fold = self.pairs[pair], self.roles.fold
        negative = combination[0][1] < 0
        if fold is None or tensor is None:
            value = sum(c for _, c in combination)
            return repr(abs(value)), value < 0
        products = [(j, -c if negative else c) for j, c in combination]
        segment = self.p.segments[fold]
        if self.roles.fold_is_free:
            offset = self.form.slots[fold].offsets[segment]
            products = [(offset + j, c) for j, c in products]
            factors = [self._scalar(tensor, j) for j, _ in products]
        else:
            factors = [self.load(tensor, fold, segment, j) for j, _ in products]
        text = " + ".join(factor if c == 1.0 else f"{c!r} * {factor}" for factor, (_, c) in zip(factors, products, strict=True))
        before = self._before(tensor) and self.roles.fold_is_free
        return self.name(("matrix", tensor, self.roles.fold_is_free or segment, tuple(products)), text, before), negative

    def _fold_tensor(self, term: Term) -> int | None:
        return None if self.roles.fold is None else term.tensors[self.roles.fold]

    def _right_tensor(self, term: Term) -> int | None:
        return None if self.roles.right is None else term.tensors[self.roles.right]

    def _right(self, tensor: int | None, b: int) -> str | None:
        right = self.roles.right
        return None if right is None or tensor is None else self.load(tensor, right, self.p.segments[right], b)

    def _half(self, term: Term, a: int) -> str | None:
        """sum_b M[a, b] right[b]."""
        fold, tensor = self._fold_tensor(term), self._right_tensor(term)
        parts = []
        for pair in sorted(pair for pair in self.pairs if pair[0] == a):
            matrix, negative = self._matrix(fold, pair)
            factor = self._right(tensor, pair[1])
            parts.append(("-" if negative else "+") + (f" {matrix} * {factor}" if factor else f" ({matrix} + zero)"))
        return self.name(("half", self.p.segments, fold, tensor, a), _sum(parts)) if parts else None

    def _output_right(self, output: int, terms: list[Term]) -> None:
        right, groups = self.roles.right, _by(terms, self._fold_tensor)
        assert right is not None
        segment = self.p.segments[right]
        for b in range(self.form.slots[right].segments[segment].components):
            parts = []
            for tensor, some in groups.items():
                for pair in sorted(pair for pair in self.pairs if pair[1] == b):
                    matrix, negative = self._matrix(tensor, pair)
                    parts.append(f"{'-' if negative else '+'} {matrix} * {self._alpha(some, pair[0])}")
            self._add((output, segment, b), right, parts)

    def _output_left(self, output: int, terms: list[Term]) -> None:
        left = self.roles.left
        segment = self.p.segments[left]
        for a in range(self.form.slots[left].segments[segment].components):
            halves = [(term, self._half(term, a)) for term in terms]
            self._add((output, segment, a), left, [f"+ {self._scaled(term, half)}" for term, half in halves if half])

    def _output_weight(self, output: int, slot: int, terms: list[Term]) -> None:
        left, parts = self.roles.left, []
        for term in terms:
            inner = [
                f"+ {self.load(term.tensors[left], left, self.p.segments[left], a)} * {self._half(term, a)}"
                for a in sorted({pair[0] for pair in self.pairs})
            ]
            scale = self._scaled(term, "")
            parts += [f"+ {scale} * ({_sum(inner)})"] if scale else inner
        self._add((output, self.p.segments[slot], 0), slot, parts)

    def _output_fold(self, output: int, terms: list[Term]) -> None:
        fold, groups = self.roles.fold, _by(terms, self._right_tensor)
        assert fold is not None
        sums: dict[int, list[str]] = {}
        for tensor, some in groups.items():
            grouped: dict[tuple[int, float], list[tuple[tuple[int, int], float]]] = {}
            for pair, combination in sorted(self.pairs.items()):
                for j, c in combination:
                    grouped.setdefault((j, abs(c)), []).append((pair, c))
            for (j, size), entries in sorted(grouped.items()):
                products = []
                for (a, b), c in entries:
                    factor = self._right(tensor, b)
                    product = self._alpha(some, a) + (f" * {factor}" if factor else "")
                    products.append(("-" if c < 0 else "+") + " " + product)
                sums.setdefault(j, []).append(f"+ {size!r} * ({_sum(products)})")
        segment = self.p.segments[fold]
        if output not in self.emitter.partial:
            for j in range(self.form.slots[fold].segments[segment].components):
                self._add((output, segment, j), fold, sums.get(j, []))
        else:
            offset = self.form.slots[fold].offsets[segment]
            for j, parts in sums.items():
                self._add((output, -1, offset + j), fold, parts)

    # --- sums ------------------------------------------------------------------------------------------------------------------

    def _summed(self, output: int) -> bool:
        """Whether the output is a sum over the items of the loop."""
        return self.program.output_slots[output].index != ITEM

    def _add(self, key: tuple[int, int, int], slot: int, parts: list[str]) -> None:
        """Add ``parts`` to the sum of an output's component."""
        output, segment, component = key
        if key not in self.sums:
            self.sums[key] = f"s{len(self.sums)}"
            column = component if segment < 0 else self._column(slot, segment, component)
            self.written[output] |= {column} if segment < 0 else set(range(column, column + self.extent))
            if self._summed(output):
                self.vectors += 1
                self.head.append(f"{self.sums[key]} = zero")
            else:
                self.vectors += segment < 0
                self.loop.append(f"{self.sums[key]} = {_sum(parts) if parts else 'zero'}")
                return
        if parts:
            self.loop.append(f"{self.sums[key]} = {self.sums[key]} {' '.join(parts)}")

    def _complete(self, output: int, segment: int) -> None:
        """Store the sums of a segment: in the loop when each item has its own, else after it."""
        slot, lines = self.program.output_slots[output], self.tail if self._summed(output) else self.loop
        for (n, s, component), local in self.sums.items():
            if (n, s) != (output, segment):
                continue
            if segment < 0:
                row = "number.to(tl.int64) * splits * rows + place" if self._summed(output) else "number.to(tl.int64) * items + e"
                lines.append(f"tl.store(out{output} + ({row}) * {slot.dim} + {component}, tl.sum({local}, 0))")
            else:
                row = "place" if self._summed(output) else "e"
                column = slot.offsets[segment] + component * self.extent
                lines.append(f"tl.store(out{output} + {row} * {slot.dim} + u + {column}, {local}{self._mask(False)})")


def _by(terms: list[Term], tensor) -> dict[int | None, list[Term]]:
    """The terms by the tensor they have in a role."""
    groups: dict[int | None, list[Term]] = {}
    for term in terms:
        groups.setdefault(tensor(term), []).append(term)
    return groups


def _sum(parts: list[str]) -> str:
    text = " ".join(parts)
    return text[2:] if text.startswith("+ ") else text
