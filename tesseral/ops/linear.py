r"""The equivariant linear map: one matrix per pair of blocks of the same irrep, the same for every component.

In the ``ir_mul`` layout each component of a block is a matrix (batch, channels) inside the feature tensor, and the products read
and write those matrices in place: no block is copied, gathered or concatenated, in any order of derivative.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tesseral.kernels import fused, row_products
from tesseral.ops.fused import apply
from tesseral.ops.linear_function import Linear
from tesseral.ops.linear_plan import LinearPlan

MANY_ROWS = 128
"""Without compiled code, from here on writing in place is faster than copying blocks: measured on CPUs for 32 to 128 channels."""


def linear(
    x: Float[Tensor, "*batch dim_in"],
    weight: Float[Tensor, "*weight_batch weight_numel"],
    plan: LinearPlan,
    bias: Float[Tensor, "*bias_batch bias_numel"] | None = None,
) -> Float[Tensor, "*out dim_out"]:
    r"""The linear map :math:`y^{(j)}_{mv} = \sum_i c_{ij} \sum_u x^{(i)}_{mu} W^{(ij)}_{uv} + b^{(j)}_v` of a plan.

    ``weight`` is one row for all, or has leading axes that broadcast with the batch. For a plan with the factor ``f_in`` see
    :func:`linear_with_channels`. Raises ``ValueError`` for a last axis that does not fit the plan.

    >>> from tesseral.ops.linear_plan import linear_plan
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
        y = Linear.apply(rows, weight, plan, False)
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

    >>> from tesseral.ops.linear_plan import linear_plan
    >>> plan = linear_plan("2x1o", "1x1o", f_in=4)
    >>> linear_with_channels(torch.randn(5, 4, 6), torch.randn(4, 7, 2), plan).shape
    torch.Size([5, 7, 3])
    """
    y = linear(x.unsqueeze(-2), weight, plan).sum(-3)
    return y if bias is None or not plan.biased else y + _bias_row(bias, plan)


def linear_by_group(
    x: Float[Tensor, "rows dim_in"], group: Int[Tensor, " rows"], weight: Float[Tensor, "groups weight_numel"], plan: LinearPlan
) -> Float[Tensor, "rows dim_out"]:
    """The linear map whose weights are those of the row's group.

    >>> from tesseral.ops.linear_plan import linear_plan
    >>> plan = linear_plan("1x0e", "1x0e")
    >>> linear_by_group(torch.ones(3, 1), torch.tensor([1, 0, 1]), torch.tensor([[2.0], [3.0]]), plan).T
    tensor([[3., 2., 3.]])
    """
    return apply(_ByGroup(plan, group), x, weight)


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
