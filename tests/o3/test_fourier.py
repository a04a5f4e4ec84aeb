"""Fourier series on meridians: e3nn's, and the sums that they are."""

import e3nn.o3
import pytest
import torch

from tesseral.o3 import irfft, rfft, spherical_harmonics_alpha


@pytest.mark.parametrize(("l", "meridians"), [(0, 1), (2, 5), (3, 8), (4, 21)])
def test_sums_and_values(l, meridians):
    alphas = 2 * torch.pi * torch.arange(meridians, dtype=torch.float64) / meridians
    functions = spherical_harmonics_alpha(l, alphas)
    values, series = torch.randn(3, meridians, dtype=torch.float64), torch.randn(3, 2 * l + 1, dtype=torch.float64)
    torch.testing.assert_close(rfft(values, l), values @ functions)
    torch.testing.assert_close(irfft(series, meridians), series @ functions.T)
    torch.testing.assert_close(rfft(values, l), e3nn.o3.rfft(values, l))
    if meridians % 2:
        torch.testing.assert_close(irfft(series, meridians), e3nn.o3.irfft(series, meridians))
    torch.testing.assert_close(rfft(irfft(series, meridians), l) / meridians, series)


def test_too_few_meridians_are_refused():
    with pytest.raises(ValueError, match="4 meridians resolve orders up to 1, not 2"):
        rfft(torch.zeros(4), 2)
    with pytest.raises(ValueError, match="need 5 meridians, got 4"):
        irfft(torch.zeros(5), 4)
