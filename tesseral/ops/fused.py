"""Operations written by hand to second order and by definition beyond: fast in training, right at any order.

A step of training on forces needs the value of each operation, its gradient, and the gradient of that gradient. A :class:`Rule`
gives the three as compiled code, and the definition in differentiable torch operations, which serves everywhere else: higher
derivatives, ``torch.func``, tracing and compiling, other devices and types.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from tesseral.kernels import fused
from tesseral.kernels.function import Function, executed


@runtime_checkable
class Rule(Protocol):
    """One operation of several tensors with one result; what the last three methods get is contiguous and not differentiated."""

    def definition(self, *tensors: Tensor) -> Tensor:
        """The result, in differentiable torch operations."""

    def value(self, *tensors: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The result, and what the gradient would like to have again."""

    def gradient(
        self, g: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor], wanted: Sequence[bool]
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """The wanted gradients of <g, result>, and what the second gradient would like to have again."""

    def second_gradient(
        self,
        cotangents: Sequence[Tensor | None],
        g: Tensor,
        tensors: Sequence[Tensor],
        kept: Sequence[Tensor],
        wanted: Sequence[bool],
    ) -> list[Tensor | None] | None:
        """Gradients with respect to g and the tensors of <cotangents, gradient>; None where only the definition knows them.

        There is a cotangent for each tensor, None for what was not wanted; ``wanted`` tells what is wanted now, of g and the
        tensors.
        """


@dataclass(frozen=True)
class UnaryRule:
    """The rule of one tensor x: its definition, and compiled y(x), gradient(g, x), and gradients(u, g, x) of <u, gradient>."""

    of_one: Callable[[Tensor], Tensor]
    compiled: Callable[[Tensor], Tensor]
    compiled_gradient: Callable[[Tensor, Tensor], Tensor]
    compiled_second: Callable[[Tensor, Tensor, Tensor], Sequence[Tensor]]

    def definition(self, *tensors: Tensor) -> Tensor:
        return self.of_one(*tensors)

    def value(self, *tensors: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.compiled(*tensors), ()

    def gradient(
        self, g: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor], wanted: Sequence[bool]
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        return [self.compiled_gradient(g, tensors[0])] if wanted[0] else [], ()

    def second_gradient(
        self,
        cotangents: Sequence[Tensor | None],
        g: Tensor,
        tensors: Sequence[Tensor],
        kept: Sequence[Tensor],
        wanted: Sequence[bool],
    ) -> list[Tensor | None] | None:
        (u,) = cotangents
        return None if u is None else list(self.compiled_second(u, g, tensors[0]))


def apply(rule: Rule, *tensors: Tensor) -> Tensor:
    """The rule's result, by compiled code where there is any for these tensors."""
    if fused.available(*tensors):
        # Here, not inside: a copy made there has no history, and the second derivative would end at it.
        return _Value.apply(rule, *(t.contiguous() for t in tensors))
    return rule.definition(*tensors)


class _Value(Function):
    @staticmethod
    def forward(ctx: Any, rule: Rule, *tensors: Tensor) -> Tensor:
        result, kept = rule.value(*tensors)
        ctx.rule, ctx.count = rule, len(tensors)
        ctx.save_for_backward(*tensors, *kept)
        return result

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        tensors, kept = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        wanted = executed(ctx)
        if fused.available(g, *tensors):
            found = iter(_Gradient.apply(ctx.rule, wanted, ctx.count, g.contiguous(), *tensors, *kept))
        else:
            found = iter(_gradient_by_definition(ctx.rule, wanted, g, *tensors))
        return None, *(next(found) if want else None for want in wanted)


class _Gradient(Function):
    @staticmethod
    def forward(ctx: Any, rule: Rule, wanted: list[bool], count: int, g: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        tensors, kept = rest[:count], rest[count:]
        found, more = rule.gradient(g, tensors, kept, wanted)
        ctx.rule, ctx.wanted, ctx.count = rule, wanted, count
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(g, *tensors, *kept, *more)
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        given = iter(cotangents)
        spread = [next(given) if want else None for want in ctx.wanted]
        g, *tensors = ctx.saved_tensors[: ctx.count + 1]
        kept = ctx.saved_tensors[ctx.count + 1 :]
        wanted = executed(ctx)[: ctx.count + 1]
        second = None
        if not torch.is_grad_enabled() and fused.available(g, *tensors, *spread):
            spread = [None if c is None else c.contiguous() for c in spread]
            second = ctx.rule.second_gradient(spread, g, tensors, kept, wanted)
        if second is None:
            second = _second_by_definition(ctx.rule, ctx.wanted, cotangents, g, *tensors)
        second = [value if want else None for value, want in zip(second, wanted, strict=True)]
        return None, None, None, *second, *[None] * (len(ctx.needs_input_grad) - ctx.count - 4)


def _gradient_by_definition(rule: Rule, wanted: Sequence[bool], g: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    _, pull = torch.func.vjp(rule.definition, *tensors)  # type: ignore[misc]
    return tuple(value for value, want in zip(pull(g), wanted, strict=True) if want)


def _second_by_definition(
    rule: Rule, wanted: Sequence[bool], cotangents: Sequence[Tensor | None], g: Tensor, *tensors: Tensor
) -> list[Tensor | None]:
    gradient = functools.partial(_gradient_by_definition, rule, wanted)
    values, pull = torch.func.vjp(gradient, g, *tensors)  # type: ignore[misc]
    return list(pull(tuple(torch.zeros_like(v) if c is None else c for c, v in zip(cotangents, values, strict=True))))
