"""The equation of state: energy against volume, and the volume, bulk modulus and its pressure derivative at the minimum."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import ase
import numpy as np
from ase import units

from tesseral.physics.relaxation import relax


@dataclasses.dataclass(frozen=True)
class EquationOfState:
    """A fitted curve: volume (Å³) and energy (eV) of the minimum, bulk modulus (GPa), its pressure derivative; the points and
    the largest deviation (eV) of the curve from them."""

    volume: float
    energy: float
    bulk_modulus: float
    derivative: float
    volumes: np.ndarray
    energies: np.ndarray
    coefficients: np.ndarray

    def __call__(self, volume: np.ndarray | float) -> np.ndarray:
        """Energy in eV at volumes in Å³."""
        return np.polynomial.polynomial.polyval(np.asarray(volume) ** (-2 / 3), self.coefficients)

    @property
    def residual(self) -> float:
        """The largest deviation of the curve from its points, in eV."""
        return float(np.abs(self(self.volumes) - self.energies).max())


def birch_murnaghan(volumes: Sequence[float | int] | np.ndarray, energies: Sequence[float | int] | np.ndarray) -> EquationOfState:
    r"""Birch and Murnaghan's curve of third order through energies (eV) at volumes (Å³); it is a cubic in :math:`V^{-2/3}`.

    Raises ``ValueError`` for fewer than four volumes, or when the curve has no minimum between the smallest and the largest.
    Source: Birch, Phys. Rev. 71, 809 (1947), eq. 15.

    >>> v = np.linspace(18, 22, 7)
    >>> f = (20 / v) ** (2 / 3) - 1
    >>> curve = birch_murnaghan(v, -5 + 9 / 16 * 20 * (100 * units.GPa) * f**2 * (2 + (4.5 - 4) * f))
    >>> round(curve.volume, 6), round(curve.energy, 6), round(curve.bulk_modulus, 4), round(curve.derivative, 4)
    (20.0, -5.0, 100.0, 4.5)
    """
    v, e = np.asarray(volumes, dtype=float), np.asarray(energies, dtype=float)
    if len(v) < 4 or v.shape != e.shape:
        raise ValueError(f"{len(v)} volumes and {len(e)} energies: the curve has four parameters, give at least four points")
    centre = e.mean()
    c = np.linalg.lstsq(np.vander(v ** (-2 / 3), 4, increasing=True), e - centre, rcond=None)[0]
    slope = np.polynomial.Polynomial(c).deriv()
    real = [float(x.real) for x in np.asarray(slope.roots(), dtype=complex) if abs(x.imag) < 1e-12]
    roots = [x for x in real if x > 0 and slope.deriv()(x) > 0]
    minima = [x**-1.5 for x in roots if v.min() <= x**-1.5 <= v.max()]
    if not minima:
        raise ValueError(
            f"the energies have no minimum between {v.min():.3f} and {v.max():.3f} Å³: relax the cell first, or widen the range"
        )
    volume = minima[0]
    powers = -2 / 3 * np.arange(4)
    second = float((c * powers * (powers - 1) * volume ** (powers - 2)).sum())
    third = float((c * powers * (powers - 1) * (powers - 2) * volume ** (powers - 3)).sum())
    c[0] += centre
    energy = float(np.polynomial.polynomial.polyval(volume ** (-2 / 3), c))
    return EquationOfState(volume, energy, volume * second / units.GPa, -(1 + volume * third / second), v, e, c)


def equation_of_state(
    atoms: ase.Atoms,
    *,
    width: float = 0.06,
    points: int = 9,
    fmax: float = 1e-3,
    steps: int = 200,
    progress: Callable[[int, float, float], None] | None = None,
    known: Sequence[tuple[float, float]] = (),
) -> EquationOfState:
    """Energies of ``atoms`` (with a calculator) at volumes up to ``width`` (relative) below and above, the atoms relaxed to
    ``fmax`` (eV/Å) at each, and the curve through them.

    The shape of the cell is kept. ``progress`` gets points done, volume and energy; ``known`` are pairs of volume and
    energy of an earlier run, which are not computed again. Raises ``ValueError`` as :func:`birch_murnaghan` does, and for
    something without a volume.
    """
    if not atoms.pbc.all() or atoms.cell.volume <= 0:
        raise ValueError("an equation of state needs a crystal that repeats in three directions; set pbc and the cell")
    if not 0 < width < 0.9 or points < 4:
        raise ValueError(
            f"the width is {width} and there are {points} points; expected a width in (0, 0.9) and at least 4 points"
        )
    volumes = atoms.cell.volume * (1 + np.linspace(-width, width, points))
    energies = []
    start = atoms.copy()
    for number, volume in enumerate(volumes):
        match = [energy for v, energy in known if abs(v - volume) < 1e-9 * volume]
        if match:
            energy = match[0]
        else:
            moved = start.copy()
            moved.set_cell(start.cell * (volume / start.cell.volume) ** (1 / 3), scale_atoms=True)
            moved.calc = atoms.calc
            result = relax(moved, fmax=fmax, steps=steps)
            if not result.converged:
                raise ValueError(f"at {volume:.3f} Å³ the atoms did not come to rest: {result.sentence}")
            energy = result.energy
        energies.append(energy)
        if progress is not None:
            progress(number + 1, float(volume), energy)
    return birch_murnaghan(volumes, energies)
