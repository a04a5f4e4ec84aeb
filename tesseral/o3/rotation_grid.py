r"""Functions on the group of rotations on a grid of Euler angles, and the way to and from their Wigner coefficients.

.. math:: f(R) = \frac{1}{\sqrt d} \sum_{l \le l_{max}} \sqrt{2l+1} \sum_{mn} F^l_{mn} D^l_{mn}(R), \qquad d = \sum_l (2l+1)^2

on :math:`R = R_y(\alpha) R_x(\beta) R_y(\gamma)`, with alpha and gamma on the meridians and beta on the rings of a
:class:`~tesseral.o3.sphere_grid.SphereGrid`. Random coefficients of variance 1 make a function of variance 1.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.o3.irreps import Irreps
from tesseral.o3.rotations import matrix_x
from tesseral.o3.sphere_grid import SphereGrid
from tesseral.o3.wigner import wigner_D_all


class RotationTransform:
    r"""Coefficients (..., d) to values (..., alphas, betas, gammas), and back.

    Coefficients are those of e3nn's ``SO3Grid``: (2l+1) copies of each degree, where the copies are the rows m of
    :math:`F^l_{mn}`; in layout mul_ir. ``grid`` gives rings for beta, and meridians for alpha and gamma. The transform is
    separable:
    :math:`D^l_{mn} = \sum_\pm` of products of sines and cosines of :math:`m\alpha` and :math:`n\gamma` with
    :math:`d^l_{\pm m,\pm n}(\beta)`, so it holds :math:`O(B\, l_{max}^3)` numbers, not :math:`O(A^2 B\, l_{max}^3)`.

    ``from_grid`` raises ``ValueError`` for a grid of degree below 2 lmax, whose result would be wrong by aliasing.

    >>> from tesseral.o3.sphere_grid import gauss_legendre_grid
    >>> transform = RotationTransform(2, gauss_legendre_grid(3, 5))
    >>> transform.irreps
    1x0e+3x1o+5x2e
    >>> transform.to_grid(torch.randn(7, 35)).shape
    torch.Size([7, 5, 3, 5])
    """

    def __init__(self, lmax: int, grid: SphereGrid) -> None:
        if lmax < 0:
            raise ValueError(f"lmax must be 0 or more, got {lmax}")
        self.lmax, self.grid = lmax, grid
        self.irreps = Irreps([(2 * l + 1, (l, (-1) ** l)) for l in range(lmax + 1)])
        self._dim = sum((2 * l + 1) ** 2 for l in range(lmax + 1))
        betas, alphas = torch.from_numpy(grid.betas.copy()), torch.from_numpy(grid.alphas.copy())

        # Coefficients are laid out as (l, m, n); triples that do not exist have a zero in the polar matrix.
        width = 2 * lmax + 1
        place = torch.arange((lmax + 1) * width * width, device="cpu").view(lmax + 1, width, width)
        self._to_triples = torch.zeros((lmax + 1, width, width), dtype=torch.int64, device="cpu")
        polar = torch.zeros(len(betas), lmax + 1, width, width, dtype=torch.float64, device="cpu")
        places, start = [], 0
        for l, d in enumerate(wigner_D_all(lmax, matrix_x(betas))):
            middle = slice(lmax - l, lmax + l + 1)
            polar[:, l, middle, middle] = d * (2 * l + 1) ** 0.5
            self._to_triples[l, middle, middle] = torch.arange(start, start + (2 * l + 1) ** 2, device="cpu").view(2 * l + 1, -1)
            places.append(place[l, middle, middle].flatten())
            start += (2 * l + 1) ** 2
        self._from_triples = torch.cat(places)

        # R_y mixes the components m and -m only: (cos, sin) by (m, -m), before and after the rotation about x.
        flipped = [polar, polar.flip(-1), polar.flip(-2), polar.flip(-1, -2)]
        self.polar = torch.stack(flipped).unflatten(0, (2, 2))  # (m or -m, n or -n, rings, l, m, n)
        angles = alphas[:, None] * torch.arange(-lmax, lmax + 1, dtype=torch.float64, device="cpu")
        self.left = torch.stack([angles.cos(), -angles.sin()])  # (m or -m, meridians, m)
        self.right = torch.stack([angles.cos(), angles.sin()])
        self.weights = torch.from_numpy(grid.weights / (grid.weights.sum() * len(alphas) ** 2))

    def to_grid(self, coefficients: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch alphas betas gammas"]:
        """Values on the grid of functions with these coefficients."""
        if coefficients.shape[-1:] != (self._dim,):
            raise ValueError(f"lmax = {self.lmax} has {self._dim} coefficients, got {tuple(coefficients.shape)}")
        left, right, polar = (_like(constant, coefficients) for constant in (self.left, self.right, self.polar))
        triples = coefficients[..., self._to_triples.to(coefficients.device)]
        rings = torch.einsum("...lmn,pqblmn->...pqbmn", triples, polar) / self._dim**0.5
        return torch.einsum("...qabn,qgn->...abg", torch.einsum("...pqbmn,pam->...qabn", rings, left), right)

    def from_grid(self, values: Float[Tensor, "*batch alphas betas gammas"]) -> Float[Tensor, "*batch dim"]:
        """Coefficients of functions given on the grid; components of higher degree are dropped."""
        rings, meridians = self.grid.shape
        if values.shape[-3:] != (meridians, rings, meridians):
            raise ValueError(
                f"values on {self.grid} have shape (..., {meridians}, {rings}, {meridians}), got {tuple(values.shape)}"
            )
        if self.grid.degree < 2 * self.lmax:
            raise ValueError(
                f"{self.grid} integrates exactly to degree {self.grid.degree}, but coefficients up to lmax = {self.lmax} "
                f"need {2 * self.lmax}: take more rings or meridians"
            )
        left, right, polar = (_like(constant, values) for constant in (self.left, self.right, self.polar))
        weighted = values * _like(self.weights, values)[:, None]
        orders = torch.einsum("...qabn,pam->...pqbmn", torch.einsum("...abg,qgn->...qabn", weighted, right), left)
        triples = torch.einsum("...pqbmn,pqblmn->...lmn", orders, polar) * self._dim**0.5
        return triples.flatten(-3)[..., self._from_triples.to(values.device)]

    def __repr__(self) -> str:
        return f"RotationTransform(lmax={self.lmax}, {self.grid})"

    def __reduce__(self) -> tuple[type, tuple[int, SphereGrid]]:
        return RotationTransform, (self.lmax, self.grid)


def _like(constant: Tensor, x: Tensor) -> Tensor:
    return constant.to(dtype=x.dtype, device=x.device)
