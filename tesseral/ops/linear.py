r"""The equivariant linear map: one matrix per pair of blocks of the same irrep, the same for every component.

In the ``ir_mul`` layout each component of a block is a matrix (batch, channels) inside the feature tensor, and the products read
and write those matrices in place: no block is copied, gathered or concatenated, in any order of derivative.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tesseral.kernels import fused, row_products
from tesseral.kernels.function import Function, executed
from tesseral.o3 import Irreps
from tesseral.ops.fused import apply

MANY_ROWS = 128
"""Without compiled code, from here on writing in place is faster than copying blocks: measured on CPUs for 32 to 128 channels."""


@dataclass(frozen=True)
class LinearPath:
    """Block ``i_in`` to block ``i_out`` by the weights from ``start``, row-major (mul_in, mul_out), times ``coefficient``."""

    i_in: int
    i_out: int
    start: int
    coefficient: float


@dataclass(frozen=True)
class LinearPlan:
    """What a linear map does, as plain numbers: blocks ``(offset, components, channels)``, paths, biased blocks."""

    blocks_in: tuple[tuple[int, int, int], ...]
    blocks_out: tuple[tuple[int, int, int], ...]
    paths: tuple[LinearPath, ...]
    biased: tuple[int, ...]
    layout: str

    groups: tuple[tuple[int, int, float, tuple[int, ...]], ...]
    """Paths whose weights are one matrix, as (i_out, start, coefficient, (i_in, ...)): one product each."""

    def __post_init__(self) -> None:
        # worked out now, because Dynamo cannot enter a cached property
        assert min(self.dim_in, self.dim_out, self.weight_numel, self.bias_numel) >= 0

    @cached_property
    def dim_in(self) -> int:
        return sum(components * channels for _, components, channels in self.blocks_in)

    @cached_property
    def dim_out(self) -> int:
        return sum(components * channels for _, components, channels in self.blocks_out)

    @cached_property
    def weight_numel(self) -> int:
        return sum(self.blocks_in[p.i_in][2] * self.blocks_out[p.i_out][2] for p in self.paths)

    @cached_property
    def bias_numel(self) -> int:
        return sum(self.blocks_out[i][2] for i in self.biased)

    @cached_property
    def compiled(self) -> fused.Blocks:
        """The same in the terms of the compiled code (layout ``ir_mul``)."""
        ends = [(self.blocks_in[p.i_in], self.blocks_out[p.i_out], p) for p in self.paths]
        rows = [(a, n, b, m, components, p.start, p.coefficient) for (a, components, n), (b, _, m), p in ends if n * m]
        return fused.Blocks(tuple(rows), self.dim_in, self.dim_out, self.weight_numel)

    def matrices(self, weight: Tensor) -> list[Tensor]:
        """Views (..., channels in, channels out) of the weights, one for each matrix that they form."""
        found = []
        for i_out, start, _, i_ins in self.groups:
            n, m = sum(self.blocks_in[i][2] for i in i_ins), self.blocks_out[i_out][2]
            found.append(weight[..., start : start + n * m].unflatten(-1, (n, m)))
        return found

    def scaled(self, factor: float) -> "LinearPlan":
        """The plan of the map times ``factor``."""
        paths = tuple(replace(p, coefficient=p.coefficient * factor) for p in self.paths)
        groups = tuple((i_out, start, coefficient * factor, i_ins) for i_out, start, coefficient, i_ins in self.groups)
        return replace(self, paths=paths, groups=groups)


def linear_plan(
    irreps_in: object,
    irreps_out: object,
    *,
    biases: bool = False,
    instructions: Sequence[tuple[int, int]] | None = None,
    path_normalization: str = "element",
    f_in: int | None = None,
    layout: str = "ir_mul",
) -> LinearPlan:
    r"""The plan of a linear map, with e3nn's order of weights and its coefficients.

    Paths go from every block to every block of the same irrep, input outer, unless ``instructions`` lists pairs
    ``(i_in, i_out)``. The coefficient is :math:`(f \sum n)^{-1/2}` over the paths into the same block (``"element"``) or
    :math:`(f\, n \cdot \#\text{paths})^{-1/2}` (``"path"``), with n input channels and the factor ``f_in`` where there is one.
    ``biases`` adds one to each channel of the 0e blocks. Raises ``ValueError`` for an instruction between different irreps.

    >>> plan = linear_plan("4x0e+2x1o", "3x1o+5x0e")
    >>> plan.weight_numel, [(p.i_in, p.i_out, p.coefficient) for p in plan.paths]
    (26, [(0, 1, 0.5), (1, 0, 0.7071067811865475)])
    """
    first, last = Irreps(irreps_in), Irreps(irreps_out)
    if layout not in ("ir_mul", "mul_ir"):
        raise ValueError(f"layout must be 'mul_ir' or 'ir_mul', got {layout!r}")
    if path_normalization not in ("element", "path"):
        raise ValueError(f"unknown path_normalization {path_normalization!r}: expected 'element' or 'path'")
    if instructions is None:
        instructions = [(i, j) for i, (_, a) in enumerate(first) for j, (_, b) in enumerate(last) if a == b]
    for i, j in instructions:
        if not (0 <= i < len(first) and 0 <= j < len(last)) or first[i].ir != last[j].ir:
            raise ValueError(f"no linear map by the instruction ({i}, {j}) from {first} to {last}: it must join equal irreps")
    paths, start = [], 0
    for i, j in instructions:
        same = [k for k, other in instructions if other == j]
        fan_in = sum(first[k].mul for k in same) if path_normalization == "element" else first[i].mul * len(same)
        paths.append(LinearPath(i, j, start, 1.0 / math.sqrt(max(1, fan_in * (f_in or 1)))))
        start += first[i].mul * last[j].mul
    biased = tuple(j for j, (mul, ir) in enumerate(last) if biases and ir.is_scalar() and mul)
    return LinearPlan(_blocks(first), _blocks(last), tuple(paths), biased, layout, merged_paths(paths, first, last))


def linear(
    x: Float[Tensor, "*batch dim_in"],
    weight: Float[Tensor, "*weight_batch weight_numel"],
    plan: LinearPlan,
    bias: Float[Tensor, "*bias_batch bias_numel"] | None = None,
) -> Float[Tensor, "*out dim_out"]:
    r"""The linear map :math:`y^{(j)}_{mv} = \sum_i c_{ij} \sum_u x^{(i)}_{mu} W^{(ij)}_{uv} + b^{(j)}_v` of a plan.

    ``weight`` is one row for all, or has leading axes that broadcast with the batch. For a plan with the factor ``f_in`` see
    :func:`linear_with_channels`. Raises ``ValueError`` for a last axis that does not fit the plan.

    >>> plan = linear_plan("2x1o", "1x1o")
    >>> linear(torch.eye(6), torch.tensor([1.0, 0.0]) * 2**0.5, plan).T
    tensor([[1., 0., 0., 0., 0., 0.],
            [0., 0., 1., 0., 0., 0.],
            [0., 0., 0., 0., 1., 0.]])
    """
    if x.shape[-1] != plan.dim_in:
        raise ValueError(f"the last axis of the features must be {plan.dim_in}, got shape {tuple(x.shape)}")
    if weight.shape[-1] != plan.weight_numel:
        raise ValueError(f"the last axis of the weights must be {plan.weight_numel}, got shape {tuple(weight.shape)}")
    if _in_place(x, weight, plan):
        rows = x if x.ndim == 2 else x.reshape(-1, plan.dim_in)
        y = _Linear.apply(rows, weight, plan, False)
        y = y if x.ndim == 2 else y.reshape(*x.shape[:-1], plan.dim_out)
    elif plan.layout == "ir_mul" and fused.available(x, weight) and x.ndim == 2 and x.shape[:1] == weight.shape[:-1]:
        y = apply(_ByGroup(plan, None), x, weight)
    else:
        y = _by_blocks(x, weight, plan)
    return y if bias is None or not plan.biased else y + _bias_row(bias, plan)


def linear_with_channels(
    x: Float[Tensor, "*batch f_in dim_in"],
    weight: Float[Tensor, "*weight_batch f_in f_out weight_numel"],
    plan: LinearPlan,
    bias: Float[Tensor, "*bias_batch f_out bias_numel"] | None = None,
) -> Float[Tensor, "*out f_out dim_out"]:
    """The linear map that mixes an additional axis of channels, from ``f_in`` to ``f_out``, the same for all irreps.

    >>> plan = linear_plan("2x1o", "1x1o", f_in=4)
    >>> linear_with_channels(torch.randn(5, 4, 6), torch.randn(4, 7, 2), plan).shape
    torch.Size([5, 7, 3])
    """
    y = linear(x.unsqueeze(-2), weight, plan).sum(-3)
    return y if bias is None or not plan.biased else y + _bias_row(bias, plan)


def merged_paths(paths: Sequence[LinearPath], first: Irreps, last: Irreps) -> tuple[tuple[int, int, float, tuple[int, ...]], ...]:
    """The ``groups`` of a plan: paths into the same block whose weights follow each other merged, the empty ones dropped."""
    groups: list[tuple[int, int, float, tuple[int, ...]]] = []
    end = -1
    for path in paths:
        size = first[path.i_in].mul * last[path.i_out].mul
        if not size:
            continue
        if groups and groups[-1][0] == path.i_out and groups[-1][2] == path.coefficient and end == path.start:
            i_out, start, coefficient, i_ins = groups[-1]
            groups[-1] = (i_out, start, coefficient, (*i_ins, path.i_in))
        else:
            groups.append((path.i_out, path.start, path.coefficient, (path.i_in,)))
        end = path.start + size
    return tuple(groups)


def linear_by_group(
    x: Float[Tensor, "rows dim_in"], group: Int[Tensor, " rows"], weight: Float[Tensor, "groups weight_numel"], plan: LinearPlan
) -> Float[Tensor, "rows dim_out"]:
    """The linear map whose weights are those of the row's group.

    >>> plan = linear_plan("1x0e", "1x0e")
    >>> linear_by_group(torch.ones(3, 1), torch.tensor([1, 0, 1]), torch.tensor([[2.0], [3.0]]), plan).T
    tensor([[3., 2., 3.]])
    """
    return apply(_ByGroup(plan, group), x, weight)


def _blocks(irreps: Irreps) -> tuple[tuple[int, int, int], ...]:
    return tuple((s.start, ir.dim, mul) for s, (mul, ir) in zip(irreps.slices(), irreps, strict=True))


# Up to this many groups, all products for every row are cheaper than gathering a matrix for each.
_FEW_GROUPS = 8


class _ByGroup:
    """The rule of :func:`linear_by_group`, which is linear in both tensors; without groups each row has weights of its own."""

    def __init__(self, plan: LinearPlan, group: Tensor | None) -> None:
        self.plan, self.group = plan, group

    def definition(self, *tensors: Tensor) -> Tensor:
        x, weight = tensors
        if self.group is None:
            return _by_blocks(x, weight, self.plan)
        if weight.shape[0] > _FEW_GROUPS:
            return _by_blocks(x, weight[self.group], self.plan)
        all_groups = _by_blocks(x[:, None, :], weight, self.plan)
        where = self.group[:, None, None].expand(-1, 1, all_groups.shape[2])
        return all_groups.gather(1, where).squeeze(1)

    def _map(self, x: Tensor, weight: Tensor, transposed: bool, groups: Sequence[Tensor]) -> Tensor:
        blocks = self.plan.compiled.transposed() if transposed else self.plan.compiled
        if not groups:
            return row_products.linear(x, weight, blocks, transposed)
        return fused.linear(x, weight, blocks, transposed, (groups[0], groups[1]))

    def _outer(self, x: Tensor, g: Tensor, groups: Sequence[Tensor]) -> Tensor:
        if not groups:
            return row_products.outer(x, g, self.plan.compiled)
        return fused.outer(x, g, self.plan.compiled, (groups[0], groups[1]))

    def value(self, *tensors: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, weight = tensors
        groups: tuple[Tensor, ...] = ()
        if self.group is not None:
            order = torch.argsort(self.group, stable=True)
            starts = torch.arange(weight.shape[0] + 1, device=x.device)
            groups = order, torch.searchsorted(self.group[order], starts)
        return self._map(x, weight, False, groups), groups

    def gradient(
        self, g: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor], wanted: Sequence[bool]
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        found = []
        if wanted[0]:
            found.append(self._map(g, tensors[1], True, kept))
        if wanted[1]:
            found.append(self._outer(tensors[0], g, kept))
        return found, ()

    def second_gradient(
        self,
        cotangents: Sequence[Tensor | None],
        g: Tensor,
        tensors: Sequence[Tensor],
        kept: Sequence[Tensor],
        wanted: Sequence[bool],
    ) -> list[Tensor | None] | None:
        (dx, dweight), (x, weight) = cotangents, tensors
        of_g = of_x = of_weight = None
        if dx is not None:
            of_g = self._map(dx, weight, False, kept) if wanted[0] else None
            of_weight = self._outer(dx, g, kept) if wanted[2] else None
        if dweight is not None:
            more = self._map(x, dweight, False, kept) if wanted[0] else None
            of_g = more if of_g is None or more is None else of_g + more
            of_x = self._map(g, dweight, True, kept) if wanted[1] else None
        return [of_g, of_x, of_weight]


def _bias_row(bias: Tensor, plan: LinearPlan) -> Tensor:
    """The biases at their places in a row of the output, zeros elsewhere."""
    pieces, start = [], 0
    for j, (_, components, channels) in enumerate(plan.blocks_out):
        if j in plan.biased:
            pieces.append(bias[..., start : start + channels])
            start += channels
        else:
            pieces.append(bias.new_zeros((*bias.shape[:-1], components * channels)))
    return torch.cat(pieces, dim=-1)


def _by_blocks(x: Tensor, weight: Tensor, plan: LinearPlan) -> Tensor:
    """The same by differentiable torch operations: the oracle, for compilers, and faster for few rows."""
    sums: dict[int, Tensor] = {}
    inner = plan.layout == "ir_mul"
    for i_out, start, coefficient, i_ins in plan.groups:
        blocks = []
        for a, components, n in (plan.blocks_in[i] for i in i_ins):
            blocks.append(x[..., a : a + components * n].unflatten(-1, (components, n) if inner else (n, components)))
        block = torch.cat(blocks, dim=-1 if inner else -2) if len(blocks) > 1 else blocks[0]
        n, m = sum(plan.blocks_in[i][2] for i in i_ins), plan.blocks_out[i_out][2]
        matrix = weight[..., start : start + n * m].unflatten(-1, (n, m)) * coefficient
        y = (block @ matrix if inner else matrix.transpose(-1, -2) @ block).flatten(-2)
        sums[i_out] = sums[i_out] + y if i_out in sums else y
    batch = torch.broadcast_shapes(x.shape[:-1], weight.shape[:-1])
    pieces = [
        sums[j] if j in sums else x.new_zeros((*batch, components * m)) for j, (_, components, m) in enumerate(plan.blocks_out)
    ]
    return torch.cat(pieces, dim=-1) if len(pieces) != 1 else pieces[0]


def _in_place(x: Tensor, weight: Tensor, plan: LinearPlan) -> bool:
    """Whether the products can be written where they belong: eager mode, no tracer, shared weights, one dtype."""
    return (
        plan.layout == "ir_mul"
        and weight.ndim == 1
        and x.dtype == weight.dtype
        and not torch.compiler.is_compiling()
        and not torch._C._len_torch_dispatch_stack()
        and not x.is_meta  # where autocast does not exist
        and not torch.is_autocast_enabled(x.device.type)
        and (fused.available(x, weight) or x.numel() >= MANY_ROWS * plan.dim_in)  # last: a guard on the batch, for a tracer
    )


class _Linear(Function):
    """y = x W, or with ``transpose`` x = y W^T, on rows; its derivatives are itself and :class:`_Outer`."""

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
        grad_x = _Linear.apply(grad, weight, ctx.plan, not ctx.transpose) if of_x else None
        grad_weight = None
        if of_weight:
            grad_weight = _Outer.apply(grad, x, ctx.plan) if ctx.transpose else _Outer.apply(x, grad, ctx.plan)
        return grad_x, grad_weight, None, None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dweight: Tensor | None, _plan: None, _transpose: None) -> Tensor:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        first = None if dx is None else _Linear.apply(dx, weight, ctx.plan, ctx.transpose)
        second = None if dweight is None else _Linear.apply(x, dweight, ctx.plan, ctx.transpose)
        return _add(first, second)

    @staticmethod
    def vmap(info: Any, in_dims: tuple, x: Tensor, weight: Tensor, plan: LinearPlan, transpose: bool) -> tuple[Tensor, int]:
        at_x, at_weight, *_ = in_dims
        if at_weight is None:  # one batch more
            x = x.movedim(at_x, 0)
            return _Linear.apply(x.flatten(0, 1), weight, plan, transpose).unflatten(0, x.shape[:2]), 0
        weights = weight.movedim(at_weight, 0)
        xs = [x] * len(weights) if at_x is None else x.movedim(at_x, 0)
        return torch.stack([_Linear.apply(x, w, plan, transpose) for x, w in zip(xs, weights, strict=True)]), 0


class _Outer(Function):
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
        grad_x = _Linear.apply(y, grad, ctx.plan, True) if of_x else None
        grad_y = _Linear.apply(x, grad, ctx.plan, False) if of_y else None
        return grad_x, grad_y, None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dy: Tensor | None, _plan: None) -> Tensor:  # type: ignore[override]
        x, y = ctx.saved_tensors
        first = None if dx is None else _Outer.apply(dx, y, ctx.plan)
        second = None if dy is None else _Outer.apply(x, dy, ctx.plan)
        return _add(first, second)

    @staticmethod
    def vmap(info: Any, in_dims: tuple, x: Tensor, y: Tensor, plan: LinearPlan) -> tuple[Tensor, int]:
        at_x, at_y, *_ = in_dims
        xs = [x] * info.batch_size if at_x is None else x.movedim(at_x, 0)
        ys = [y] * info.batch_size if at_y is None else y.movedim(at_y, 0)
        return torch.stack([_Outer.apply(a, b, plan) for a, b in zip(xs, ys, strict=True)]), 0


def _rows(x: Tensor) -> Tensor:
    """Rows whose entries are contiguous, as matrix products want them."""
    return x if x.stride(-1) == 1 and x.stride(0) >= x.shape[-1] else x.contiguous()


def _add(a: Tensor | None, b: Tensor | None) -> Tensor:
    if a is None or b is None:
        result = b if a is None else a
        assert result is not None
        return result
    return a + b
