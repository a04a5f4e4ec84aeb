"""Molecular dynamics through ASE: runs that survive a kill, that say when they explode, and whose drift is measured."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import ase
import numpy as np
from ase import units
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.nptberendsen import NPTBerendsen
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary, ZeroRotation
from ase.md.verlet import VelocityVerlet
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field

from tesseral.graph import find_neighbors
from tesseral.physics.trajectory import TrajectoryFile

Ensemble = Literal["nve", "nvt", "nvt-bussi", "npt"]
COLUMNS = ("step", "time_ps", "potential_eV", "kinetic_eV", "temperature_K", "volume_A3")


class Settings(BaseModel):
    """How to move the atoms, and when to stop; unknown keys and values out of range raise ``pydantic.ValidationError``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    ensemble: Ensemble = Field(
        default="nve",
        description="nve (velocity Verlet), nvt (Langevin), nvt-bussi (velocity rescaling), npt (Berendsen's barostat)",
    )
    temperature: float = Field(default=300.0, ge=0, description="K; in nve that of the first velocities")
    pressure: float = Field(default=0.0, description="GPa, npt only")
    timestep: float = Field(default=0.5, gt=0, le=50, description="fs; about 0.5 with hydrogen, 1 to 5 without")
    coupling: float = Field(
        default=100.0, gt=0, description="relaxation time of the thermostat in fs; the barostat's is ten times longer"
    )
    compressibility: float = Field(
        default=0.05, gt=0, description="1/GPa, npt only: sets the speed of the barostat, not where it ends"
    )
    interval: int = Field(default=10, ge=1, description="steps between kept frames")
    seed: int = Field(default=0, ge=0, description="seed of velocities and thermostats")
    max_temperature: float | None = Field(
        default=None, gt=0, description="stop above, in K; when left out, ten times the temperature and at least 3000 K"
    )
    max_separation: float = Field(
        default=8.0, gt=0, description="stop when an atom that had company is farther than this from all others, in Å"
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What was sampled along a run, one entry for each kept frame; energies in eV, times in ps, volumes in Å³."""

    atoms: int
    step: np.ndarray
    time: np.ndarray
    potential: np.ndarray
    kinetic: np.ndarray
    temperature: np.ndarray
    volume: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Potential plus kinetic energy."""
        return self.potential + self.kinetic

    def drift(self) -> Drift:
        """How well the total energy is conserved."""
        return drift(self.time, self.total, self.atoms)


class DynamicsError(RuntimeError):
    """A run that stopped before its end; ``run`` holds what was sampled until then."""

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run


def run(
    atoms: ase.Atoms,
    steps: int,
    settings: Settings | None = None,
    *,
    trajectory: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Callable[[int, int, dict[str, float]], None] | None = None,
) -> Run:
    """Move ``atoms``, which carry a calculator, to step number ``steps``.

    Momenta are drawn at the temperature where there are none, without net translation and (for molecules) rotation. Each kept
    frame goes to ``trajectory`` (``.traj`` or ``.extxyz``) and a line to the ``.csv`` beside it. With ``resume`` a run goes on
    from its last frame: to the last bit in NVE from a ``.traj``; thermostats draw new random numbers. ``progress`` is called with
    the step, ``steps`` and the sample of each kept frame.

    Raises :class:`DynamicsError` when something is no longer finite, too hot, or torn apart, with frames kept until then;
    :class:`~tesseral.physics.trajectory.TrajectoryError` for a file that cannot be written or continued; ``ValueError`` for a
    barostat without a periodic cell, or atoms without a calculator.
    """
    settings = settings or Settings()
    if atoms.calc is None:
        raise ValueError("the atoms have no calculator: atoms.calc = tesseral.interfaces.ase.Calculator(model)")
    if settings.ensemble == "npt" and not atoms.pbc.all():
        raise ValueError(f"a barostat needs a cell that repeats in all directions, but pbc is {atoms.pbc.tolist()}")
    file = TrajectoryFile(trajectory, resume) if trajectory is not None else None
    log = _Log(Path(trajectory).with_suffix(".csv") if trajectory is not None else None, len(atoms))
    start = _resume(atoms, file, log) if file is not None and resume else 0
    if not start:
        _thermalise(atoms, settings)
    first = start == 0
    bound = _with_company(atoms, settings.max_separation)
    limit = settings.max_temperature if settings.max_temperature is not None else max(10 * settings.temperature, 3000.0)
    dynamics = _integrator(atoms, settings, start)
    step = start
    try:
        for _ in dynamics.irun(max(steps - start, 0)):
            kept = step % settings.interval == 0 or step == steps
            problem = _problem(atoms, limit, bound if kept else None, settings.max_separation)
            if problem:
                raise DynamicsError(_sentence(problem, step, settings), log.run())
            if kept and (first or step > start):
                sample = log.append(atoms, step, settings.timestep)
                if file is not None:
                    file.append(atoms, step=step, time=sample["time_ps"])
                    log.write()
                if progress is not None:
                    progress(step, steps, sample)
            step += 1
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        if np.isfinite(atoms.positions).all() and np.isfinite(atoms.get_momenta()).all():
            raise
        raise DynamicsError(_sentence("positions are no longer finite", step, settings), log.run()) from error
    return log.run()


@dataclasses.dataclass(frozen=True)
class Drift:
    """``slope`` of the total energy and its standard error in meV/atom/ps, and the rms ``fluctuation`` about it in meV/atom."""

    slope: float
    slope_error: float
    fluctuation: float


def drift(time: Float[np.ndarray, " samples"], energy: Float[np.ndarray, " samples"], atoms: int) -> Drift:
    """The drift of a total energy (eV) of ``atoms`` atoms over times (ps), from a least-squares line.

    The standard error counts correlated samples once, by the integrated autocorrelation time of the residuals.
    Raises ``ValueError`` for fewer than three samples.

    >>> t = np.linspace(0, 10, 101)
    >>> drift(t, 0.001 * t, atoms=1).slope
    1.0
    """
    if len(time) < 3:
        raise ValueError(f"a drift needs at least three samples, got {len(time)}")
    energy = 1000 * energy / max(atoms, 1)
    centred = time - time.mean()
    slope = float((centred * (energy - energy.mean())).sum() / (centred**2).sum())
    residual = energy - energy.mean() - slope * centred
    variance = float((residual**2).sum() / (len(time) - 2))
    error = math.sqrt(variance * _correlated_samples(residual) / float((centred**2).sum()))
    return Drift(round(slope, 12), error, math.sqrt(float((residual**2).mean())))


def timestep_sweep(
    atoms: ase.Atoms, timesteps: Sequence[float], duration: float, settings: Settings | None = None
) -> dict[float, Drift]:
    """Drift in NVE for each timestep (fs), from the same start and over the same ``duration`` (fs); ``atoms`` stay as they are.

    For true forces the fluctuation falls as the square of the timestep; :func:`order` measures the power.
    """
    settings = settings or Settings()
    start = atoms.copy()
    start.calc = atoms.calc
    _thermalise(start, settings)
    result = {}
    for timestep in timesteps:
        copy = start.copy()
        copy.calc = atoms.calc
        steps = max(round(duration / timestep), 3)
        one = settings.model_copy(update={"ensemble": "nve", "timestep": timestep, "interval": 1})
        result[timestep] = run(copy, steps, one).drift()
    return result


def order(sweep: dict[float, Drift]) -> float:
    """The power of the timestep with which the fluctuations of a sweep grow: 2 for velocity Verlet.

    >>> order({dt: Drift(0.0, 0.0, 3 * dt**2) for dt in (0.25, 0.5, 1.0)})
    2.0
    """
    sizes = [math.log(max(one.fluctuation, 1e-300)) for one in sweep.values()]
    return round(float(np.polyfit(np.log(list(sweep)), sizes, 1)[0]), 12)


class _Log:
    """Samples in memory and, line by line, in a CSV file."""

    def __init__(self, path: Path | None, atoms: int) -> None:
        self.path, self.atoms = path, atoms
        self.rows: list[dict[str, float]] = []
        self.written = 0

    def append(self, atoms: ase.Atoms, step: int, timestep: float) -> dict[str, float]:
        volume = atoms.get_volume() if atoms.cell.rank == 3 else 0.0
        time = (
            (self.rows[-1]["time_ps"] + (step - self.rows[-1]["step"]) * timestep / 1000) if self.rows else step * timestep / 1000
        )
        values = (step, time, atoms.get_potential_energy(), atoms.get_kinetic_energy(), atoms.get_temperature(), volume)
        self.rows.append(dict(zip(COLUMNS, map(float, values))))
        return self.rows[-1]

    def write(self) -> None:
        if self.path is None:
            return
        mode = "a" if self.written else "w"
        with self.path.open(mode, newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if not self.written:
                writer.writeheader()
            writer.writerows({k: repr(v) if k != "step" else int(v) for k, v in row.items()} for row in self.rows[self.written :])
        self.written = len(self.rows)

    def read(self, last: int) -> None:
        """Take over the lines of an earlier run, up to its last kept frame."""
        if self.path is None or not self.path.exists():
            return
        with self.path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                try:
                    values = {name: float(row[name]) for name in COLUMNS}
                except (KeyError, TypeError, ValueError):  # a line that a kill cut short
                    break
                if values["step"] > last:
                    break
                self.rows.append(values)

    def run(self) -> Run:
        columns = [np.array([row[name] for row in self.rows]) for name in COLUMNS]
        return Run(self.atoms, columns[0].astype(int), *columns[1:])


def _resume(atoms: ase.Atoms, file: TrajectoryFile, log: _Log) -> int:
    frame = file.last()
    if frame is None:
        return 0
    if not np.array_equal(frame.numbers, atoms.numbers):
        raise ValueError(
            f"{file.path} ends with {frame.get_chemical_formula()}, but the run is of {atoms.get_chemical_formula()}: "
            "give the structure that it began with"
        )
    if "step" not in frame.info:
        raise ValueError(f"{file.path} does not say which step its last frame is: it was not written by this program")
    atoms.set_cell(frame.cell)
    atoms.pbc = frame.pbc
    atoms.set_positions(frame.positions, apply_constraint=False)
    atoms.set_momenta(frame.get_momenta(), apply_constraint=False)
    step = int(frame.info["step"])
    log.read(step)
    return step


def _thermalise(atoms: ase.Atoms, settings: Settings) -> None:
    if settings.temperature == 0 or atoms.get_momenta().any():
        return
    MaxwellBoltzmannDistribution(atoms, temperature_K=settings.temperature, rng=np.random.default_rng(settings.seed))
    if len(atoms) > 1 and not atoms.constraints:
        Stationary(atoms)
        if not atoms.pbc.any() and len(atoms) > 2:
            ZeroRotation(atoms)


def _integrator(atoms: ase.Atoms, settings: Settings, start: int) -> Any:
    timestep, temperature = settings.timestep * units.fs, settings.temperature
    coupling = settings.coupling * units.fs
    # Thermostats that resume must not repeat the random numbers of the first part.
    random = np.random.RandomState(np.random.SeedSequence([settings.seed, start]).generate_state(1))
    match settings.ensemble:
        case "nve":
            return VelocityVerlet(atoms, timestep)
        case "nvt":
            return Langevin(atoms, timestep, temperature_K=temperature, friction=1 / coupling, fixcm=False, rng=random)
        case "nvt-bussi":
            return Bussi(atoms, timestep, temperature_K=temperature, taut=coupling, rng=random)
        case "npt":
            return NPTBerendsen(
                atoms,
                timestep,
                temperature_K=temperature,
                pressure_au=settings.pressure * units.GPa,
                taut=coupling,
                taup=10 * coupling,
                compressibility_au=settings.compressibility / units.GPa,
            )


def _problem(atoms: ase.Atoms, limit: float, bound: np.ndarray | None, separation: float) -> str | None:
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.get_momenta()).all()):
        return "positions are no longer finite"
    if not np.isfinite(atoms.get_potential_energy()):
        return "the energy is no longer finite"
    temperature = atoms.get_temperature() if len(atoms) else 0.0
    if temperature > limit:
        return f"the temperature is {temperature:.0f} K, above the limit of {limit:.0f} K"
    if bound is not None:
        lost = np.flatnonzero(bound & ~_with_company(atoms, separation))
        if len(lost):
            names = ", ".join(f"{atoms.symbols[i]}{i}" for i in lost[:3])
            return f"{names} {'is' if len(lost) == 1 else 'are'} more than {separation:g} Å away from all other atoms"
    return None


