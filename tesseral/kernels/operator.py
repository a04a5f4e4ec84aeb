"""The one operation: a multilinear program applied to tensors, differentiable to any order.

Its derivatives are itself with the derivative's program. It has two doors:

- ``torch.ops.tesseral.multilinear``, keyed by the program's text, for ``torch.compile``, ``torch.export`` and ``make_fx``;
- an ``autograd.Function`` for eager mode and ``torch.func``, whose forward mode and ``vmap`` are right (a custom op's jvp is
  silently zero; the other door raises instead).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import unwrap_dead_wrappers
from torch.autograd import forward_ad

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
    if (kind := tensors[0].device.type) != "meta" and torch.is_autocast_enabled(kind):  # meta has none to ask for
        tensors = _agreed(tensors)
    if torch.compiler.is_compiling():
        return tuple(torch.ops.tesseral.multilinear(program.key, list(tensors), flatten(list(maps)), list(rows), backend))
    if _plain(tensors):
        return dispatch.execute(program, tensors, maps, rows, backend)
    if len(program.outputs) == 1 and torch.is_grad_enabled():
        dispatch.anticipate(program, tensors, backend)
    return _Multilinear.apply(program, tuple(rows), backend, *tensors, *flatten(list(maps)))


def _agreed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """All in the widest of their types, at least float32: under autocast matrix products hand on less, no type to sum in."""
    widest = functools.reduce(torch.promote_types, (t.dtype for t in tensors), torch.float32)
    return [t.to(widest) for t in tensors]


def _plain(tensors: Sequence[Tensor]) -> bool:
    """Whether nothing watches: no gradients, no forward mode, no transform, no tracer."""
    if torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack():
        return False
    if forward_ad._current_level >= 0 or any(type(t) not in (Tensor, torch.nn.Parameter) for t in tensors):
        return False
    return not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))


class _Multilinear(Function):
    """The door for eager mode and ``torch.func``."""

    @staticmethod
    def forward(program: Program, rows: tuple[int, ...], backend: str, *arguments: Tensor) -> tuple[Tensor, ...]:
        tensors, maps = arguments[: program.num_inputs], arguments[program.num_inputs :]
        if torch._C._len_torch_dispatch_stack() or any(type(t) not in (Tensor, torch.nn.Parameter) for t in arguments):
            with forward_ad._set_fwd_grad_enabled(False):  # that is what jvp is for
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
        number, count = program.num_inputs, info.batch_size
        front = [t if d is None else t.movedim(d, 0) for t, d in zip(arguments, in_dims[3:], strict=True)]
        batched = [d is not None for d in in_dims[3:]]
        if not count:
            chosen = [t.new_zeros(t.shape[1:]) if many else t for t, many in zip(front, batched, strict=True)]
            shapes = _output_shapes(program, chosen[:number], unflatten(chosen[number:]), rows)
            return tuple(chosen[0].new_zeros((0, *shape)) for shape in shapes), (0,) * len(shapes)
        if _foldable(program, front[:number], batched, count):
            whole = [t if many else t.expand(count, *t.shape) for t, many in zip(front, batched, strict=True)]
            tensors = [t if slot.index == SHARED else w.flatten(0, 1) for t, w, slot in zip(front, whole, program.input_slots)]
            maps = [
                _fold(whole[i], whole[i + 1], whole[i + 2], n) for i, n in zip(range(number, len(whole), 3), rows, strict=True)
            ]
            outputs = multilinear(program, tensors, maps, [count * n for n in rows], backend)
            return tuple(y.unflatten(0, (count, -1)) for y in outputs), (0,) * len(outputs)
        samples = []
        for sample in range(count):
            chosen = [t[sample] if many else t for t, many in zip(front, batched, strict=True)]
            samples.append(multilinear(program, chosen[:number], unflatten(chosen[number:]), rows, backend))
        return tuple(torch.stack(outputs) for outputs in zip(*samples, strict=True)), (0,) * len(program.outputs)


_MOST_COPIES = 1 << 22
"""Numbers of which copies are made for a batch in one call; beyond, calls for each sample are cheaper."""


def _foldable(program: Program, tensors: Sequence[Tensor], batched: Sequence[bool], count: int) -> bool:
    """Whether a batch can be many graphs side by side: no sample has, or sums to, a row that all items share."""
    if any(slot.index == SHARED for slot in program.output_slots) or any(t.numel() == 0 for t in tensors):
        return False
    pairs = list(zip(tensors, program.input_slots, batched, strict=False))
    if any(slot.index == SHARED and many for _, slot, many in pairs):
        return False
    return count * sum(t.numel() for t, slot, many in pairs if not many and slot.index != SHARED) <= _MOST_COPIES


def _fold(index: Tensor, order: Tensor, pointers: Tensor, rows: int) -> IndexMap:
    """One map of all samples' items to all samples' rows; arguments (samples, ...), empty for what is unknown."""
    count, items = index.shape
    sample = torch.arange(count, device=index.device)[:, None]
    known = bool(pointers.shape[1])
    ends = (pointers[:, :-1] + sample * items).flatten()
    return IndexMap(
        (index + sample * rows).flatten(),
        (order + sample * items).flatten() if order.shape[1] else None,
        torch.cat([ends, ends.new_full((1,), count * items)]) if known else None,
    )


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
    # Tangents cannot be seen from here, and torch would pass over them in silence.
    if forward_ad._current_level >= 0 and torch._C._is_fwd_grad_enabled():
        raise RuntimeError(
            "torch.ops.tesseral.multilinear has no forward-mode derivative: call tesseral.kernels.operator.multilinear, which has"
        )
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
