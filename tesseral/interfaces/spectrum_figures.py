"""Pictures of spectra: broadened lines with labelled peaks, and the spectra of a trajectory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from tesseral.interfaces.trajectory_spectrum import TrajectorySpectrum
from tesseral.physics.normal_modes import NormalModes
from tesseral.physics.spectra import broadened
from tesseral.train.figures import COLORS, INK, label, legend, new_figure, to_svg

LABELLED = 12
"""Peaks with a label, the highest ones."""


def activity(modes: NormalModes, kind: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Frequencies and intensities of the real modes; ``kind`` is infrared_intensity or raman_activity; None without them."""
    values = [getattr(mode, kind) for mode in modes.modes]
    if any(value is None for value in values):
        return None
    frequencies = np.array([mode.frequency for mode in modes.modes])
    return frequencies[frequencies > 0], np.array(values, dtype=np.float64)[frequencies > 0]


def lines_figure(spectra: Mapping[str, NormalModes], width: float) -> str:
    """Infrared and Raman lines of one or several spectra, as SVG; the peaks of the first are labelled.

    Where a spectrum has no intensities its active modes are drawn as sticks of one height.
    """
    highest = max(mode.frequency for modes in spectra.values() for mode in modes.modes)
    grid = np.arange(0.0, highest + 300, min(1.0, width / 5))
    figure, panels = new_figure(2, height=3.6, width=16.0)
    for panel, kind, active, title, unit in (
        (panels[0], "infrared_intensity", "infrared", "Infrared", "km/mol per cm⁻¹"),
        (panels[1], "raman_activity", "raman", "Raman", "Å⁴/amu per cm⁻¹"),
    ):
        for index, (name, modes) in enumerate(spectra.items()):
            values = activity(modes, kind)
            if values is None:
                places = np.array([m.frequency for m in modes.modes if getattr(m, active) and m.frequency > 0])
                heights = np.ones(len(places))
                panel.vlines(places, 0, heights, color=COLORS[index], linewidth=1.3, label=name)
            else:
                places, curve = values[0], broadened(grid, values[0], values[1], width)
                heights = np.interp(places, grid, curve)
                panel.plot(grid, curve, color=COLORS[index], linewidth=1.3, label=name)
            if index == 0:
                _name_peaks(panel, modes, places, heights)
        panel.margins(y=0.22)  # room for the names; a limit that is set first would leave none
        panel.set_ylim(bottom=0)
        panel.set_xlim(0, grid[-1])
        label(
            panel, title, "cm⁻¹", unit if any(activity(m, kind) is not None for m in spectra.values()) else "allowed by symmetry"
        )
        legend(panel)
    return to_svg(figure, "infrared and Raman spectrum")


def _name_peaks(panel: Axes, modes: NormalModes, places: np.ndarray, heights: np.ndarray) -> None:
    irreps = {mode.frequency: mode.irrep for mode in modes.modes}
    named: list[float] = []
    for place, height in sorted(zip(places, heights, strict=True), key=lambda peak: -peak[1]):
        close = any(abs(place - other) < 45 for other in named)
        if len(named) == LABELLED or close or height < 0.01 * heights.max(initial=0.0):
            continue
        named.append(float(place))
        panel.annotate(
            f"{place:.0f} {irreps[float(place)]}", (place, height), xytext=(0, 3), textcoords="offset points", rotation=90,
            ha="center", va="bottom", fontsize=7.5, color=INK,
        )  # fmt: skip


def trajectory_figure(spectrum: TrajectorySpectrum) -> str:
    """The density of vibrational states and, where a tensor model was given, infrared and Raman spectra of a trajectory."""
    at = f"classical at {spectrum.temperature:.0f} K"
    rows = [
        ("Vibrational density of states", "modes per cm⁻¹", spectrum.density),
        (f"Infrared, {at}", "km/mol per cm⁻¹", spectrum.infrared),
        (f"Raman, {at}", "Å⁴/amu per cm⁻¹", spectrum.raman),
    ]
    known = [(title, unit, values) for title, unit, values in rows if values is not None]
    figure, panels = new_figure(len(known), height=3.2, width=16.0)
    for panel, (title, unit, values), color in zip(panels, known, COLORS, strict=False):
        panel.plot(spectrum.wavenumbers, values, color=color, linewidth=1.3)
        label(panel, title, "cm⁻¹", unit)
        panel.set_xlim(0, min(4500.0, float(spectrum.wavenumbers[-1])))
        panel.set_ylim(bottom=0)
    return to_svg(figure, "spectra of the trajectory")
