"""Muon: momentum whose matrices are made orthogonal, for the linear maps and radial networks of equivariant models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

# Polynomials of odd degree five that push all singular values towards one (K. Jordan et al., 2024).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5
_RMS = 0.2  # of Adam's updates, so that learning rates carry over


@runtime_checkable
class HasMatrices(Protocol):
    """A module whose weights are matrices, which a flat parameter does not show."""

    def matrices(self) -> Sequence[Tensor]:
        """Views (..., n_in, n_out) of its parameters, each number in at most one."""


@dataclass(frozen=True)
class _View:
    """A matrix within a parameter: leading axes, if any, are stacked upon each other."""

    parameter: Tensor
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def of(self, values: Tensor) -> Tensor:
        return values.as_strided(self.size, self.stride, values.storage_offset() + self.offset)

    @property
    def shape(self) -> tuple[int, int]:
        return math.prod(self.size[:-1]), self.size[-1]


class Muon(torch.optim.Optimizer):
    r"""Steps :math:`-\eta\, 0.2 \sqrt{\max(n, m)}\, U V^T` for matrices (n, m) whose momentum is :math:`U \Sigma V^T`.

    Every direction of a map is changed equally, which Adam's element by element steps are far from. The factor makes the root
    mean square of an update that of Adam, so learning rates carry over. Parameters without matrices (embeddings, readouts of
    one column, scales) take Adam's steps. The modules say what their matrices are: see :class:`HasMatrices`. Weights decay beside
    the steps, as in AdamW, but for parameters whose last name is in ``exempt``.

    Source: K. Jordan et al., Muon (2024); J. Liu et al., arXiv:2502.16982 for the factor.

    >>> class Map(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.weight = torch.nn.Parameter(torch.zeros(6))
    ...     def matrices(self):
    ...         return [self.weight.view(3, 2)]
    >>> model = Map()
    >>> optimizer = Muon(model, lr=1.0)
    >>> (model.weight * torch.tensor([1.0, 0, 0, 100.0, 0, 0])).sum().backward()
    >>> optimizer.step()
    >>> model.weight[0].sign(), (model.weight[0] / model.weight[3] - 1).abs() < 0.6
    (tensor(-1., grad_fn=<SignBackward0>), tensor(True))
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        exempt: Sequence[str] = (),
    ) -> None:
        views: dict[Tensor, list[_View]] = {}
        for module in model.modules():
            for matrix in module.matrices() if isinstance(module, HasMatrices) else ():
                parameter = matrix if matrix._base is None else matrix._base
                if parameter.requires_grad and min(matrix.shape[-2:]) > 1:
                    offset = int(matrix.storage_offset()) - int(parameter.storage_offset())
                    view = _View(parameter, tuple(matrix.shape), matrix.stride(), offset)
                    views.setdefault(parameter, []).append(view)
        self._views: dict[tuple[int, int], list[_View]] = {}
        for of_one in views.values():
            for view in of_one:
                self._views.setdefault(view.shape, []).append(view)
        groups = []
        for of_matrices in (True, False):
            for decayed in (True, False):
                chosen = [
                    parameter
                    for name, parameter in model.named_parameters()
                    if parameter.requires_grad
                    and (parameter in views) == of_matrices
                    and (name.rpartition(".")[2] not in exempt) == decayed
                ]
                if chosen:
                    decay = weight_decay if decayed else 0.0
                    groups.append({"params": chosen, "weight_decay": decay, "matrices": of_matrices})
        super().__init__(groups, {"lr": lr, "betas": betas, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step down the gradients; there is no ``closure``."""
        directions: dict[Tensor, Tensor] = {}
        rates: dict[Tensor, float] = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = parameter.grad
                if group["weight_decay"]:  # beside the gradient, whose size orthogonal steps forget
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                if group["matrices"]:
                    directions[parameter] = self._momentum(parameter, gradient, group["momentum"])
                    rates[parameter] = group["lr"]
                else:
                    self._adam(parameter, gradient, group["lr"], group["betas"])
        for shape, views in self._views.items():
            active = [view for view in views if view.parameter in directions]
            if not active:
                continue
            stacked = torch.stack([view.of(directions[view.parameter]).reshape(shape) for view in active])
            factor = -_RMS * math.sqrt(max(shape))
            for view, change in zip(active, orthogonal(stacked), strict=True):
                view.of(view.parameter).add_(change.view(view.size), alpha=factor * rates[view.parameter])

    def _momentum(self, parameter: Tensor, gradient: Tensor, decay: float) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        momentum = state["momentum"].lerp_(gradient, 1 - decay)
        return torch.lerp(gradient, momentum, decay).contiguous()  # Nesterov's

    def _adam(self, parameter: Tensor, gradient: Tensor, lr: float, betas: tuple[float, float]) -> None:
        state = self.state[parameter]
        if not state:
            state.update(step=0, first=torch.zeros_like(parameter), second=torch.zeros_like(parameter))
        state["step"] += 1
        first, second = state["first"].lerp_(gradient, 1 - betas[0]), state["second"].lerp_(gradient.square(), 1 - betas[1])
        size = (second / (1 - betas[1] ** state["step"])).sqrt_().add_(1e-8)
        parameter.addcdiv_(first, size, value=-lr / (1 - betas[0] ** state["step"]))


def orthogonal(x: Float[Tensor, "batch n m"]) -> Float[Tensor, "batch n m"]:
    r"""Matrices with the singular vectors of x and singular values near one, :math:`U V^T`.

    Five steps of a quintic iteration bring values above 1e-3 of the largest between 0.65 and 1.25; no decomposition is made.

    >>> torch.linalg.svdvals(orthogonal(torch.randn(1, 8, 5))).sub(1).abs().max() < 0.4
    tensor(True)
    """
    if x.shape[1] < x.shape[2]:
        return orthogonal(x.mT).mT
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(1e-30)
    # x_5 = x Q with a polynomial Q of x^T x: the long side enters two products only
    a, b, c = _COEFFICIENTS
    square = x.mT @ x
    identity = torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
    total: Tensor | None = None
    for step in range(_STEPS):
        factor = torch.baddbmm(square, square, square, beta=b, alpha=c) + a * identity
        total = factor if total is None else total @ factor
        if step < _STEPS - 1:
            square = factor @ square @ factor
    assert total is not None
    return x @ total