def _sentence(problem: str, step: int, settings: Settings) -> str:
    return (
        f"the run stopped at step {step} ({step * settings.timestep / 1000:.3f} ps): {problem}. The model is probably outside "
        f"what it was trained on; look at the last frames, or try a timestep below {settings.timestep} fs or a lower temperature"
    )


def _with_company(atoms: ase.Atoms, separation: float) -> np.ndarray:
    """Which atoms have another, or an image, within the separation."""
    edge_index, _ = find_neighbors(atoms.positions, atoms.cell.array, atoms.pbc, separation)
    company = np.zeros(len(atoms), dtype=bool)
    company[edge_index[1]] = True
    return company


def _correlated_samples(residual: np.ndarray) -> float:
    """The statistical inefficiency 1 + 2 Σ ρ(k), summed until the correlation first vanishes (Sokal)."""
    total = float((residual**2).sum())
    if total == 0:
        return 1.0
    size = 2 * len(residual)
    spectrum = np.abs(np.fft.rfft(residual, size)) ** 2
    correlation = np.fft.irfft(spectrum, size)[: len(residual)] / total
    end = int(np.argmax(correlation <= 0)) if (correlation <= 0).any() else len(correlation)
    return max(1.0, 1 + 2 * float(correlation[1:end].sum()))
