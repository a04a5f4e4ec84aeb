"""The pictures of ``tesseral elastic`` and ``tesseral eos``."""

from __future__ import annotations

import numpy as np
import torch
from ase import units

from tesseral.physics.eos import EquationOfState
from tesseral.physics.moduli import sound_velocities, young_modulus
from tesseral.train.figures import COLORS, label, legend, new_figure, to_svg

PLANES = {"xy": (0, 1), "xz": (0, 2), "yz": (1, 2)}


def elastic_figure(constants: torch.Tensor, density: float) -> str:
    """Young's modulus in three planes, and the speeds of sound in the first, as SVG; constants in GPa, density in g/cm³."""
    angles = torch.linspace(0, 2 * torch.pi, 181, dtype=torch.float64)
    figure, (first, second) = new_figure(2, height=4.0, width=12.0)
    styles = ("-", "--", ":")  # planes that are alike cover each other
    for (name, axes), color, style in zip(PLANES.items(), COLORS, styles, strict=False):
        directions = torch.zeros(len(angles), 3, dtype=torch.float64)
        directions[:, axes[0]], directions[:, axes[1]] = angles.cos(), angles.sin()
        values = young_modulus(constants, directions)
        first.plot(values * angles.cos(), values * angles.sin(), style, color=color, linewidth=1.6, label=name)
    speeds = torch.stack([sound_velocities(constants, density, n) for n in _plane(angles)])
    for branch, color in zip(speeds.T, COLORS, strict=False):
        second.plot(branch * angles.cos(), branch * angles.sin(), color=color, linewidth=1.4)
    for panel in (first, second):
        panel.set_aspect("equal")
    label(first, "Young's modulus, GPa, in three planes", "", "")
    label(second, "Speeds of sound, km/s, in the plane xy", "", "")
    legend(first)
    return to_svg(figure, "Young's modulus and speeds of sound by direction")


def eos_figure(curve: EquationOfState, atoms: int) -> str:
    """Energy and pressure against volume, as SVG."""
    volumes = np.linspace(curve.volumes.min(), curve.volumes.max(), 200)
    figure, (first, second) = new_figure(2, height=3.2)
    first.plot(volumes / atoms, 1000 * (curve(volumes) - curve.energy) / atoms, color=COLORS[0], linewidth=1.4, label="fit")
    energies = 1000 * (curve.energies - curve.energy) / atoms
    first.plot(curve.volumes / atoms, energies, "o", color=COLORS[1], markersize=4, label="points")
    label(first, "Energy", "volume, Å³/atom", "above the minimum, meV/atom")
    pressure = -np.gradient(curve(volumes), volumes) / units.GPa
    second.plot(volumes / atoms, pressure, color=COLORS[0], linewidth=1.4)
    label(second, "Pressure", "volume, Å³/atom", "GPa")
    legend(first)
    return to_svg(figure, "equation of state")


def _plane(angles: torch.Tensor) -> torch.Tensor:
    return torch.stack([angles.cos(), angles.sin(), torch.zeros_like(angles)], 1)
