r"""Functions on the sphere on a product grid of points, and the way to and from their coefficients of spherical harmonics.

A point of the grid is :math:`(\sin\beta\sin\alpha, \cos\beta, \sin\beta\cos\alpha)` for a polar angle beta (rings) and an azimuth
alpha (meridians at :math:`2\pi a/A`), both in radians. With one weight per ring

.. math:: \int_{S^2} f \, d\Omega = \sum_{b,a} w_b f(\beta_b, \alpha_a)

exactly, for all polynomials of x, y, z up to ``grid.degree``. Two families of rings:

- :func:`equiangular_grid`: :math:`\beta_b = \pi (b + 1/2) / B`, e3nn's grid, exact to degree B - 1 (B for odd B). The weights
  are Fejér's first rule, for even B those of Kostelec and Rockmore's SOFT;
- :func:`gauss_legendre_grid`: the Gauss-Legendre nodes, exact to degree 2B - 1, so half the rings for the same degree.

Both need A > degree meridians. Coefficients up to lmax come back exactly when the degree is at least 2 lmax.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from tesseral.o3.spherical_harmonics import Normalization, legendre, spherical_harmonics_alpha


@dataclass(frozen=True, eq=False)
class SphereGrid:
    """Rings ``betas`` with quadrature ``weights``, meridians ``alphas``, and the degree that the quadrature integrates exactly.

    >>> grid = gauss_legendre_grid(4, 8)
    >>> grid.degree, grid.shape
    (7, (4, 8))
    >>> float(grid.integrate(torch.ones(4, 8, dtype=torch.float64)) / (4 * torch.pi))
    1.0
    """

    name: str
    betas: Float64[np.ndarray, "rings"]
    alphas: Float64[np.ndarray, "meridians"]
    weights: Float64[np.ndarray, "rings"]
    degree: int

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rings and of meridians."""
        return len(self.betas), len(self.alphas)

    @property
    def points(self) -> Float64[np.ndarray, "rings meridians 3"]:
        """The unit vectors."""
        beta, alpha = np.meshgrid(self.betas, self.alphas, indexing="ij")
        return np.stack([np.sin(beta) * np.sin(alpha), np.cos(beta), np.sin(beta) * np.cos(alpha)], -1)

    def integrate(self, values: Float[Tensor, "*batch rings meridians"]) -> Float[Tensor, "*batch"]:
        """The integral over the sphere of functions given on the grid."""
        _check_shape(values, self)
        return values.sum(-1) @ torch.from_numpy(self.weights.copy()).to(dtype=values.dtype, device=values.device)

    def __repr__(self) -> str:
        return f"{self.name}({len(self.betas)}, {len(self.alphas)})"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[int, int]]:
        return _FAMILIES[self.name], self.shape


