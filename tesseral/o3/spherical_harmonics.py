r"""Real spherical harmonics of any degree as homogeneous polynomials of x, y, z: the definition that kernels are checked against.

The polar axis is y. With :math:`r^2 = x^2 + y^2 + z^2` and :math:`(z + i x)^m = c_m + i s_m`,

.. math:: Y_{l,m} = P_{l,m}(y, r^2)\, c_m, \qquad Y_{l,-m} = P_{l,m}(y, r^2)\, s_m, \qquad m \ge 0,

where :math:`P_{l,m}`, a polynomial of degree l - m, climbs from the diagonal in l at fixed m:

.. math:: P_{m,m} = d_m, \qquad P_{l,m} = a_{l,m}\, y\, P_{l-1,m} - b_{l,m}\, r^2\, P_{l-2,m}.

The recurrence is that of the normalised associated Legendre functions, which is stable to degrees in the hundreds. Components
run over m = -l, ..., l, there is no Condon-Shortley phase, and l = 1 is (x, y, z) times :math:`\sqrt 3`. Normalisations on the
unit sphere:

- ``"component"``: :math:`|Y^l|^2 = 2l+1`, so that the mean square of every component is 1 (the coefficients below);
- ``"norm"``: :math:`|Y^l| = 1`;
- ``"integral"``: :math:`\int_{S^2} (Y^l_m)^2 d\Omega = 1`, that is component / :math:`\sqrt{4\pi}`.
"""

import functools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.o3.irreps import Irreps

Normalization = Literal["integral", "component", "norm"]
Degrees = int | str | Irreps | Sequence[int]


class Recurrence(NamedTuple):
    """Coefficients of the module's recurrence in "component" normalisation, up to one degree; what code generators read.

    ``diagonal[m]`` is :math:`d_m`; ``climb[l][m]`` and ``back[l][m]`` are :math:`a_{l,m}` and :math:`b_{l,m}` for m < l.
    ``back[l][l - 1]`` is zero, as there is no :math:`P_{l-2,l-1}`.
    """

    diagonal: tuple[float, ...]
    climb: tuple[tuple[float, ...], ...]
    back: tuple[tuple[float, ...], ...]


def recurrence(lmax: int) -> Recurrence:
    r"""Coefficients of the recurrence up to degree ``lmax``, each the rounded square root of a rational number.

    .. math::

        d_m^2 = (2 - \delta_{m0}) \frac{2m+1}{4^m} \binom{2m}{m},\quad
        a_{l,m}^2 = \frac{4l^2-1}{l^2-m^2},\quad b_{l,m}^2 = \frac{(2l+1)((l-1)^2-m^2)}{(2l-3)(l^2-m^2)}

    Source: Holmes and Featherstone, J. Geodesy 76, 279 (2002), eqs. 11-13.

    >>> recurrence(2).diagonal
    (1.0, 1.7320508075688772, 1.9364916731037085)
    """
    # Not cached: it is cheap, and Dynamo, which must fold these numbers into the graph, warns about caches.
    diagonal = [math.sqrt((2 if m else 1) * (2 * m + 1) * math.comb(2 * m, m) / 4**m) for m in range(lmax + 1)]
    climb, back = [], []
    for l in range(lmax + 1):
        climb.append(tuple([math.sqrt((4 * l * l - 1) / (l * l - m * m)) for m in range(l)]))
        squares = [(2 * l + 1) * ((l - 1) ** 2 - m * m) / ((2 * l - 3) * (l * l - m * m)) for m in range(l)]
        back.append(tuple([math.sqrt(square) for square in squares]))
    return Recurrence(tuple(diagonal), tuple(climb), tuple(back))


def spherical_harmonics(
    l: Degrees, x: Float[Tensor, "*batch 3"], normalize: bool, normalization: Normalization = "integral"
) -> Float[Tensor, "*batch dim"]:
    r"""Real spherical harmonics of the vectors ``x``, for one degree, a list of degrees, or irreps.

    ``normalize=True`` evaluates them at :math:`x/|x|`; the zero vector (length up to 1e-12) stays zero there, with gradient zero.
    With ``normalize=False`` they are homogeneous, :math:`Y^l(rx) = r^l Y^l(x)`. Irreps repeat each degree by its multiplicity,
    in layout mul_ir. Smooth everywhere for ``normalize=False``, any number of times.

    Raises ``ValueError`` when ``x`` has not three components, for a parity that harmonics of a vector (or, if any odd degree is
    even under inversion, of a pseudovector) do not have, for a negative degree, or an unknown normalisation.

    >>> spherical_harmonics(1, torch.tensor([0.0, 3.0, 4.0]), normalize=True, normalization="norm")
    tensor([0.0000, 0.6000, 0.8000])
    >>> spherical_harmonics("0e + 2x1o", torch.randn(7, 3), normalize=False).shape
    torch.Size([7, 7])
    """
    if x.shape[-1:] != (3,):
        raise ValueError(f"expected vectors with three components on the last axis, got shape {tuple(x.shape)}")
    degrees = _degrees(l)
    if normalize:
        x = _unit(x)
    x, y, z = x.unbind(-1)
    return _harmonics(degrees, x, y, z, x * x + y * y + z * z, normalization)


