r"""Clebsch-Gordan coefficients of SO(3) in the real basis, exact to about one unit in the last place.

:math:`w_{ijk}` with shape :math:`(2l_1+1, 2l_2+1, 2l_3+1)` is the only invariant of three real irreps,

.. math:: w_{ijk} = D^{l_1}_{ii'} D^{l_2}_{jj'} D^{l_3}_{kk'} w_{i'j'k'}, \qquad \sum_{ijk} w_{ijk}^2 = 1,

so everything about it is fixed except one sign per triple of degrees. Two conventions are in use:

- ``"0.6"``: e3nn from 0.5 on, cuEquivariance, NequIP. The sign of the Condon-Shortley coefficients, carried to the real basis.
- ``"0.4"``: e3nn before 0.5, MACE. Equal for even :math:`l_1+l_2+l_3`; for odd sums the first non-zero element (row-major) of the
  sorted triple is positive. 44 of the 91 odd sorted triples up to degree 11 differ.

In both, the tensor is totally symmetric under permutations of the three irreps for even sums and totally antisymmetric for odd
ones, and for even sums it is :math:`+` the normalised Gaunt tensor :math:`\int Y^{l_1} Y^{l_2} Y^{l_3}`.

Arrays are NumPy float64, cached and read-only; nothing here depends on a default dtype or device.
"""

import functools
import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

Convention = Literal["0.6", "0.4"]


def wigner_3j_array(l1: int, l2: int, l3: int, convention: Convention = "0.6") -> Float64[np.ndarray, "m1 m2 m3"]:
    r"""Invariant tensor of three real irreps of SO(3), of Frobenius norm 1, as a cached read-only array.

    Racah's formula in integers: each element is :math:`\pm` the square root of one rational number, rounded at the end.
    Raises ``ValueError`` for degrees that violate the triangle inequality, and for an unknown convention.

    Source: Racah, Phys. Rev. 62, 438 (1942), eq. 16, with the factorials gathered into binomials.

    >>> import numpy as np
    >>> np.round(wigner_3j_array(1, 1, 0)[:, :, 0] * 3**0.5, 12)
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    >>> float(wigner_3j_array(1, 2, 2, "0.4")[0, 0, 1] / wigner_3j_array(1, 2, 2, "0.6")[0, 0, 1])
    -1.0
    """
    if convention not in ("0.6", "0.4"):
        raise ValueError(
            f"unknown Clebsch-Gordan convention {convention!r}: expected '0.6' or '0.4' (the e3nn version it matches)"
        )
    if min(l1, l2, l3) < 0 or not abs(l1 - l2) <= l3 <= l1 + l2:
        raise ValueError(f"degrees ({l1}, {l2}, {l3}) violate the triangle inequality |l1 - l2| <= l3 <= l1 + l2")
    return _ordered(int(l1), int(l2), int(l3), convention)


def wigner_3j(
    l1: int,
    l2: int,
    l3: int,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    convention: Convention = "0.6",
) -> Float[Tensor, "m1 m2 m3"]:
    """A fresh tensor of :func:`wigner_3j_array`: float64 on the CPU unless told otherwise, whatever the defaults are.

    >>> wigner_3j(1, 1, 1).mul(6**0.5).round()[0]
    tensor([[ 0.,  0.,  0.],
            [ 0.,  0.,  1.],
            [ 0., -1.,  0.]], dtype=torch.float64)
    """
    array = torch.from_numpy(wigner_3j_array(l1, l2, l3, convention).copy())
    return array.to(dtype=torch.float64 if dtype is None else dtype, device="cpu" if device is None else device)


@functools.cache
def wigner_3j_sparse(
    l1: int, l2: int, l3: int, convention: Convention = "0.6"
) -> tuple[Int64[np.ndarray, "nonzeros 3"], Float64[np.ndarray, "nonzeros"]]:
    """Indices and values of the non-zero elements of :func:`wigner_3j_array`, in row-major order; zeros are exact.

    >>> indices, values = wigner_3j_sparse(1, 1, 1)
    >>> indices.tolist()
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    """
    array = wigner_3j_array(l1, l2, l3, convention)
    indices = np.argwhere(array)
    values = array[tuple(indices.T)]
    indices.flags.writeable = values.flags.writeable = False
    return indices, values


