"""Gradients of harmonics as sums of harmonics."""

import numpy as np
import pytest

from tesseral.kernels.harmonics_source import gradients
from tesseral.o3.spherical_harmonics import polynomials


def value(polynomial, points):
    return sum(c * points[:, 0] ** a * points[:, 1] ** b * points[:, 2] ** d for (a, b, d), c in polynomial.items())


@pytest.mark.parametrize("l", range(1, 9))
def test_gradients_are_harmonics_of_one_degree_less(l):
    points, step = np.random.default_rng(0).normal(size=(20, 3)), 1e-5
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    lower = [value(p, points) for p in polynomials(l - 1)]
    for p, parts in zip(polynomials(l), gradients(l), strict=True):
        for k, terms in enumerate(parts):
            shift = step * np.eye(3)[k]
            slope = (value(p, points + shift) - value(p, points - shift)) / (2 * step)
            total = sum((g * lower[a] for a, g in terms), np.zeros(len(points)))
            np.testing.assert_allclose(total, slope, rtol=0, atol=1e-6 * l**3)
