"""C++ for the channelwise programs: every output in one pass over the items, nothing stored per edge but the results.

A program is *channelwise* when its one channel letter runs along the vector units. Per path its slots take roles:

- ``left`` and ``right``: the slots with components and channels (features and messages of a convolution),
- ``fold``: the third slot with components, usually without channels (the harmonics),
- weights: slots with channels and one component.

The fold operand is contracted with the coefficients first, once per item: each distinct combination sum_j c_j y_j is one
scalar of a short array, computed by a few vector operations (the *B-form*). What is left per path are multiply-adds over
contiguous channels with these scalars as broadcast memory operands. The terms of all outputs share what they have in common:
weighted left vectors ``alpha`` (outputs at right and fold) and folded right vectors ``s`` (outputs at left and at the
weights). One generator thus gives forward, backward, double backward and so on.
"""

from __future__ import annotations

from dataclasses import dataclass

from tesseral.kernels.cpu_spline_source import NO_SPLINES, SplineCode, Splines
from tesseral.kernels.spec import ITEM, OUTPUT, SHARED, Path, Program, Term


class Refused(Exception):
    """The program is outside the class this generator covers; the message says why."""


@dataclass(frozen=True)
class Target:
    """What the generated code may use: the vector width in bytes and masked loads and stores."""

    vector_bytes: int
    masked: bool


@dataclass(frozen=True)
class Roles:
    left: int
    right: int | None
    fold: int | None
    weights: tuple[int, ...]
    fold_is_free: bool


def roles(program: Program) -> Roles:
    """The role of each slot. Raises :class:`Refused` for programs that are not channelwise."""
    form = program.form
    free: list[int] = []
    channel: list[int] = []
    widest: list[int] = []
    for number, slot in enumerate(form.slots):
        letters = {p.subscripts[number] for p in form.paths}
        if not letters <= {"", "u"} or len(letters) > 1:
            raise Refused("its channels are not one vector index (a matrix product, done by torch)")
        (channel if letters == {"u"} else free).append(number)
        widest.append(max((slot.segments[p.segments[number]].components for p in form.paths), default=0))
    if not form.paths:
        raise Refused("it has no paths")
    if len(free) > 1:
        raise Refused(f"{len(free)} of its slots have no channels; one is supported")
    if not channel:
        raise Refused("it has no channels")
    many = [n for n in channel if widest[n] > 1]
    fold = free[0] if free else None
    if len(many) > (2 if free else 3):
        raise Refused(f"{len(many)} of its slots have components and channels")
    if len(many) == 3:
        fold = min(many, key=lambda n: widest[n])
        many.remove(fold)
    for n in channel:  # a weight can stand in where there are fewer than two vectors
        if len(many) < 2 and n not in many and n != fold:
            many.append(n)
    many.sort(key=lambda n: (len({p.segments[n] for p in form.paths}), n))
    left, right = many[0], many[1] if len(many) > 1 else None
    return Roles(left, right, fold, tuple(n for n in channel if n not in (left, right, fold)), bool(free))


def axis_of(program: Program) -> str | None:
    """The map whose rows are visited one after the other; None where no output is summed over a map."""
    sizes: dict[str, int] = {}
    for slot in program.output_slots:
        if slot.index not in (ITEM, SHARED):
            sizes[slot.index] = sizes.get(slot.index, 0) + slot.dim
    if not sizes:
        return None
    # The other end of the edges often has the wider rows as inputs: visiting those in order costs private copies of the
    # smaller output.
    for slot in program.input_slots:
        if slot.index not in (ITEM, SHARED):
            sizes[slot.index] = sizes.get(slot.index, 0) + slot.dim
    return max(sizes, key=lambda name: sizes[name])


def emit(program: Program, scalar: str, target: Target, axis: str | None, splines: Splines = NO_SPLINES) -> str:
    """The C++ source of the program for ``scalar`` "float" or "double": one function ``tesseral_run`` of an array of int64.

    The array holds: chunks, items, stream, workspace; rows, index, order, pointers of each map; then the inputs and the outputs
    (nothing where they are splines); then, with splines, the distances, the factors, the coefficients, their tangents, the
    number of intervals, the address of the step (a double), and the gradients by the distances and by the coefficients.
    """
    return _Emitter(program, scalar, target, axis, splines).source()