def gaunt_array(l1: int, l2: int, l3: int) -> Float64[np.ndarray, "m1 m2 m3"]:
    r"""Integral of three real harmonics, :math:`\int_{S^2} Y^{l_1}_i Y^{l_2}_j Y^{l_3}_k \, d\Omega`, each normalised to 1.

    Zero for odd :math:`l_1+l_2+l_3`. Raises ``ValueError`` for degrees that violate the triangle inequality.

    >>> float(gaunt_array(0, 2, 2)[0, 0, 0] * (4 * np.pi) ** 0.5)
    1.0
    """
    array = wigner_3j_array(l1, l2, l3)
    if (l1 + l2 + l3) % 2:
        return np.zeros_like(array)
    numerator, denominator, _ = _squared_3j(l1, l2, l3, 0, 0)
    dims = (2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1)
    return array * math.sqrt(dims * numerator / denominator / (4 * math.pi))


@functools.cache
def _ordered(l1: int, l2: int, l3: int, convention: Convention) -> np.ndarray:
    """The tensor of any order of degrees, from the sorted one by total symmetry or antisymmetry."""
    degrees = (l1, l2, l3)
    order = sorted(range(3), key=degrees.__getitem__)  # stable: equal degrees keep their order, which is what antisymmetry needs
    a, b, c = (degrees[i] for i in order)
    array = _sorted(a, b, c)
    odd = (l1 + l2 + l3) % 2 == 1
    if odd and convention == "0.4" and array[tuple(np.argwhere(array)[0])] < 0:
        array = -array
    inversions = (order[0] > order[1]) + (order[0] > order[2]) + (order[1] > order[2])
    array = array.transpose(np.argsort(order))
    result = np.ascontiguousarray(-array if odd and inversions % 2 else array) + 0.0  # no negative zeros
    result.flags.writeable = False
    return result


@functools.cache
def _sorted(l1: int, l2: int, l3: int) -> np.ndarray:
    r"""The "0.6" tensor by its definition, for any order of degrees.

    A real component r of degree l combines the complex components +|r| and -|r| with coefficients that are powers of i over
    sqrt(2), or a power of i alone for r = 0. Hence at most one pair of complex-conjugate terms makes up each real element, and
    with the phases counted modulo 4 its value is a sign times sqrt(factor * squared 3j symbol).
    """
    array = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(l1 + 1):  # the terms with m1 < 0 are the conjugate partners
        for m2 in range(-l2 if m1 else 0, l2 + 1):
            m3 = m1 + m2
            if abs(m3) > l3:
                continue
            numerator, denominator, negative = _squared_3j(l1, l2, l3, m1, m2)
            if not numerator:
                continue
            # Two equal terms times a factor 1/sqrt(2) for each non-zero m; all three zero make one term.
            all_nonzero = m1 != 0 and m2 != 0 and m3 != 0
            magnitude = math.sqrt(numerator / (2 * denominator if all_nonzero else denominator))
            for r1 in {m1, -m1}:
                for r2 in {m2, -m2}:
                    for r3 in {m3, -m3}:
                        phase = _phase(l1, m1, r1) + _phase(l2, m2, r2) - _phase(l3, m3, r3)
                        if phase % 2 == 0:  # otherwise the pair of terms cancels
                            sign = -1 if (phase % 4 == 2) != negative else 1
                            array[l1 + r1, l2 + r2, l3 + r3] = sign * magnitude
    array.flags.writeable = False
    return array


def _phase(l: int, m: int, r: int) -> int:
    """Power of i with which the complex component m enters the real component r = +m or -m of degree l."""
    if r == 0:
        return -l
    if r > 0:
        return 2 * m - l if m > 0 else -l
    return 2 * m + 1 - l if m > 0 else -1 - l


def _squared_3j(l1: int, l2: int, l3: int, m1: int, m2: int) -> tuple[int, int, bool]:
    """Numerator and denominator of (l1 m1 l2 m2 | l3 m1+m2)^2 / (2 l3 + 1), and whether the coefficient is negative."""
    m3 = m1 + m2
    a, b, c = l1 + l2 - l3, l1 - l2 + l3, -l1 + l2 + l3
    total = 0
    for k in range(max(0, l1 - m1 - b, l2 + m2 - c), min(a, l1 - m1, l2 + m2) + 1):
        term = math.comb(a, k) * math.comb(b, l1 - m1 - k) * math.comb(c, l2 + m2 - k)
        total += -term if k % 2 else term
    factorial = math.factorial
    numerator = total * total
    for l, m in ((l1, m1), (l2, m2), (l3, m3)):
        numerator *= factorial(l + m) * factorial(l - m)
    denominator = factorial(l1 + l2 + l3 + 1) * factorial(a) * factorial(b) * factorial(c)
    return numerator, denominator, total < 0
