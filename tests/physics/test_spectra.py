"""Lines and trajectories: areas that are known, and a harmonic oscillator in both."""

import numpy as np
import pytest
from ase import units

from tesseral.physics.normal_modes import KM_PER_MOL
from tesseral.physics.spectra import (
    KINETIC,
    PER_FS,
    autocorrelation,
    broadened,
    infrared_spectrum,
    power_spectrum,
    raman_spectrum,
    vibrational_density,
)


@pytest.mark.parametrize(("shape", "area"), [("lorentzian", 0.9983), ("gaussian", 1.0)])
def test_lines(shape, area):
    grid = np.linspace(0, 4000, 40001)
    curve = broadened(grid, np.array([2000.0, 2500.0]), np.array([2.0, 5.0]), 10.0, shape)
    assert curve.sum() * 0.1 == pytest.approx(7.0 * area, rel=1e-3)
    half = np.interp(2505.0, grid, curve) / np.interp(2500.0, grid, curve)
    assert half == pytest.approx(0.5, rel=1e-2)


def test_bad_lines():
    with pytest.raises(ValueError, match="positive"):
        broadened(np.arange(3.0), np.ones(1), np.ones(1), 0.0)
    with pytest.raises(ValueError, match="lorentzian or gaussian"):
        broadened(np.arange(3.0), np.ones(1), np.ones(1), 1.0, "square")


def test_autocorrelation_is_the_sum_it_is_defined_by():
    x = np.random.default_rng(0).standard_normal((50, 2))
    direct = [np.mean([(x[t] * x[t + lag]).sum() for t in range(50 - lag)]) for lag in range(10)]
    np.testing.assert_allclose(autocorrelation(x, 10), direct, atol=1e-12)


def trajectory(wavenumber, mass, temperature, steps=20000, dt=1.0):
    """An oscillator with k_B T/2 in each half: displacements in Å and velocities in Å/fs."""
    omega = 2 * np.pi * wavenumber / PER_FS
    amplitude = np.sqrt(2 * units.kB * temperature / (mass * KINETIC)) / omega
    t = np.arange(steps) * dt
    return amplitude * np.sin(omega * t), amplitude * omega * np.cos(omega * t)


def test_density_of_a_harmonic_mode():
    _, v = trajectory(1000.0, 2.0, 300.0)
    velocities = np.zeros((len(v), 1, 3))
    velocities[:, 0, 1] = v
    grid, density = vibrational_density(velocities, np.array([2.0]), 1.0, 300.0)
    assert density.sum() * (grid[1] - grid[0]) == pytest.approx(1.0, rel=1e-3)
    assert grid[density.argmax()] == pytest.approx(1000.0, abs=grid[1])
    above = grid[density > density.max() / 2]
    assert above[-1] - above[0] == pytest.approx(10.0, abs=2 * grid[1])


@pytest.mark.parametrize("wavenumber", [300.0, 3000.0])
def test_infrared_area_is_the_static_intensity(wavenumber):
    # dμ/dQ = 0.2 e / √m: the same number that normal_modes would give, from the dipole of a classical trajectory.
    x, _ = trajectory(wavenumber, 2.0, 400.0)
    dipoles = np.zeros((len(x), 3))
    dipoles[:, 2] = 0.2 * x
    grid, density = infrared_spectrum(dipoles, 1.0, 400.0)
    assert density.sum() * (grid[1] - grid[0]) == pytest.approx(KM_PER_MOL * 0.04 / 2.0, rel=0.02)


def test_raman_area_is_the_static_activity():
    # 45 a'² + 7 γ'² of dα/dQ, as Long defines them (2002).
    x, _ = trajectory(900.0, 2.0, 400.0)
    slope = np.array([[0.5, 0.1, 0], [0.1, 0.2, 0], [0, 0, 0.2]])
    a = np.trace(slope) / 3
    gamma = 0.5 * ((0.5 - 0.2) ** 2 + (0.2 - 0.2) ** 2 + (0.2 - 0.5) ** 2) + 3 * 0.1**2
    grid, density = raman_spectrum(x[:, None, None] * slope + np.eye(3), 1.0, 400.0)
    assert density.sum() * (grid[1] - grid[0]) == pytest.approx((45 * a**2 + 7 * gamma) / 2.0, rel=0.02)


def test_too_short():
    with pytest.raises(ValueError, match="run longer"):
        power_spectrum(np.zeros((100, 1)), 1.0, 10.0)