@functools.lru_cache(maxsize=64)
def equiangular_grid(res_beta: int, res_alpha: int) -> SphereGrid:
    r"""e3nn's grid: rings at :math:`\pi (b + 1/2) / B`, meridians at :math:`2\pi a/A`.

    To go to the grid and back with degree lmax takes 2 lmax + 1 rings (e3nn asks for 2 lmax + 2) and 2 lmax + 1 meridians.
    Raises ``ValueError`` for less than one ring or meridian. Source of the weights: Davis and Rabinowitz, Methods of Numerical
    Integration (1984), eq. 2.5.5.2.

    >>> (equiangular_grid(2, 3).betas / np.pi).tolist()
    [0.25, 0.75]
    """
    _check_resolution(res_beta, res_alpha)
    betas = (np.arange(res_beta) + 0.5) * np.pi / res_beta
    k = np.arange(1, res_beta // 2 + 1)
    series = 2 * np.cos(2 * np.outer(betas, k)) / (4 * k * k - 1)
    weights = 2 / res_beta * (1 - series.sum(1))
    polar_degree = res_beta if res_beta % 2 else res_beta - 1
    return _product_grid("equiangular_grid", betas, weights, res_alpha, polar_degree)


@functools.lru_cache(maxsize=64)
def gauss_legendre_grid(res_beta: int, res_alpha: int) -> SphereGrid:
    r"""Rings at the Gauss-Legendre nodes in :math:`\cos\beta`, from the pole +y to the pole -y.

    To go to the grid and back with degree lmax takes lmax + 1 rings and 2 lmax + 1 meridians, the fewest of a product grid.
    Raises ``ValueError`` for less than one ring or meridian.

    >>> gauss_legendre_grid(3, 5).degree
    4
    """
    _check_resolution(res_beta, res_alpha)
    nodes, weights = np.polynomial.legendre.leggauss(res_beta)
    return _product_grid("gauss_legendre_grid", np.arccos(nodes[::-1]), weights[::-1], res_alpha, 2 * res_beta - 1)


class SphereTransform:
    r"""Coefficients (..., (lmax+1)^2) of real spherical harmonics to values (..., rings, meridians) on a grid, and back.

    .. math:: f(x) = \sum_{l=0}^{l_{max}} n_l \, F^l \cdot Y^l(x), \qquad F^l = n_l^{-1} \int_{S^2} f(x) Y^l(x) \, d\Omega

    with the orthonormal ("integral") harmonics and, as in e3nn, :math:`n_l = 1` for ``"integral"``,
    :math:`\sqrt{4\pi/(l_{max}+1)}` for ``"norm"`` and :math:`\sqrt{4\pi/((2l+1)(l_{max}+1))}` for ``"component"``: for random
    coefficients of irreps of mean square norm 1, or of components of variance 1, every degree adds the same variance to f.

    The transform is done in two steps, polar and azimuthal. Instances are immutable, hold float64 matrices, and can be pickled,
    compiled and exported. ``lmax_in`` is the lmax in :math:`n_l` for ``from_grid``, where the signal was made with another one.
    ``from_grid`` raises ``ValueError`` for a grid of degree below 2 lmax, whose result would be wrong by aliasing.

    >>> transform = SphereTransform(2, gauss_legendre_grid(3, 5))
    >>> x = torch.randn(7, 9)
    >>> torch.allclose(transform.from_grid(transform.to_grid(x)), x, atol=1e-5)
    True
    """

    lmax: int
    grid: SphereGrid
    normalization: Normalization
    lmax_in: int

    def __init__(
        self, lmax: int, grid: SphereGrid, normalization: Normalization = "component", lmax_in: int | None = None
    ) -> None:
        if lmax < 0:
            raise ValueError(f"lmax must be 0 or more, got {lmax}")
        if normalization not in ("integral", "component", "norm"):
            raise ValueError(f"normalization must be 'integral', 'component' or 'norm', got {normalization!r}")
        self.lmax, self.grid, self.normalization = lmax, grid, normalization
        self.lmax_in = lmax if lmax_in is None else lmax_in

        degrees = range(lmax + 1)
        # Coefficients are laid out as (m, l); pairs with l < |m| have no coefficient, so their entry of the polar matrix is zero.
        pairs = [(m, l) for m in range(-lmax, lmax + 1) for l in degrees]
        present = torch.tensor([abs(m) <= l for m, l in pairs], device="cpu")
        self._to_pairs = torch.tensor([l * l + l + m if abs(m) <= l else 0 for m, l in pairs], device="cpu")
        self._from_pairs = torch.tensor([(m + lmax) * (lmax + 1) + l for l in degrees for m in range(-l, l + 1)], device="cpu")
        betas, alphas = torch.from_numpy(grid.betas.copy()), torch.from_numpy(grid.alphas.copy())
        polynomials = legendre(list(degrees), betas.cos(), betas.sin())  # (rings, (lmax+1)^2)
        polar = (polynomials[:, self._to_pairs] * present).unflatten(-1, (2 * lmax + 1, lmax + 1)).movedim(0, 1)
        weights = torch.from_numpy(grid.weights.copy())[:, None]
        self.synthesis = polar * _degree_scale(normalization, lmax, lmax)  # (2 lmax + 1, rings, lmax + 1)
        self.analysis = polar * weights / _degree_scale(normalization, lmax, self.lmax_in)
        self.azimuthal = spherical_harmonics_alpha(lmax, alphas)  # (meridians, 2 lmax + 1)

    def to_grid(self, coefficients: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch rings meridians"]:
        """Values on the grid of functions with these coefficients."""
        if coefficients.shape[-1:] != ((self.lmax + 1) ** 2,):
            raise ValueError(f"lmax = {self.lmax} has {(self.lmax + 1) ** 2} coefficients, got {tuple(coefficients.shape)}")
        pairs = coefficients[..., self._to_pairs.to(coefficients.device)].unflatten(-1, (2 * self.lmax + 1, self.lmax + 1))
        rings = torch.einsum("...ml,mbl->...bm", pairs, _like(self.synthesis, pairs))
        return rings @ _like(self.azimuthal, rings).T

    def from_grid(self, values: Float[Tensor, "*batch rings meridians"]) -> Float[Tensor, "*batch dim"]:
        """Coefficients of functions given on the grid; components of higher degree are dropped."""
        _check_shape(values, self.grid)
        if self.grid.degree < 2 * self.lmax:
            raise ValueError(
                f"{self.grid} integrates exactly to degree {self.grid.degree}, but coefficients up to lmax = {self.lmax} "
                f"need {2 * self.lmax}: take more rings or meridians"
            )
        orders = values @ _like(self.azimuthal, values)
        pairs = torch.einsum("...bm,mbl->...ml", orders, _like(self.analysis, orders))
        return pairs.flatten(-2)[..., self._from_pairs.to(pairs.device)]

    def __repr__(self) -> str:
        return f"SphereTransform(lmax={self.lmax}, {self.grid}, normalization={self.normalization!r})"

    def __reduce__(self) -> tuple[type, tuple[int, SphereGrid, str, int]]:
        return SphereTransform, (self.lmax, self.grid, self.normalization, self.lmax_in)


_FAMILIES = {"equiangular_grid": equiangular_grid, "gauss_legendre_grid": gauss_legendre_grid}


def _product_grid(name: str, betas: np.ndarray, weights: np.ndarray, res_alpha: int, polar_degree: int) -> SphereGrid:
    alphas = 2 * np.pi * np.arange(res_alpha) / res_alpha
    weights = weights * (2 * np.pi / res_alpha)
    for array in (betas, alphas, weights):
        array.flags.writeable = False
    return SphereGrid(name, betas, alphas, weights, min(polar_degree, res_alpha - 1))


def _degree_scale(normalization: str, lmax: int, lmax_in: int) -> Tensor:
    """The factor n_l of each degree up to lmax."""
    l = torch.arange(lmax + 1, dtype=torch.float64, device="cpu")
    if normalization == "integral":
        return torch.ones_like(l)
    scale = 4 * math.pi / (lmax_in + 1)
    return (scale / (2 * l + 1) if normalization == "component" else scale * torch.ones_like(l)).sqrt()


def _like(constant: Tensor, x: Tensor) -> Tensor:
    return constant.to(dtype=x.dtype, device=x.device)


def _check_shape(values: Tensor, grid: SphereGrid) -> None:
    if values.shape[-2:] != grid.shape:
        raise ValueError(f"a function on {grid} has shape (..., {grid.shape[0]}, {grid.shape[1]}), got {tuple(values.shape)}")


def _check_resolution(res_beta: int, res_alpha: int) -> None:
    if res_beta < 1 or res_alpha < 1:
        raise ValueError(f"a grid needs at least one ring and one meridian, got {res_beta} and {res_alpha}")
