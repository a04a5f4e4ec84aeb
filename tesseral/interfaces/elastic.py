"""``tesseral elastic`` and ``tesseral eos``: how a crystal answers to strain and to pressure, as tables and a report."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase import units
from rich.console import Console
from rich.table import Table

from tesseral.data import DataError
from tesseral.graph import build_graph
from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.elastic_figures import elastic_figure, eos_figure
from tesseral.interfaces.simulation import (
    check_species,
    crystal_formula,
    crystal_picture,
    progress_bar,
    read_structure,
    write_structure,
)
from tesseral.physics.elasticity import Elasticity, elasticity
from tesseral.physics.eos import EquationOfState, equation_of_state
from tesseral.physics.moduli import moduli, softest
from tesseral.physics.receptive_field import device_of
from tesseral.physics.relaxation import relax
from tesseral.train.checkpoints import write_atomically
from tesseral.train.report import Report, installed_versions, write_report

AXES = ("xx", "yy", "zz", "yz", "xz", "xy")


def elastic(
    model: Any,
    structure: Path,
    folder: Path,
    *,
    fmax: float = 1e-4,
    cell: bool = True,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> Elasticity:
    """Elastic constants of the crystal in the last frame of ``structure``, at rest, into ``folder`` (JSON and a report).

    Clamped-ion and relaxed-ion constants from exact second derivatives, in the axes of the structure; with ``cell`` the cell is
    relaxed first, and with ``resume`` taken from an interrupted run. Raises ``ValueError`` and its kin with a sentence for
    whatever a user can mend.
    """
    console = console or Console(stderr=True)
    atoms = _crystal(model, structure, fmax)
    if resume and overwrite:
        raise ValueError("--resume continues a run and --overwrite discards it; give one of them")
    _prepare(folder, () if resume else ("elastic.json", "relaxed.xyz", "report.html"), overwrite)
    if resume and (folder / "relaxed.xyz").exists():
        atoms = _at_rest_before(model, folder / "relaxed.xyz")
        console.print(f"continuing with {folder / 'relaxed.xyz'}", highlight=False, soft_wrap=True)
    else:
        _relax(model, atoms, fmax, cell, console)
        write_structure(atoms, folder / "relaxed.xyz")
    with progress_bar("second derivatives") as bar:
        bar.add_task("second derivatives", total=None, note="")
        graph = build_graph(atoms, float(model.cutoff))
        found = elasticity(model, graph.to(device_of(model, graph.device)))
    stable = softest(found.relaxed) > 0
    values = _describe(found, atoms, stable)
    write_atomically(folder / "elastic.json", json.dumps(values, indent=1).encode())
    _elastic_report(folder, structure, atoms, found, values)
    _say_constants(console, found)
    for name, value in _facts(values["polycrystal"], 4).items():
        console.print(f"{name}: {value}", highlight=False)
    for note in values["notes"]:
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
    console.print(f"written to [bold]{folder}[/bold]: elastic.json, relaxed.xyz, report.html", highlight=False, soft_wrap=True)
    return found


def eos(
    model: Any,
    structure: Path,
    folder: Path,
    *,
    width: float = 0.06,
    points: int = 9,
    fmax: float = 1e-3,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> EquationOfState:
    """The equation of state of the crystal in the last frame of ``structure`` into ``folder`` (CSV, JSON, a report).

    The cell is relaxed first; then its volume is changed by up to ``width``, its shape kept, and the atoms relaxed to ``fmax``.
    A run that was interrupted goes on with ``resume``.
    """
    console = console or Console(stderr=True)
    atoms = _crystal(model, structure, fmax)
    if resume and overwrite:
        raise ValueError("--resume continues a run and --overwrite discards it; give one of them")
    if not 0 < width < 0.9 or points < 4:
        raise ValueError(f"--width is {width} and --points {points}, expected a width between 0 and 0.9 and at least 4 points")
    _prepare(folder, () if resume else ("points.csv", "eos.json", "report.html", "relaxed.xyz"), overwrite)
    if resume and (folder / "points.csv").exists() and (folder / "relaxed.xyz").exists():
        atoms, known = _earlier(model, folder / "relaxed.xyz", folder / "points.csv")
    else:
        atoms, known = _at_rest(model, atoms, fmax, folder / "relaxed.xyz", console), []
    curve = _scan(atoms, width, points, fmax, known, folder / "points.csv")
    _eos_report(folder, structure, atoms, curve)
    console.print(
        f"{curve.volume / len(atoms):.4f} Å³/atom, bulk modulus {curve.bulk_modulus:.2f} GPa, its pressure derivative "
        f"{curve.derivative:.2f}, energy {curve.energy / len(atoms):.5f} eV/atom; the curve deviates by at most "
        f"{1000 * curve.residual / len(atoms):.3f} meV/atom from its points",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print(f"written to [bold]{folder}[/bold]: eos.json, points.csv, relaxed.xyz, report.html", highlight=False)
    return curve


def _at_rest(model: Any, atoms: ase.Atoms, fmax: float, path: Path, console: Console) -> ase.Atoms:
    """The crystal relaxed with its cell, written to a file, and as a resumed run will read it."""
    _relax(model, atoms, fmax, True, console)
    write_structure(atoms, path)
    atoms = read_structure(path)
    atoms.calc = Calculator(model)
    return atoms


def _scan(
    atoms: ase.Atoms, width: float, points: int, fmax: float, known: list[tuple[float, float]], table: Path
) -> EquationOfState:
    """The curve through the energies at all volumes; the table of those that are known is written after each."""
    rows = list(known)
    with progress_bar("volumes") as bar:
        task = bar.add_task("volumes", total=points, note="")

        def advance(done: int, volume: float, energy: float) -> None:
            if all(abs(volume - v) > 1e-9 * v for v, _ in rows):
                rows.append((volume, energy))
                text = "volume_A3,energy_eV\n" + "".join(f"{v!r},{e!r}\n" for v, e in sorted(rows))
                write_atomically(table, text.encode())
            bar.update(task, completed=done, note=f"{volume:.2f} Å³ {energy:.4f} eV")

        return equation_of_state(atoms, width=width, points=points, fmax=fmax, known=known, progress=advance)


def _eos_report(folder: Path, structure: Path, atoms: ase.Atoms, curve: EquationOfState) -> None:
    values = {
        "atoms": len(atoms),
        "volume_A3": curve.volume,
        "volume_per_atom_A3": curve.volume / len(atoms),
        "energy_eV": curve.energy,
        "bulk_modulus_GPa": curve.bulk_modulus,
        "pressure_derivative": curve.derivative,
        "largest_deviation_eV": curve.residual,
    }
    write_atomically(folder / "eos.json", json.dumps(values, indent=1).encode())
    report = Report(
        title=f"Equation of state of {crystal_formula(atoms)}",
        subtitle=structure.name,
        facts=_facts(values, 6),
        versions=installed_versions(),
        movies=[crystal_picture(atoms, "The crystal at rest")],
        leading={"Energy and pressure": eos_figure(curve, len(atoms))},
    )
    write_report(report, folder / "report.html")


UNITS = {"_A3": " Å³", "_eV": " eV", "_GPa": " GPa", "_g_cm3": " g/cm³"}


def _facts(values: dict[str, Any], digits: int) -> dict[str, str]:
    """Names for reading, with the unit behind the number."""
    facts = {}
    for name, value in values.items():
        ending = next((ending for ending in UNITS if name.endswith(ending)), "")
        facts[name.removesuffix(ending).replace("_", " ")] = f"{value:.{digits}g}{UNITS.get(ending, '')}"
    return facts


def _earlier(model: Any, relaxed: Path, table: Path) -> tuple[ase.Atoms, list[tuple[float, float]]]:
    """The crystal and the points of an interrupted run."""
    atoms = _at_rest_before(model, relaxed)
    try:
        with table.open(encoding="utf-8") as file:
            return atoms, [(float(row["volume_A3"]), float(row["energy_eV"])) for row in csv.DictReader(file)]
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{table} is not a table of volumes and energies ({error}); discard the run with --overwrite") from error


def _at_rest_before(model: Any, relaxed: Path) -> ase.Atoms:
    """The crystal of an interrupted run, which must be of this model."""
    atoms = read_structure(relaxed)
    before = None if atoms.calc is None else atoms.calc.results.get("energy")
    atoms.calc = Calculator(model)
    now = atoms.get_potential_energy()
    if before is None or abs(now - before) > 1e-5 * len(atoms):
        raise ValueError(
            f"{relaxed} has {'no energy' if before is None else f'the energy {before:.6f} eV'}, and this model gives {now:.6f}: "
            "the run is of another model; discard it with --overwrite, or name another folder"
        )
    return atoms


def _crystal(model: Any, structure: Path, fmax: float) -> ase.Atoms:
    atoms = read_structure(structure)
    check_species(model, atoms, structure)
    if not atoms.pbc.all():
        raise DataError(f"{structure}: pbc is {atoms.pbc.tolist()}, but this needs a crystal; set the cell and pbc in the file")
    if not 0 < fmax < np.inf:
        raise ValueError(f"--fmax is {fmax}, expected a positive number")
    return atoms


def _prepare(folder: Path, files: tuple[str, ...], overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder for the output")
    earlier = [name for name in files if (folder / name).exists()]
    if earlier and not overwrite:
        raise ValueError(f"{folder} holds a run ({', '.join(earlier)}); discard it with --overwrite, or name another folder")
    for name in earlier:
        (folder / name).unlink()
    folder.mkdir(parents=True, exist_ok=True)


def _relax(model: Any, atoms: ase.Atoms, fmax: float, cell: bool, console: Console) -> None:
    atoms.calc = Calculator(model)
    with progress_bar("relaxing") as bar:
        task = bar.add_task("relaxing", total=500, note="")
        result = relax(
            atoms, fmax=fmax, steps=500, cell="full" if cell else "fixed", optimizer="bfgs",
            progress=lambda step, energy, force: bar.update(task, completed=step, note=f"{energy:.5f} eV, {force:.1e} eV/Å"),
        )  # fmt: skip
    console.print(result.sentence, highlight=False, soft_wrap=True)
    if not result.converged:
        raise ValueError(f"{result.sentence}; a crystal that is not at rest has no constants")


def _describe(found: Elasticity, atoms: ase.Atoms, stable: bool) -> dict[str, Any]:
    notes = []
    largest = float(found.stress.abs().max())
    if largest > 0.05:
        notes.append(
            f"the crystal is under {largest:.2f} GPa, and constants are uncertain by as much; "
            "relax the cell (leave --fixed-cell away)"
        )
    values: dict[str, Any] = {
        "unit": "GPa",
        "order": AXES,
        "relaxed_ion": found.relaxed.tolist(),
        "clamped_ion": found.clamped.tolist(),
        "stress": found.stress.tolist(),
        "stable": stable,
        "polycrystal": {},
    }
    if stable:
        m = moduli(found.relaxed)
        values["polycrystal"] = {
            "bulk_modulus_GPa": m.bulk,
            "shear_modulus_GPa": m.shear,
            "Young_modulus_GPa": m.young,
            "Poisson_ratio": m.poisson,
            "universal_anisotropy": m.anisotropy,
            "density_g_cm3": float(atoms.get_masses().sum() * units._amu * 1e3 / (atoms.cell.volume * 1e-24)),
        }
    else:
        notes.append(
            f"the crystal is not stable: a strain meets the stiffness {softest(found.relaxed):.3g} GPa. Relax it with its "
            "symmetry broken, or look at whether the model knows this structure"
        )
    return values | {"notes": notes}


def _say_constants(console: Console, found: Elasticity) -> None:
    for title, matrix in (("relaxed-ion", found.relaxed), ("clamped-ion", found.clamped)):
        table = Table(box=None, pad_edge=False, title=f"{title} elastic constants, GPa", title_justify="left")
        for name in ("", *AXES):
            table.add_column(name, justify="right", no_wrap=True, min_width=8 if name else 2)
        for name, row in zip(AXES, matrix.round(decimals=1).tolist()):
            table.add_row(name, *(f"{x + 0.0:.1f}" for x in row))
        console.print(table)


def _html_table(matrix: torch.Tensor) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("", *AXES))
    rows = "".join(
        f"<tr><th>{name}</th>" + "".join(f"<td>{x + 0.0:.2f}</td>" for x in row) + "</tr>"
        for name, row in zip(AXES, matrix.round(decimals=2).tolist())
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _elastic_report(folder: Path, structure: Path, atoms: ase.Atoms, found: Elasticity, values: dict[str, Any]) -> None:
    facts = _facts(values["polycrystal"], 4)
    facts["stress that was left"] = f"{float(found.stress.abs().max()):.2g} GPa"
    report = Report(
        title=f"Elastic constants of {crystal_formula(atoms)}",
        subtitle=structure.name,
        facts=facts,
        complaints=[{"severity": "warning", "sentence": note} for note in values["notes"]],
        movies=[crystal_picture(atoms, "The crystal at rest")],
        versions=installed_versions(),
        leading={
            "Relaxed-ion constants, GPa": _html_table(found.relaxed),
            "Clamped-ion constants, GPa": _html_table(found.clamped),
        }
        | (
            {"By direction": elastic_figure(found.relaxed.cpu(), values["polycrystal"]["density_g_cm3"])}
            if values["stable"]
            else {}
        ),
    )
    write_report(report, folder / "report.html")
