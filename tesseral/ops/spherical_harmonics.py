"""Real spherical harmonics as an operation on tensors; the definition is :mod:`tesseral.o3.spherical_harmonics`."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from tesseral.kernels import fused, harmonics
from tesseral.kernels.harmonics import Harmonics
from tesseral.o3 import Irreps
from tesseral.o3 import spherical_harmonics as definition
from tesseral.o3.spherical_harmonics import _degrees, _scale
from tesseral.ops.fused import apply


def spherical_harmonics(
    l: int | str | Irreps | Sequence[int], x: Float[Tensor, "*batch 3"], normalize: bool, normalization: str = "integral"
) -> Float[Tensor, "*batch dim"]:
    r"""Real spherical harmonics of the vectors ``x``: :func:`tesseral.o3.spherical_harmonics`, compiled where that is possible.

    Same arguments, values and errors; compiled up to degree 12 on the CPU, with the first two derivatives (higher ones follow
    the definition).

    >>> import torch
    >>> spherical_harmonics(1, torch.tensor([0.0, 3.0, 4.0]), normalize=True, normalization="norm")
    tensor([0.0000, 0.6000, 0.8000])
    """
    if not fused.available(x) or x.shape[-1:] != (3,):
        return definition(l, x, normalize, normalization)  # type: ignore[arg-type]
    plan = _plan(l if isinstance(l, (int, str, Irreps)) else tuple(l), normalize, normalization)
    if max(plan.degrees, default=0) > harmonics.HIGHEST or not plan.degrees:
        return definition(l, x, normalize, normalization)  # type: ignore[arg-type]
    y = apply(HarmonicsRule(plan), x if x.ndim == 2 else x.reshape(-1, 3))
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], plan.dim)


@functools.lru_cache(maxsize=256)
def _plan(l: int | str | Irreps | tuple[int, ...], normalize: bool, normalization: str) -> Harmonics:
    degrees = tuple(_degrees(l))
    return Harmonics(degrees, tuple(_scale(degree, normalization) for degree in degrees), normalize)


class HarmonicsRule:
    """Harmonics of vectors (rows, 3), their gradient and second gradient."""

    def __init__(self, plan: Harmonics) -> None:
        self.plan = plan

    def definition(self, *tensors: Tensor) -> Tensor:
        y = definition(self.plan.degrees, tensors[0], self.plan.normalize, "component")
        scales = [scale for l, scale in zip(self.plan.degrees, self.plan.scales, strict=True) for _ in range(2 * l + 1)]
        return y * y.new_tensor(scales)

    def value(self, *tensors: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return harmonics.values(tensors[0], self.plan), ()

    def gradient(
        self, g: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor], wanted: Sequence[bool]
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        return [harmonics.gradient(g, tensors[0], self.plan)] if wanted[0] else [], ()

    def second_gradient(
        self,
        cotangents: Sequence[Tensor | None],
        g: Tensor,
        tensors: Sequence[Tensor],
        kept: Sequence[Tensor],
        wanted: Sequence[bool],
    ) -> list[Tensor | None] | None:
        (u,) = cotangents
        return None if u is None else list(harmonics.second_gradient(u, g, tensors[0], self.plan))
