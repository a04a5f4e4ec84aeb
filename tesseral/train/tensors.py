"""One loss for tensors of any irreps: masked, and every irrep of a target counted by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tesseral.o3 import Irreps


def typed_loss(
    predicted: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    irreps: Mapping[str, Any],
    weights: Mapping[str, float],
) -> Float[Tensor, ""]:
    r"""The sum :math:`\sum_t w_t \sum_k \langle \|\Delta t_k\|^2 / \dim k \rangle` over targets t and their irreps k.

    Tensors are features (rows, irreps.dim) in ``ir_mul``, a row for each structure or atom; the mean is over the rows where the
    mask (rows,) is true, and labels elsewhere may hold NaN. Targets without a label are left out. The norm of an irrep does not
    depend on the axes, so neither does the loss; a loss on Cartesian components of chosen axes, or an l1 of components, would.
    Raises ``ValueError`` where a dimension does not fit the irreps.

    >>> one = {"mu": torch.tensor([[1.0, 0.0, 0.0], [9.0, 9.0, 9.0]])}
    >>> zero = {"mu": torch.tensor([[0.0, 0.0, 0.0], [torch.nan] * 3])}
    >>> typed_loss(one, zero, {"mu": torch.tensor([True, False])}, {"mu": "1o"}, {"mu": 6.0}).item()
    2.0
    """
    total = torch.zeros((), dtype=torch.float64)
    for name, weight in weights.items():
        if name not in labels or weight == 0:
            continue
        kinds = Irreps(irreps[name])
        value, label, mask = predicted[name], labels[name], masks[name]
        if value.shape[1:] != (kinds.dim,) or label.shape != value.shape:
            raise ValueError(
                f"{name!r} is {kinds} of dimension {kinds.dim}, but the prediction has shape {tuple(value.shape)} "
                f"and the label {tuple(label.shape)}: give both as features (rows, {kinds.dim})"
            )
        error = masked_error(value, label, mask).square()
        count = mask.sum().clamp(min=1)
        parts = [block.sum() / (count * mul * ir.dim) for block, (mul, ir) in zip(_blocks(error, kinds), kinds, strict=True)]
        total = total.to(value.device) + weight * torch.stack(parts).sum()
    return total


def masked_error(
    predicted: Float[Tensor, "rows dim"], label: Float[Tensor, "rows dim"], mask: Bool[Tensor, " rows"]
) -> Float[Tensor, "rows dim"]:
    """Prediction minus label, zero where the label is unknown, float64; no NaN of an unknown label enters."""
    known = mask[:, None]
    return torch.where(known, predicted - torch.where(known, label.to(predicted.dtype), 0.0), 0.0).to(torch.float64)


def _blocks(features: Tensor, irreps: Irreps) -> tuple[Tensor, ...]:
    return features.split([mul * ir.dim for mul, ir in irreps], dim=1)
