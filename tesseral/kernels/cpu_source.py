"""C++ for the channelwise programs: every output in one pass over the items, nothing stored per edge but the results.

What a program must be for that, and what its slots are called: :mod:`tesseral.kernels.channel_roles`. The statements for an item:
:mod:`tesseral.kernels.cpu_body`. Here are the functions and loops around them.

The fold operand (harmonics) is contracted with the coefficients first, once per item: each distinct combination sum_j c_j y_j is
one scalar of a short array, computed by a few vector operations. One generator thus gives forward, backward, double backward and
so on.
"""

from __future__ import annotations

from tesseral.kernels.channel_roles import Refused, Roles, axis_of, roles
from tesseral.kernels.cpu_body import Body
from tesseral.kernels.cpu_prelude import Target, prelude
from tesseral.kernels.cpu_spline_source import NO_SPLINES, SplineCode, Splines
from tesseral.kernels.spec import ITEM, OUTPUT, SHARED, Path, Program

__all__ = ["Refused", "Roles", "Target", "axis_of", "emit", "roles"]


def emit(program: Program, scalar: str, target: Target, axis: str | None, splines: Splines = NO_SPLINES) -> str:
    """The C++ source of the program for ``scalar`` "float" or "double": one function ``tesseral_run`` of an array of int64.

    The array holds: chunks, items, stream, workspace; rows, index, order, pointers of each map; then the inputs and the outputs
    (nothing where they are splines); then, with splines, the distances, the factors, the coefficients, their tangents, the
    number of intervals, the address of the step (a double), and the gradients by the distances and by the coefficients.
    """
    return _Emitter(program, scalar, target, axis, splines).source()


