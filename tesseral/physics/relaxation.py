"""Minima of structures, and of their cells, with ASE's optimisers."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any, Literal

import ase
import numpy as np
from ase import units
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS

from tesseral.physics.trajectory import TrajectoryFile

OPTIMIZERS = {"fire": FIRE, "bfgs": BFGS, "lbfgs": LBFGS}
Cell = Literal["fixed", "full", "isotropic"]


@dataclasses.dataclass(frozen=True)
class Relaxation:
    """How a relaxation ended: energy in eV, largest force in eV/Å, with a free cell the deviation of the stress in GPa."""

    converged: bool
    steps: int
    energy: float
    fmax: float
    stress: float | None
    sentence: str


class RelaxationError(RuntimeError):
    """A relaxation that ran into numbers that are not finite."""


def relax(
    atoms: ase.Atoms,
    *,
    optimizer: str = "lbfgs",
    fmax: float = 0.01,
    steps: int = 500,
    cell: Cell = "fixed",
    pressure: float = 0.0,
    trajectory: str | os.PathLike[str] | None = None,
    progress: Callable[[int, float, float], None] | None = None,
) -> Relaxation:
    """Move ``atoms``, which carry a calculator, downhill until no force exceeds ``fmax`` (eV/Å); they are changed in place.

    ``cell`` may change in shape and volume ("full") or in volume alone ("isotropic"), against ``pressure`` in GPa; the deviation
    of the stress times the volume must then not exceed ``fmax`` × the number of atoms × 1 Å, as ASE's filter weighs it.
    Directions that do not repeat keep their length. ``progress`` gets step, energy (eV) and largest force. Whether it converged
    is said in the result, not by an exception.

    Raises :class:`RelaxationError` when energies are no longer finite; ``ValueError`` for an unknown optimiser, a free cell of
    something that does not repeat, or atoms without a calculator.
    """
    if atoms.calc is None:
        raise ValueError("the atoms have no calculator: atoms.calc = tesseral.interfaces.ase.Calculator(model)")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {optimizer!r}; choose from {', '.join(OPTIMIZERS)}")
    if cell != "fixed" and not atoms.pbc.any():
        raise ValueError("only a structure that repeats has a cell to relax, but pbc is False in all directions")
    if len(atoms) == 0:
        return Relaxation(True, 0, float(atoms.get_potential_energy()), 0.0, None, "there are no atoms to move")
    file = TrajectoryFile(trajectory) if trajectory is not None else None
    moving = _degrees_of_freedom(atoms, cell, pressure)
    search = OPTIMIZERS[optimizer](moving, logfile=None)
    step, converged = 0, False
    try:
        for done in search.irun(fmax=fmax, steps=steps):
            converged, step = bool(done), search.nsteps
            energy, force = float(atoms.get_potential_energy()), _largest_force(atoms)
            if not np.isfinite([energy, force]).all():
                raise ArithmeticError("energy or forces are not finite")
            if file is not None:
                file.append(atoms, step=step)
            if progress is not None:
                progress(step, energy, force)
    except (ArithmeticError, ValueError, np.linalg.LinAlgError) as error:
        if isinstance(error, ValueError) and np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all():
            raise
        raise RelaxationError(
            f"the relaxation stopped after {step} steps: {error}. The structure is probably outside what the model was trained on"
        ) from error
    return _result(atoms, converged, step, fmax, cell, pressure)


def _degrees_of_freedom(atoms: ase.Atoms, cell: Cell, pressure: float) -> Any:
    if cell == "fixed":
        return atoms
    x, y, z = (bool(p) for p in atoms.pbc)
    mask = [x, y, z, y and z, x and z, x and y]
    return FrechetCellFilter(atoms, mask=mask, hydrostatic_strain=cell == "isotropic", scalar_pressure=pressure * units.GPa)


def _result(atoms: ase.Atoms, converged: bool, step: int, fmax: float, cell: Cell, pressure: float) -> Relaxation:
    energy, force = float(atoms.get_potential_energy()), _largest_force(atoms)
    stress = None
    if cell != "fixed":
        deviation = atoms.get_stress(voigt=False) / units.GPa + pressure * np.eye(3)
        if cell == "isotropic":
            deviation = np.eye(3) * np.trace(deviation) / 3
        periodic = np.outer(atoms.pbc, atoms.pbc)
        stress = float(np.abs(deviation * periodic).max())
    also = "" if stress is None else f" and a stress within {stress:.2g} GPa of the target"
    if converged:
        sentence = f"relaxed in {step} steps to {energy:.6f} eV, with a largest force of {force:.2g} eV/Å{also}"
    else:
        sentence = (
            f"not relaxed after {step} steps: the largest force is {force:.2g} eV/Å{also}, asked for were {fmax:g} eV/Å. "
            "Allow more steps, try another optimizer (fire is slow and sturdy), or ask for less"
        )
    return Relaxation(converged, step, energy, force, stress, sentence)


def _largest_force(atoms: ase.Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max(initial=0.0))
