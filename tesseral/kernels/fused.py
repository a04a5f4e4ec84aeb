"""Calls of the C++ of :mod:`tesseral.kernels.fused_source`: matrix products by blocks, perceptrons, gates, radial functions.

Functions of plain CPU tensors without autograd; :mod:`tesseral.ops` makes differentiable operations of them. Each takes
contiguous tensors of one dtype, float32 or float64, and returns new ones.
"""

from __future__ import annotations

import array
import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tesseral.kernels import cpu_build, fused_source, memory

_SCALARS = {torch.float32: "float", torch.float64: "double"}
_SERIAL_WORK = 100_000  # multiply-adds below which one thread is as fast as several


def available(*tensors: Tensor | None) -> bool:
    """Whether these tensors can be given to compiled code now: dense, on the CPU, of one supported dtype, and watched by nobody.

    Nobody: no transformation of ``torch.func``, no forward mode, no tracer, no autocast. (Autograd may watch.)
    """
    first = tensors[0]
    assert first is not None
    dtype = first.dtype
    if not first.is_cpu or dtype not in _SCALARS or torch.compiler.is_compiling():
        return False
    if torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack():
        return False
    if torch.autograd.forward_ad._current_level >= 0 or torch.is_autocast_enabled("cpu"):
        return False
    for t in tensors:
        if t is not None and (type(t) not in _PLAIN or t.dtype != dtype or not t.is_cpu):
            return False
    return cpu_build.missing_compiler() is None


_PLAIN = (Tensor, torch.nn.Parameter)


@functools.cache
def _library(dtype: torch.dtype) -> ctypes.CDLL:
    library = cpu_build.load(fused_source.emit(_SCALARS[dtype], cpu_build.target()))
    for name in ("linear", "outer", "perceptron", "gate", "bessel"):
        function = getattr(library, f"tesseral_{name}")
        function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p], None
    return library


def _address(t: Tensor | None) -> int:
    return 0 if t is None else t.data_ptr()


def _threads(work: int) -> int:
    return max(1, torch.get_num_threads()) if work > _SERIAL_WORK else 1


class Numbers:
    """Integers or doubles in memory that C++ can read."""

    def __init__(self, code: str, values: Sequence[int] | Sequence[float]) -> None:
        self._values = array.array(code, values)
        self.address = self._values.buffer_info()[0]

    def __reduce__(self) -> tuple:
        """Copies and pickles have memory of their own."""
        return Numbers, (self._values.typecode, self._values.tolist())


@dataclass(frozen=True)
class Blocks:
    """A map by blocks: paths (column in, width in, column out, width out, components, first weight, coefficient)."""

    paths: tuple[tuple[int, int, int, int, int, int, float], ...]
    dim_in: int
    dim_out: int
    weights: int

    def transposed(self) -> Blocks:
        return self._transposed

    @cached_property
    def _transposed(self) -> Blocks:
        return Blocks(tuple((b, m, a, n, c, w, f) for a, n, b, m, c, w, f in self.paths), self.dim_out, self.dim_in, self.weights)

    @cached_property
    def work(self) -> int:
        return sum(n * m * c for _, n, _, m, c, _, _ in self.paths)

    @cached_property
    def _table(self) -> Numbers:
        rows: list[int] = []
        written = set()
        for a, n, b, m, components, start, _ in self.paths:
            rows += [a, n, b, m, components, start, int(b in written)]
            written.add(b)
        return Numbers("q", rows)

    @cached_property
    def _coefficients(self) -> Numbers:
        return Numbers("d", [p[-1] for p in self.paths] or [0.0])

    @cached_property
    def _zeros(self) -> tuple[int, Numbers]:
        """Runs of output columns that no path writes."""
        free = [True] * self.dim_out
        for _, _, b, m, components, _, _ in self.paths:
            free[b : b + m * components] = [False] * (m * components)
        runs: list[int] = []
        for column, is_free in enumerate(free):
            if is_free and runs and runs[-2] + runs[-1] == column:
                runs[-1] += 1
            elif is_free:
                runs += [column, 1]
        return len(runs) // 2, Numbers("q", runs or [0])


