"""An optimiser for learned tensors: Adam's step sizes, without its preference for the axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from tesseral.o3 import Irreps


class TensorAdam(torch.optim.Optimizer):
    r"""Adam for tensors (..., irreps.dim), ``ir_mul``, whose steps turn with the tensors.

    Adam divides each component of a gradient by its own size, so that a tensor which should be :math:`-(\sqrt 3/2, 1/2)` in two
    components starts as :math:`-(1, 1)`: it leaves the space of tensors that the symmetry allows. Here all components of an irrep
    share one second moment, the mean of their squares, and invariant subspaces stay invariant.
    ``penalty`` subtracts that much of the norm of each irrep at every unit of step, not below zero (the proximal step of
    :math:`\lambda \sum \lVert\theta^{(l,p)}\rVert`, also invariant): irreps that are not needed become exactly zero.

    >>> theta = torch.zeros(4, requires_grad=True)
    >>> optimizer = TensorAdam([theta], "0e+1o", lr=0.1)
    >>> theta.grad = torch.tensor([1.0, 3.0, 4.0, 0.0])
    >>> optimizer.step()
    >>> bool(torch.isclose(theta[2] / theta[1], torch.tensor(4 / 3)))
    True
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        irreps: object,
        lr: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        penalty: float | int = 0.0,
        eps: float = 1e-12,
    ) -> None:
        self.irreps = Irreps(irreps)
        super().__init__(params, {"lr": lr, "betas": betas, "penalty": float(penalty), "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step from the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step(p, group)
        return loss

    def _step(self, p: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state.update(step=0, first=torch.zeros_like(p), second=torch.zeros_like(p))
        state["step"] += 1
        b1, b2 = group["betas"]
        state["first"].lerp_(p.grad, 1 - b1)  # type: ignore[arg-type]
        state["second"].lerp_(self._mean(p.grad.square()), 1 - b2)  # type: ignore[union-attr]
        first = state["first"] / (1 - b1 ** state["step"])
        second = state["second"] / (1 - b2 ** state["step"])
        p.sub_(group["lr"] * first / (second.sqrt() + group["eps"]))
        if group["penalty"]:
            norm = self._mean(p.square()).sqrt()
            p.mul_((1 - group["lr"] * group["penalty"] / norm.clamp_min(group["eps"])).clamp_min(0))

    def _mean(self, x: Tensor) -> Tensor:
        """Means over the components of each irrep, in the place of each."""
        pieces = []
        for (mul, ir), place in zip(self.irreps, self.irreps.slices(), strict=True):
            block = x[..., place].unflatten(-1, (ir.dim, mul))
            pieces.append(block.mean(-2, keepdim=True).expand_as(block).flatten(-2))
        return torch.cat(pieces, -1)
