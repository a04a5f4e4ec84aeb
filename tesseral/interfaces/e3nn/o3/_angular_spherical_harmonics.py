"""Spherical harmonics of angles."""

from typing import Any

import torch
from torch import Tensor, nn

from tesseral import o3
from tesseral.interfaces.e3nn.util.jit import compile_mode


@compile_mode("trace")
class SphericalHarmonicsAlphaBeta(nn.Module):
    """:func:`spherical_harmonics_alpha_beta` as a module."""

    def __init__(self, l: Any, normalization: str = "integral") -> None:
        super().__init__()
        self._ls, self.normalization = _list(l), normalization
        self._lmax = max(self._ls)

    def forward(self, alpha: Tensor, beta: Tensor) -> Tensor:
        return spherical_harmonics_alpha_beta(self._ls, alpha, beta, normalization=self.normalization)

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if "_ls" not in state:  # a pickle of e3nn's own layer
            self._ls = list(state["_ls_list"])
            del self.legendre

    def _make_tracing_inputs(self, n: int) -> list[dict]:
        return [{"forward": (torch.randn(5), torch.randn(5))} for _ in range(n)]


def spherical_harmonics_alpha_beta(l: Any, alpha: Tensor, beta: Tensor, *, normalization: str = "integral") -> Tensor:
    """Harmonics (..., sum of 2l+1) of the directions with angles (...)."""
    alpha, beta = torch.broadcast_tensors(alpha, beta)
    return o3.spherical_harmonics_alpha_beta(_list(l), alpha, beta, normalization=normalization)  # type: ignore[arg-type]


def spherical_harmonics_alpha(l: int, alpha: Tensor) -> Tensor:
    """The azimuthal part (..., 2l+1)."""
    return o3.spherical_harmonics_alpha(l, alpha)


@compile_mode("script")
class Legendre(nn.Module):
    """The polar part (..., sum of 2l+1) of cosine and sine."""

    def __init__(self, ls: Any) -> None:
        super().__init__()
        self._ls = list(ls)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return o3.legendre(self._ls, z, y)


def _list(l: Any) -> list[int]:
    return [l] if isinstance(l, int) else list(l)
