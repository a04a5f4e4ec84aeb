r"""The separable activation on the sphere: functions are activated point by point, scalars by themselves.

.. math:: y^0 = \mathrm{silu}(s), \qquad y^l = \int_{S^2} \mathrm{silu}\Big(\sum_{l'} x^{l'} \cdot Y^{l'}\Big)\, Y^l\, d\Omega

The integral is a sum over a grid of Gauss-Legendre rings and equally spaced meridians. In the frame of an edge, only turns about
the pole must commute with it, so rings cause no error of symmetry; meridians do, by aliasing of orders above about A - mmax, and
this error falls exponentially with their number A. At nodes both count.
Source: Liao et al., EquiformerV2, ICLR 2024, section 4.2.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.kernels import sphere as compiled
from tesseral.o3 import SphereTransform, gauss_legendre_grid, spherical_harmonics_alpha
from tesseral.ops.fused import UnaryRule, apply


class SphereActivationPlan:
    """The grid for coefficients of degrees up to ``lmax`` and orders up to ``mmax``, packed by order as edge frames are.

    ``layout`` is ``"orders"`` (as :class:`tesseral.ops.so2.RotationPlan` packs: all l of m = 0, of +1, of -1, ...) or
    ``"degrees"`` (l = 0, 1, ..., each m = -l ... l, for full mmax). Raises ``ValueError`` for a grid too
    coarse to come back from.

    >>> SphereActivationPlan(2, 1, rings=4, meridians=6).entries
    ((0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (1, -1), (2, -1))
    """

    def __init__(self, lmax: int, mmax: int, rings: int, meridians: int, layout: str = "orders") -> None:
        if rings <= lmax or meridians < 2 * mmax + 1:
            raise ValueError(
                f"degree {lmax} and order {mmax} need {lmax + 1} rings and {2 * mmax + 1} meridians, got {rings} and {meridians}"
            )
        if layout not in ("orders", "degrees"):
            raise ValueError(f"layout must be 'orders' or 'degrees', got {layout!r}")
        self.lmax, self.mmax, self.rings, self.meridians, self.layout = lmax, mmax, rings, meridians, layout
        if layout == "orders":
            orders = [0] + [s * m for m in range(1, mmax + 1) for s in (1, -1)]
            self.entries = tuple((l, m) for m in orders for l in range(abs(m), lmax + 1))
        else:
            self.entries = tuple((l, m) for l in range(lmax + 1) for m in range(-l, l + 1))
        # Rings integrate products of two harmonics of one order exactly; the transform's own meridians do not matter here.
        grid = gauss_legendre_grid(rings, 2 * lmax + 1)
        transform = SphereTransform(lmax, grid)
        places = [(m + lmax, l) for l, m in self.entries]
        to_ring = torch.stack([transform.synthesis[m, :, l] for m, l in places], 1)
        from_ring = torch.stack([transform.analysis[m, :, l] for m, l in places], 1) * (len(grid.alphas) / meridians)
        from_ring[:, 0] = 0  # scalars go their own way
        alphas = torch.arange(meridians, dtype=torch.float64) * (2 * torch.pi / meridians)
        azimuthal = spherical_harmonics_alpha(lmax, alphas)[:, [m for m, _ in places]]
        self.to_grid = torch.einsum("bk,ak->bak", to_ring, azimuthal).flatten(0, 1)
        self.from_grid = torch.einsum("bk,ak->kba", from_ring, azimuthal).flatten(1)
        norms = azimuthal.new_tensor([2**0.5 if m else 1.0 for _, m in self.entries])  # of the cosines and sines in azimuthal
        self.compiled = compiled.Sphere(
            tuple(m for _, m in self.entries), _rows(to_ring * norms), _rows(from_ring * norms), meridians
        )

    def __reduce__(self):
        return SphereActivationPlan, (self.lmax, self.mmax, self.rings, self.meridians, self.layout)

    def __repr__(self) -> str:
        return f"SphereActivationPlan(lmax {self.lmax}, mmax {self.mmax}, {self.rings} rings, {self.meridians} meridians)"


def sphere_activation(plan: SphereActivationPlan, x: Float[Tensor, "rows entries"]) -> Float[Tensor, "rows activated"]:
    """Activate rows of coefficients (component-normalised), K blocks of channels, followed by one block of scalars to activate.

    Returns K blocks. Compiled on the CPU, with two derivatives, without the values on the grid ever being stored. Raises
    ``ValueError`` for a width that does not divide.

    >>> plan = SphereActivationPlan(1, 1, 2, 3)
    >>> sphere_activation(plan, torch.zeros(2, 5 * 8)).shape
    torch.Size([2, 32])
    """
    if x.shape[-1] % (len(plan.entries) + 1):
        raise ValueError(f"expected {len(plan.entries)} + 1 blocks of channels, got {x.shape[-1]} columns")
    return apply(_rule(plan), x)


def _rule(plan: SphereActivationPlan) -> UnaryRule:
    def definition(x: Tensor) -> Tensor:
        count = len(plan.entries)
        x = x.unflatten(-1, (count + 1, -1))
        to_grid, from_grid = (t.to(x.device, x.dtype) for t in (plan.to_grid, plan.from_grid))
        y = from_grid[1:] @ torch.nn.functional.silu(to_grid @ x[..., :count, :])
        return torch.cat([torch.nn.functional.silu(x[..., count:, :]), y], -2).flatten(-2)

    return UnaryRule(
        definition,
        lambda x: compiled.values(x, plan.compiled),
        lambda g, x: compiled.gradient(g, x, plan.compiled),
        lambda u, g, x: compiled.second_gradient(u, g, x, plan.compiled),
    )


def _rows(matrix: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())
