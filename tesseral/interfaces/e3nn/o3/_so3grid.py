"""Functions on the group of rotations on a grid, and back, with e3nn's buffers."""

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn.o3._s2grid import _quadrature_weights, s2_grid
from tesseral.interfaces.e3nn.o3._wigner import wigner_D
from tesseral.interfaces.e3nn.util.jit import compile_mode


def flat_wigner(lmax: int, alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    """All Wigner matrices up to ``lmax``, each times sqrt(2l+1), as one last axis."""
    return torch.cat([(2 * l + 1) ** 0.5 * wigner_D(l, alpha, beta, gamma).flatten(-2) for l in range(lmax + 1)], dim=-1)


@compile_mode("script")
class SO3Grid(nn.Module):
    """Coefficients of (2l+1) copies of each degree to values (..., res_alpha, res_beta, res_gamma), and back.

    ``tesseral.o3.RotationTransform`` does the same with a separable transform, in far less memory.
    """

    D: Tensor
    qw: Tensor

    def __init__(self, lmax: int, resolution: int, *, normalization: str = "component", aspect_ratio: int = 2) -> None:
        super().__init__()
        assert normalization == "component", f"normalization must be 'component', got {normalization!r}"
        rings, meridians = 2 * resolution, round(2 * aspect_ratio * resolution)
        beta, alpha = s2_grid(rings, meridians, dtype=torch.float64)
        D = flat_wigner(lmax, alpha[:, None, None], beta[None, :, None], alpha[None, None, :])
        weights = _quadrature_weights(resolution, dtype=torch.float64) * rings**2 / meridians**2
        for name, value in (("D", D), ("qw", weights), ("alpha", alpha), ("beta", beta), ("gamma", alpha)):
            self.register_buffer(name, value.to(torch.get_default_dtype()))
        self.lmax, self.res_alpha, self.res_beta, self.res_gamma = lmax, meridians, rings, meridians

    def to_grid(self, features: Tensor) -> Tensor:
        """Values of coefficients (..., d)."""
        return torch.einsum("...i,abci->...abc", features, self.D) / self.D.shape[-1] ** 0.5

    def from_grid(self, features: Tensor) -> Tensor:
        """Coefficients of values."""
        return torch.einsum("...abc,abci,b->...i", features, self.D, self.qw) * self.D.shape[-1] ** 0.5

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self.lmax})"
