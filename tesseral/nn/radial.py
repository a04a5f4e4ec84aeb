r"""Radial bases: functions that turn a distance r into numbers. They take distances of any shape ``(...)`` and return
``(..., num_basis)``.

Multiply by a smooth cutoff of :mod:`tesseral.nn.cutoff`; only the bases that say so vanish at the cutoff by themselves.
Values and all their derivatives are finite for every r >= 0, also at r = 0. The dtype is that of the distances.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.nn.cutoff import _positive, soft_unit_step


class BesselBasis(nn.Module):
    r"""Spherical Bessel functions of order zero that vanish at the cutoff, :math:`b_n(r) = c\, \frac{\sin(n\pi r/r_c)}{r}`.

    ``normalization="orthonormal"``: :math:`c = \sqrt{2/r_c}`, so that :math:`\int_0^{r_c} b_n b_m r^2 dr = \delta_{nm}`
    (DimeNet, MACE); ``"nequip"``: :math:`c = 2/r_c`. At r = 0 they take their limit :math:`c\, n\pi/r_c`.
    ``trainable`` makes the frequencies :math:`n\pi` parameters. Raises ``ValueError`` for an unknown normalisation.
    Source: Gasteiger et al., Directional message passing for molecular graphs, ICLR 2020, eq. 7.

    >>> BesselBasis(5.0, 3)(torch.tensor([0.0, 5.0], dtype=torch.float64)).abs()
    tensor([[0.3974, 0.7947, 1.1921],
            [0.0000, 0.0000, 0.0000]], dtype=torch.float64)
    """

    frequencies: Tensor

    def __init__(
        self,
        cutoff: int | float,
        num_basis: int = 8,
        normalization: str = "orthonormal",
        trainable: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if normalization not in ("orthonormal", "nequip"):
            raise ValueError(f"unknown normalization {normalization!r} of a Bessel basis: expected 'orthonormal' or 'nequip'")
        self.cutoff, self.num_basis, self.normalization, self.trainable = _positive(cutoff), num_basis, normalization, trainable
        self.scale = math.sqrt(2 / self.cutoff) if normalization == "orthonormal" else 2 / self.cutoff
        if trainable:
            values = [n * math.pi for n in range(1, num_basis + 1)]
            self.frequencies = nn.Parameter(torch.tensor(values, dtype=dtype, device=device))

    def forward(self, r: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch num_basis"]:
        if self.trainable:
            frequencies = self.frequencies.to(r.dtype)
        else:
            frequencies = math.pi * torch.arange(1, self.num_basis + 1, dtype=r.dtype, device=r.device)
        frequencies = frequencies / self.cutoff
        return (self.scale * frequencies) * sinc(r.unsqueeze(-1) * frequencies)

    def extra_repr(self) -> str:
        return (
            f"cutoff={self.cutoff}, num_basis={self.num_basis}, normalization={self.normalization!r}, trainable={self.trainable}"
        )


class GaussianBasis(nn.Module):
    r"""Gaussians at equal distances, :math:`\exp\left(-\tfrac{(r - \mu_n)^2}{2\sigma^2}\right)`.

    Centres run from ``start`` to the cutoff; :math:`\sigma` is ``width`` times their distance.
    Source: Schütt et al., SchNet, J. Chem. Phys. 148, 241722 (2018), eq. 8.

    >>> GaussianBasis(5.0, 3)(torch.tensor(2.5))
    tensor([0.6065, 1.0000, 0.6065])
    """

    def __init__(self, cutoff: int | float, num_basis: int = 50, start: int | float = 0.0, width: int | float = 1.0) -> None:
        super().__init__()
        if num_basis < 2:
            raise ValueError(f"a Gaussian basis needs at least 2 functions, got {num_basis}")
        self.cutoff, self.num_basis, self.start, self.width = _positive(cutoff), num_basis, start, width

    def forward(self, r: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch num_basis"]:
        centres, spacing = _linspace(self.start, self.cutoff, self.num_basis, r)
        return torch.exp(-0.5 * ((r.unsqueeze(-1) - centres) / (self.width * spacing)) ** 2)

    def extra_repr(self) -> str:
        return f"cutoff={self.cutoff}, num_basis={self.num_basis}, start={self.start}, width={self.width}"


class ExponentialNormalBasis(nn.Module):
    r"""Gaussians of :math:`e^{-\alpha r}`, :math:`\exp\left(-\beta (e^{-\alpha r} - \mu_n)^2\right)`, denser at short distances.

    :math:`\mu_n` run in equal steps from :math:`e^{-\alpha r_c}` to 1 and
    :math:`\beta = \left(\tfrac{2}{N}(1 - e^{-\alpha r_c})\right)^{-2}`.
    ``alpha`` is in 1/Å; 1 is PhysNet's, the default :math:`5/r_c` that of TorchMD-Net.
    Source: Unke and Meuwly, PhysNet, J. Chem. Theory Comput. 15, 3678 (2019), eq. 7; Thölke and De Fabritiis, ICLR 2022, eq. 1.

    >>> ExponentialNormalBasis(5.0, 4)(torch.tensor([0.0, 5.0])).diagonal(offset=3)
    tensor([1.])
    """

    def __init__(self, cutoff: int | float, num_basis: int = 50, alpha: int | float | None = None) -> None:
        super().__init__()
        if num_basis < 2:
            raise ValueError(f"an exponential-normal basis needs at least 2 functions, got {num_basis}")
        self.cutoff, self.num_basis = _positive(cutoff), num_basis
        self.alpha = 5 / self.cutoff if alpha is None else alpha

    def forward(self, r: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch num_basis"]:
        start = math.exp(-self.alpha * self.cutoff)
        centres, _ = _linspace(start, 1.0, self.num_basis, r)
        beta = (2 / self.num_basis * (1 - start)) ** -2
        return torch.exp(-beta * (torch.exp(-self.alpha * r).unsqueeze(-1) - centres) ** 2)

    def extra_repr(self) -> str:
        return f"cutoff={self.cutoff}, num_basis={self.num_basis}, alpha={self.alpha}"


class SoftOneHot(nn.Module):
    """:func:`soft_one_hot` as a layer: ``SoftOneHot(cutoff, num_basis, basis)`` covers distances from 0 to the cutoff.

    >>> SoftOneHot(4.0, 3, "smooth_finite")(torch.tensor([2.0, 4.0]))
    tensor([[0.0000, 1.1414, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """

    def __init__(
        self,
        cutoff: int | float,
        num_basis: int = 10,
        basis: str = "smooth_finite",
        vanish: bool = True,
        start: int | float = 0.0,
    ) -> None:
        super().__init__()
        _check_basis(basis)
        self.cutoff, self.num_basis, self.basis, self.vanish, self.start = _positive(cutoff), num_basis, basis, vanish, start

    def forward(self, r: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch num_basis"]:
        return soft_one_hot(r, self.start, self.cutoff, self.num_basis, self.basis, self.vanish)

    def extra_repr(self) -> str:
        return f"cutoff={self.cutoff}, num_basis={self.num_basis}, basis={self.basis!r}, vanish={self.vanish}, start={self.start}"


def soft_one_hot(
    x: Float[Tensor, "*batch"], start: int | float, end: int | float, number: int, basis: str, vanish: bool
) -> Float[Tensor, "*batch number"]:
    r"""Numbers that say softly in which of ``number`` bins between ``start`` and ``end`` x lies; their squares sum to about one.

    The five bases and their constants are those of e3nn's ``soft_one_hot_linspace``, whose ``cutoff`` is ``vanish``: whether the
    functions go to zero at both ends. ``"smooth_finite"`` is infinitely differentiable and of finite support, ``"bessel"`` takes
    its limit at ``x = start``; the cosine, Fourier and Bessel bases are cut sharply, as published.
    Raises ``ValueError`` for an unknown basis.

    >>> soft_one_hot(torch.tensor(0.5), 0.0, 1.0, 3, "cosine", vanish=True)
    tensor([0., 1., 0.])
    """
    _check_basis(basis)
    if vanish:
        step = (end - start) / (number + 1)
        centres = start + step * torch.arange(1, number + 1, dtype=x.dtype, device=x.device)
    else:
        centres, step = _linspace(start, end, number, x)
    x = x.unsqueeze(-1)
    z = (x - centres) / step
    if basis == "gaussian":
        return torch.exp(-(z**2)) / 1.12
    if basis == "cosine":
        return _cut(torch.cos(math.pi / 2 * z), (z > -1) & (z < 1))
    if basis == "smooth_finite":
        return 1.14136 * math.e**2 * soft_unit_step(z + 1) * soft_unit_step(1 - z)
    length = end - start
    x = (x - start) / length
    if basis == "fourier":
        first = 1 if vanish else 0
        n = torch.arange(first, number + first, dtype=x.dtype, device=x.device)
        values = (torch.sin if vanish else torch.cos)(math.pi * n * x) / math.sqrt(0.25 + number / 2)
        return _cut(values, (x > 0) & (x < 1)) if vanish else values
    n = math.pi * torch.arange(1, number + 1, dtype=x.dtype, device=x.device)
    values = math.sqrt(2 / length) * n / length * sinc(n * x)
    return _cut(values, (x >= 0) & (x < 1)) if vanish else values


def sinc(x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    r""":math:`\sin(x)/x`, accurate with its first derivatives for every x, 1 at zero.

    >>> sinc(torch.tensor([0.0, math.pi / 2]))
    tensor([1.0000, 0.6366])
    """
    small = x.abs() < 0.25
    safe = torch.where(small, torch.ones_like(x), x)
    z = torch.where(small, x, torch.zeros_like(x)) ** 2
    # Taylor series; the first neglected term is 3e-18 at 0.25
    series = 1 - z / 6 * (1 - z / 20 * (1 - z / 42 * (1 - z / 72 * (1 - z / 110))))
    return torch.where(small, series, torch.sin(safe) / safe)


def _cut(values: Tensor, inside: Tensor) -> Tensor:
    return torch.where(inside, values, torch.zeros_like(values))


def _linspace(start: int | float, end: int | float, number: int, like: Tensor) -> tuple[Tensor, float]:
    step = (end - start) / (number - 1)
    return start + step * torch.arange(number, dtype=like.dtype, device=like.device), step


def _check_basis(basis: str) -> None:
    if basis not in ("gaussian", "cosine", "smooth_finite", "fourier", "bessel"):
        raise ValueError(f"unknown basis {basis!r}: expected 'gaussian', 'cosine', 'smooth_finite', 'fourier' or 'bessel'")
