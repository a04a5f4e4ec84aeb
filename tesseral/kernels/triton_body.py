"""The statements of channelwise programs in Triton: what is computed for one item and one block of channels.

As :mod:`tesseral.kernels.cpu_body` does it, with what differs on a GPU: sums stay in registers through the loop over items, and
are stored after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tesseral.kernels.channel_roles import by_component
from tesseral.kernels.spec import ITEM, OUTPUT, SHARED, Path, Term

if TYPE_CHECKING:
    from tesseral.kernels.triton_source import _PassEmitter


class Body:
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
            for j, size, entries in by_component(self.pairs):
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
