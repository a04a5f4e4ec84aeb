"""The report of ``tesseral phonons``: bands beside the density of states, thermal properties, the facts and the checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase

from tesseral.interfaces.simulation import crystal_picture
from tesseral.physics.phonons import Curves, conventional_cell
from tesseral.physics.phonons import Path as BandPath
from tesseral.train.figures import COLORS, INK, label, legend, new_figure, to_svg
from tesseral.train.report import Report, installed_versions, write_report


def write_phonon_report(
    file: Path, name: str, primitive: ase.Atoms, path: BandPath, curves: Curves, summary: dict[str, Any]
) -> None:
    """One HTML page: what ``summary`` says of the crystal in the file ``name``, its checks, and the curves."""
    facts = {
        "structure": f"{name}, {summary['formula']}, a b c α β γ = {' '.join(f'{x:.4g}' for x in summary['cell'])}",
        "reach of the model": f"{summary['receptive_field_edges']} edges to each side",
        "supercell for phonopy": "×".join(map(str, summary["supercell"])),
        "its interpolation error": f"{summary['interpolation_error_THz']:.2g} THz",
        "frequencies": f"{summary['lowest_frequency_THz']:.3f} to {summary['highest_frequency_THz']:.3f} THz",
        "zero-point energy": f"{summary['zero_point_energy_kJ_mol']:.3f} kJ/mol of cells",
        "heat capacity at 300 K": f"{summary['heat_capacity_300K_J_K_mol']:.2f} J/K/mol of cells",
        "LO-TO splitting": "from the BORN file" if summary["non_analytic_correction"] else "not included (no BORN file)",
    }
    report = Report(
        title=f"Phonons of {summary['formula']}",
        subtitle=name,
        facts=facts,
        checks=summary["checks"],
        complaints=[{"severity": "warning", "sentence": note} for note in summary["notes"]],
        movies=[crystal_picture(conventional_cell(primitive), "Conventional cell")],
        versions=installed_versions(),
        leading={"Bands and density of states": band_figure(curves, path), "Thermal properties": thermal_figure(curves)},
    )
    write_report(report, file)


def band_figure(curves: Curves, path: BandPath) -> str:
    """Bands along the path with the density of states beside them, as SVG."""
    from matplotlib.figure import Figure

    figure, _ = new_figure(1, height=4.2, width=27.0)
    assert isinstance(figure, Figure)
    figure.clear()
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
    for distances, frequencies in zip(curves.distances, curves.bands):
        left.plot(distances, frequencies, color=COLORS[0], linewidth=1.3)
    right.plot(curves.dos, curves.dos_frequencies, color=COLORS[1], linewidth=1.3)
    ticks = [float(curves.distances[0][0])] + [float(d[-1]) for d in curves.distances]
    ends: list[str] = [path.labels[0][0]]
    for number, (_, end) in enumerate(path.labels):
        after = path.labels[number + 1][0] if number + 1 < len(path.labels) else end
        ends.append(end if after == end else f"{end}|{after}")
    for panel in (left, right):
        panel.patch.set_alpha(0.0)
        panel.tick_params(colors=INK, labelsize=9, width=0.6)
        for name, spine in panel.spines.items():
            spine.set_visible(name in ("left", "bottom"))
            spine.set_color(INK)
            spine.set_linewidth(0.6)
        panel.axhline(0, color=INK, linewidth=0.6)
    for tick in ticks:
        left.axvline(tick, color="#80808055", linewidth=0.6)
    left.set_xticks(ticks, ends)
    left.set_xlim(ticks[0], ticks[-1])
    right.set_xlim(left=0)
    label(left, "Bands", "wave vector", "frequency, THz")
    label(right, "Density of states", "states per THz and cell", "")
    return to_svg(figure, "phonon bands and density of states")


def thermal_figure(curves: Curves) -> str:
    """Free energy, entropy and heat capacity against temperature, as SVG."""
    figure, (first, second) = new_figure(2, height=3.2)
    first.plot(curves.temperatures, curves.free_energy, color=COLORS[0], linewidth=1.4)
    label(first, "Free energy", "temperature, K", "kJ/mol")
    second.plot(curves.temperatures, curves.entropy, color=COLORS[1], linewidth=1.4, label="entropy")
    second.plot(
        curves.temperatures, curves.heat_capacity, color=COLORS[2], linewidth=1.4, label="heat capacity at constant volume"
    )
    label(second, "Entropy and heat capacity", "temperature, K", "J/K/mol")
    legend(second)
    return to_svg(figure, "thermal properties")
