"""Figures of a report as inline SVG that takes its ink from the page, so that it reads in light and dark."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from tesseral.train.prediction import Predictions, errors

INK = "#010203"
"""Stands for the page's text colour, and is replaced by ``currentColor``."""

COLORS = ("#3f7fe8", "#e8853d", "#16a07a", "#d6478c", "#8a63e6", "#b89a00", "#6b7685", "#c4523e", "#3aa3c2", "#7a9a2e")

MAX_POINTS = 20_000
"""Points of a parity plot; more are thinned out evenly at random."""


def new_figure(columns: int, height: float = 3.3, width: float = 11.0) -> tuple[Figure, list[Axes]]:
    """A figure with axes side by side, in the style of the report."""
    figure = Figure(figsize=(width * min(1.0, columns / 3 if columns < 3 else 1.0), height), layout="constrained")
    FigureCanvasSVG(figure)
    panels = list(figure.subplots(1, columns, squeeze=False)[0])
    figure.patch.set_alpha(0.0)
    for axes in panels:
        axes.patch.set_alpha(0.0)
        axes.tick_params(colors=INK, labelsize=9, width=0.6, which="both")
        for name, spine in axes.spines.items():
            spine.set_visible(name in ("left", "bottom"))
            spine.set_color(INK)
            spine.set_linewidth(0.6)
        axes.grid(True, color="#80808033", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, panels


def label(axes: Axes, title: str, x: str, y: str) -> None:
    """Title and axis labels."""
    axes.set_title(title, color=INK, fontsize=10.5, loc="left", fontweight="bold")
    axes.set_xlabel(x, color=INK, fontsize=9.5)
    axes.set_ylabel(y, color=INK, fontsize=9.5)


def legend(axes: Axes) -> None:
    """A legend without a frame, where there are several things to tell apart."""
    if len(axes.get_legend_handles_labels()[0]) > 1:
        box = axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, handlelength=1.3, markerscale=2.2)
        for handle in box.legend_handles:
            if handle is not None:
                handle.set_alpha(1.0)


