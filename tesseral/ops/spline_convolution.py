r"""The convolution whose weights are splines of the edges' lengths, put together and taken apart within its kernel."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tesseral.kernels import cpu
from tesseral.kernels.cpu import SplineTensors
from tesseral.kernels.cpu_spline_source import Spline, Splines
from tesseral.kernels.index_map import IndexMap
from tesseral.kernels.spec import OUTPUT, Derivative, Program, Term, derivative
from tesseral.kernels.spline import Knots
from tesseral.ops.convolution import ConvolutionPlan, convolution
from tesseral.ops.fused import apply
from tesseral.ops.spline import spline

# Numbers of the tensors in the terms of the derivatives; the first three are the slots of the convolution's form.
_X, _Y, _W, _G, _OF_X, _OF_Y, _OF_W = range(7)


def spline_convolution(
    plan: ConvolutionPlan,
    x: Float[Tensor, "nodes features"],
    y: Float[Tensor, "edges harmonics"],
    lengths: Float[Tensor, " edges"],
    coefficients: Float[Tensor, "rows weights"],
    knots: Knots,
    edge_index: Int64[Tensor, "2 edges"],
    source_order: Int64[Tensor, " edges"] | None = None,
    destination_pointers: Int64[Tensor, " nodes+1"] | None = None,
    backend: str = "auto",
) -> Float[Tensor, "nodes messages"]:
    r""":func:`~tesseral.ops.convolution.convolution` with the weights ``spline(lengths, coefficients, knots)``.

    On a CPU neither the weights of the edges nor their gradients are ever in memory: the coefficients, which stay in the cache,
    take their place. Differentiable to any order. Raises ``ValueError`` for shapes that do not fit.
    """
    if coefficients.shape[0] != knots.rows or coefficients.shape[1] != plan.weight_numel:
        raise ValueError(
            f"coefficients are {tuple(coefficients.shape)}; {knots.intervals} intervals and the convolution's weights need "
            f"({knots.rows}, {plan.weight_numel})"
        )
    rule = SplineConvolutionRule(plan, knots, (edge_index, source_order, destination_pointers), backend)
    tensors = (x, y, lengths, coefficients)
    if torch.compiler.is_compiling() or not rule.has_kernel:
        return rule.definition(*tensors)
    if torch.is_grad_enabled():
        rule.anticipate(x.dtype, [t.requires_grad for t in tensors])
    return apply(rule, *tensors)


class SplineConvolutionRule:
    """The convolution, its gradient and second gradient; tensors are features, harmonics, lengths and coefficients."""

    def __init__(
        self, plan: ConvolutionPlan, knots: Knots, edges: tuple[Tensor, Tensor | None, Tensor | None], backend: str = "auto"
    ) -> None:
        self.plan, self.knots, self.edges, self.backend = plan, knots, edges, backend

    @property
    def has_kernel(self) -> bool:
        return bool(self.plan.paths) and self.backend in ("auto", "cpu") and cpu.channelwise(self.plan.program)

    def definition(self, *tensors: Tensor) -> Tensor:
        x, y, lengths, coefficients = tensors
        return convolution(self.plan, x, y, spline(lengths, coefficients, self.knots), *self.edges, self.backend)

    def anticipate(self, dtype: torch.dtype, wanted: Sequence[bool]) -> None:
        """Begin compiling the gradient, while the value is compiled and computed."""
        found = _first(self.plan.program, *wanted)
        if found is not None and dtype in (torch.float32, torch.float64):
            cpu.anticipate(found[0].program, dtype, found[1])

    def value(self, *tensors: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        program, splines = self.plan.program, Splines(((_W, Spline(0)),))
        return self._run(program, splines, tensors[:2], tensors)[0], ()

    def gradient(
        self, g: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor], wanted: Sequence[bool]
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        found = _first(self.plan.program, *wanted)
        assert found is not None
        return list(self._derived(found, {_X: tensors[0], _Y: tensors[1], _G: g}, tensors).values()), ()

    def second_gradient(
        self,
        cotangents: Sequence[Tensor | None],
        g: Tensor,
        tensors: Sequence[Tensor],
        kept: Sequence[Tensor],
        wanted: Sequence[bool],
    ) -> list[Tensor | None] | None:
        of_x, of_y, factor, tangents = cotangents
        if tangents is not None and factor is None:
            factor = torch.zeros_like(tensors[2])
        found = _second(self.plan.program, of_x is not None, of_y is not None, factor is not None, tangents is not None, *wanted)
        if found is None:
            return [None] * 5
        given = {_X: tensors[0], _Y: tensors[1], _G: g, _OF_X: of_x, _OF_Y: of_y}
        values = self._derived(found, given, tensors, factor, tangents)
        return [values.get(target) for target in (_G, _X, _Y, _W, _OF_W)]  # None is zero

    def _derived(
        self,
        found: tuple[Derivative, Splines],
        given: dict[int, Tensor | None],
        tensors: Sequence[Tensor],
        factor: Tensor | None = None,
        tangents: Tensor | None = None,
    ) -> dict[int, Tensor]:
        """Values by target; those by lengths and coefficients come last, as ``_W`` and ``_OF_W``."""
        program, splines = found
        of_splines = {number for number, _ in splines.inputs}
        chosen = [given[n] for at, n in enumerate(program.inputs) if at not in of_splines]
        values = self._run(program.program, splines, chosen, tensors, factor, tangents)  # type: ignore[arg-type]
        targets = [n for n in program.targets if n not in (_W, _OF_W)]
        targets += [target for target, want in ((_W, splines.of_distances), (_OF_W, splines.of_table)) if want]
        return dict(zip(targets, values, strict=True))

    def _run(
        self,
        program: Program,
        splines: Splines,
        given: Sequence[Tensor],
        tensors: Sequence[Tensor],
        factor: Tensor | None = None,
        tangents: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        x, _, lengths, coefficients = tensors
        made_from = SplineTensors(lengths, factor, coefficients, tangents, self.knots.intervals, self.knots.constants)
        (source, destination), source_order, destination_pointers = self.edges
        maps = IndexMap(source, source_order, None), IndexMap(destination, None, destination_pointers)
        nodes = x.shape[0]
        return cpu.spline_kernel(program, x.dtype, splines)(given, maps, (nodes, nodes), made_from)


def _splines(found: Derivative, of_distances: bool, of_table: bool, tangent: bool = False) -> tuple[Derivative, Splines]:
    """Which inputs and outputs of a derivative are splines: the weights, and their tangents.

    These follow from the tangents of the lengths, which are the factor, and with ``tangent`` from those of the coefficients.
    """
    kinds = {_W: Spline(0), _OF_W: Spline(1, factor=True, tangent=tangent)}
    inputs = tuple((at, kinds[n]) for at, n in enumerate(found.inputs) if n in kinds)
    outputs = tuple((at, kinds[n]) for at, n in enumerate(found.targets) if n in kinds)
    return found, Splines(inputs, outputs, of_distances and bool(outputs), of_table and bool(outputs))


@functools.lru_cache(maxsize=256)
def _first(
    program: Program, of_x: bool, of_y: bool, of_lengths: bool, of_coefficients: bool
) -> tuple[Derivative, Splines] | None:
    found = program.gradient((of_x, of_y, of_lengths or of_coefficients))
    return None if found is None else _splines(found, of_lengths, of_coefficients)


@functools.lru_cache(maxsize=256)
def _second(
    program: Program,
    given_x: bool,
    given_y: bool,
    given_w: bool,
    tangent: bool,
    of_g: bool,
    of_x: bool,
    of_y: bool,
    of_lengths: bool,
    of_coefficients: bool,
) -> tuple[Derivative, Splines] | None:
    """Gradients of <cotangents, gradient>: with respect to g, the tensors, and the tangents of the weights."""
    of_w = of_lengths or of_coefficients
    wanted = [n for n, want in ((_G, of_g), (_X, of_x), (_Y, of_y), (_W, of_w), (_OF_W, of_w)) if want]
    found: dict[int, list[Term]] = {n: [] for n in wanted}
    for slot, given in ((_X, given_x), (_Y, given_y), (_W, given_w)):
        if not given:
            continue
        bound = [_X, _Y, _W, _G]
        bound[slot] = slot + _OF_X
        for target in wanted:
            if target in bound:
                found[target].append(Term(tuple(OUTPUT if n == target else n for n in bound)))
    result = derivative(program.form, found)
    return None if result is None else _splines(result, of_lengths, of_coefficients, tangent)
