"""C++ of a program's inputs and outputs that are cubic splines of the items' distances instead of tensors.

Within the loop over the items: its inputs are put together from four rows of coefficients where the products want them, in registers,
and its outputs, which are cotangents of such inputs, are taken apart after them into gradients by the distance and by the coefficients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Spline:
    """What an input or output of a program is instead of a tensor with one row per item.

    As an input: the derivative of ``order`` of a cubic spline of the item's distance, times a factor per item if ``factor``, plus
    a spline with tangents of the coefficients in their place if ``tangent``. As an output: the cotangent of such an input, which
    is passed on to the distances and to the spline's coefficients.
    """

    order: int
    factor: bool = False
    tangent: bool = False

    def basis(self, more: int = 0) -> str:
        """The name of its four B-splines, or of their derivatives."""
        return f"b{self.order + more}{'f' if self.factor else ''}"


@dataclass(frozen=True)
class Splines:
    """The inputs and outputs (number, spline) of a program that belong to one spline, and which of its gradients are wanted."""

    inputs: tuple[tuple[int, Spline], ...] = ()
    outputs: tuple[tuple[int, Spline], ...] = ()
    of_distances: bool = False
    of_table: bool = False


NO_SPLINES = Splines()

BASIS = """\
// Where x lies among the knots: the interval, and the way into it; -1 from the last knot on.
static inline i64 interval(double x, double step, i64 intervals, double& t) {{
  double s = x / step;
  if (!(s < intervals)) return -1;
  if (s < 0) s = 0;
  i64 k = (i64)s;
  t = s - k;
  return k;
}}
// The four cubic B-splines at t, or their derivatives by it, times a factor.
static inline void cubic(double t, int order, double factor, {scalar}* b) {{
  double u = 1 - t;
  switch (order) {{
    case 0: factor /= 6; b[0] = factor * u * u * u; b[1] = factor * (4 + t * t * (3 * t - 6)); b[2] = factor * (1 + 3 * t * (1 + t * u)); b[3] = factor * t * t * t; break;
    case 1: factor /= 2; b[0] = -factor * u * u; b[1] = factor * t * (3 * t - 4); b[2] = factor * (1 + t * (2 - 3 * t)); b[3] = factor * t * t; break;
    case 2: b[0] = factor * u; b[1] = factor * (3 * t - 2); b[2] = factor * (1 - 3 * t); b[3] = factor * t; break;
    case 3: b[0] = -factor; b[1] = 3 * factor; b[2] = -3 * factor; b[3] = factor; break;
    default: b[0] = b[1] = b[2] = b[3] = 0;
  }}
}}
"""


_PLAIN = Spline(0)  # of the tangents of the coefficients


class SplineCode:
    """Pieces of the source, empty where nothing is a spline.

    ``dim`` columns are handled ``width`` at a time. From position ``at`` on the arguments hold the distances, the factors, the
    coefficients, their tangents, the number of intervals, the address of the step (a double), and the gradients by the distances
    and by the coefficients. Threads after the first have the latter at ``offset`` in the workspace.
    """

    def __init__(self, splines: Splines, dim: int, width: int, at: int, offset: str) -> None:
        self.inputs, self.outputs = dict(splines.inputs), dict(splines.outputs)
        self.of_distances, self.of_table = splines.of_distances, splines.of_table
        self.dim, self.width, self.at, self.offset = dim, width, at, offset
        self.has_tangent = any(s.tangent for s in (*self.inputs.values(), *self.outputs.values()))

    def __bool__(self) -> bool:
        return bool(self.inputs or self.outputs)

    def functions(self) -> list[str]:
        """The B-splines, and what leads from the outputs of an item to the gradients, in one pass."""
        parts = [BASIS.format(scalar="T")] if self else []
        if self.outputs:
            parts.append(self._spreading())
        return parts

    def set_up(self) -> list[str]:
        """What a thread needs before its loop."""
        if not self:
            return []
        lines = [
            f"  const T* distances = (const T*)a[{self.at}]; const T* factors = (const T*)a[{self.at + 1}];",
            f"  const T* table = (const T*)a[{self.at + 2}]; const T* tangents = (const T*)a[{self.at + 3}];",
            f"  const i64 intervals = a[{self.at + 4}]; const double step = *(const double*)a[{self.at + 5}], inverse = 1 / step;",
            f"  T* of_distances = (T*)a[{self.at + 6}]; T* of_table = (T*)a[{self.at + 7}];",
        ]
        if self.of_table:
            lines += [
                f"  if (chunk) of_table = (T*)a[3] + {self.offset} + (chunk - 1) * (intervals + 3) * {self.dim}LL;",
                f"  __builtin_memset(of_table, 0, (intervals + 3) * {self.dim}LL * sizeof(T));",
            ]
        return lines + [f"  T spline_out{n}[{self.dim}] ALIGNED;" for n in self.outputs]

    def begin(self) -> list[str]:
        """What the inputs of item e are made from: rows r of coefficients and s of their tangents, and B-splines."""
        if not self:
            return []
        lines = [
            "    double way = 0; i64 knot = interval(distances[e], step, intervals, way); const bool beyond = knot < 0;",
            "    if (beyond) knot = 0;",
        ]
        for name, (order, factor) in self._bases().items():
            scale = " * ".join([*(["factors[e]"] if factor else []), *["inverse"] * order]) or "1.0"
            lines.append(f"    T {name}[4]; cubic(way, {order}, beyond ? 0.0 : {scale}, {name});")
        rows = [("r", "table"), *[("s", "tangents")] * self.has_tangent] if self.inputs else []
        return lines + [f"    const T* {name} = {table} + knot * {self.dim};" for name, table in rows]

    def parameters(self) -> list[str]:
        """The names of what :meth:`value` reads."""
        if not self.inputs:
            return []
        bases = {s.basis() for s in self.inputs.values()} | ({_PLAIN.basis()} if self.has_tangent else set())
        return ["r", *["s"] * self.has_tangent, *sorted(bases)]

    def value(self, number: int, address: str, name: Callable[[tuple, str], str]) -> str:
        """A vector of input ``number``; ``name`` makes a local of an expression, once for each key."""
        spline = self.inputs[number]

        def four(basis: str, table: str) -> str:
            rows = [name((table, j, address), f"load<N>({table} + {j * self.dim} + {address})") for j in range(4)]
            products = [f"{basis}[{j}] * {row}" for j, row in enumerate(rows)]
            return f"({products[0]} + {products[1]}) + ({products[2]} + {products[3]})"

        return four(spline.basis(), "r") + (f" + {four(_PLAIN.basis(), 's')}" if spline.tangent else "")

    def spread(self) -> list[str]:
        """The gradients from the outputs of item e."""
        if not self.outputs:
            return []
        names = "".join(f", {name}" for name in self._bases()) + "".join(f", spline_out{n}" for n in self.outputs)
        call = f"spread({self._tables()}, of_table + knot * {self.dim}{names});"
        return [f"    {'of_distances[e] = ' if self.of_distances else ''}{call}"]

    def private(self) -> list[tuple[int, str, str]]:
        """(argument, offset in the workspace, size) of what each thread sums by itself."""
        return [(self.at + 7, self.offset, f"(a[{self.at + 4}] + 3) * {self.dim}LL")] if self.of_table else []

    def _tables(self) -> str:
        """The rows at the knot, as arguments."""
        return ", ".join(f"{name} + knot * {self.dim}" for name in ["table", *["tangents"] * self.has_tangent])

    def _bases(self) -> dict[str, tuple[int, bool]]:
        """The B-splines that an item needs: name -> (order, whether times the factor)."""
        found = {s.basis(): (s.order, s.factor) for s in self.inputs.values()}
        if self.has_tangent:
            found[_PLAIN.basis()] = (0, False)
            if self.of_distances:
                found[_PLAIN.basis(1)] = (1, False)
        for s in self.outputs.values():
            if self.of_table:
                found[s.basis()] = (s.order, s.factor)
            if self.of_distances:
                found[s.basis(1)] = (s.order + 1, s.factor)
        return found

    def _rows(self, name: str) -> str:
        return ", ".join(f"*{name}{j} = {name} + {j * self.dim}" for j in range(4))

    def _spreading(self) -> str:
        names = "".join(f", const T* {name}" for name in self._bases())
        names += "".join(f", const T* __restrict__ g{n}" for n in self.outputs)

        def body(a: _Access) -> list[str]:
            lines = [f"const {a.kind} v{n} = {a.load(f'g{n}')};" for n in self.outputs]
            for j in range(4 if self.of_table else 0):
                value = " + ".join(f"{s.basis()}[{j}] * v{n}" for n, s in self.outputs.items())
                lines.append(a.store(f"d{j}", f"{a.load(f'd{j}')} + ({value})"))
            if self.of_distances:
                lines += self._load_rows(a)
                for at, (n, s) in enumerate(self.outputs.items()):
                    total = "last" if a.kind == "T" else ("sum", "more")[at % 2]
                    lines.append(f"{total} += v{n} * ({self._value(s, 1)});")
            return lines

        head = f"INLINE T spread({self._row_parameters()}, T* __restrict__ d{names}) {{"
        start = [f"  T {self._rows('d')}, last = 0; V sum = {{}}, more = {{}};"]
        end = ["  sum += more;", "  for (int i = 0; i < W; i++) last += sum[i];", "  return last;", "}"]
        return "\n".join([head, *self._row_pointers(), *start, *self._by_columns(body), *end])

    def _row_parameters(self) -> str:
        return ", ".join(f"const T* __restrict__ {name}" for name in ["r", *["s"] * self.has_tangent])

    def _row_pointers(self) -> list[str]:
        return [f"  const T {self._rows(name)};" for name in ["r", *["s"] * self.has_tangent]]

    def _load_rows(self, a: _Access) -> list[str]:
        lines = [f"const {a.kind} t{j} = {a.load(f'r{j}')};" for j in range(4)]
        return lines + [f"const {a.kind} u{j} = {a.load(f's{j}')};" for j in range(4 if self.has_tangent else 0)]

    @staticmethod
    def _value(s: Spline, more: int = 0) -> str:
        value = _four(s.basis(more), "t")
        return f"{value} + {_four(_PLAIN.basis(more), 'u')}" if s.tangent else value

    def _by_columns(self, body: Callable[[_Access], list[str]]) -> list[str]:
        whole, lines = self.dim // self.width * self.width, []
        if whole:
            lines.append(f"  for (int i = 0; i < {whole}; i += W) {{ {' '.join(body(_VECTORS))} }}")
        if whole < self.dim:
            lines.append(f"  for (int i = {whole}; i < {self.dim}; i++) {{ {' '.join(body(_NUMBERS))} }}")
        return lines


@dataclass(frozen=True)
class _Access:
    """How a column, or a vector of them, is read and written at ``i``."""

    kind: str
    read: str
    write: str

    def load(self, pointer: str) -> str:
        return self.read.format(pointer)

    def store(self, pointer: str, value: str) -> str:
        return self.write.format(pointer, value)


_VECTORS = _Access("V", "load<W>({} + i)", "store<W>({} + i, {});")
_NUMBERS = _Access("T", "{}[i]", "{}[i] = {};")


def _four(basis: str, rows: str) -> str:
    return f"({basis}[0] * {rows}0 + {basis}[1] * {rows}1) + ({basis}[2] * {rows}2 + {basis}[3] * {rows}3)"