def spherical_harmonics_alpha_beta(
    l: Degrees, alpha: Float[Tensor, "*batch"], beta: Float[Tensor, "*batch"], *, normalization: Normalization = "integral"
) -> Float[Tensor, "*batch dim"]:
    r"""Real spherical harmonics of the unit vector :math:`(\sin\beta\sin\alpha, \cos\beta, \sin\beta\cos\alpha)`.

    Angles in radians; the vector is :math:`R_y(\alpha) R_x(\beta) e_y`.
    Equals the product of :func:`legendre` in beta and :func:`spherical_harmonics_alpha` in alpha.

    >>> spherical_harmonics_alpha_beta(1, torch.tensor(0.0), torch.tensor(0.0), normalization="norm")
    tensor([0., 1., 0.])
    """
    sine = beta.sin()
    return _harmonics(_degrees(l), sine * alpha.sin(), beta.cos(), sine * alpha.cos(), 1.0, normalization)


def spherical_harmonics_alpha(l: int, alpha: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
    r"""The part of the harmonics in alpha: :math:`\sqrt 2 \sin m\alpha` for m = l, ..., 1, then 1, then the same with cosines.

    >>> spherical_harmonics_alpha(1, torch.tensor(0.0))
    tensor([0.0000, 1.0000, 1.4142])
    """
    m = torch.arange(1, l + 1, dtype=alpha.dtype, device=alpha.device)
    angle = alpha[..., None] * m
    return torch.cat([math.sqrt(2) * angle.sin().flip(-1), torch.ones_like(alpha)[..., None], math.sqrt(2) * angle.cos()], -1)


def legendre(l: Degrees, cosine: Float[Tensor, "*batch"], sine: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
    r"""The part of the harmonics in beta, for :math:`\cos\beta` and :math:`\sin\beta`; components m and -m are equal.

    Normalised associated Legendre functions without Condon-Shortley phase,
    :math:`2\pi \int P_{l,m}^2 \sin\beta \, d\beta = 1`.

    >>> legendre(1, torch.tensor(0.6), torch.tensor(0.8)) * (4 * torch.pi / 3) ** 0.5
    tensor([0.5657, 0.6000, 0.5657])
    """
    degrees = _degrees(l)
    lmax = max(degrees, default=0)
    P = _polar_part(lmax, cosine, cosine * cosine + sine * sine, [1 / math.sqrt(4 * math.pi)] * (lmax + 1))
    powers = [torch.ones_like(sine)]
    for m in range(lmax):  # P holds the sqrt(2) that here belongs to the cosine of m alpha
        powers.append(powers[m] * sine if m else sine / math.sqrt(2))
    components = [P[l][abs(m)] * powers[abs(m)] for l in degrees for m in range(-l, l + 1)]
    return _side_by_side(components) if components else sine.new_zeros((*sine.shape, 0))


@functools.cache
def polynomials(l: int) -> tuple[dict[tuple[int, int, int], float], ...]:
    r"""The 2l+1 harmonics of degree ``l`` in "component" normalisation as sparse polynomials {(powers of x, y, z): coefficient}.

    Exact: each harmonic is the square root of a rational number times a polynomial with integer coefficients, rounded at the end.
    For generators of code at low degree; at high degree the monomials cancel, and the recurrence is the stable form.

    Source: Rodrigues' formula for the Legendre polynomials, differentiated m times and made homogeneous in y and r.

    >>> polynomials(1)
    ({(1, 0, 0): 1.7320508075688772}, {(0, 1, 0): 1.7320508075688772}, {(0, 0, 1): 1.7320508075688772})
    >>> polynomials(2)[2]
    {(2, 0, 0): -1.118033988749895, (0, 2, 0): 2.23606797749979, (0, 0, 2): -1.118033988749895}
    """
    return tuple(_polynomial(l, m) for m in range(-l, l + 1))


def _polynomial(l: int, m: int) -> dict[tuple[int, int, int], float]:
    order = abs(m)
    # The real (c_m) or imaginary (s_m) part of (z + i x)^order: {power of x: integer}.
    azimuthal = {k: (-1) ** (k // 2) * math.comb(order, k) for k in range(m < 0, order + 1, 2)}
    integers: dict[tuple[int, int, int], int] = {}
    for k in range((l - order) // 2 + 1):
        # 2^l P_l^(order)(y, r^2), the derivative of the Legendre polynomial, times factorials that make it an integer.
        power = l - 2 * k - order
        polar = (-1) ** k * math.comb(l, k) * math.comb(2 * l - 2 * k, l) * math.perm(l - 2 * k, order)
        for i in range(k + 1):
            for j in range(k - i + 1):  # r^2k: the monomial x^2i y^2j z^2(k-i-j)
                multinomial = math.comb(k, i) * math.comb(k - i, j)
                for n, binomial in azimuthal.items():
                    exponents = (2 * i + n, 2 * j + power, 2 * (k - i - j) + order - n)
                    integers[exponents] = integers.get(exponents, 0) + polar * multinomial * binomial
    square = Fraction((2 * l + 1) * (2 if m else 1) * math.factorial(l - order), math.factorial(l + order) * 4**l)
    return {e: math.copysign(_sqrt(square * c * c), c) for e, c in sorted(integers.items(), reverse=True) if c}


def _sqrt(square: Fraction) -> float:
    return math.sqrt(square.numerator / square.denominator)


def _degrees(l: Degrees) -> list[int]:
    """The degrees asked for, one for each block of the output, after a check of the parities."""
    if isinstance(l, int):
        degrees = [l]
    elif isinstance(l, str | Irreps):
        irreps = Irreps(l)
        pseudovector = any(ir.l % 2 == 1 and ir.p == 1 for _, ir in irreps)
        for _, ir in irreps:
            expected = 1 if pseudovector else (-1) ** ir.l
            if ir.p != expected:
                argument = "pseudovector (1e)" if pseudovector else "vector (1o)"
                raise ValueError(
                    f"spherical harmonics of a {argument} of degree {ir.l} have parity {expected:+d}, but {irreps} asks for {ir}"
                )
        degrees = [ir.l for mul, ir in irreps for _ in range(mul)]
    else:
        degrees = list(l)
    if any(degree < 0 for degree in degrees):
        raise ValueError(f"degrees of spherical harmonics are 0 or more, got {degrees}")
    return degrees


def _unit(x: Tensor) -> Tensor:
    """x / |x|, and zero with zero derivatives for the zero vector."""
    zero = torch.linalg.vector_norm(x.detach(), dim=-1, keepdim=True) <= 1e-12
    safe = torch.where(zero, 1, x)  # the unused branch must be finite too, or its gradient would be nan
    return torch.where(zero, 0, safe / torch.linalg.vector_norm(safe, dim=-1, keepdim=True))


def _polar_part(lmax: int, y: Tensor, r2: Tensor | float, scale: Sequence[float]) -> list[list[Any]]:
    """P[l][m] by the recurrence, where degree l is multiplied by ``scale[l]``; the diagonal is a number, all else are tensors."""
    diagonal, climb, back = recurrence(lmax)
    P: list[list[Any]] = []
    for l in range(lmax + 1):
        row = []
        for m in range(l):
            value = (climb[l][m] * scale[l] / scale[l - 1]) * P[l - 1][m] * y
            if m < l - 1:
                value = value - (back[l][m] * scale[l] / scale[l - 2]) * P[l - 2][m] * r2
            row.append(value)
        P.append([*row, diagonal[l] * scale[l]])
    return P


def _harmonics(degrees: list[int], x: Tensor, y: Tensor, z: Tensor, r2: Tensor | float, normalization: str) -> Tensor:
    """The components of all degrees, side by side on the last axis."""
    lmax = max(degrees, default=0)
    P = _polar_part(lmax, y, r2, [_scale(l, normalization) for l in range(lmax + 1)])
    one = torch.ones_like(y)
    cosine, sine = [one, z], [one, x]  # of m = 0 and 1; the sine of m = 0 is not used
    for m in range(1, lmax):
        cosine.append(z * cosine[m] - x * sine[m])
        sine.append(z * sine[m] + x * cosine[m])
    components = []
    for l in degrees:
        components += [P[l][m] * sine[m] for m in range(l, 0, -1)]
        components += [P[l][0] if l > 0 else P[0][0] * one]
        components += [P[l][m] * cosine[m] for m in range(1, l + 1)]
    return _side_by_side(components) if components else y.new_zeros((*y.shape, 0))


def _side_by_side(components: list[Tensor]) -> Tensor:
    """Stacked on the last axis; by way of the first, as strided writes would take more than twice the time."""
    return torch.stack(components).movedim(0, -1).contiguous()


def _scale(l: int, normalization: str) -> float:
    """Of harmonics of degree l, relative to "component"."""
    if normalization == "component":
        return 1.0
    if normalization == "norm":
        return 1 / math.sqrt(2 * l + 1)
    if normalization == "integral":
        return 1 / math.sqrt(4 * math.pi)
    raise ValueError(f"normalization must be 'integral', 'component' or 'norm', got {normalization!r}")
