r"""Smooth cutoffs: functions of the distance that are one at zero and vanish, with their derivatives, from the cutoff on.

All are at least twice continuously differentiable, so that forces and Hessians have no jumps when an atom crosses the cutoff, and
exactly zero beyond it. They take distances and return factors of the same shape and dtype.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PolynomialCutoff(nn.Module):
    r"""The polynomial of degree p + 2 with :math:`f = 1 + O(x^p)` and a triple zero at the cutoff, :math:`x = r/r_c`.

    .. math:: f = 1 - \tfrac{(p+1)(p+2)}{2} x^p + p(p+2)\, x^{p+1} - \tfrac{p(p+1)}{2} x^{p+2}

    Twice continuously differentiable at the cutoff for every p, and at zero for p = 2 or p >= 3 (the default 6 is NequIP's).
    Raises ``ValueError`` for a cutoff that is not positive or p < 2.
    Source: Gasteiger et al., Directional message passing for molecular graphs, ICLR 2020, eq. 8.

    >>> PolynomialCutoff(5.0, p=6)(torch.tensor([0.0, 2.5, 5.0, 7.0], dtype=torch.float64))
    tensor([1.0000, 0.8555, 0.0000, 0.0000], dtype=torch.float64)
    """

    def __init__(self, cutoff: int | float, p: int | float = 6.0) -> None:
        super().__init__()
        self.cutoff = _positive(cutoff)
        if p < 2:
            raise ValueError(f"the power p of a polynomial cutoff must be at least 2, got {p}")
        self.p = int(p) if float(p).is_integer() else float(p)

    def forward(self, r: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        p, x = self.p, (r / self.cutoff).clamp(max=1.0)
        bracket = (p + 1) * (p + 2) / 2 - x * (p * (p + 2) - x * (p * (p + 1) / 2))
        return 1 - x**p * bracket

    def extra_repr(self) -> str:
        return f"cutoff={self.cutoff}, p={self.p}"


class CosineCutoff(nn.Module):
    r"""A power of the cosine cutoff, :math:`f = \left(\tfrac{1 + \cos \pi x}{2}\right)^k`, :math:`x = r/r_c`.

    With the ``power`` k = 2 (the default) it is three times continuously differentiable. k = 1 is the form of
    Behler and Parrinello, Phys. Rev. Lett. 98, 146401 (2007), eq. 4, whose second derivative jumps at the cutoff.

    >>> CosineCutoff(5.0)(torch.tensor([0.0, 2.5, 5.0, 7.0]))
    tensor([1.0000, 0.2500, 0.0000, 0.0000])
    """

    def __init__(self, cutoff: int | float, power: int = 2) -> None:
        super().__init__()
        self.cutoff, self.power = _positive(cutoff), power
        if power < 1:
            raise ValueError(f"the power of a cosine cutoff must be at least 1, got {power}")

    def forward(self, r: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        x = (r / self.cutoff).clamp(max=1.0)
        # cos²(πx/2) written with the sine of the distance from the cutoff, which is exactly zero there
        return torch.sin((math.pi / 2) * (1 - x)) ** (2 * self.power)

    def extra_repr(self) -> str:
        return f"cutoff={self.cutoff}, power={self.power}"


class BumpCutoff(nn.Module):
    r"""The infinitely differentiable bump :math:`f = \exp\left(1 - \tfrac{1}{1 - x^2}\right)`, :math:`x = r/r_c`.

    Source: Unke et al., SpookyNet, Nat. Commun. 12, 7273 (2021), eq. 16.

    >>> BumpCutoff(5.0)(torch.tensor([0.0, 2.5, 5.0, 7.0]))
    tensor([1.0000, 0.7165, 0.0000, 0.0000])
    """

    def __init__(self, cutoff: int | float) -> None:
        super().__init__()
        self.cutoff = _positive(cutoff)

    def forward(self, r: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return math.e * soft_unit_step(1 - (r / self.cutoff) ** 2)

    def extra_repr(self) -> str:
        return f"cutoff={self.cutoff}"


def soft_unit_step(x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    r"""The infinitely differentiable step :math:`e^{-1/x}` for :math:`x > 0`, else 0; all derivatives are finite everywhere.

    >>> soft_unit_step(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0.0000, 0.0000, 0.3679])
    """
    # below the threshold e^{-1/x} is smaller than any number of the dtype times the powers of 1/x in its derivatives
    threshold = 1 / 600 if x.dtype == torch.float64 else 1 / 60
    inside = x > threshold
    safe = torch.where(inside, x, torch.ones_like(x))
    return torch.where(inside, torch.exp(-1 / safe), torch.zeros_like(x))


def _positive(cutoff: int | float) -> float:
    if not cutoff > 0:
        raise ValueError(f"the cutoff must be a positive distance in Å, got {cutoff}")
    return float(cutoff)