def linear(x: Tensor, weight: Tensor, blocks: Blocks, transposed: bool, groups: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """x (rows, dim_in) times the blocks' matrices: (rows, dim_out).

    ``weight`` (groups, weights) is stored (width out, width in) if ``transposed``.

    ``groups = (order, pointers)`` lists the rows of each group; without it there is one.
    """
    rows = x.shape[0]
    y = memory.empty((rows, blocks.dim_out), x.dtype)
    order, pointers = _groups(rows, groups)
    zeros, runs = blocks._zeros
    numbers = (
        _threads(rows * blocks.work), len(pointers) - 1, int(transposed), x.stride(0), blocks.weights, y.stride(0),
        len(blocks.paths), zeros, _address(order), pointers.data_ptr(), blocks._table.address, runs.address,
        x.data_ptr(), weight.data_ptr(), y.data_ptr(),
    )  # fmt: skip
    packed = array.array("q", numbers)
    _library(x.dtype).tesseral_linear(packed.buffer_info()[0], blocks._coefficients.address)
    return y


def outer(x: Tensor, y: Tensor, blocks: Blocks, groups: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """The gradient of the weights, x^T y summed over the rows of each group: (groups, weights)."""
    rows = x.shape[0]
    order, pointers = _groups(rows, groups)
    result = x.new_empty(len(pointers) - 1, blocks.weights)
    numbers = (
        _threads(rows * blocks.work), len(pointers) - 1, 0, x.stride(0), blocks.weights, y.stride(0), len(blocks.paths), 0,
        _address(order), pointers.data_ptr(), blocks._table.address, 0, x.data_ptr(), result.data_ptr(), y.data_ptr(),
    )  # fmt: skip
    packed = array.array("q", numbers)
    _library(x.dtype).tesseral_outer(packed.buffer_info()[0], blocks._coefficients.address)
    return result


def _groups(rows: int, groups: tuple[Tensor, Tensor] | None) -> tuple[Tensor | None, Tensor]:
    return (None, _all_rows(rows)) if groups is None else groups


@functools.lru_cache(maxsize=64)
def _all_rows(rows: int) -> Tensor:
    """The pointers of the one group there is; small steps ask for them a hundred times."""
    return torch.tensor((0, rows))


@dataclass(frozen=True)
class Layers:
    """A perceptron: widths, the factor of each matrix, the activation ("silu", "tanh") and its factor."""

    dims: tuple[int, ...]
    factors: tuple[float, ...]
    activation: str
    scale: float

    @cached_property
    def hidden(self) -> int:
        return sum(self.dims[1:-1])

    @cached_property
    def _dims(self) -> Numbers:
        return Numbers("q", self.dims)

    @cached_property
    def _factors(self) -> Numbers:
        return Numbers("d", [*self.factors, self.scale])

    def run(
        self,
        mode: int,
        rows: int,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor] | None = None,
        **tensors: Tensor | None,
    ) -> None:
        """One pass, see the source; ``tensors`` are x, z, y, g, gh, gx, u."""
        work = rows * sum(n * m for n, m in zip(self.dims, self.dims[1:]))
        pointers = array.array("q", [w.data_ptr() for w in weights])
        results = array.array("q", [0 if g is None else g.data_ptr() for g in gradients]) if gradients is not None else None
        values = [_address(tensors.get(name)) for name in ("x", "z", "y", "g", "gh", "gx", "u")]
        head = [
            mode,
            _threads(work),
            rows,
            len(weights),
            ACTIVATIONS[self.activation],
            self._dims.address,
            pointers.buffer_info()[0],
        ]
        packed = array.array("q", [*head, 0 if results is None else results.buffer_info()[0], *values])
        _library(weights[0].dtype).tesseral_perceptron(packed.buffer_info()[0], self._factors.address)


ACTIVATIONS = {"identity": 0, "silu": 1, "tanh": 2}


def perceptron(x: Tensor, weights: Sequence[Tensor], layers: Layers) -> tuple[Tensor, Tensor]:
    """The output (rows, width) and what comes before the activations, (rows, sum of hidden widths)."""
    rows = x.shape[0]
    y, z = memory.empty((rows, layers.dims[-1]), x.dtype), x.new_empty(rows, layers.hidden)
    layers.run(0, rows, weights, x=x, z=z, y=y)
    return y, z


def perceptron_gradient(
    g: Tensor, x: Tensor, z: Tensor, weights: Sequence[Tensor], layers: Layers, of_input: bool, of_weights: bool
) -> tuple[Tensor | None, Tensor, list[Tensor] | None]:
    """Gradients of <g, y> with respect to x, to what comes after the activations (always), and to the weights."""
    rows = g.shape[0]
    gx, gh = torch.empty_like(x) if of_input else None, torch.empty_like(z)
    gw = [torch.empty_like(w) for w in weights] if of_weights else None
    layers.run(1, rows, weights, gw, x=x, z=z, g=g, gh=gh, gx=gx)
    return gx, gh, gw


def perceptron_second_gradient(
    u: Tensor, g: Tensor, x: Tensor, z: Tensor, gh: Tensor, weights: Sequence[Tensor], layers: Layers, of_weights: bool
) -> tuple[Tensor, Tensor, list[Tensor] | None]:
    """Gradients of <u, gx> with respect to g, x and the weights, where gx is that of :func:`perceptron_gradient`."""
    gg, gx = memory.empty(g.shape, g.dtype), torch.empty_like(x)
    gw = [torch.empty_like(w) for w in weights] if of_weights else None
    layers.run(2, g.shape[0], weights, gw, x=x, z=z, y=gg, g=g, gh=gh, gx=gx, u=u)
    return gg, gx, gw


@dataclass(frozen=True)
class GateTable:
    """A gate: scalars (column in, column out, width, activation, factor), gates (column in, width, activation, factor), and gated
    pieces (column in, stride, components, first gate, width, column out)."""

    dim_in: int
    dim_out: int
    scalars: tuple[tuple[int, int, int, str, float], ...]
    gates: tuple[tuple[int, int, str, float], ...]
    gated: tuple[tuple[int, int, int, int, int, int], ...]

    @cached_property
    def _numbers(self) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        scalars = [n for a, b, width, act, _ in self.scalars for n in (a, b, width, ACTIVATIONS[act])]
        gates = [n for a, width, act, _ in self.gates for n in (a, width, ACTIVATIONS[act])]
        gated = [n for piece in self.gated for n in piece]
        factors = [s[-1] for s in self.scalars] + [s[-1] for s in self.gates]
        return (
            Numbers("q", scalars or [0]),
            Numbers("q", gates or [0]),
            Numbers("q", gated or [0]),
            Numbers("d", factors or [0.0]),
        )

    def run(self, mode: int, x: Tensor, g: Tensor | None, u: Tensor | None, y: Tensor | None, gx: Tensor | None) -> None:
        scalars, gates, gated, factors = self._numbers
        number = sum(s[1] for s in self.gates)
        head = (
            mode,
            _threads(x.numel() * 8),
            x.numel() // self.dim_in,
            self.dim_in,
            self.dim_out,
            len(self.scalars),
            len(self.gates),
            len(self.gated),
        )
        tables = (number, scalars.address, gates.address, gated.address)
        packed = array.array("q", [*head, *tables, *map(_address, (x, g, u, y, gx))])
        _library(x.dtype).tesseral_gate(packed.buffer_info()[0], factors.address)


def gate(x: Tensor, table: GateTable) -> Tensor:
    """The gated features, (..., dim_out)."""
    y = x.new_empty(*x.shape[:-1], table.dim_out)
    table.run(0, x, None, None, y, None)
    return y


def gate_gradient(g: Tensor, x: Tensor, table: GateTable) -> Tensor:
    """The gradient of <g, y> with respect to x."""
    gx = torch.empty_like(x)
    table.run(1, x, g, None, None, gx)
    return gx


def gate_second_gradient(u: Tensor, g: Tensor, x: Tensor, table: GateTable) -> tuple[Tensor, Tensor]:
    """Gradients of <u, gate_gradient> with respect to g and x."""
    gg, gx = torch.empty_like(g), torch.empty_like(x)
    table.run(2, x, g, u, gg, gx)
    return gg, gx


@dataclass(frozen=True)
class Bessel:
    """Functions a sin(n pi r / cutoff) / r, n = 1..number, times the polynomial cutoff of a power, of vectors (rows, 3)."""

    number: int
    cutoff: float
    factor: float
    power: float

    @cached_property
    def _constants(self) -> Numbers:
        return Numbers("d", [self.cutoff, self.factor, float(self.power)])

    def run(self, mode: int, vectors: Tensor, g: Tensor | None, u: Tensor | None, y: Tensor | None, gv: Tensor | None) -> None:
        rows = vectors.shape[0]
        packed = array.array("q", [mode, _threads(rows * 64), rows, self.number, *map(_address, (vectors, g, u, y, gv))])
        _library(vectors.dtype).tesseral_bessel(packed.buffer_info()[0], self._constants.address)


def bessel(vectors: Tensor, functions: Bessel) -> Tensor:
    """The functions' values, (rows, number)."""
    y = vectors.new_empty(vectors.shape[0], functions.number)
    functions.run(0, vectors, None, None, y, None)
    return y


def bessel_gradient(g: Tensor, vectors: Tensor, functions: Bessel) -> Tensor:
    """The gradient of <g, values> with respect to the vectors."""
    gv = torch.empty_like(vectors)
    functions.run(1, vectors, g, None, None, gv)
    return gv


def bessel_second_gradient(u: Tensor, g: Tensor, vectors: Tensor, functions: Bessel) -> tuple[Tensor, Tensor]:
    """Gradients of <u, bessel_gradient> with respect to g and the vectors."""
    gg, gv = torch.empty_like(g), torch.empty_like(vectors)
    functions.run(2, vectors, g, u, gg, gv)
    return gg, gv