def to_svg(figure: Figure, name: str) -> str:
    """The figure as an ``<svg>`` element that refers to nothing outside; ``name`` keeps its ids apart from those of others."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", dpi=130, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font: ?(?:[a-z0-9 ]*?)([0-9.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", text)
    text = re.sub(r' id="[a-zA-Z]+_[0-9]+"', "", text)
    # Never larger than drawn: letters keep the size of the page's own.
    limit = round(98.0 * figure.get_figwidth())
    tag = rf'<svg viewBox="\1" style="max-width: {limit}px" role="img" aria-label="{html.escape(name)}">'
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', tag, text, count=1)
    text = text.replace("xlink:href", "href")
    return text.replace(INK, "currentColor")


def learning_curves(history: Sequence[Mapping[str, Any]]) -> str:
    """Loss, force error and energy error against the epoch, and the learning rate."""
    panels: list[tuple[str, str, list[tuple[str, str]]]] = [
        ("Loss", "loss", [("train_loss", "training"), ("validation_loss", "validation")])
    ]
    for title, unit, key in (
        ("Forces, validation", "meV/Å", "validation_forces"),
        ("Energy, validation", "meV/atom", "validation_energy_per_atom"),
        ("Stress, validation", "meV/Å³", "validation_stress"),
        ("Dipole, validation", "e·Å", "validation_dipole"),
        ("Polarizability, validation", "Å³", "validation_polarizability"),
        ("Born charges, validation", "e", "validation_born_charges"),
    ):
        if any(f"{key}_rmse" in row for row in history):
            panels.append((title, unit, [(f"{key}_rmse", "RMSE"), (f"{key}_mae", "MAE")]))
    panels = [*panels[:3], ("Learning rate", "learning rate", [("lr", "learning rate")])]
    figure, axes = new_figure(len(panels), height=2.9)
    for panel, (title, y, lines) in zip(axes, panels, strict=True):
        low, high = np.inf, 0.0
        for color, (key, name) in zip(COLORS, lines):
            points = [(row["epoch"], row[key]) for row in history if key in row and row[key] > 0]
            if points:
                x, values = np.array(points).T
                panel.plot(x, values, color=color, linewidth=1.5, label=name, marker="o" if len(x) < 3 else "", markersize=3)
                low, high = min(low, values.min()), max(high, values.max())
        if high > 0:
            panel.set_yscale("log")
            if high / low < 30:
                panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                panel.yaxis.set_major_formatter(ScalarFormatter() if low > 1e-2 else panel.yaxis.get_major_formatter())
            panel.yaxis.set_minor_formatter(NullFormatter())
        label(panel, title, "epoch", y)
        legend(panel)
    return to_svg(figure, "learning curves")


def parity(predictions: Predictions, name: str) -> str:
    """Forces against their labels by element, energies by configuration type, and the distribution of force errors by element."""
    values = errors(predictions)
    random = np.random.default_rng(0)
    known_forces = np.isfinite(values["forces"]).all(1)
    known_energy = np.isfinite(values["energy_per_atom"])
    kinds = (["forces", "histogram"] if known_forces.any() else []) + (["energy"] if known_energy.any() else [])
    if not kinds:
        return ""
    figure, axes = new_figure(len(kinds), height=3.5)
    for panel, kind in zip(axes, kinds, strict=True):
        if kind == "energy":
            _energy_parity(panel, predictions, known_energy)
            continue
        elements = [number for number in np.unique(predictions.species) if (known_forces & (predictions.species == number)).any()]
        for color, number in zip(COLORS * 10, elements):
            chosen = np.flatnonzero(known_forces & (predictions.species == number))
            symbol = chemical_symbols[int(number)]
            if kind == "forces":
                share = max(1, MAX_POINTS // (3 * len(elements)))
                chosen = random.choice(chosen, share, replace=False) if len(chosen) > share else chosen
                x, y = predictions.forces_label[chosen].ravel(), predictions.forces[chosen].ravel()
                panel.plot(x, y, ".", color=color, markersize=2.2, alpha=0.55, label=symbol, rasterized=len(x) > 400)
            else:
                size = 1000 * np.linalg.norm(values["forces"][chosen], axis=1)
                size = np.sort(size[size > 0])
                if len(size):
                    panel.plot(size, np.linspace(0, 100, len(size)), color=color, linewidth=1.5, label=symbol)
        if kind == "forces":
            _diagonal(panel)
            label(panel, "Forces by element", "reference (eV/Å)", "model (eV/Å)")
        else:
            panel.set_xscale("log")
            label(panel, "Size of the force error", "|ΔF| (meV/Å)", "atoms below (%)")
        legend(panel)
    return to_svg(figure, f"parity of {name}")


def tensor_parity(targets: Mapping[str, tuple[np.ndarray, np.ndarray]], units: Mapping[str, str], name: str) -> str:
    """Components of tensors against their labels: target -> (labels, predictions), one panel each."""
    figure, axes = new_figure(len(targets), height=3.5)
    for panel, color, (target, (reference, model)) in zip(axes, COLORS * 10, targets.items()):
        x, y = reference.ravel(), model.ravel()
        x, y = x[np.isfinite(x + y)], y[np.isfinite(x + y)]
        if len(x) > MAX_POINTS:
            chosen = np.random.default_rng(0).choice(len(x), MAX_POINTS, replace=False)
            x, y = x[chosen], y[chosen]
        panel.plot(x, y, ".", color=color, markersize=3, alpha=0.55, rasterized=len(x) > 400)
        _diagonal(panel)
        unit = f" ({units[target]})" if target in units else ""
        label(panel, target, f"reference{unit}", f"model{unit}")
    return to_svg(figure, f"parity of {name}")


def calibration(results: Mapping[str, Mapping[str, Any]]) -> str:
    """How far uncertainties can be trusted: observed against nominal coverage, and errors against σ, a colour a set.

    ``results`` are by set; of each, ``energy`` and ``forces`` hold ``curve`` (nominal and observed fractions) and ``bins``
    (deviation and error, in meV or meV/Å). A curve below the diagonal is overconfident. Empty without either.
    """
    kinds = [
        (kind, unit) for kind, unit in (("energy", "meV"), ("forces", "meV/Å")) if any(kind in of for of in results.values())
    ]
    if not kinds:
        return ""
    figure, axes = new_figure(2 * len(kinds), height=3.1)
    for (kind, unit), shares, sizes in zip(kinds, axes[::2], axes[1::2], strict=True):
        known = [(color, name, of[kind]) for color, (name, of) in zip(COLORS * 10, results.items()) if kind in of]
        for color, name, row in known:
            nominal, observed = (100 * np.array(row["curve"][key]) for key in ("nominal", "observed"))
            shares.plot(nominal, observed, color=color, linewidth=1.5, label=name)
        _diagonal(shares)
        _error_by_size(
            sizes, [(color, np.array(row["bins"]["deviation"]), np.array(row["bins"]["error"])) for color, _, row in known]
        )
        label(shares, f"Calibration, {kind}", "nominal interval (%)", "errors inside (%)")
        label(sizes, f"Size of σ, {kind}", f"σ, RMS of a bin ({unit})", f"error, RMS of the bin ({unit})")
        legend(shares)
    return to_svg(figure, "calibration of the uncertainty")


def _error_by_size(panel: Axes, bins: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """Errors against σ, (colour, σ, error) a set, on logarithmic axes where there is anything above zero."""
    drawn = [(color, sigma[sigma * error > 0], error[sigma * error > 0]) for color, sigma, error in bins]
    if not any(len(sigma) for _, sigma, _ in drawn):
        return
    panel.set_xscale("log")
    panel.set_yscale("log")
    for color, sigma, error in drawn:
        panel.plot(sigma, error, color=color, linewidth=1.2, marker="o", markersize=3.5)
    _diagonal(panel)
    for axis in (panel.xaxis, panel.yaxis):
        low, high = axis.get_view_interval()
        if high / low < 100:
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())


def _energy_parity(panel: Axes, predictions: Predictions, known: np.ndarray) -> None:
    atoms = np.maximum(predictions.atoms_per_frame, 1)
    reference = (predictions.energy_label / atoms)[known]
    model = (predictions.energy / atoms)[known]
    # Total energies differ in their last digits only; without the median the axis can show them.
    shift = np.median(reference)
    kinds = np.array(predictions.config_types)[known]
    names = sorted(set(kinds))
    for color, kind in zip(COLORS * 10, names):
        chosen = kinds == kind
        x, y = 1000 * (reference[chosen] - shift), 1000 * (model[chosen] - shift)
        panel.plot(x, y, ".", color=color, markersize=4, alpha=0.65, label=kind or "(none)", rasterized=len(x) > 2000)
    _diagonal(panel)
    label(
        panel,
        "Energy" + (" by configuration type" if len(names) > 1 else ""),
        "reference − median (meV/atom)",
        "model − median (meV/atom)",
    )
    legend(panel)


def _diagonal(panel: Axes) -> None:
    low, high = min(panel.get_xlim()[0], panel.get_ylim()[0]), max(panel.get_xlim()[1], panel.get_ylim()[1])
    panel.plot([low, high], [low, high], color=INK, linewidth=0.7, alpha=0.6, zorder=0)
    panel.set_xlim(low, high)
    panel.set_ylim(low, high)


def curves(title: str, x_label: str, y_label: str, lines: Mapping[str, tuple[np.ndarray, np.ndarray]], log: bool = False) -> str:
    """Any lines, name -> (x, y): an energy along a trajectory, a scan, a spectrum."""
    figure, (panel,) = new_figure(1, height=3.2, width=22.5)
    for color, (name, (x, y)) in zip(COLORS * 10, lines.items()):
        panel.plot(x, y, color=color, linewidth=1.4, label=name)
    if log:
        panel.set_yscale("log")
    label(panel, title, x_label, y_label)
    legend(panel)
    return to_svg(figure, title)
