"""Autograd functions that are called a hundred times in a step."""

from __future__ import annotations

from typing import Any

import torch
from torch._functorch.utils import unwrap_dead_wrappers


class Function(torch.autograd.Function):
    """``torch.autograd.Function`` whose ``apply`` does not inspect signatures, which takes 0.1 ms a call with ``setup_context``.

    Arguments are positional and complete; all else is as in torch.
    """

    @classmethod
    def apply(cls, *args: Any) -> Any:
        if torch._C._are_functorch_transforms_active() or torch.compiler.is_compiling():
            return super().apply(*args)
        return super(torch.autograd.Function, cls).apply(*unwrap_dead_wrappers(args))  # type: ignore[misc]


def executed(ctx: Any) -> list[bool]:
    """Which gradients of the inputs that are tensors the running backward pass will use.

    ``ctx.needs_input_grad`` only tells which have one.
    Forces are the gradient of positions alone: without this, every pass for them would compute the gradients of all weights.
    """
    return [_will_run(node) for node, _ in ctx.next_functions]


def _will_run(node: Any) -> bool:
    if node is None:
        return False
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # a leaf that autograd.grad was asked for, or no running pass that could be asked
        return True
