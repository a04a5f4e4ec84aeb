"""Muon: momentum whose matrices are made orthogonal, for the linear maps and radial networks of equivariant models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

# Odd polynomials a x + b x^3 + c x^5, each of the least largest error from one on what those before make of [0.003, 1], which
# ends between 0.80 and 1.20 (the construction of N. Amsel et al., Polar Express, arXiv:2505.16932).
_POLYNOMIALS = (
    (8.383673613, -24.765905858, 18.357081893),
    (4.043420434, -3.011404994, 0.569512150),
    (3.505570617, -2.626653836, 0.525719405),
    (2.490115939, -1.834275083, 0.436834707),
)
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
                if parameter.requires_grad and matrix.numel():
                    offset = int(matrix.storage_offset()) - int(parameter.storage_offset())
                    view = _View(parameter, tuple(matrix.shape), matrix.stride(), offset)
                    views.setdefault(parameter, []).append(view)
        # What consists of single rows and columns alone is Adam's.
        views = {parameter: found for parameter, found in views.items() if any(min(view.size[-2:]) > 1 for view in found)}
        # By the shorter side, because matrices that share it are made orthogonal together; then by shape.
        self._views: dict[tuple[object, ...], dict[tuple[int, int], list[_View]]] = {}
        for parameter, of_one in views.items():
            for view in of_one:
                kind = (min(view.shape), parameter.dtype, parameter.device)
                self._views.setdefault(kind, {}).setdefault(view.shape, []).append(view)
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
        group_of: dict[Tensor, dict[str, Any]] = {}
        for group in self.param_groups:
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            if moving and group["weight_decay"]:  # beside the gradient, whose size orthogonal steps forget
                torch._foreach_mul_(moving, 1 - group["lr"] * group["weight_decay"])
            if moving and group["matrices"]:
                group_of.update(dict.fromkeys(moving, group))
                momenta = [self._momentum(parameter) for parameter in moving]
                torch._foreach_lerp_(momenta, [parameter.grad for parameter in moving], 1 - group["momentum"])
            elif moving:
                for parameter in moving:
                    self._adam(parameter, parameter.grad, group["lr"], group["betas"])
        for shapes in self._views.values():
            active = [[view for view in views if view.parameter in group_of] for views in shapes.values()]
            active = [views for views in active if views]
            changes = orthogonal([self._directions(views, group_of) for views in active])
            for views, stacked in zip(active, changes, strict=True):
                factor = -_RMS * math.sqrt(max(views[0].shape))
                for view, change in zip(views, stacked.unbind(), strict=True):
                    alpha = factor * group_of[view.parameter]["lr"]
                    view.of(view.parameter).add_(change.view(view.size), alpha=alpha)

    def _directions(self, views: list[_View], group_of: dict[Tensor, dict[str, Any]]) -> Tensor:
        """Nesterov's directions of matrices of one shape, stacked."""
        first = views[0]
        stacked = first.parameter.new_empty(len(views), *first.shape)
        for view, target in zip(views, stacked.unbind(), strict=True):
            parameter = view.parameter
            gradient, momentum = view.of(parameter.grad.contiguous()), view.of(self._momentum(parameter))  # type: ignore[union-attr]
            torch.lerp(gradient, momentum, group_of[parameter]["momentum"], out=target.view(view.size))
        return stacked

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        momentum: Tensor = state["momentum"]
        return momentum

    def _adam(self, parameter: Tensor, gradient: Tensor, lr: float, betas: tuple[float, float]) -> None:
        state = self.state[parameter]
        if not state:
            state.update(step=0, first=torch.zeros_like(parameter), second=torch.zeros_like(parameter))
        state["step"] += 1
        first, second = state["first"].lerp_(gradient, 1 - betas[0]), state["second"].lerp_(gradient.square(), 1 - betas[1])
        size = (second / (1 - betas[1] ** state["step"])).sqrt_().add_(1e-8)
        parameter.addcdiv_(first, size, value=-lr / (1 - betas[0] ** state["step"]))


def orthogonal(stacks: Sequence[Float[Tensor, "_ _ _"]]) -> list[Float[Tensor, "_ _ _"]]:
    r"""Matrices with the singular vectors of those given and singular values near one, :math:`U V^T`.

    Each stack (matrices, n, m) has its own shape, but all the same shorter side. Values above 0.003 of the Frobenius norm come
    out between 0.80 and 1.20, lesser ones below that; no decomposition is made.

    >>> values = torch.linalg.svdvals(orthogonal([torch.randn(1, 8, 5), torch.randn(2, 5, 6)])[1])
    >>> values.sub(1).abs().max() < 0.21
    tensor(True)
    """
    if not stacks:
        return []
    wide = [x.shape[1] < x.shape[2] for x in stacks]
    # The long side enters two products only: the result is x Q with a polynomial Q of x^T x, which all stacks share.
    squares = torch.cat([x @ x.mT if flat else x.mT @ x for x, flat in zip(stacks, wide, strict=True)])
    size = squares.diagonal(dim1=1, dim2=2).sum(1).clamp_min(1e-30)[:, None, None]  # squares of the norms
    square = squares / size
    total: Tensor | None = None
    for step, (a, b, c) in enumerate(_POLYNOMIALS):
        factor = torch.baddbmm(square, square, square, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        total = factor if total is None else total @ factor
        if step < len(_POLYNOMIALS) - 1:
            square = factor @ square @ factor
    assert total is not None
    roots = (total * size.rsqrt()).split([len(x) for x in stacks])
    return [root @ x if flat else x @ root for x, root, flat in zip(stacks, roots, wide, strict=True)]