class _Emitter:
    def __init__(self, program: Program, scalar: str, target: Target, axis: str | None, splines: Splines) -> None:
        self.program, self.form, self.scalar, self.target, self.axis = program, program.form, scalar, target, axis
        self.roles = roles(program)
        self.size = 4 if scalar == "float" else 8
        self.width = target.vector_bytes // self.size
        self.inputs, self.outputs = program.input_slots, program.output_slots
        fold = self.roles.fold
        self.folded = (
            sorted({t.tensors[fold] for terms in program.outputs for t in terms if t.tensors[fold] != OUTPUT})
            if fold is not None and self.roles.fold_is_free
            else []
        )
        self.entries: dict[tuple, int] = {}  # distinct combinations of the fold operand -> position in the folded array
        if self.folded:
            self._collect_entries()
        self.splines = self._spline_code(splines)
        self.reduced = [n for n, terms in enumerate(program.outputs) if terms[0].slot == fold and self.roles.fold_is_free]

    def _spline_code(self, splines: Splines) -> SplineCode:
        slots = [self.inputs[n] for n, _ in splines.inputs] + [self.outputs[n] for n, _ in splines.outputs]
        at = 4 + 4 * len(self.form.indices) + len(self.inputs) + len(self.outputs)
        return SplineCode(splines, slots[0].dim if slots else 0, self.width, at, self._workspace_offset(len(self.outputs)))

    # --- the whole source -------------------------------------------------------------------------------------------------

    def source(self) -> str:
        groups: dict[tuple[int, int], list[Path]] = {}
        for p in self.form.paths:
            segment = self.form.slots[self.roles.left].segments[p.segments[self.roles.left]]
            groups.setdefault((p.segments[self.roles.left], segment.channels[0]), []).append(p)
        parts = [f"// {line}" for line in repr(self.program).splitlines()] + [self._prelude(), self._fold_function()]
        parts += self.splines.functions()
        calls = []
        for number, ((_, extent), paths) in enumerate(groups.items()):
            parts.append(self._group_function(number, extent, paths))
            calls += self._group_calls(number, extent)
        parts.append(self._reduce_function())
        parts.append(self._work_function(calls))
        parts.append(self._run_function())
        return "\n".join(part for part in parts if part) + "\n"

    def _prelude(self) -> str:
        return prelude(self.scalar, self.target)

    # --- folding the channel-free operand with the coefficients ----------------------------------------------------------

    def pairs(self, p: Path) -> dict[tuple[int, int], list[tuple[int, float]]]:
        """(component of left, of right) -> [(component of fold, coefficient)]."""
        left, right, fold = self.roles.left, self.roles.right, self.roles.fold
        pairs: dict[tuple[int, int], list[tuple[int, float]]] = {}
        for index, value in p.coefficients:
            key = (index[left], index[right] if right is not None else 0)
            pairs.setdefault(key, []).append((index[fold] if fold is not None else 0, value))
        return pairs

    def fold_key(self, p: Path, combination: list[tuple[int, float]]) -> tuple[tuple, bool]:
        """The combination as (column of the fold operand, coefficient), the first positive, and whether the sign was turned."""
        offset = self.form.slots[self.roles.fold].offsets[p.segments[self.roles.fold]]  # type: ignore[index]
        negative = combination[0][1] < 0
        return tuple((offset + j, -c if negative else c) for j, c in combination), negative

    def _collect_entries(self) -> None:
        keys = {self.fold_key(p, combination)[0] for p in self.form.paths for combination in self.pairs(p).values()}
        ordered = sorted(keys, key=lambda key: ([j for j, _ in key], key))
        self.entries = {key: n for n, key in enumerate(ordered)}

    def _fold_function(self) -> str:
        if not self.folded:
            return ""
        keys = list(self.entries)
        tables: list[str] = []
        lines: list[str] = []
        for start in range(0, len(keys), self.width):
            block = keys[start : start + self.width]
            terms = []
            for j in sorted({j for key in block for j, _ in key}):
                row = [dict(key).get(j, 0.0) for key in block] + [0.0] * (self.width - len(block))
                terms.append(f"y[{j}] * *(const V*)(fold_table + {len(tables) * self.width})")
                tables.append(", ".join(map(repr, row)))
            lines.append(f"  *(V*)(m + {start}) = {' + '.join(terms)};")
        return (
            "static const T fold_table[] ALIGNED = {\n  "
            + ",\n  ".join(tables)
            + "};\nINLINE void fold(const T* __restrict__ y, T* __restrict__ m) {\n"
            + "\n".join(lines)
            + "\n}"
        )

    @property
    def fold_size(self) -> int:
        return -(-len(self.entries) // self.width) * self.width

    # --- one group of paths: those that share a segment of left ------------------------------------------------------------

    def _parameters(self, call: bool) -> str:
        names = [("const T* __restrict__ ", f"i{n}") for n in range(len(self.inputs)) if n not in self.splines.inputs]
        names += [("const T* __restrict__ ", name) for name in self.splines.parameters()]
        names += [("const T* __restrict__ ", f"m{n}") for n in self.folded]
        names += [("V* __restrict__ " if n in self.reduced else "T* __restrict__ ", f"o{n}") for n in range(len(self.outputs))]
        return ", ".join(name if call else kind + name for kind, name in names)

    def _group_function(self, number: int, extent: int, paths: list[Path]) -> str:
        body = Body(self, extent)
        for p in paths:
            body.path(p)
        body.finish()
        lines = "\n".join("  " + line for line in body.lines)
        return (
            f"template <int N> INLINE void group{number}(i64 c, bool stream, {self._parameters(False)}) {{\n"
            f'  asm volatile("" ::: "memory");\n{lines}\n}}'
        )

    def _group_calls(self, number: int, extent: int) -> list[str]:
        calls, parameters = [], self._parameters(True)
        full = extent // self.width
        if full == 1:
            calls.append(f"group{number}<W>(0, stream, {parameters});")
        elif full:
            calls.append(f"for (i64 c = 0; c < {full * self.width}; c += W) group{number}<W>(c, stream, {parameters});")
        if extent % self.width:
            calls.append(f"group{number}<{extent % self.width}>({full * self.width}, stream, {parameters});")
        return calls

    # --- sums over the channels, for outputs without channels ----------------------------------------------------------------

    def _reduce_function(self) -> str:
        """Sums over the lanes of up to W vectors at a time, by pairwise exchange: lane k of the result is the sum of vector k."""
        counts = {count for n in self.reduced for _, count in self._reductions(n)}
        functions = []
        for count in sorted(counts):
            names, lines, step = [f"v[{k}]" for k in range(count)], [], 1
            while step < self.width:
                low = ", ".join(str(k if not k & step else self.width + k - step) for k in range(self.width))
                high = ", ".join(str(k + step if not k & step else self.width + k) for k in range(self.width))
                merged = []
                for k in range(0, len(names), 2):
                    a, b = names[k], names[min(k + 1, len(names) - 1)]
                    merged.append(f"r{step}_{k}")
                    halves = [f"__builtin_shufflevector({a}, {b}, {lanes})" for lanes in (low, high)]
                    lines.append(f"  const V {merged[-1]} = {' + '.join(halves)};")
                names, step = merged, 2 * step
            functions.append(f"INLINE V lanes{count}(const V* v) {{\n" + "\n".join(lines) + f"\n  return {names[0]};\n}}")
        return "\n".join(functions)

    def _reductions(self, output: int) -> list[tuple[int, int]]:
        """(first column, number of columns) of each reduction of an output without channels."""
        dim = self.outputs[output].dim
        return [(start, min(self.width, dim - start)) for start in range(0, dim, self.width)]

    # --- the loop over items -------------------------------------------------------------------------------------------------

    def _row(self, index: str, dim: int, base: str) -> str:
        if index == SHARED:
            return base
        position = "e" if index == ITEM else "row" if index == self.axis else f"index{self.form.indices.index(index)}[e]"
        return f"{base} + {position} * {dim}LL"

    def _is_private(self, index: str) -> bool:
        return index not in (ITEM, self.axis)

    def _work_function(self, calls: list[str]) -> str:
        names = self.form.indices
        lines = ["static __attribute__((noinline)) void work(const i64* a, i64 chunk) {"]
        put = lines.append
        put("  const i64 chunks = a[0], items = a[1]; const bool stream = a[2];")
        for n in range(len(names)):
            put(f"  const i64 rows{n} = a[{4 + 4 * n}]; const i64* __restrict__ index{n} = (const i64*)a[{5 + 4 * n}];")
        at = 4 + 4 * len(names)
        for n in range(len(self.inputs)):
            put(f"  const T* in{n} = (const T*)a[{at + n}];")
        for n, slot in enumerate(self.outputs):
            put(f"  T* out{n} = (T*)a[{at + len(self.inputs) + n}];")
            if self._is_private(slot.index):
                count = "1" if slot.index == SHARED else f"rows{names.index(slot.index)}"
                put(f"  if (chunk) out{n} = (T*)a[3] + {self._workspace_offset(n)} + (chunk - 1) * {count} * {slot.dim}LL;")
                put(f"  __builtin_memset(out{n}, 0, {count} * {slot.dim}LL * sizeof(T));")
        for n in self.folded:
            put(f"  T m{n}[{self.fold_size}] ALIGNED;")
        for n in self.reduced:
            put(f"  V o{n}[{self.outputs[n].dim}];")
        lines += self.splines.set_up()
        put("  const i64 begin = items * chunk / chunks, end = items * (chunk + 1) / chunks;")
        if self.axis is None:
            put("  for (i64 e = begin; e < end; e++) {")
        else:
            n = names.index(self.axis)
            put(f"  const i64* order = (const i64*)a[{6 + 4 * n}]; const i64* pointers = (const i64*)a[{7 + 4 * n}];")
            put(f"  const i64 first = chunk ? lower_bound(pointers, rows{n}, begin) : 0;")
            put(f"  const i64 last = chunk + 1 < chunks ? lower_bound(pointers, rows{n}, end) : rows{n};")
            put("  for (i64 row = first; row < last; row++) {")
            for number, slot in enumerate(self.outputs):
                if slot.index == self.axis:
                    put(f"  __builtin_memset(out{number} + row * {slot.dim}LL, 0, {slot.dim} * sizeof(T));")
            put("  for (i64 k = pointers[row]; k < pointers[row + 1]; k++) {")
            put("    const i64 e = order ? order[k] : k;")
        self._prefetch(lines)
        lines += self.splines.begin()
        for n, slot in enumerate(self.inputs):
            if n not in self.splines.inputs:
                put(f"    const T* i{n} = {self._row(slot.index, slot.dim, f'in{n}')};")
        for n, slot in enumerate(self.outputs):
            row = f"spline_out{n}" if n in self.splines.outputs else self._row(slot.index, slot.dim, f"out{n}")
            if n in self.reduced:
                put(f"    T* p{n} = {row};")
                put(f"    for (int j = 0; j < {slot.dim}; j++) o{n}[j] = (V){{}};")
            else:
                put(f"    T* o{n} = {row};")
                if slot.index == ITEM and not self.written_once(n):
                    put(f"    __builtin_memset(o{n}, 0, {slot.dim} * sizeof(T));")
        for n in self.folded:
            put(f"    fold(i{n}, m{n});")
        for call in calls:
            put("    " + call)
        for n in self.reduced:
            verb = "=" if self.outputs[n].index == ITEM else "+="
            for start, columns in self._reductions(n):
                put(f"    {{ V r = lanes{columns}(o{n} + {start});")
                put(f"      for (int j = 0; j < {columns}; j++) p{n}[{start} + j] {verb} r[j]; }}")
        lines += self.splines.spread()
        put("  }" if self.axis is None else "  }}")
        put("}")
        return "\n".join(lines)

    def _prefetch(self, lines: list[str]) -> None:
        """Ask for the next item's rows, into the second cache: the first is full of this item's and of the sums of its row."""
        ahead = "e + 1" if self.axis is None else "k + 1"
        bound = "end" if self.axis is None else "items"
        wanted = [
            (n, slot)
            for n, slot in enumerate(self.inputs)
            if slot.index not in (SHARED, self.axis) and slot.dim * self.size >= 128 and n not in self.splines.inputs
        ]
        if not wanted:
            return
        lines.append(f"    if ({ahead} < {bound}) {{")
        lines.append(
            f"      const i64 f = {ahead};" if self.axis is None else "      const i64 f = order ? order[k + 1] : k + 1;"
        )
        for n, slot in wanted:
            position = "f" if slot.index == ITEM else f"index{self.form.indices.index(slot.index)}[f]"
            lines.append(f"      const char* q{n} = (const char*)(in{n} + {position} * {slot.dim}LL);")
            lines.append(f"      for (int b = 0; b < {slot.dim * self.size}; b += 64) __builtin_prefetch(q{n} + b, 0, 2);")
        lines.append("    }")

    def written_once(self, output: int) -> bool:
        """Whether every segment of the output is the target of exactly one path: then values are stored, not added."""
        slot = self.program.outputs[output][0].slot
        if slot in (self.roles.left, self.roles.fold):
            return False
        targets = [p.segments[term.slot] for term in self.program.outputs[output][:1] for p in self.form.paths]
        same = all(term.slot == slot for term in self.program.outputs[output])
        return same and sorted(targets) == list(range(len(self.outputs[output].segments)))

    def streamed(self, output: int) -> bool:
        """Whether the output's rows can be written past the caches, in whole lines."""
        slot = self.outputs[output]
        return (
            slot.index == ITEM
            and output not in self.splines.outputs
            and self.written_once(output)
            and all(s.channels and s.channels[0] % self.width == 0 for s in slot.segments)
        )

    # --- the entry point
    # --------------------------------------------------------------------------------------------------------

    def private(self) -> list[int]:
        return [n for n, slot in enumerate(self.outputs) if self._is_private(slot.index)]

    def _count(self, n: int, array: str = "a") -> str:
        index = self.outputs[n].index
        return "1LL" if index == SHARED else f"{array}[{4 + 4 * self.form.indices.index(index)}]"

    def _workspace_offset(self, output: int) -> str:
        sizes = [f"(a[0] - 1) * {self._count(n)} * {self.outputs[n].dim}LL" for n in self.private() if n < output]
        return " + ".join(sizes) or "0"

    def _run_function(self) -> str:
        lines = ['extern "C" void tesseral_run(const i64* a) {', "  const i64 chunks = a[0];"]
        lines.append("  #pragma omp parallel for num_threads(chunks) schedule(static, 1)")
        lines.append("  for (i64 chunk = 0; chunk < chunks; chunk++) work(a, chunk);")
        at = 4 + 4 * len(self.form.indices) + len(self.inputs)
        sums = [(at + n, self._workspace_offset(n), f"{self._count(n)} * {self.outputs[n].dim}LL") for n in self.private()]
        sums += self.splines.private()
        for argument, offset, total in sums:
            lines += [
                "  if (chunks > 1) {",
                f"    T* out = (T*)a[{argument}]; const T* others = (const T*)a[3] + {offset};",
                f"    const i64 total = {total};",
                "    #pragma omp parallel for num_threads(chunks) schedule(static, 1)",
                "    for (i64 chunk = 0; chunk < chunks; chunk++) {",
                "      i64 i = total * chunk / chunks; const i64 end = total * (chunk + 1) / chunks;",
                "      for (; i + W <= end; i += W) { V s = *(const X*)(out + i);",
                "        for (i64 t = 0; t < chunks - 1; t++) s += *(const X*)(others + t * total + i); *(X*)(out + i) = s; }",
                "      for (; i < end; i++) for (i64 t = 0; t < chunks - 1; t++) out[i] += others[t * total + i];",
                "    }",
                "  }",
            ]
        lines.append("}")
        return "\n".join(lines)
