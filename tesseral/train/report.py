"""One self-contained HTML page about a trained potential: everything is inline, nothing is fetched, light and dark."""

from __future__ import annotations

import html
import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.data.colors import jmol_colors

from tesseral.train import figures
from tesseral.train.checkpoints import write_atomically
from tesseral.train.logs import duration
from tesseral.train.metrics import UNITS
from tesseral.train.prediction import Predictions, tables

MAX_FRAMES = 400
"""Frames of a trajectory that go into the page; longer ones are thinned out evenly."""


@dataclass(frozen=True)
class Movie:
    """A structure, or a trajectory of one, to be turned and played: positions (frames, atoms, 3) in Å, cell (3, 3) or None.

    ``notes`` are short texts shown with the frames, such as times and energies.
    """

    title: str
    symbols: Sequence[str]
    positions: np.ndarray
    cell: np.ndarray | None = None
    notes: Sequence[str] | None = None


@dataclass(frozen=True)
class Report:
    """What the page shows; whatever is empty is left out.

    ``predictions`` are by name of the set of frames, the most telling one last: it provides the numbers at the top.
    ``checks`` are rows of the self-test with keys name, structure, value, threshold, unit, sentence, passed; ``complaints``
    those of the data doctor with keys severity and sentence. ``extra`` are further sections, title -> HTML, such as an SVG of
    :func:`tesseral.train.figures.curves`.
    """

    title: str
    subtitle: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What model, what data, how long: two columns."""
    history: Sequence[Mapping[str, Any]] = ()
    predictions: Mapping[str, Predictions] = field(default_factory=dict)
    checks: Sequence[Mapping[str, Any]] = ()
    complaints: Sequence[Mapping[str, Any]] = ()
    movies: Sequence[Movie] = ()
    atomic_energies: Mapping[str, float] = field(default_factory=dict)
    """Element -> energy of the isolated atom, eV."""
    split: Mapping[str, Any] = field(default_factory=dict)
    """Set -> number of frames, and how they were divided."""
    speed: Mapping[str, Any] = field(default_factory=dict)
    settings: str = ""
    """The settings file as text."""
    versions: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    leading: Mapping[str, str] = field(default_factory=dict)
    """Sections as in ``extra`` that come before all others: what the page is about, where that is not a potential."""
    movies_title: str = "Structure"


def write_report(report: Report, path: str | Path) -> None:
    """Writes the page atomically."""
    write_atomically(Path(path), render(report).encode("utf-8"))


def installed_versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in ("tesseral", "torch", "numpy", "ase", "lightning-fabric", "vesin"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def render(report: Report) -> str:
    """The page as text.

    >>> page = render(Report(title="Water", settings="seed: 0"))
    >>> "<h1>Water</h1>" in page, "Settings" in page, "Self-test" in page
    (True, True, False)
    """
    errors = {name: tables(predictions) for name, predictions in report.predictions.items()}
    movies = "".join(_movie(movie) for movie in report.movies)
    sections = {
        **{title: _card(content) for title, content in report.leading.items()},
        report.movies_title: f'<div class="pair">{movies}</div>' if movies else "",
        "Errors": _errors(errors),
        "Parity": "".join(_parity(name, predictions) for name, predictions in reversed(list(report.predictions.items()))),
        "Learning curves": _card(figures.learning_curves(report.history)) if report.history else "",
        "Self-test": _checks(report.checks),
        **{title: _card(content) for title, content in report.extra.items()},
        "Model and data": _facts(report),
        "Data doctor": _complaints(report.complaints),
        "Settings": _card(_folded("The settings file", report.settings)) if report.settings else "",
        "Versions": _pairs(report.versions),
    }
    present = {title: content for title, content in sections.items() if content}
    body = _tiles(report, errors) + "".join(
        f'<h2 id="{_anchor(title)}">{_text(title)}</h2>{content}' for title, content in present.items()
    )
    page = files("tesseral.train").joinpath("page")
    values = {
        "title": _text(report.title),
        "subtitle": _text(report.subtitle),
        "nav": "".join(f'<a href="#{_anchor(title)}">{_text(title)}</a>' for title in present),
        "style": page.joinpath("style.css").read_text(encoding="utf-8"),
        "viewer": page.joinpath("viewer.js").read_text(encoding="utf-8") if report.movies else "",
        "body": body,
        "footer": f"Written by tesseral {_text(report.versions.get('tesseral', ''))}. This page needs no network.",
    }
    template = page.joinpath("page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match.group(1)], template)


# ---------------------------------------------------------------------- parts


def _tiles(report: Report, errors: Mapping[str, Any]) -> str:
    tiles = []
    if errors:
        name, table = list(errors.items())[-1]
        overall = table["overall"]
        if "forces_rmse" in overall:
            share = f", 1/{overall['forces_rms'] / overall['forces_rmse']:.0f} of their RMS" if overall["forces_rmse"] > 0 else ""
            tiles.append((_number(overall["forces_rmse"]), "meV/Å", f"force RMSE, {name}{share}"))
        if "energy_per_atom_rmse" in overall:
            tiles.append((_number(overall["energy_per_atom_rmse"]), "meV/atom", f"energy RMSE, {name}"))
    if report.checks:
        passed = sum(bool(check.get("passed")) for check in report.checks)
        tiles.append((f"{passed}/{len(report.checks)}", "", "self-test checks passed"))
    if report.history:
        last = report.history[-1]
        tiles.append((duration(float(last.get("seconds", 0.0))), "", f"training, {int(last['epoch'])} epochs"))
    if errors:
        tiles.append((_number(table["speed"]["us_per_atom"]), "µs/atom", "energy and forces"))
    cells = "".join(
        f'<div class="tile"><b>{_text(value)} <small>{_text(unit)}</small></b><span>{_text(note)}</span></div>'
        for value, unit, note in tiles
    )
    return f'<div class="tiles">{cells}</div>' if cells else ""


COLUMNS = (
    ("frames", "frames", ""),
    ("energy_mae", "E MAE", "meV"), ("energy_rmse", "E RMSE", "meV"),
    ("energy_per_atom_mae", "E MAE", "meV/atom"), ("energy_per_atom_rmse", "E RMSE", "meV/atom"),
    ("forces_mae", "F MAE", "meV/Å"), ("forces_rmse", "F RMSE", "meV/Å"), ("forces_rms", "F RMS", "reference, meV/Å"),
    ("stress_mae", "σ MAE", "meV/Å³"), ("stress_rmse", "σ RMSE", "meV/Å³"),
    ("dipole_rmse", "μ RMSE", "e·Å"), ("polarizability_rmse", "α RMSE", "Å³"), ("born_charges_rmse", "Z* RMSE", "e"),
)  # fmt: skip


def _errors(errors: Mapping[str, Any]) -> str:
    if not errors:
        return ""
    parts = [_card(_error_table("set", {name: table["overall"] for name, table in errors.items()}))]
    for name, table in errors.items():
        for title, kind, head in (("by configuration type", "per_config_type", "type"), ("by element", "per_element", "element")):
            rows = {key: row for key, row in table[kind].items() if len(row) > 2}
            if len(rows) > 1 and name != "training":
                parts.append(f"<h3>{_text(name)}, {title}</h3>{_card(_error_table(head, rows))}")
    return "".join(parts)


def _error_table(head: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    columns = [column for column in COLUMNS if any(column[0] in row for row in rows.values())]
    header = f"<th>{_text(head)}</th>" + "".join(
        f"<th>{_text(name)}<small>{_text(unit)}</small></th>" for _, name, unit in columns
    )
    lines = [
        f"<tr><td>{_text(name)}</td>"
        + "".join(f"<td>{_number(row[key]) if key in row else ''}</td>" for key, _, _ in columns)
        + "</tr>"
        for name, row in rows.items()
    ]
    return f"<table><thead><tr>{header}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _parity(name: str, predictions: Predictions) -> str:
    figure = figures.parity(predictions, name)
    known = {title: (labels, values) for title, (values, labels) in predictions.responses.items() if np.isfinite(labels).any()}
    units = {title: UNITS[f"{title}_rmse"] for title in known}
    responses = _card(figures.tensor_parity(known, units, name)) if known else ""
    return f"<h3>{_text(name)}</h3>{_card(figure) if figure else ''}{responses}" if figure or responses else ""


def _checks(checks: Sequence[Mapping[str, Any]]) -> str:
    if not checks:
        return ""
    rows = []
    for check in checks:
        verdict = '<span class="yes">✓ passed</span>' if check.get("passed") else '<span class="no">✗ failed</span>'
        rows.append(
            f"<tr><td>{_text(check.get('name', ''))}</td>{_cell(check.get('structure', ''))}"
            f'<td class="tight">{_number(check.get("value"))} <small class="hint">{_text(check.get("unit", ""))}</small></td>'
            f'<td>{_number(check.get("threshold"))}</td><td class="text">{verdict}</td>'
            f"{_cell(check.get('sentence', ''), 'hint')}</tr>"
        )
    head = "<th>check</th>" + "".join(
        f'<th class="{look}">{name}</th>'
        for name, look in (("structure", "text"), ("measured", ""), ("at most", ""), ("", "text"), ("what was found", "text"))
    )
    return _card(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>")


def _complaints(complaints: Sequence[Mapping[str, Any]]) -> str:
    look = {"error": "no", "warning": "warn"}
    rows = "".join(
        f'<tr><td class="{look.get(str(complaint.get("severity")), "")}">{_text(complaint.get("severity", "note"))}</td>'
        f"{_cell(complaint.get('sentence', complaint))}</tr>"
        for complaint in complaints
    )
    return _card(f"<table><tbody>{rows}</tbody></table>") if rows else ""


def _cell(value: Any, look: str = "") -> str:
    return f'<td class="text {look}">{_text(value)}</td>'


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{_text(title)}</summary><pre>{_text(text)}</pre></details>"


def _facts(report: Report) -> str:
    parts = [_pairs(report.facts)]
    for title, values in (
        ("Split", report.split),
        ("Speed", report.speed),
        ("Energies of isolated atoms (eV)", {symbol: f"{energy:.4f}" for symbol, energy in report.atomic_energies.items()}),
    ):
        if values:
            parts.append(f"<div><h3>{title}</h3>{_pairs(values)}</div>")
    rest = "".join(parts[1:])
    return parts[0] + (f'<div class="pair">{rest}</div>' if rest else "")


def _pairs(values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    rows = "".join(f'<tr><td>{_text(key)}</td><td class="text">{_text(value)}</td></tr>' for key, value in values.items())
    return _card(f"<table><tbody>{rows}</tbody></table>")


def _movie(movie: Movie) -> str:
    positions = np.asarray(movie.positions, dtype=np.float64).reshape(-1, len(movie.symbols), 3)
    chosen = np.unique(np.linspace(0, len(positions) - 1, min(len(positions), MAX_FRAMES)).round().astype(int))
    numbers = [atomic_numbers.get(symbol, 0) for symbol in movie.symbols]
    data = {
        "symbols": list(movie.symbols),
        "colors": ["#" + "".join(f"{round(255 * float(c)):02x}" for c in jmol_colors[number]) for number in numbers],
        "radii": [round(float(covalent_radii[number]), 2) for number in numbers],
        "frames": [np.round(positions[index], 3).ravel().tolist() for index in chosen],
        "cell": None if movie.cell is None or not np.any(movie.cell) else np.round(np.asarray(movie.cell), 4).ravel().tolist(),
        "notes": None if movie.notes is None else [str(movie.notes[index]) for index in chosen],
    }
    content = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    title = _text(movie.title)
    return (
        f'<div class="card structure"><h3>{title}</h3><canvas role="img" aria-label="{title}: drag to turn"></canvas>'
        '<div class="controls"><button type="button" aria-label="play">▶</button>'
        '<input type="range" min="0" value="0" aria-label="frame"></div>'
        f'<div class="note"></div><script type="application/json">{content}</script></div>'
    )


def _card(content: str) -> str:
    return f'<div class="card">{content}</div>' if content else ""


def _text(value: Any) -> str:
    return html.escape(str(value))


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _number(value: Any) -> str:
    """Three significant digits, without an exponent where that reads better.

    >>> _number(1234.5), _number(12.345), _number(0.01234), _number(3.2e-9), _number(7)
    ('1234', '12.3', '0.0123', '3.2e-09', '7')
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return "" if value is None else _text(value)
    number = float(value)
    if isinstance(value, int) or number == 0:
        return f"{value:g}" if number == 0 else str(value)
    if not np.isfinite(number):
        return str(number)
    if abs(number) >= 100:
        return f"{number:.0f}" if abs(number) < 1e6 else f"{number:.2e}"
    return f"{number:.3g}" if abs(number) >= 1e-3 else f"{number:.2g}"