_PRELUDE = """\
typedef long long i64;
typedef {scalar} T;
enum {{ W = {width} }};
typedef T V __attribute__((vector_size({vector_bytes})));
typedef T X __attribute__((vector_size({vector_bytes}), aligned(sizeof(T)), may_alias));
#if defined(__AVX512F__)
typedef {mask} mask_t;
#endif
template <int N> static inline V load(const T* p) {{
{load_masked}  return *(const X*)p;
}}
template <int N> static inline void store(T* p, V v) {{
{store_masked}  *(X*)p = v;
}}
template <int N> static inline void add(T* p, V v) {{ store<N>(p, load<N>(p) + v); }}
template <int N> static inline void put(T* p, V v, bool stream) {{
{stream}  store<N>(p, v);
}}
static inline i64 lower_bound(const i64* p, i64 n, i64 value) {{
  i64 low = 0;
  while (n > 0) {{ i64 half = n / 2; if (p[low + half] < value) {{ low += half + 1; n -= half + 1; }} else n = half; }}
  return low;
}}
#define ALIGNED __attribute__((aligned({vector_bytes})))
#define INLINE static inline __attribute__((always_inline))
"""


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
        single, bits = self.scalar == "float", self.width
        load = store = stream = ""
        if self.target.masked:
            suffix = "ps" if single else "pd"
            mask, zero = "(mask_t)((1u << N) - 1)", "(V){}"
            load = f"  if (N < W) return (V)__builtin_ia32_loadu{suffix}512_mask((const T*)p, {zero}, {mask});\n"
            store = f"  if (N < W) {{ __builtin_ia32_storeu{suffix}512_mask(p, v, {mask}); return; }}\n"
        if self.target.vector_bytes == 64:
            stream = f"  if (N == W && stream) {{ __builtin_ia32_movnt{'ps' if single else 'pd'}512(p, v); return; }}\n"
        return _PRELUDE.format(
            scalar=self.scalar,
            width=bits,
            vector_bytes=self.target.vector_bytes,
            mask="unsigned short" if single else "unsigned char",
            load_masked=load,
            store_masked=store,
            stream=stream,
        )

    # --- folding the channel-free operand with the coefficients ----------------------------------------------------------

    def _pairs(self, p: Path) -> dict[tuple[int, int], list[tuple[int, float]]]:
        """(component of left, of right) -> [(component of fold, coefficient)]."""
        left, right, fold = self.roles.left, self.roles.right, self.roles.fold
        pairs: dict[tuple[int, int], list[tuple[int, float]]] = {}
        for index, value in p.coefficients:
            key = (index[left], index[right] if right is not None else 0)
            pairs.setdefault(key, []).append((index[fold] if fold is not None else 0, value))
        return pairs

    def _fold_key(self, p: Path, combination: list[tuple[int, float]]) -> tuple[tuple, bool]:
        """The combination as (column of the fold operand, coefficient), the first positive, and whether the sign was turned."""
        offset = self.form.slots[self.roles.fold].offsets[p.segments[self.roles.fold]]  # type: ignore[index]
        negative = combination[0][1] < 0
        return tuple((offset + j, -c if negative else c) for j, c in combination), negative

    def _collect_entries(self) -> None:
        keys = {self._fold_key(p, combination)[0] for p in self.form.paths for combination in self._pairs(p).values()}
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
        names = [("const T* __restrict__ ", f"i{n}") for n in range(len(self.inputs))]
        names += [("const T* __restrict__ ", f"m{n}") for n in self.folded]
        names += [("V* __restrict__ " if n in self.reduced else "T* __restrict__ ", f"o{n}") for n in range(len(self.outputs))]
        return ", ".join(name if call else kind + name for kind, name in names)

    def _group_function(self, number: int, extent: int, paths: list[Path]) -> str:
        body = _Body(self, extent)
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
        lines += self.splines.assemble()
        for n, slot in enumerate(self.inputs):
            row = f"spline_in{n}" if n in self.splines.inputs else self._row(slot.index, slot.dim, f"in{n}")
            put(f"    const T* i{n} = {row};")
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
        """Ask for the next item's rows."""
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
            lines.append(f"      for (int b = 0; b < {slot.dim * self.size}; b += 64) __builtin_prefetch(q{n} + b);")
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


class _Body:
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
        return self.name(("load", tensor, segment, component), f"load<N>(i{tensor} + {self._address(slot, segment, component)})")

    def path(self, p: Path) -> None:
        emitter = self.emitter
        self.p, self.pairs = p, emitter._pairs(p)
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
            key, negative = self.emitter._fold_key(self.p, combination)
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
            parts = []
            for tensor, some in groups.items():
                for pair in sorted(pair for pair in self.pairs if pair[1] == b):
                    matrix, negative = self._matrix(tensor, pair)
                    parts.append(f"{'-' if negative else '+'} {matrix} * {self._left(some, pair[0])}")
            self._write(output, right, b, parts)

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
            grouped: dict[tuple[int, float], list[tuple[tuple[int, int], float]]] = {}
            for pair, combination in sorted(self.pairs.items()):
                for j, c in combination:
                    grouped.setdefault((j, abs(c)), []).append((pair, c))
            for (j, size), entries in sorted(grouped.items()):
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
