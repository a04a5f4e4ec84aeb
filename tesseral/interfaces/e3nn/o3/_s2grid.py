"""Functions on the sphere on an equiangular grid, and back, with e3nn's buffers."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from tesseral import o3
from tesseral.interfaces.e3nn.util.default_type import explicit_default_types
from tesseral.interfaces.e3nn.util.jit import compile_mode


def s2_grid(res_beta: int, res_alpha: int, dtype=None, device=None) -> tuple[Tensor, Tensor]:
    """Angles of the rings and of the meridians."""
    dtype, device = explicit_default_types(dtype, device)
    grid = o3.equiangular_grid(res_beta, res_alpha)
    return _tensor(grid.betas, dtype, device), _tensor(grid.alphas, dtype, device)


def spherical_harmonics_s2_grid(lmax: int, res_beta: int, res_alpha: int, dtype=None, device=None) -> tuple[Tensor, ...]:
    """The angles of the grid, and the polar (res_beta, (lmax+1)^2) and azimuthal (res_alpha, 2 lmax+1) parts of the harmonics."""
    dtype, device = explicit_default_types(dtype, device)
    grid = o3.equiangular_grid(res_beta, res_alpha)
    betas, alphas = torch.from_numpy(grid.betas.copy()), torch.from_numpy(grid.alphas.copy())
    polar = o3.legendre(list(range(lmax + 1)), betas.cos(), betas.sin().abs())
    azimuthal = o3.spherical_harmonics_alpha(lmax, alphas)
    betas, alphas, polar, azimuthal = (t.to(dtype=dtype, device=device) for t in (betas, alphas, polar, azimuthal))
    return betas, alphas, polar, azimuthal


def rfft(x: Tensor, l: int) -> Tensor:
    """Coefficients (..., 2l+1) of a function at equal steps of the circle (..., res): ``x @ sha`` of the grid."""
    res = x.shape[-1]
    assert res % 2 == 1, f"the number of steps must be odd, got {res}"
    f = torch.fft.rfft(x, dim=-1)
    return torch.cat(
        [-math.sqrt(2) * f[..., 1 : l + 1].imag.flip(-1), f[..., :1].real, math.sqrt(2) * f[..., 1 : l + 1].real], dim=-1
    )


def irfft(x: Tensor, res: int) -> Tensor:
    """The function (..., res) with coefficients (..., 2l+1): ``x @ sha.T`` of the grid."""
    assert res % 2 == 1, f"the number of steps must be odd, got {res}"
    l = x.shape[-1] // 2
    real = torch.cat([x[..., l : l + 1], x[..., l + 1 :] / math.sqrt(2)], dim=-1)
    imaginary = torch.cat([torch.zeros_like(x[..., :1]), -x[..., :l].flip(-1) / math.sqrt(2)], dim=-1)
    return torch.fft.irfft(torch.complex(real, imaginary), n=res, dim=-1) * res


def _quadrature_weights(b: int, dtype=None, device=None) -> Tensor:
    """e3nn's weights of 2b rings, which sum to 1 / (2b)^2."""
    dtype, device = explicit_default_types(dtype, device)
    return _tensor(o3.equiangular_grid(2 * b, 1).weights / (4 * math.pi * (2 * b) ** 2), dtype, device)


