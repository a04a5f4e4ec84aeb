"""The search behind :class:`~tesseral.o3.spherical_tensor.SphericalTensor`: maxima on the sphere and on the group of rotations,
by Newton's method in local coordinates from the best points of a grid or a sample.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tesseral.o3.rotations import rand_matrix, rotation_vector_to_matrix
from tesseral.o3.sphere_grid import SphereGrid, equiangular_grid
from tesseral.o3.spherical_harmonics import spherical_harmonics
from tesseral.o3.wigner import wigner_D_all

if TYPE_CHECKING:
    from tesseral.o3.spherical_tensor import SphericalTensor


def find_peaks(space: SphericalTensor, signal: Tensor, grid: SphereGrid | None) -> tuple[Tensor, Tensor]:
    """See :meth:`~tesseral.o3.spherical_tensor.SphericalTensor.find_peaks`."""
    rings = 8 * (space.lmax + 1)
    points, values = space.signal_on_grid(signal.detach().double(), equiangular_grid(rings, 2 * rings) if grid is None else grid)
    around = torch.nn.functional.pad(values[None, None], (1, 1, 0, 0), mode="circular")
    highest = torch.nn.functional.max_pool2d(
        torch.nn.functional.pad(around, (0, 0, 1, 1), value=-torch.inf), kernel_size=3, stride=1
    )[0, 0]
    starts = points[values >= highest]
    degrees, coefficients = list(range(space.lmax + 1)), signal.detach().double()

    def value(x: Tensor) -> Tensor:
        return spherical_harmonics(degrees, x, normalize=True) @ coefficients

    def move(x: Tensor, t: Tensor) -> Tensor:
        first, second = _tangents(x)
        return torch.nn.functional.normalize(x + t[0] * first + t[1] * second, dim=-1)

    tops = climb(value, move, starts, 2, torch.pi / rings)
    heights = torch.stack([value(x) for x in tops])
    order = heights.argsort(descending=True)
    found: list[int] = []
    for i in order.tolist():  # those that arrived at one top count once
        if all(float((tops[i] - tops[j]).norm()) > 1e-4 for j in found):
            found.append(i)
    return tops[found].to(signal.dtype), heights[found].to(signal.dtype)


def best_rotation(space: SphericalTensor, first: Tensor, second: Tensor, samples: int, steps: int) -> tuple[Tensor, Tensor]:
    """See :meth:`~tesseral.o3.spherical_tensor.SphericalTensor.best_rotation`."""
    a, b = first.detach().double(), second.detach().double()
    sample = rand_matrix(samples, dtype=torch.float64, device=a.device)
    starts = sample[space.cross_correlation(a, b, sample).topk(min(20, samples)).indices]

    def value(R: Tensor) -> Tensor:
        matrices = wigner_D_all(space.lmax, R, check=False)
        return sum((a[l * l : (l + 1) ** 2] @ D @ b[l * l : (l + 1) ** 2] for l, D in enumerate(matrices)), a.new_zeros(()))

    def move(R: Tensor, t: Tensor) -> Tensor:
        return R @ rotation_vector_to_matrix(t)

    tops = climb(value, move, starts, 3, 0.3, steps)
    heights = torch.stack([value(R) for R in tops])
    return tops[heights.argmax()].to(first.dtype), heights.max().to(first.dtype)


def climb(
    value: Callable[[Tensor], Tensor],
    move: Callable[[Tensor, Tensor], Tensor],
    points: Tensor,
    dimension: int,
    radius: float,
    steps: int = 40,
) -> Tensor:
    """Each point moved to the top of its hill: Newton's method on ``value(move(point, t))`` at t = 0, where every curvature is
    taken as downward; steps are at most ``radius``, which shrinks where a step does not gain."""
    if not len(points):
        return points
    zero = points.new_zeros(dimension)

    def local(point: Tensor, t: Tensor) -> Tensor:
        return value(move(point, t))

    slope = torch.func.vmap(lambda p: torch.func.grad(lambda t: local(p, t))(zero))
    curvature = torch.func.vmap(lambda p: torch.func.hessian(lambda t: local(p, t))(zero))
    reach = points.new_full((len(points), 1), radius)
    heights = torch.func.vmap(value)(points)
    for _ in range(steps):
        eigenvalues, vectors = torch.linalg.eigh(curvature(points))
        weights = 1 / eigenvalues.abs().clamp(min=1e-9 * float(heights.abs().max()) + 1e-300)
        t = torch.einsum("pij,pj,pkj,pk->pi", vectors, weights, vectors, slope(points))
        t = t * (reach / t.norm(dim=1, keepdim=True).clamp(min=1e-300)).clamp(max=1.0)
        if float(t.norm(dim=1).max()) < 1e-12:
            break
        moved = torch.func.vmap(move)(points, t)
        risen = torch.func.vmap(value)(moved)
        gained = risen > heights
        points = torch.where(gained.view(-1, *[1] * (points.ndim - 1)), moved, points)
        heights, reach = torch.where(gained, risen, heights), torch.where(gained[:, None], reach, reach / 4)
    return points


def _tangents(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two unit vectors normal to a unit vector and to each other; without branches, as vmap wants it.

    Source: Duff et al., Building an orthonormal basis, revisited, J. Comput. Graph. Tech. 6, 1 (2017), listing 3.
    """
    side = torch.where(x[2] < 0, -1.0, 1.0)
    a = -1 / (side + x[2])
    b = x[0] * x[1] * a
    return torch.stack([1 + side * x[0] ** 2 * a, side * b, -side * x[0]]), torch.stack([b, side + x[1] ** 2 * a, -x[1]])
