"""Spectra of a trajectory in a file: velocities give the density of vibrational states, dipoles the infrared, and
polarizabilities Raman."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import ase
import numpy as np
import torch
from ase import units

from tesseral.data import DataError
from tesseral.graph import build_graph, collate
from tesseral.interfaces.responses import FieldResponses
from tesseral.interfaces.simulation import progress_bar, read_structures
from tesseral.models.tensor import TensorModel
from tesseral.physics.spectra import infrared_spectrum, raman_spectrum, vibrational_density

BATCH = 64


@dataclasses.dataclass(frozen=True, eq=False)
class TrajectorySpectrum:
    """Wavenumbers (1/cm), modes per 1/cm, km/mol per 1/cm where dipoles and Å⁴/amu per 1/cm where polarizabilities are known;
    the mean temperature in K."""

    wavenumbers: np.ndarray
    density: np.ndarray
    infrared: np.ndarray | None
    raman: np.ndarray | None
    temperature: float

    def columns(self) -> dict[str, np.ndarray]:
        """For a table."""
        result = {"wavenumber_cm-1": self.wavenumbers, "modes_per_cm-1": self.density}
        others = {"infrared_km_mol_cm": self.infrared, "raman_A4_amu_cm": self.raman}
        return result | {name: values for name, values in others.items() if values is not None}


def trajectory_spectrum(
    path: Path, interval: float, tensors: TensorModel | FieldResponses | None = None, resolution: float = 10.0
) -> TrajectorySpectrum:
    """The spectra of the frames in ``path``, ``interval`` fs apart, which carry momenta; dipoles and polarizabilities come from
    ``tensors``.

    Raises ``DataError`` for frames without momenta or of different molecules, and ``ValueError`` for too few of them.
    """
    frames = read_structures(path)
    _check(frames, path, interval)
    velocities = np.stack([frame.get_velocities() for frame in frames]) * units.fs
    mass = frames[0].get_masses()
    freedom = 3 * len(frames[0])
    kinetic = np.array([frame.get_kinetic_energy() for frame in frames])
    temperature = float(2 * kinetic.mean() / (freedom * units.kB))
    grid, density = vibrational_density(velocities, mass, interval, temperature, resolution)
    curves: dict[str, np.ndarray | None] = {"dipole": None, "polarizability": None}
    if tensors is not None:
        transforms = {"dipole": infrared_spectrum, "polarizability": raman_spectrum}
        for name in curves.keys() & set(tensors.settings.targets):
            places, values = transforms[name](_along(tensors, name, frames), interval, temperature, resolution)
            curves[name] = np.interp(grid, places, values)
    return TrajectorySpectrum(grid, density, curves["dipole"], curves["polarizability"], temperature)


def _along(tensors: TensorModel | FieldResponses, name: str, frames: list[ase.Atoms]) -> np.ndarray:
    parts = []
    with progress_bar(name) as bar, torch.no_grad():
        task = bar.add_task(name, total=len(frames), note="")
        for start in range(0, len(frames), BATCH):
            batch = collate([build_graph(frame, tensors.cutoff) for frame in frames[start : start + BATCH]])
            parts.append(tensors.property(name, batch).detach().cpu().numpy())
            bar.update(task, completed=start + batch.num_graphs)
    return np.concatenate(parts)


def _check(frames: list[ase.Atoms], path: Path, interval: float) -> None:
    if not 0 < interval < np.inf:
        raise ValueError(f"--interval is {interval}, expected the time in fs between the frames of {path}")
    for index, frame in enumerate(frames):
        if not frame.has("momenta"):
            raise DataError(f"frame {index} of {path} has no momenta; write the trajectory with `tesseral md`, which keeps them")
        if frame.numbers.tolist() != frames[0].numbers.tolist():
            raise DataError(f"frame {index} of {path} is another molecule than frame 0; give one trajectory")
