"""The one operation: a multilinear program applied to tensors, differentiable to any order.

Its derivatives are itself with the derivative's program. It has two doors:

- ``torch.ops.tesseral.multilinear``, keyed by the program's text, for ``torch.compile``, ``torch.export`` and ``make_fx``;
- an ``autograd.Function`` for eager mode and ``torch.func``, whose forward mode and ``vmap`` are right (a custom op's jvp is
  silently zero).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import unwrap_dead_wrappers

from tesseral.kernels import dispatch
from tesseral.kernels.function import Function, executed
from tesseral.kernels.index_map import IndexMap, flatten, unflatten
from tesseral.kernels.spec import ITEM, SHARED, Derivative, Program


def multilinear(
    program: Program, tensors: Sequence[Tensor], maps: Sequence[IndexMap], rows: Sequence[int], backend: str = "auto"
) -> tuple[Tensor, ...]:
    """The outputs of ``program``, each (rows, dim) of its slot.

    ``tensors``: one (rows, dim) per input. ``maps`` and ``rows``: a map and the number of its rows for each name in
    ``program.form.indices``. Raises ``ValueError`` for tensors that do not fit, ``BackendError`` where a named backend cannot
    run it.
    """
    if torch.compiler.is_compiling():
        return tuple(torch.ops.tesseral.multilinear(program.key, list(tensors), flatten(list(maps)), list(rows), backend))
    if _plain(tensors):
        return dispatch.execute(program, tensors, maps, rows, backend)
    if len(program.outputs) == 1 and torch.is_grad_enabled():
        dispatch.anticipate(program, tensors, backend)
    return _Multilinear.apply(program, tuple(rows), backend, *tensors, *flatten(list(maps)))


def _plain(tensors: Sequence[Tensor]) -> bool:
    """Whether nothing watches: no gradients, no forward mode, no transform, no tracer."""
    if torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack():
        return False
    if torch.autograd.forward_ad._current_level >= 0 or any(type(t) not in (Tensor, torch.nn.Parameter) for t in tensors):
        return False
    return not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))


class _Multilinear(Function):
    """The door for eager mode and ``torch.func``."""

    @staticmethod
    def forward(program: Program, rows: tuple[int, ...], backend: str, *arguments: Tensor) -> tuple[Tensor, ...]:
        tensors, maps = arguments[: program.num_inputs], arguments[program.num_inputs :]
        if torch._C._len_torch_dispatch_stack() or any(type(t) not in (Tensor, torch.nn.Parameter) for t in arguments):
            return tuple(torch.ops.tesseral.multilinear(program.key, list(tensors), list(maps), list(rows), backend))
        return dispatch.execute(program, tensors, unflatten(list(maps)), rows, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple[Tensor, ...]) -> None:
        ctx.program, ctx.rows, ctx.backend, *arguments = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*arguments)
        ctx.save_for_forward(*arguments)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        program, number = ctx.program, ctx.program.num_inputs
        saved = unwrap_dead_wrappers(ctx.saved_tensors)  # once: under checkpointing every access unpacks
        tensors, maps = saved[:number], unflatten(list(saved[number:]))
        derivative = program.gradient(executed(ctx)[:number], [c is not None for c in cotangents])
        gradients: list[Tensor | None] = [None] * (3 + number + 3 * len(maps))
        for target, value in _apply(derivative, tensors, cotangents, maps, ctx.rows, ctx.backend):
            gradients[3 + target] = value
        return tuple(gradients)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        program, number = ctx.program, ctx.program.num_inputs
        saved = ctx.saved_tensors
        tensors, maps = saved[:number], unflatten(list(saved[number:]))
        given = tangents[3 : 3 + number]
        derivative = program.tangent([t is not None for t in given])
        found = dict(_apply(derivative, tensors, given, maps, ctx.rows, ctx.backend))
        shapes = _output_shapes(program, tensors, maps, ctx.rows)
        return tuple(found[n] if n in found else tensors[0].new_zeros(shape) for n, shape in enumerate(shapes))

    @staticmethod
    def vmap(info: Any, in_dims: tuple, program: Program, rows: tuple[int, ...], backend: str, *arguments: Tensor):
        number = program.num_inputs
        samples = []
        for sample in range(info.batch_size):
            chosen = [t if d is None else t.select(d, sample) for t, d in zip(arguments, in_dims[3:], strict=True)]
            samples.append(multilinear(program, chosen[:number], unflatten(chosen[number:]), rows, backend))
        if not samples:
            chosen = [t if d is None else t.new_zeros(t.shape[:d] + t.shape[d + 1 :]) for t, d in zip(arguments, in_dims[3:])]
            shapes = _output_shapes(program, chosen[:number], unflatten(chosen[number:]), rows)
            return tuple(chosen[0].new_zeros((0, *shape)) for shape in shapes), (0,) * len(shapes)
        return tuple(torch.stack(outputs) for outputs in zip(*samples, strict=True)), (0,) * len(program.outputs)


def _apply(
    derivative: Derivative | None,
    tensors: Sequence[Tensor],
    others: Sequence[Tensor | None],
    maps: Sequence[IndexMap],
    rows: Sequence[int],
    backend: str,
) -> list[tuple[int, Tensor]]:
    """(target, value) of each output of a derivative, given the inputs and the cotangents or tangents."""
    if derivative is None:
        return []
    available = [*tensors, *others]
    chosen = [available[position].contiguous() for position in derivative.inputs]  # type: ignore[union-attr]
    return list(zip(derivative.targets, multilinear(derivative.program, chosen, maps, rows, backend), strict=True))


def _output_shapes(program: Program, tensors: Sequence[Tensor], maps: Sequence[IndexMap], rows: Sequence[int]) -> list[tuple]:
    counts: dict[str, Any] = {SHARED: 1, **dict(zip(program.form.indices, rows))}
    counts[ITEM] = (
        maps[0].index.shape[0]
        if maps
        else next((t.shape[0] for t, slot in zip(tensors, program.input_slots) if slot.index == ITEM), 1)
    )
    return [(counts[slot.index], slot.dim) for slot in program.output_slots]


# The door for compilers. The program travels as text, so that a graph means the same in another process.
_SCHEMA = "(str program, Tensor[] tensors, Tensor[] maps, SymInt[] rows, str backend) -> Tensor[]"
torch.library.define("tesseral::multilinear", _SCHEMA)


@torch.library.impl("tesseral::multilinear", "CompositeExplicitAutograd")
def _run(program: str, tensors: list[Tensor], maps: list[Tensor], rows: list[int], backend: str) -> list[Tensor]:
    # AOTInductor gives None for an empty list
    return list(dispatch.execute(Program.from_key(program), tensors, unflatten(maps or []), rows or [], backend))


@torch.library.register_fake("tesseral::multilinear")
def _fake(program: str, tensors: list[Tensor], maps: list[Tensor], rows: list[int], backend: str) -> list[Tensor]:
    shapes = _output_shapes(Program.from_key(program), tensors, [IndexMap(maps[i]) for i in range(0, len(maps), 3)], rows)
    return [tensors[0].new_empty(shape) for shape in shapes]


def _setup_context(ctx: Any, inputs: tuple, output: list[Tensor]) -> None:
    ctx.key, tensors, maps, ctx.rows, ctx.backend = inputs
    ctx.count = len(tensors)
    ctx.save_for_backward(*tensors, *maps)


def _backward(ctx: Any, cotangents: list[Tensor | None]):
    program = Program.from_key(ctx.key)
    saved = ctx.saved_tensors
    tensors, maps = list(saved[: ctx.count]), list(saved[ctx.count :])
    derivative = program.gradient(ctx.needs_input_grad[1], [c is not None for c in cotangents])
    gradients: list[Tensor | None] = [None] * ctx.count
    if derivative is not None:
        available = [*tensors, *cotangents]
        chosen = [available[position] for position in derivative.inputs]
        values = torch.ops.tesseral.multilinear(derivative.program.key, chosen, maps, ctx.rows, ctx.backend)
        for target, value in zip(derivative.targets, values, strict=True):
            gradients[target] = value
    # torch takes an empty list of row counts for a list of tensors, and wants a list back
    return None, gradients, [None] * len(maps), None if ctx.rows else [], None


torch.library.register_autograd("tesseral::multilinear", _backward, setup_context=_setup_context)
