r"""Functions on the sphere as features: coefficients of spherical harmonics, made from points and samples, evaluated, searched
for peaks, correlated.

A signal :math:`f(x) = \sum_l A^l \cdot Y^l(x)`, with the orthonormal ("integral") harmonics, has two parities: inversion turns
it into :math:`p_v f(p_a x)`, so degree l has parity :math:`p_v p_a^l`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.o3.irreps import Irreps, IrrepsLike
from tesseral.o3.sphere_grid import SphereGrid, SphereTransform, equiangular_grid, gauss_legendre_grid
from tesseral.o3.spherical_harmonics import spherical_harmonics
from tesseral.o3.wigner import wigner_D_all


def parities(irreps: IrrepsLike) -> tuple[int, int, int]:
    """lmax, p_val and p_arg of irreps that are a signal on the sphere: one of each degree from 0 on, parities p_val p_arg^l.

    Raises ``ValueError`` for others.

    >>> parities("0e+1o+2e"), parities("0o+1o")
    ((2, 1, -1), (1, -1, 1))
    """
    irreps = Irreps(irreps)
    lmax = len(irreps) - 1
    for p_arg in (-1, 1):
        if lmax >= 0 and irreps == Irreps([(1, (l, irreps[0].ir.p * p_arg**l)) for l in range(lmax + 1)]):
            return lmax, irreps[0].ir.p, p_arg
    raise ValueError(f"{irreps} is no signal on the sphere: expected one irrep of each degree from 0 on, as in 1x0e+1x1o+1x2e")


@dataclass(frozen=True)
class SphericalTensor:
    r"""The space of signals on the sphere up to degree ``lmax``; a signal is a plain tensor (..., (lmax+1)^2).

    Values change by ``p_val`` and arguments by ``p_arg`` under inversion: (1, -1) for a function of a point, such as a density.
    All methods keep the dtype and device of their tensors. Raises ``ValueError`` for a bad lmax or parity.

    >>> SphericalTensor(3, 1, -1).irreps
    1x0e+1x1o+1x2e+1x3o
    """

    lmax: int
    p_val: int = 1
    p_arg: int = -1

    def __post_init__(self) -> None:
        if self.lmax < 0 or self.p_val not in (-1, 1) or self.p_arg not in (-1, 1):
            raise ValueError(f"a signal needs lmax >= 0 and parities 1 or -1, got {self.lmax}, {self.p_val}, {self.p_arg}")

    @property
    def irreps(self) -> Irreps:
        """The irreps of the coefficients."""
        return Irreps([(1, (l, self.p_val * self.p_arg**l)) for l in range(self.lmax + 1)])

    @property
    def dim(self) -> int:
        """The number of coefficients."""
        return (self.lmax + 1) ** 2

    def with_peaks_at(self, vectors: Float[Tensor, "points 3"], values: Float[Tensor, "#points"] | None = None) -> Tensor:
        """The smallest signal with given ``values`` (default: the lengths) in the directions of ``vectors``.

        It passes through the values exactly, if that is possible with this lmax; zero values are left free, as in e3nn. Raises
        ``ValueError`` if it is not possible, or if p_val is -1 (lengths are even).

        >>> s = SphericalTensor(4, 1, -1)
        >>> points = torch.tensor([[1.0, 0.0, 0.0], [3.0, 4.0, 0.0]])
        >>> s.signal_xyz(s.with_peaks_at(points), points).round()
        tensor([1., 5.])
        """
        if self.p_val != 1:
            raise ValueError("the values of peaks are even under inversion, so p_val must be 1")
        values = vectors.norm(dim=-1) if values is None else values.expand(len(vectors))
        kept = values != 0
        vectors, values = vectors[kept], values[kept]
        if not len(values):
            return vectors.new_zeros(self.dim)
        y = self._harmonics(vectors)
        solution = y.T @ torch.linalg.pinv((y @ y.T).double(), hermitian=True, rtol=1e-10).to(y.dtype) @ values
        missed = float((y @ solution - values).detach().abs().max() / values.detach().abs().max())
        if missed > (1e-3 if y.dtype == torch.float32 else 1e-6):
            raise ValueError(f"no signal of lmax = {self.lmax} takes these {len(values)} values (off by {missed:.1e} relative)")
        return solution

    def sum_of_diracs(self, positions: Float[Tensor, "..."], values: Float[Tensor, "..."]) -> Float[Tensor, "*batch dim"]:
        r"""A sum over points (..., N, 3) of ``values`` (..., N) times the peak of degree lmax that is closest to a Dirac delta,
        scaled to 1 at its top.

        >>> s = SphericalTensor(7)
        >>> s.sum_of_diracs(torch.eye(3), torch.ones(3)).shape
        torch.Size([64])
        """
        y = self._harmonics(positions)
        return 4 * math.pi / (self.lmax + 1) ** 2 * (y * values.unsqueeze(-1)).sum(-2)

    def dirac(self, positions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch dim"]:
        """The coefficients of the Dirac delta at a direction, cut at lmax: its integral is 1."""
        return self._harmonics(positions)

    def from_samples_on_s2(
        self, positions: Float[Tensor, "..."], values: Float[Tensor, "..."], grid: SphereGrid | None = None
    ) -> Float[Tensor, "*batch dim"]:
        """The signal with the value of the nearest sample at every point of a grid (default: 100 rings); ``positions`` are
        (..., N, 3), ``values`` (..., N).

        >>> s = SphericalTensor(2)
        >>> poles = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
        >>> s.from_samples_on_s2(poles, torch.tensor([1.0, -1.0])).round(decimals=1)[2]
        tensor(3.1)
        """
        grid = equiangular_grid(100, 99) if grid is None else grid
        batch = torch.broadcast_shapes(positions.shape[:-1], values.shape)
        positions = torch.nn.functional.normalize(positions.expand(*batch, 3), dim=-1)
        values = values.expand(batch)
        if not values.numel():
            return values.new_zeros(*batch[:-1], self.dim)
        points = torch.from_numpy(grid.points).to(values).flatten(0, 1)
        nearest = (points @ positions.transpose(-1, -2)).argmax(-1)
        return SphereTransform(self.lmax, grid, "integral").from_grid(values.gather(-1, nearest).unflatten(-1, grid.shape))

    def norms(self, signal: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch degrees"]:
        """The norm of each degree.

        >>> SphericalTensor(1).norms(torch.tensor([1.5, 0.0, 3.0, 4.0]))
        tensor([1.5000, 5.0000])
        """
        return torch.stack([signal[..., l * l : (l + 1) ** 2].norm(dim=-1) for l in range(self.lmax + 1)], -1)

    def power_spectrum(self, signal: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch degrees"]:
        """The mean square of the signal that each degree adds: its norm squared over 4π."""
        return self.norms(signal).square() / (4 * math.pi)

    def signal_xyz(self, signal: Float[Tensor, "*batch dim"], points: Float[Tensor, "*points 3"]) -> Float[Tensor, "..."]:
        """The values (*batch, *points) in the directions of ``points``."""
        y = self._harmonics(points)
        return torch.tensordot(signal, y, dims=([-1], [-1]))

    def signal_on_grid(
        self, signal: Float[Tensor, "*batch dim"], grid: SphereGrid | None = None, normalization: str = "integral"
    ) -> tuple[Float[Tensor, "rings meridians 3"], Float[Tensor, "*batch rings meridians"]]:
        """The points and the values on a grid (default: 100 rings, 99 meridians)."""
        grid = equiangular_grid(100, 99) if grid is None else grid
        values = SphereTransform(self.lmax, grid, normalization).to_grid(signal)  # type: ignore[arg-type]
        return torch.from_numpy(grid.points).to(values), values

    def find_peaks(
        self, signal: Float[Tensor, "dim"], grid: SphereGrid | None = None
    ) -> tuple[Float[Tensor, "peaks 3"], Float[Tensor, "peaks"]]:
        """All local maxima: their unit vectors and values, the highest first.

        Every point of a grid that no neighbour exceeds climbs to the top by Newton's method on the sphere, so positions are exact
        to rounding, poles included. The default grid has 8 (lmax + 1) rings; maxima closer than its spacing may be missed.

        >>> s = SphericalTensor(4)
        >>> x = s.with_peaks_at(torch.tensor([[4.0, 0.0, 4.0], [0.0, 5.0, 0.0]], dtype=torch.float64))
        >>> points, values = s.find_peaks(x)
        >>> values[:2].mul(10).round()
        tensor([57., 50.], dtype=torch.float64)
        """
        from tesseral.o3.sphere_peaks import find_peaks

        return find_peaks(self, signal, grid)

    def cross_correlation(
        self, first: Float[Tensor, "*batch dim"], second: Float[Tensor, "*batch dim"], rotations: Float[Tensor, "number 3 3"]
    ) -> Float[Tensor, "*batch number"]:
        r"""The overlap of ``first`` with ``second`` turned by each rotation,
        :math:`c(R) = \int f(x)\, g(R^{-1}x)\, d\Omega = \sum_l A^l \cdot D^l(R) B^l`.

        >>> s = SphericalTensor(2)
        >>> x = torch.randn(9)
        >>> torch.allclose(s.cross_correlation(x, x, torch.eye(3)[None]), x @ x)
        True
        """
        total = None
        for l, D in enumerate(wigner_D_all(self.lmax, rotations)):
            block = slice(l * l, (l + 1) ** 2)
            term = torch.einsum("...a,rab,...b->...r", first[..., block], D.to(first), second[..., block])
            total = term if total is None else total + term
        assert total is not None
        return total

    def best_rotation(
        self, first: Float[Tensor, "dim"], second: Float[Tensor, "dim"], samples: int = 2000, steps: int = 20
    ) -> tuple[Float[Tensor, "3 3"], Float[Tensor, ""]]:
        """The rotation that brings ``second`` closest to ``first``, and the overlap there: the best of random rotations, refined
        by Newton's method on the group.

        >>> from tesseral.o3 import rand_matrix
        >>> s = SphericalTensor(3)
        >>> x, R = torch.randn(16, dtype=torch.float64), rand_matrix(dtype=torch.float64)
        >>> _, overlap = s.best_rotation(s.rotated(x, R), x)
        >>> torch.allclose(overlap, x @ x)
        True
        """
        from tesseral.o3.sphere_peaks import best_rotation

        return best_rotation(self, first, second, samples, steps)

    def rotated(self, signal: Float[Tensor, "*batch dim"], rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "*batch dim"]:
        """The signal after a rotation, or any orthogonal matrix."""
        return signal @ self.irreps.D_from_matrix(rotation).to(signal).T

    def product(self, first: Float[Tensor, "*batch dim"], second: Float[Tensor, "*batch dim"], lmax: int) -> Tensor:
        """The product of two signals as functions, up to degree ``lmax``; exact, on a Gauss-Legendre grid."""
        degree = 2 * self.lmax + lmax
        grid = gauss_legendre_grid(degree // 2 + 1, degree + 1)
        into = SphereTransform(self.lmax, grid, "integral")
        return SphereTransform(lmax, grid, "integral").from_grid(into.to_grid(first) * into.to_grid(second))

    def surface(
        self,
        signal: Float[Tensor, "dim"],
        grid: SphereGrid | None = None,
        *,
        radius: bool = True,
        relu: bool = False,
        center: Float[Tensor, "3"] | None = None,
    ) -> tuple[Float[Tensor, "rings columns 3"], Float[Tensor, "rings columns"]]:
        """A closed surface to plot, and the values on it: first and last ring are the poles, the last column repeats the first.

        With ``radius`` the distance from the centre is the absolute value; ``relu`` leaves out negative values.
        """
        points, values = self.signal_on_grid(signal, grid)
        pole = points.new_tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
        ends = self.signal_xyz(signal, pole)
        rings = points.shape[1]
        points = torch.cat([pole[:1, None].expand(1, rings, 3), points, pole[1:, None].expand(1, rings, 3)])
        values = torch.cat([ends[:1, None].expand(1, rings), values, ends[1:, None].expand(1, rings)])
        points, values = torch.cat([points, points[:, :1]], 1), torch.cat([values, values[:, :1]], 1)
        values = values.relu() if relu else values
        points = points * values.abs().unsqueeze(-1) if radius else points
        return (points if center is None else points + center), values

    def plot(self, signal: Float[Tensor, "dim"], axes: object = None, **options: object) -> object:
        """Draw the :meth:`surface`, whose ``options`` it takes, with matplotlib, coloured by the value; returns the 3d axes."""
        from tesseral.o3.sphere_plot import plot_surface

        return plot_surface(*self.surface(signal.detach().cpu(), **options), axes)  # type: ignore[arg-type]

    def plotly_surface(self, signals: Float[Tensor, "..."], centers: Tensor | None = None, **options: object) -> list[dict]:
        """The surfaces of signals (..., dim) as keyword arguments of ``plotly.graph_objects.Surface``."""
        signals = signals.detach().cpu().reshape(-1, self.dim)
        shifts = [None] * len(signals) if centers is None else list(centers.detach().cpu().reshape(-1, 3))
        traces = []
        for signal, center in zip(signals, shifts):
            points, values = self.surface(signal, center=center, **options)  # type: ignore[arg-type]
            x, y, z = points.unbind(-1)
            traces.append({"x": x.numpy(), "y": y.numpy(), "z": z.numpy(), "surfacecolor": values.numpy()})
        return traces

    def _harmonics(self, points: Tensor) -> Tensor:
        return spherical_harmonics(list(range(self.lmax + 1)), points, normalize=True)
