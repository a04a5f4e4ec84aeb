"""The products of a linear map and of its weights' gradient, written where they belong: each the derivative of the other."""

from typing import Any

import torch
from torch import Tensor

from tesseral.kernels import fused
from tesseral.kernels.function import Function, executed
from tesseral.ops.linear_plan import LinearPlan


class Linear(Function):
    """y = x W, or with ``transpose`` x = y W^T, on rows; its derivatives are itself and :class:`Outer`."""

    generate_vmap_rule = False

    @staticmethod
    def forward(x: Tensor, weight: Tensor, plan: LinearPlan, transpose: bool) -> Tensor:
        x, weight = _rows(x), weight.contiguous()
        if fused.available(x, weight):
            return fused.linear(x, weight, plan.compiled.transposed() if transpose else plan.compiled, transpose)
        blocks_in, blocks_out = (plan.blocks_out, plan.blocks_in) if transpose else (plan.blocks_in, plan.blocks_out)
        result = x.new_empty(x.shape[0], plan.dim_in if transpose else plan.dim_out)
        written = set()
        for path in plan.paths:
            i, j = (path.i_out, path.i_in) if transpose else (path.i_in, path.i_out)
            n, m = plan.blocks_in[path.i_in][2], plan.blocks_out[path.i_out][2]
            if not n * m:
                continue
            matrix = weight[path.start : path.start + n * m].view(n, m)
            matrix = matrix.T if transpose else matrix
            (a, components, width_in), (b, _, width_out) = blocks_in[i], blocks_out[j]
            beta = 1 if j in written else 0
            for c in range(components):
                target = result[:, b + c * width_out : b + (c + 1) * width_out]
                source = x[:, a + c * width_in : a + (c + 1) * width_in]
                torch.addmm(target, source, matrix, beta=beta, alpha=path.coefficient, out=target)
            written.add(j)
        for j, (b, components, width) in enumerate(blocks_out):
            if j not in written:
                result[:, b : b + components * width] = 0
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, weight, ctx.plan, ctx.transpose = inputs
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        of_x, of_weight = executed(ctx)
        grad_x = Linear.apply(grad, weight, ctx.plan, not ctx.transpose) if of_x else None
        grad_weight = None
        if of_weight:
            grad_weight = Outer.apply(grad, x, ctx.plan) if ctx.transpose else Outer.apply(x, grad, ctx.plan)
        return grad_x, grad_weight, None, None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dweight: Tensor | None, _plan: None, _transpose: None) -> Tensor:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        first = None if dx is None else Linear.apply(dx, weight, ctx.plan, ctx.transpose)
        second = None if dweight is None else Linear.apply(x, dweight, ctx.plan, ctx.transpose)
        return _add(first, second)

    @staticmethod
    def vmap(info: Any, in_dims: tuple, x: Tensor, weight: Tensor, plan: LinearPlan, transpose: bool) -> tuple[Tensor, int]:
        at_x, at_weight, *_ = in_dims
        if at_weight is None:  # one batch more
            x = x.movedim(at_x, 0)
            return Linear.apply(x.flatten(0, 1), weight, plan, transpose).unflatten(0, x.shape[:2]), 0
        weights = weight.movedim(at_weight, 0)
        xs = [x] * len(weights) if at_x is None else x.movedim(at_x, 0)
        return torch.stack([Linear.apply(x, w, plan, transpose) for x, w in zip(xs, weights, strict=True)]), 0


class Outer(Function):
    """The weights' gradient, W = x^T y summed over rows and components."""

    generate_vmap_rule = False

    @staticmethod
    def forward(x: Tensor, y: Tensor, plan: LinearPlan) -> Tensor:
        x, y = _rows(x), _rows(y)
        if fused.available(x, y):
            return fused.outer(x, y, plan.compiled).flatten()
        result = x.new_empty(plan.weight_numel)
        for path in plan.paths:
            a, components, n = plan.blocks_in[path.i_in]
            b, _, m = plan.blocks_out[path.i_out]
            if not n * m:
                continue
            target = result[path.start : path.start + n * m].view(n, m)
            for c in range(components):
                left, right = x[:, a + c * n : a + (c + 1) * n], y[:, b + c * m : b + (c + 1) * m]
                torch.addmm(target, left.T, right, beta=1 if c else 0, alpha=path.coefficient, out=target)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, y, ctx.plan = inputs
        ctx.save_for_backward(x, y)
        ctx.save_for_forward(x, y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, y = ctx.saved_tensors
        of_x, of_y = executed(ctx)
        grad_x = Linear.apply(y, grad, ctx.plan, True) if of_x else None
        grad_y = Linear.apply(x, grad, ctx.plan, False) if of_y else None
        return grad_x, grad_y, None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dy: Tensor | None, _plan: None) -> Tensor:  # type: ignore[override]
        x, y = ctx.saved_tensors
        first = None if dx is None else Outer.apply(dx, y, ctx.plan)
        second = None if dy is None else Outer.apply(x, dy, ctx.plan)
        return _add(first, second)

    @staticmethod
    def vmap(info: Any, in_dims: tuple, x: Tensor, y: Tensor, plan: LinearPlan) -> tuple[Tensor, int]:
        at_x, at_y, *_ = in_dims
        xs = [x] * info.batch_size if at_x is None else x.movedim(at_x, 0)
        ys = [y] * info.batch_size if at_y is None else y.movedim(at_y, 0)
        return torch.stack([Outer.apply(a, b, plan) for a, b in zip(xs, ys, strict=True)]), 0


def _rows(x: Tensor) -> Tensor:
    """Rows whose entries are contiguous, as matrix products want them."""
    return x if x.stride(-1) == 1 and x.stride(0) >= x.shape[-1] else x.contiguous()


def _add(a: Tensor | None, b: Tensor | None) -> Tensor:
    if a is None or b is None:
        result = b if a is None else a
        assert result is not None
        return result
    return a + b
