"""Products with weights for each row, as on edges, that read and write e3nn's layout within the kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tesseral.kernels import by_channel, fused
from tesseral.kernels.spec import Derivative, Program
from tesseral.ops.fused import apply
from tesseral.ops.tensor_product import TensorProductPlan

_SLOTS = (0, 1, 3)  # the features and the output; weights have no components


@dataclass(frozen=True)
class RowProduct:
    """The rule (:class:`tesseral.ops.fused.Rule`) of a product in layout ``mul_ir`` by a program for ``ir_mul``.

    ``definition`` is the product in differentiable torch operations.
    """

    program: Program
    definition: Callable[..., Tensor]

    def __call__(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor | None:
        """The product of ``x``, ``y`` and ``weight``, (rows, dim) each; None for others, or where no compiled code can serve."""
        if not fused.available(x, y, weight) or not x.ndim == y.ndim == weight.ndim == 2:
            return None
        if not x.shape[0] == y.shape[0] == weight.shape[0]:
            return None
        first = self.program.gradient([t.requires_grad for t in (x, y, weight)]) if torch.is_grad_enabled() else None
        if first is not None:
            by_channel.anticipate(first.program, x.dtype, _SLOTS)
        return apply(self, x, y, weight)

    def value(self, *tensors: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        (value,) = by_channel.execute(self.program, tensors, _SLOTS)
        return value, ()

    def gradient(
        self, g: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor], wanted: Sequence[bool]
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        derivative = self.program.gradient(wanted)
        found = {} if derivative is None else _run(derivative, [*tensors, g])
        return [found.get(n, t.new_zeros(())).expand_as(t) for n, t in enumerate(tensors) if wanted[n]], ()

    def second_gradient(
        self,
        cotangents: Sequence[Tensor | None],
        g: Tensor,
        tensors: Sequence[Tensor],
        kept: Sequence[Tensor],
        wanted: Sequence[bool],
    ) -> list[Tensor | None] | None:
        first = self.program.gradient([c is not None for c in cotangents])
        if first is None:
            return None
        order = [3, 0, 1, 2]  # where g and the tensors are among (tensors, g)
        among = dict(zip(order, wanted, strict=True))
        second = first.program.gradient([among[n] for n in first.inputs])
        if second is None:
            return None
        available = [*tensors, g]
        given = [available[n] for n in first.inputs] + [cotangents[n] for n in first.targets]
        found = _run(second, given)
        by_place = {first.inputs[n]: value for n, value in found.items()}
        return [by_place.get(n) for n in order]


def _run(derivative: Derivative, available: Sequence[Tensor | None]) -> dict[int, Tensor]:
    """The value of each target."""
    given = [available[n] for n in derivative.inputs]
    tensors = [t for t in given if t is not None]
    assert len(tensors) == len(given)
    return dict(zip(derivative.targets, by_channel.execute(derivative.program, tensors, _SLOTS), strict=True))


def row_program(plan: TensorProductPlan) -> Program | None:
    """The program of a plan, for :class:`RowProduct`; None where the product is of another kind."""
    if len(plan.stages) != 1 or plan.stages[0].mixing is not None or plan.columns1 or plan.columns2 or plan.shared_weights:
        return None
    program, weights, _ = plan.stages[0]
    fits = program.num_inputs == 3 and weights == ((0, plan.weight_numel),) and by_channel.supported(program, _SLOTS)
    return program if fits else None
