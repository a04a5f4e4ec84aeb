r"""Real Fourier series on the meridians :math:`2\pi a/A`: components m = -l, ..., l are :math:`\sqrt 2 \sin |m|\alpha`, 1 and
:math:`\sqrt 2 \cos m\alpha`, as in :func:`~tesseral.o3.spherical_harmonics.spherical_harmonics_alpha`.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def rfft(values: Float[Tensor, "*batch meridians"], l: int) -> Float[Tensor, "*batch orders"]:
    """Sums of values on equidistant meridians times the functions up to order l, (..., 2l+1).

    Raises ``ValueError`` for fewer than 2l+1 meridians, where orders would mix.

    >>> rfft(torch.ones(5), 1)
    tensor([0., 5., 0.])
    """
    if values.shape[-1] < 2 * l + 1:
        raise ValueError(f"{values.shape[-1]} meridians resolve orders up to {(values.shape[-1] - 1) // 2}, not {l}")
    waves = torch.fft.rfft(values, dim=-1)[..., : l + 1]
    imaginary, real = waves.imag[..., 1:], waves.real
    return torch.cat([-math.sqrt(2) * imaginary.flip(-1), real[..., :1], math.sqrt(2) * real[..., 1:]], -1)


def irfft(series: Float[Tensor, "*batch orders"], meridians: int) -> Float[Tensor, "*batch meridians"]:
    """The values of a series (..., 2l+1) on equidistant meridians. Raises ``ValueError`` for fewer than 2l+1 of them.

    >>> irfft(torch.tensor([0.0, 1.0, 0.0]), 4)
    tensor([1., 1., 1., 1.])
    """
    l = series.shape[-1] // 2
    if meridians < 2 * l + 1:
        raise ValueError(f"orders up to {l} need {2 * l + 1} meridians, got {meridians}")
    sines, cosines = series[..., :l].flip(-1), series[..., l + 1 :]
    waves = torch.complex(
        torch.cat([series[..., l : l + 1], cosines / math.sqrt(2)], -1),
        torch.cat([torch.zeros_like(series[..., :1]), -sines / math.sqrt(2)], -1),
    )
    return torch.fft.irfft(waves * meridians, n=meridians, dim=-1)
