"""The statements of channelwise programs: what is computed for one item and one block of channels.

The fold operand was contracted with the coefficients before, once per item (the *B-form*): what is left per path are
multiply-adds over contiguous channels with these scalars as broadcast memory operands. The terms of all outputs share:
weighted left vectors ``alpha`` (outputs at right and fold) and folded right vectors ``s`` (outputs at left and at the weights).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tesseral.kernels.channel_roles import by_component
from tesseral.kernels.spec import ITEM, OUTPUT, Path, Term

if TYPE_CHECKING:
    from tesseral.kernels.cpu_source import _Emitter


class Body:
    """The statements of one group of paths for one block of channels, sharing subexpressions between outputs."""

    def __init__(self, emitter: _Emitter, extent: int) -> None:
        self.emitter, self.extent, self.roles = emitter, extent, emitter.roles
        self.lines: list[str] = []
        self.known: dict[tuple, str] = {}
        self.left_sums: dict[tuple[int, int, int], str] = {}  # (output, segment, component) -> local accumulator
        self.fold_sums: dict[tuple[int, int], str] = {}

    def name(self, key: tuple, expression: str) -> str:
        """A local vector holding ``expression``, made once per key."""
        if key not in self.known:
            self.known[key] = f"v{len(self.known)}"
            self.lines.append(f"const V {self.known[key]} = {expression};")
        return self.known[key]

    def _address(self, slot: int, segment: int, component: int) -> str:
        return f"{self.emitter.form.slots[slot].offsets[segment] + component * self.extent} + c"

    def load(self, tensor: int, slot: int, segment: int, component: int) -> str:
        key, address = ("load", tensor, segment, component), self._address(slot, segment, component)
        if key not in self.known and tensor in self.emitter.splines.inputs:
            return self.name(key, self.emitter.splines.value(tensor, address, self.name))
        return self.name(key, f"load<N>(i{tensor} + {address})")

    def path(self, p: Path) -> None:
        emitter = self.emitter
        self.p, self.pairs = p, emitter.pairs(p)
        for output, terms in enumerate(emitter.program.outputs):
            by_slot: dict[int, list[Term]] = {}
            for term in terms:
                by_slot.setdefault(term.slot, []).append(term)
            for slot, some in by_slot.items():
                if slot == self.roles.right:
                    self._output_right(output, some)
                elif slot == self.roles.left:
                    self._output_left(output, some)
                elif slot == self.roles.fold:
                    self._output_fold(output, some)
                else:
                    self._output_weight(output, slot, some)

    # --- shared subexpressions ---------------------------------------------------------------------------------------------

    def _weight(self, term: Term) -> str | None:
        """The product of the term's weights."""
        tensors = [(term.tensors[slot], slot) for slot in self.roles.weights if term.tensors[slot] != OUTPUT]
        if not tensors:
            return None
        loads = [self.load(tensor, slot, self.p.segments[slot], 0) for tensor, slot in tensors]
        return loads[0] if len(loads) == 1 else self.name(("product", *sorted(loads)), " * ".join(sorted(loads)))

    def _scaled(self, term: Term, vector: str) -> str:
        parts = [part for part in (None if term.factor == 1.0 else f"T({term.factor!r})", self._weight(term), vector) if part]
        return " * ".join(parts)

    def _left(self, terms: list[Term], a: int) -> str:
        """alpha[a]: the sum over terms of weight times left."""
        left = self.roles.left
        products = sorted(self._scaled(term, self.load(term.tensors[left], left, self.p.segments[left], a)) for term in terms)
        return self.name(("alpha", self.p.segments, *products), " + ".join(products))

    def _matrix(self, tensor: int | None, pair: tuple[int, int]) -> tuple[str, bool]:
        """The folded coefficient of (left, right) components, and whether it enters with a minus."""
        combination = self.pairs[pair]
        fold = self.roles.fold
        if fold is None:
            value = sum(c for _, c in combination)
            return f"T({abs(value)!r})", value < 0
        if self.roles.fold_is_free:
            key, negative = self.emitter.fold_key(self.p, combination)
            return f"m{tensor}[{self.emitter.entries[key]}]", negative
        assert tensor is not None
        negative = combination[0][1] < 0
        products = tuple((j, -c if negative else c) for j, c in combination)
        text = " + ".join(f"T({c!r}) * {self.load(tensor, fold, self.p.segments[fold], j)}" for j, c in products)
        return self.name(("matrix", tensor, self.p.segments[fold], products), text), negative

    def _fold_tensor(self, term: Term) -> int | None:
        return None if self.roles.fold is None else term.tensors[self.roles.fold]

    def _right(self, tensor: int | None, b: int) -> str | None:
        right = self.roles.right
        return None if right is None or tensor is None else self.load(tensor, right, self.p.segments[right], b)

    def _half(self, term: Term, a: int) -> str | None:
        """s[a] = sum_b M[a, b] right[b]."""
        right = self.roles.right
        tensor = None if right is None else term.tensors[right]
        parts = []
        for pair in sorted(pair for pair in self.pairs if pair[0] == a):
            matrix, negative = self._matrix(self._fold_tensor(term), pair)
            factor = self._right(tensor, pair[1])
            parts.append(("-" if negative else "+") + (f" {matrix} * {factor}" if factor else f" ({matrix} + (V){{}})"))
        if not parts:
            return None
        return self.name(("half", self.p.segments, self._fold_tensor(term), tensor, a), _sum(parts))

    # --- outputs ------------------------------------------------------------------------------------------------------------

    def _write(self, output: int, slot: int, component: int, parts: list[str]) -> None:
        """Store the sum of ``parts``, or add it to what is there: one chain of fused multiply-adds."""
        emitter = self.emitter
        address = f"o{output} + {self._address(slot, self.p.segments[slot], component)}"
        if emitter.outputs[output].index == ITEM and emitter.written_once(output):
            stream = "stream" if emitter.streamed(output) else "false"
            self.lines.append(f"put<N>({address}, {_sum(parts) if parts else '(V){}'}, {stream});")
        elif parts:
            self.lines.append(f"store<N>({address}, load<N>({address}) {' '.join(parts)});")

    def _output_right(self, output: int, terms: list[Term]) -> None:
        groups: dict[int | None, list[Term]] = {}
        for term in terms:
            groups.setdefault(self._fold_tensor(term), []).append(term)
        right = self.roles.right
        assert right is not None
        for b in range(self.emitter.form.slots[right].segments[self.p.segments[right]].components):
            parts: list[str] = []
            for tensor, some in groups.items():
                parts += self._products_right(tensor, some, b)
            self._write(output, right, b, parts)

    def _products_right(self, tensor: int | None, terms: list[Term], b: int) -> list[str]:
        """Component b of sum_a M[a, b] alpha[a], with the weight where it costs the fewest products.

        That is on the left vector, whose products with it serve all b; on the sum, where the right has fewer components than
        the left; or on M, where that is a multiple of the identity.
        """
        pairs = sorted(pair for pair in self.pairs if pair[1] == b)
        left, weight = self.roles.left, self._weight(terms[0])
        if len(terms) > 1 or weight is None or not pairs:
            return [self._signed(tensor, pair) + " * " + self._left(terms, pair[0]) for pair in pairs]
        vector = lambda a: self.load(terms[0].tensors[left], left, self.p.segments[left], a)  # noqa: E731
        scale = "" if terms[0].factor == 1.0 else f"T({terms[0].factor!r}) * "
        entries = {self._matrix(tensor, pair) for pair in self.pairs}
        if len(entries) == 1 and all(i == k for i, k in self.pairs) and len(self.pairs) > 1:
            ((entry, negative),) = entries
            scaled = self.name(("scaled", self.p.segments, scale, weight, entry), f"{scale}{weight} * {entry}")
            return [("- " if negative else "+ ") + f"{scaled} * {vector(b)}"]
        lefts, rights = ({pair[side] for pair in self.pairs} for side in (0, 1))
        if len(rights) < len(lefts):
            inner = _sum([self._signed(tensor, pair) + " * " + vector(pair[0]) for pair in pairs])
            return [f"+ {scale}{weight} * ({inner})"]
        return [self._signed(tensor, pair) + " * " + self._left(terms, pair[0]) for pair in pairs]

    def _signed(self, tensor: int | None, pair: tuple[int, int]) -> str:
        matrix, negative = self._matrix(tensor, pair)
        return f"{'-' if negative else '+'} {matrix}"

    def _output_left(self, output: int, terms: list[Term]) -> None:
        left = self.roles.left
        for a in range(self.emitter.form.slots[left].segments[self.p.segments[left]].components):
            parts = []
            for term in terms:
                half = self._half(term, a)
                if half:
                    parts.append("+ " + self._scaled(term, half))
            if parts:
                self._accumulate(self.left_sums, (output, self.p.segments[left], a), "s", parts)

    def _output_weight(self, output: int, slot: int, terms: list[Term]) -> None:
        left, parts = self.roles.left, []
        for term in terms:
            inner = []
            for a in sorted({pair[0] for pair in self.pairs}):
                half = self._half(term, a)
                inner.append(f"+ {self.load(term.tensors[left], left, self.p.segments[left], a)} * {half}")
            scale = self._scaled(term, "")
            parts += [f"+ {scale} * ({_sum(inner)})"] if scale else inner
        self._write(output, slot, 0, parts)

    def _output_fold(self, output: int, terms: list[Term]) -> None:
        fold, right = self.roles.fold, self.roles.right
        assert fold is not None
        groups: dict[int | None, list[Term]] = {}
        for term in terms:
            groups.setdefault(None if right is None else term.tensors[right], []).append(term)
        sums: dict[int, list[str]] = {}
        for tensor, some in groups.items():
            for j, size, entries in by_component(self.pairs):
                products = []
                for (a, b), c in entries:
                    factor = self._right(tensor, b)
                    product = self._left(some, a) + (f" * {factor}" if factor else "")
                    products.append(("-" if c < 0 else "+") + " " + product)
                sums.setdefault(j, []).append(f"+ T({size!r}) * ({_sum(products)})")
        for j, parts in sums.items():
            if output in self.emitter.reduced:
                column = self.emitter.form.slots[fold].offsets[self.p.segments[fold]] + j
                self._accumulate(self.fold_sums, (output, column), "d", parts)
            else:
                self._write(output, fold, j, parts)

    def _accumulate(self, sums: dict, key: tuple, letter: str, parts: list[str]) -> None:
        if key in sums:
            self.lines.append(f"{sums[key]} = {sums[key]} {' '.join(parts)};")
        else:
            sums[key] = f"{letter}{len(sums)}"
            self.lines.append(f"V {sums[key]} = {_sum(parts)};")

    def finish(self) -> None:
        for (output, segment, a), local in self.left_sums.items():
            self.lines.append(f"add<N>(o{output} + {self._address(self.roles.left, segment, a)}, {local});")
        for (output, column), local in self.fold_sums.items():
            self.lines.append(f"o{output}[{column}] += {local};")


def _sum(parts: list[str]) -> str:
    text = " ".join(parts)
    return text[2:] if text.startswith("+ ") else text
