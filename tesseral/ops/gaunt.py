r"""Gaunt products: two features as functions on the sphere, multiplied point by point.

.. math:: z^{(l)}_m = \int_{S^2} Y_{lm}\, \Big(\sum_{l_1 m_1} x^{(l_1)}_{m_1} Y_{l_1 m_1}\Big)
          \Big(\sum_{l_2 m_2} y^{(l_2)}_{m_2} Y_{l_2 m_2}\Big)\, d\Omega
          = \sum_{l_1 l_2} g_{l_1 l_2 l} \, \big(C^{l_1 l_2 l}\, x^{(l_1)} y^{(l_2)}\big)_m

A Clebsch-Gordan product has a weight for each path; here the path weights g are fixed (:func:`gaunt_path_weight`), and zero for
odd :math:`l_1 + l_2 + l`. So no Gaunt product is antisymmetric: the cross product of two vectors is not among them, nor any
pseudovector or pseudoscalar made from features of natural parity :math:`(-1)^l`. Weights of degrees, before or after, do not
bring it back. In return, a product of all degrees up to L costs :math:`O(L^4)` (the ways to the grid and back are one matrix
each), where all paths cost :math:`O(L^5)` with sparse coefficients.

Source: Luo, Chen, Krishnapriyan, Enabling efficient equivariant operations in the Fourier basis via Gaunt tensor products, ICLR
2024; on what is lost: Xie, Daigavane, Kotak, Smidt, The price of freedom, 2025.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.o3 import Irreps, SphereGrid, SphereTransform, gauss_legendre_grid, spherical_harmonics
from tesseral.o3.clebsch_gordan import gaunt_array, wigner_3j_array

Method = Literal["grid", "fourier"]


def gaunt_path_weight(l1: int, l2: int, l3: int) -> float:
    r"""The number :math:`g_{l_1 l_2 l_3}` by which the integral of three harmonics exceeds the Clebsch-Gordan coefficients.

    .. math:: \int Y_{l_1 m_1} Y_{l_2 m_2} Y_{l_3 m_3}\, d\Omega = g_{l_1 l_2 l_3}\, C^{l_1 l_2 l_3}_{m_1 m_2 m_3}

    with coefficients of unit Frobenius norm: :math:`|g| = \sqrt{(2l_1+1)(2l_2+1)(2l_3+1)/4\pi}\,|(l_1\,l_2\,l_3; 0\,0\,0)|`.

    >>> gaunt_path_weight(1, 1, 1)
    0.0
    >>> round(gaunt_path_weight(0, 0, 0) * (4 * math.pi) ** 0.5, 12)
    1.0
    """
    if l3 not in range(abs(l1 - l2), l1 + l2 + 1) or (l1 + l2 + l3) % 2:
        return 0.0
    return float((gaunt_array(l1, l2, l3) * wigner_3j_array(l1, l2, l3)).sum())


@dataclass(frozen=True)
class GauntPlan:
    """Signals up to degrees ``lmax1`` and ``lmax2``, their product up to ``lmax_out``, and how it is found.

    ``"grid"``: Gauss-Legendre rings and equal meridians, as few as integrate the product exactly. ``"fourier"``: the sphere is
    covered twice by a torus, where a signal is a short Fourier series in both angles; products on a torus are convolutions of
    coefficients, found by fast Fourier transforms. Both are exact, up to rounding.

    >>> GauntPlan(2, 2, 2).grid
    gauss_legendre_grid(4, 7)
    """

    lmax1: int
    lmax2: int
    lmax_out: int
    method: str = "grid"
    matrices: ClassVar[tuple[tuple[Tensor, Tensor], ...]] = ()  # of the grid; an instance has its own

    def __post_init__(self) -> None:
        if min(self.lmax1, self.lmax2, self.lmax_out) < 0:
            raise ValueError(f"degrees must be 0 or more, got {self.lmax1}, {self.lmax2}, {self.lmax_out}")
        if self.method not in ("grid", "fourier"):
            raise ValueError(f"unknown method {self.method!r}: expected 'grid' or 'fourier'")
        matrices = tuple(_grid_matrices(lmax, self.grid) for lmax in (self.lmax1, self.lmax2, self.lmax_out))
        object.__setattr__(self, "matrices", matrices)

    @property
    def grid(self) -> SphereGrid:
        """The smallest grid whose quadrature is exact for the product of three signals of these degrees."""
        degree = self.lmax1 + self.lmax2 + self.lmax_out
        return gauss_legendre_grid(degree // 2 + 1, degree + 1)


def gaunt_product(
    plan: GauntPlan,
    x: Float[Tensor, "*batch components1 channels"],
    y: Float[Tensor, "*batch components2 #channels"],
) -> Float[Tensor, "*batch components3 channels"]:
    r"""The product of two signals, channel by channel; components are degrees 0 to lmax after each other.

    That is the layout ``ir_mul`` with equal multiplicities. The result is bilinear and symmetric. Raises ``ValueError`` for
    other numbers of components.

    A product with the signal :math:`\sqrt{4\pi}\, Y_{00} = 1` changes nothing:

    >>> x = torch.randn(5, 9, 4, dtype=torch.float64)
    >>> one = torch.zeros(5, 9, 1, dtype=torch.float64)
    >>> one[:, 0] = (4 * math.pi) ** 0.5
    >>> torch.allclose(gaunt_product(GauntPlan(2, 2, 2), x, one), x)
    True

    What it cannot express: vectors in, the best vector out that any weights reach is zero, and no multiple of the cross product.

    >>> a, b = (torch.zeros(1, 4, 1, dtype=torch.float64) for _ in range(2))
    >>> a[0, 1], b[0, 2] = 1.0, 1.0                       # unit vectors along x and y, whose cross product is z
    >>> gaunt_product(GauntPlan(1, 1, 1), a, b)[0, 1:, 0].abs().max() < 1e-15
    tensor(True)
    """
    for name, value, lmax in (("x", x, plan.lmax1), ("y", y, plan.lmax2)):
        if value.shape[-2] != (lmax + 1) ** 2:
            raise ValueError(
                f"{name} has shape {tuple(value.shape)}, expected {(lmax + 1) ** 2} components in the last axis but one, for "
                f"degrees 0 to {lmax}"
            )
    if plan.method == "fourier" and x.numel() and y.numel():  # Fourier transforms of nothing are refused by some libraries
        return _by_fourier(plan, x, y)
    return _by_grid(plan, x, y)


def natural_irreps(lmax: int, channels: int) -> Irreps:
    """The irreps of signals, which are functions of a direction: all degrees with natural parity.

    >>> natural_irreps(2, 8)
    8x0e+8x1o+8x2e
    """
    return Irreps([(channels, (l, (-1) ** l)) for l in range(lmax + 1)])


def _by_grid(plan: GauntPlan, x: Tensor, y: Tensor) -> Tensor:
    first, second, last = plan.matrices
    values = (first[0].to(x) @ x) * (second[0].to(y) @ y)
    return last[1].to(values) @ values


@functools.lru_cache(maxsize=64)
def _grid_matrices(lmax: int, grid: SphereGrid) -> tuple[Tensor, Tensor]:
    """Harmonics (points, components) on the grid, and (components, points) with its weights."""
    transform = SphereTransform(lmax, grid, "integral")
    identity = torch.eye((lmax + 1) ** 2, dtype=torch.float64, device="cpu")
    harmonics = transform.to_grid(identity).flatten(1).T.contiguous()
    weights = torch.from_numpy(np.repeat(grid.weights, len(grid.alphas)))
    return harmonics, (harmonics * weights[:, None]).T.contiguous()


def _by_fourier(plan: GauntPlan, x: Tensor, y: Tensor) -> Tensor:
    # A product of degree l1 + l2 has orders up to it in both angles, so this many samples of the torus do not alias.
    size = 2 * (plan.lmax1 + plan.lmax2) + 1
    dtype = torch.complex64 if x.dtype == torch.float32 else torch.complex128
    values = []
    for signal, lmax in ((x, plan.lmax1), (y, plan.lmax2)):
        series = _to_fourier(lmax, size).to(device=x.device, dtype=dtype) @ signal.to(dtype)
        values.append(torch.fft.ifft2(series.unflatten(-2, (size, size)), dim=(-3, -2), norm="forward").real)
    product = torch.fft.fft2(values[0] * values[1], dim=(-3, -2), norm="forward").flatten(-3, -2)
    return (_from_fourier(plan.lmax_out, size).to(device=x.device, dtype=dtype) @ product).real


@functools.lru_cache(maxsize=64)
def _to_fourier(lmax: int, size: int) -> Tensor:
    r"""The Fourier coefficients (size², components) of the harmonics continued to :math:`\beta \in [0, 2\pi)`, zero-padded.

    Beyond the pole the polar circle comes back on the other side: the point of (β, α) is that of (2π - β, α + π).
    """
    return torch.fft.fft2(_on_torus(lmax, size), dim=(0, 1), norm="forward").flatten(0, 1)


@functools.lru_cache(maxsize=64)
def _from_fourier(lmax: int, size: int) -> Tensor:
    r"""The coefficients of each Fourier function: integrals of :math:`Y_{lm}\, e^{i(u\beta + v\alpha)}` over the sphere.

    Rows (components, size²). The integrand is a trigonometric polynomial in β times sin β on [0, π], whose integral is known:
    :math:`\int_0^\pi e^{ik\beta} \sin\beta\, d\beta = (1 + e^{ik\pi})/(1 - k^2)`, and :math:`\pm i\pi/2` for k = ±1.
    """
    fine = 2 * lmax + 1
    harmonics = torch.fft.fft2(_on_torus(lmax, fine), dim=(0, 1), norm="forward").numpy()  # (fine, fine, components)
    orders, wide = _orders(fine), _orders(size)
    k = orders[:, None] + wide[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        polar = np.where(np.abs(k) == 1, 0.5j * np.pi * k, np.where(k % 2 == 0, 2.0, 0.0) / (1.0 - k * k))
    azimuthal = 2 * np.pi * (orders[:, None] + wide[None, :] == 0)
    rows = np.einsum("uvc,uU,vV->cUV", harmonics, polar, azimuthal, optimize=True)
    return torch.from_numpy(rows.reshape(rows.shape[0], -1))


def _on_torus(lmax: int, size: int) -> Tensor:
    """Harmonics at equal steps of β and α in [0, 2π), (size, size, components)."""
    angles = 2 * math.pi * torch.arange(size, dtype=torch.float64, device="cpu") / size
    beta, alpha = torch.meshgrid(angles, angles, indexing="ij")
    points = torch.stack([beta.sin() * alpha.sin(), beta.cos(), beta.sin() * alpha.cos()], dim=-1)
    return spherical_harmonics(list(range(lmax + 1)), points, normalize=False, normalization="integral")


def _orders(size: int) -> np.ndarray:
    return np.rint(np.fft.fftfreq(size) * size)