def _complete_lmax_res(lmax: int | None, res_beta: int | None, res_alpha: int | None) -> tuple[int, int, int]:
    """The numbers that are not given, such that the grid can go to lmax and back."""
    if lmax is None and res_beta is None and res_alpha is None:
        raise ValueError("give lmax, or the resolution of the grid, or both")
    if res_beta is None:
        res_beta = 2 * ((res_alpha + 1) // 2) if lmax is None else 2 * (lmax + 1)  # type: ignore[operator]
    if res_alpha is None:
        res_alpha = res_beta - 1 if lmax is None else max(2 * lmax + 1, res_beta - 1)
    if lmax is None:
        lmax = min(res_beta // 2 - 1, (res_alpha - 1) // 2)
    assert res_beta % 2 == 0, f"the number of rings must be even, got {res_beta}"
    assert lmax + 1 <= res_beta // 2, f"lmax = {lmax} needs at least {2 * (lmax + 1)} rings, got {res_beta}"
    return lmax, res_beta, res_alpha


def _expand_matrix(ls, like=None, dtype=None, device=None) -> Tensor:
    """The matrix [l, m, (l, m)] between a list of degrees and orders and the flat index."""
    ls = list(ls)
    lmax = max(ls)
    if like is not None:
        dtype, device = dtype or like.dtype, device or like.device
    matrix = torch.zeros(len(ls), 2 * lmax + 1, sum(2 * l + 1 for l in ls), dtype=dtype, device=device)
    start = 0
    for n, l in enumerate(ls):
        for m in range(2 * l + 1):
            matrix[n, lmax - l + m, start + m] = 1
        start += 2 * l + 1
    return matrix


class _Grid(nn.Module):
    """What both transforms hold: angles, and the two parts of the harmonics, the polar one scaled and expanded over orders."""

    alphas: Tensor
    betas: Tensor
    sha: Tensor
    shb: Tensor

    def __init__(self, lmax: Any, res: Any, dtype: Any, device: Any) -> None:
        super().__init__()
        beta, alpha = (res, None) if res is None or isinstance(res, int) else res
        self.lmax, self.res_beta, self.res_alpha = _complete_lmax_res(lmax, beta, alpha)
        dtype, device = explicit_default_types(dtype, device)
        betas, alphas, polar, azimuthal = spherical_harmonics_s2_grid(
            self.lmax, self.res_beta, self.res_alpha, dtype=torch.float64, device="cpu"
        )
        for name, value in (("alphas", alphas), ("betas", betas), ("sha", azimuthal), ("shb", polar)):
            self.register_buffer(name, value.to(dtype=dtype, device=device))
        self._polar = polar

    def _scale(self, factors: Tensor, rings: Tensor) -> None:
        polar = self.__dict__.pop("_polar")
        expand = _expand_matrix(range(self.lmax + 1), dtype=torch.float64, device="cpu")
        scaled = torch.einsum("bi,lmi,l,b->mbi", polar, expand, factors.to("cpu", torch.float64), rings)
        self.shb = scaled.to(self.shb)

    @property
    def grid(self) -> Tensor:
        """The points (res_beta, res_alpha, 3)."""
        return o3.angles_to_xyz(*torch.broadcast_tensors(self.alphas, self.betas[:, None]))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(lmax={self.lmax} res={self.res_beta}x{self.res_alpha} (beta x alpha))"


@compile_mode("trace")
class ToS2Grid(_Grid):
    """Coefficients (..., (lmax+1)^2) to values (..., res_beta, res_alpha)."""

    def __init__(self, lmax=None, res=None, normalization: Any = "component", dtype=None, device=None) -> None:
        super().__init__(lmax, res, dtype, device)
        degrees = torch.arange(self.lmax + 1, dtype=torch.float64, device="cpu")
        if isinstance(normalization, Tensor):
            factors = normalization
        else:
            scale = 4 * math.pi / (self.lmax + 1)
            factors = _by_normalization(
                normalization,
                component=(scale / (2 * degrees + 1)).sqrt(),
                norm=torch.full_like(degrees, scale).sqrt(),
                integral=torch.ones_like(degrees),
            )
        self._scale(factors, torch.ones(self.res_beta, dtype=torch.float64, device="cpu"))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("mbi,...i->...bm", self.shb, x) @ self.sha.T

    def _make_tracing_inputs(self, n: int) -> list[dict]:
        return [{"forward": (torch.randn((self.lmax + 1) ** 2),)} for _ in range(n)]


@compile_mode("trace")
class FromS2Grid(_Grid):
    """Values (..., res_beta, res_alpha) to coefficients (..., (lmax+1)^2)."""

    def __init__(self, res=None, lmax=None, normalization: Any = "component", lmax_in=None, dtype=None, device=None) -> None:
        super().__init__(lmax, res, dtype, device)
        degrees = torch.arange(self.lmax + 1, dtype=torch.float64, device="cpu")
        if isinstance(normalization, Tensor):
            factors = normalization
        else:
            scale = 4 * math.pi * ((self.lmax if lmax_in is None else lmax_in) + 1)
            factors = _by_normalization(
                normalization,
                component=(scale * (2 * degrees + 1)).sqrt(),
                norm=torch.full_like(degrees, scale).sqrt(),
                integral=torch.full_like(degrees, 4 * math.pi),
            )
        weights = o3.equiangular_grid(self.res_beta, self.res_alpha).weights / (4 * math.pi)
        self._scale(factors, torch.from_numpy(weights.copy()))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("mbi,...bm->...i", self.shb, x @ self.sha)

    def _make_tracing_inputs(self, n: int) -> list[dict]:
        return [{"forward": (torch.randn(self.res_beta, self.res_alpha),)} for _ in range(n)]


def _by_normalization(name: str, **factors: Tensor) -> Tensor:
    assert name in factors, f"normalization needs to be 'norm', 'component' or 'integral', got {name!r}"
    return factors[name]


def _tensor(array: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.from_numpy(array.copy()).to(dtype=dtype, device=device)
