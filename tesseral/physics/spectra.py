"""Spectra as curves: lines with a width, and the spectra of trajectories from their autocorrelation."""

from __future__ import annotations

import numpy as np
from ase import units
from jaxtyping import Float

from tesseral.physics.normal_modes import KM_PER_MOL

# eV per (amu Å²/fs²).
KINETIC = float(units._amu * 1e10 / units._e)
# The wavenumber (1/cm) of one oscillation per fs.
PER_FS = float(1e15 / (100 * units._c))


def broadened(
    grid: Float[np.ndarray, " points"],
    positions: Float[np.ndarray, " lines"],
    intensities: Float[np.ndarray, " lines"],
    width: float = 10.0,
    shape: str = "lorentzian",
) -> Float[np.ndarray, " points"]:
    """Lines of a full width at half maximum (1/cm) as a curve, whose area under each line is its intensity.

    ``shape`` is "lorentzian" or "gaussian".

    Raises ``ValueError`` for a width that is not positive, or another shape.

    >>> grid = np.linspace(0, 2000, 20001)
    >>> curve = broadened(grid, np.array([1000.0]), np.array([3.0]), 10.0, "gaussian")
    >>> round(float(curve.sum() * 0.1), 6), bool(np.isclose(curve[grid == 1005.0][0], curve.max() / 2))
    (3.0, True)
    """
    if not 0 < width < np.inf:
        raise ValueError(f"the width is {width}, expected a positive number of 1/cm")
    x = (np.asarray(grid)[:, None] - np.asarray(positions)[None]) / (width / 2)
    if shape == "lorentzian":
        profile = 2 / (np.pi * width) / (1 + x**2)
    elif shape == "gaussian":
        profile = 2 / width * np.sqrt(np.log(2) / np.pi) * np.exp(-np.log(2) * x**2)
    else:
        raise ValueError(f"unknown shape {shape!r}; choose lorentzian or gaussian")
    return np.asarray(profile @ np.asarray(intensities))


def autocorrelation(series: Float[np.ndarray, "steps *components"], lags: int) -> Float[np.ndarray, " lags"]:
    r"""The mean :math:`\langle x(0)\cdot x(t)\rangle` over all times, for lags 0 … lags-1, summed over components.

    >>> autocorrelation(np.array([1.0, -1.0, 1.0, -1.0]), 3).round(12)
    array([ 1., -1.,  1.])
    """
    flat = np.asarray(series, dtype=np.float64).reshape(len(series), -1)
    steps = len(flat)
    if not 1 <= lags <= steps:
        raise ValueError(f"{lags} lags of a series of {steps} steps: expected 1 to {steps}")
    padded = np.fft.rfft(flat, n=2 * steps, axis=0)
    products = np.fft.irfft((np.abs(padded) ** 2).sum(axis=1), n=2 * steps)[:lags]
    return np.asarray(products / (steps - np.arange(lags)))


def power_spectrum(
    series: Float[np.ndarray, "steps *components"], timestep: float, resolution: float = 10.0
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    r"""Wavenumbers (1/cm) and the density whose integral over them is :math:`\langle |x|^2 \rangle`, by Wiener and Khinchin.

    ``timestep`` in fs between rows. The autocorrelation is cut by a Hann window, which makes a sharp line of full width
    ``resolution`` at half maximum. Raises ``ValueError`` for a trajectory too short for the resolution.
    """
    # The transform of a Hann window that reaches zero at T is 1/T wide, in cycles per unit of time, at half maximum.
    lags = int(np.ceil(PER_FS / (resolution * timestep)))
    if lags < 2 or lags > len(series) // 2:
        raise ValueError(
            f"{len(series)} steps of {timestep:g} fs are too few for a resolution of {resolution:g} cm⁻¹: it takes at least "
            f"{2 * lags} steps; run longer, or ask for a coarser resolution"
        )
    window = 0.5 + 0.5 * np.cos(np.pi * np.arange(lags) / lags)
    correlation = autocorrelation(series, lags) * window
    even = np.concatenate([correlation, [0.0], correlation[:0:-1]])
    density = np.fft.rfft(even).real * 2 * timestep / PER_FS
    density[0] /= 2
    density[-1] /= 2
    return np.fft.rfftfreq(len(even), timestep) * PER_FS, density


def vibrational_density(
    velocities: Float[np.ndarray, "steps atoms 3"],
    mass: Float[np.ndarray, " atoms"],
    timestep: float,
    temperature: float,
    resolution: float = 10.0,
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    r"""The density of vibrational states from velocities in Å/fs: modes per 1/cm, whose integral is the number of modes.

    :math:`\sum_i m_i \langle v_i(0)\cdot v_i(t)\rangle / k_B T`, transformed: each harmonic mode has :math:`k_B T` by
    equipartition.
    """
    weighted = np.asarray(velocities) * np.sqrt(np.asarray(mass))[:, None] * np.sqrt(KINETIC)
    grid, density = power_spectrum(weighted, timestep, resolution)
    return grid, density / (units.kB * temperature)


def infrared_spectrum(
    dipoles: Float[np.ndarray, "steps 3"], timestep: float, temperature: float, resolution: float = 10.0
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    r"""The absorption of classical dynamics from dipoles in e·Å: km/mol per 1/cm.

    :math:`\alpha(\tilde\nu) = \frac{N_A}{12\varepsilon_0 c^2 k_B T}` times the power spectrum of :math:`\dot\mu`, which counts
    :math:`\tilde\nu^2` with a harmonic quantum correction; the area under the band of a harmonic mode is the intensity
    :func:`~tesseral.physics.normal_modes.normal_modes` gives. Source: Ramírez et al., J. Chem. Phys. 121, 3973 (2004).
    """
    grid, density = _rates(np.asarray(dipoles), timestep, resolution)
    return grid, density * KM_PER_MOL * KINETIC / (units.kB * temperature)


def raman_spectrum(
    polarizabilities: Float[np.ndarray, "steps 3 3"], timestep: float, temperature: float, resolution: float = 10.0
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    r"""The Raman activity of classical dynamics from polarizabilities in Å³: Å⁴/amu per 1/cm.

    :math:`45\,\bar\alpha'^2 + 7\gamma'^2` of the rates, by :math:`k_B T`: the area under the band of a harmonic mode is the
    activity :func:`~tesseral.physics.normal_modes.normal_modes` gives. Source: Thomas et al., Phys. Chem. Chem. Phys. 15,
    6608 (2013).
    """
    values = np.asarray(polarizabilities)
    mean = np.trace(values, axis1=1, axis2=2) / 3
    rest = values - mean[:, None, None] * np.eye(3)
    # γ² is three halves of the square of the traceless part.
    series = np.concatenate([np.sqrt(45) * mean[:, None], np.sqrt(10.5) * rest.reshape(len(values), 9)], axis=1)
    grid, density = _rates(series, timestep, resolution)
    return grid, density * KINETIC / (units.kB * temperature)


def _rates(
    series: Float[np.ndarray, "steps components"], timestep: float, resolution: float
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """The power spectrum of the rates of a series."""
    grid, density = power_spectrum(np.diff(series, axis=0) / timestep, timestep, resolution)
    # A difference quotient damps ω to 2 sin(ω dt / 2) / dt; undone up to half of what a step resolves.
    angle = np.pi * grid / PER_FS * timestep
    damping = np.where(angle < np.pi / 4, np.sinc(angle / np.pi), np.sinc(0.25))
    return grid, density / damping**2
