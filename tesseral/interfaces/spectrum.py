"""``tesseral spectrum``: relax a molecule, its normal modes by irreps, infrared and Raman lines, files and a report."""

from __future__ import annotations

import dataclasses
import html
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from tesseral.data import DataError
from tesseral.graph import Graph, build_graph
from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.responses import FieldResponses, load_responses
from tesseral.interfaces.simulation import check_species, fingerprint, progress_bar, read_structure
from tesseral.interfaces.spectrum_figures import activity, lines_figure, trajectory_figure
from tesseral.interfaces.trajectory_spectrum import TrajectorySpectrum, trajectory_spectrum
from tesseral.models.tensor import TensorModel
from tesseral.physics.electric import position_derivatives, reads_field
from tesseral.physics.forces import energy_and_forces
from tesseral.physics.hessian import hessian, rotation_rule_error, sum_rule_error
from tesseral.physics.normal_modes import NormalMode, NormalModes, normal_modes, symmetry_of
from tesseral.physics.relaxation import relax
from tesseral.physics.spectra import broadened
from tesseral.train.checkpoints import write_atomically
from tesseral.train.report import Movie, Report, installed_versions, write_report

RELAXED, HESSIAN, MODES, CURVES, DYNAMICS, FIGURE, SUMMARY, REPORT = (
    "relaxed.xyz", "hessian.npz", "modes.csv", "curves.csv", "dynamics.csv", "spectrum.svg", "summary.json", "report.html"
)  # fmt: skip
FILES = (RELAXED, HESSIAN, MODES, CURVES, DYNAMICS, FIGURE, SUMMARY, REPORT)
ANIMATED = 60
"""Levels with an animation in the report, the lowest ones."""


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """What :func:`spectrum` found."""

    atoms: ase.Atoms
    modes: NormalModes
    checks: list[dict[str, Any]]
    summary: dict[str, Any]


def spectrum(
    model: Any,
    structure: Path,
    folder: Path,
    *,
    tensors: TensorModel | FieldResponses | None = None,
    trajectory: TrajectorySpectrum | None = None,
    fmax: float = 1e-4,
    width: float = 10.0,
    tolerance: float = 0.01,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> Spectrum:
    """The normal modes and the spectra of the molecule in the last frame of ``structure``, written into ``folder``.

    Relaxes it, puts it onto its point group (to the ``tolerance`` in Å), and takes the exact Hessian there. Irreps and
    activities need nothing else; intensities come from ``tensors``, a model of "dipole" and "polarizability", or from ``model``
    itself where it reads a field. Lines get a
    ``width`` in 1/cm. ``resume`` takes the molecule and its Hessian from an earlier run of this model. Raises ``ValueError``
    and its kin with a sentence for whatever a user can mend.
    """
    console = console or Console(stderr=True)
    atoms = read_structure(structure)
    check_species(model, atoms, structure)
    _check(atoms, structure, fmax, width, tolerance)
    if tensors is None and reads_field(model):
        tensors = FieldResponses(model)
    if tensors is not None:
        _check_tensors(tensors, atoms)
    if resume and overwrite:
        raise ValueError("--resume continues a run and --overwrite discards it; give one of them")
    if not resume:
        _prepare(folder, overwrite)
    earlier = _earlier(model, folder, atoms) if resume else None
    if earlier is None:
        folder.mkdir(parents=True, exist_ok=True)
        rest, residual = _relaxed(model, atoms, fmax, console)
        symmetry = symmetry_of(rest.numbers, rest.positions, tolerance=tolerance)
        rest.positions = symmetry.symmetrized
        graph = build_graph(rest, float(model.cutoff))
        with progress_bar("second derivatives") as bar:
            bar.add_task("second derivatives", total=None, note=f"{3 * len(rest)} rows")
            matrix = hessian(model, graph)
            forces = energy_and_forces(model, graph).forces
        _keep(model, folder, rest, residual, matrix, forces)
    else:
        rest, residual, matrix, forces = earlier
        console.print(f"continuing with the Hessian in {folder / HESSIAN}", highlight=False, soft_wrap=True)
        symmetry = symmetry_of(rest.numbers, rest.positions, tolerance=tolerance)
    responses = {} if tensors is None else _responses(tensors, rest)
    modes = normal_modes(matrix.detach().cpu().numpy(), rest.numbers, symmetry, **responses)
    checks = _checks(rest, matrix, forces, modes, getattr(model, "dtype", torch.float64) == torch.float64)
    summary = _summary(rest, modes, residual, checks)
    figure = lines_figure({structure.stem: modes}, width)
    _write(folder, rest, modes, width, figure, summary, trajectory)
    _report(folder, structure, rest, modes, figure, checks, summary, trajectory)
    _say(console, modes, summary)
    console.print(
        f"written to [bold]{folder}[/bold]: {', '.join(f for f in FILES if (folder / f).exists())}",
        highlight=False,
        soft_wrap=True,
    )
    return Spectrum(rest, modes, checks, summary)


def spectrum_file(
    model: Any, structure: Path, folder: Path, *, tensors: Path | None, trajectory: Path | None, interval: float | None,
    **options: Any,
) -> Spectrum:  # fmt: skip
    """:func:`spectrum` with the tensor model and the trajectory read from files."""
    heads = None
    if tensors is not None:
        if not tensors.is_file():
            raise FileNotFoundError(f"there is no file {tensors}; --tensors names a model of dipoles and polarizabilities")
        heads = load_responses(tensors)
    if (trajectory is None) != (interval is None):
        raise ValueError("--trajectory and --interval go together: a trajectory, and the time in fs between its frames")
    elif reads_field(model):
        heads = FieldResponses(model)
    moved = None if trajectory is None or interval is None else trajectory_spectrum(trajectory, interval, heads)
    return spectrum(model, structure, folder, tensors=heads, trajectory=moved, **options)


def _check(atoms: ase.Atoms, structure: Path, fmax: float, width: float, tolerance: float) -> None:
    if atoms.pbc.any():
        raise DataError(
            f"{structure}: pbc is {atoms.pbc.tolist()}, but this spectrum is that of a molecule; set pbc to false in the file, "
            "or use `tesseral phonons` for a crystal"
        )
    if len(atoms) < 2:
        raise DataError(f"{structure} is a single atom, which does not vibrate; give a molecule")
    if not 0 < fmax < np.inf or not 0 < width < np.inf:
        raise ValueError(f"--fmax is {fmax} and --width {width}, expected positive numbers")
    if not 0 < tolerance < 1:
        raise ValueError(f"--tolerance is {tolerance}, expected a distance in Å between 0 and 1")


def _check_tensors(tensors: TensorModel | FieldResponses, atoms: ase.Atoms) -> None:
    known = set(tensors.settings.targets) & {"dipole", "polarizability"}
    if not known:
        raise ValueError(
            f"the tensor model gives {', '.join(tensors.settings.targets)}; a spectrum needs dipole or polarizability"
        )
    unknown = sorted(set(atoms.numbers.tolist()) - set(tensors.species))
    if unknown:
        raise ValueError(f"the tensor model was not trained on atomic numbers {unknown}, only on {list(tensors.species)}")


def _prepare(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder for the output")
    earlier = [name for name in FILES if (folder / name).exists()]
    if earlier and not overwrite:
        raise ValueError(f"{folder} holds a spectrum ({', '.join(earlier)}); discard it with --overwrite, or name another folder")
    for name in earlier:
        (folder / name).unlink()
    folder.mkdir(parents=True, exist_ok=True)


def _relaxed(model: Any, atoms: ase.Atoms, fmax: float, console: Console) -> tuple[ase.Atoms, float]:
    moving = ase.Atoms(atoms.numbers, atoms.positions, calculator=Calculator(model))
    with progress_bar("relaxing") as bar:
        task = bar.add_task("relaxing", total=500, note="")
        result = relax(
            moving, fmax=fmax, steps=500, optimizer="bfgs",
            progress=lambda step, energy, force: bar.update(task, completed=step, note=f"{energy:.5f} eV, {force:.1e} eV/Å"),
        )  # fmt: skip
    console.print(result.sentence, highlight=False, soft_wrap=True)
    if not result.converged:
        raise ValueError(f"{result.sentence}; a molecule that is not at rest has no normal modes")
    return ase.Atoms(moving.numbers, moving.positions), result.fmax


def _keep(model: Any, folder: Path, atoms: ase.Atoms, residual: float, matrix: torch.Tensor, forces: torch.Tensor) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, numbers=atoms.numbers, positions=atoms.positions, hessian=matrix.detach().cpu().numpy(),
        forces=forces.detach().cpu().numpy(), residual=np.array(residual), fingerprint=np.array(fingerprint(model, atoms)),
    )  # fmt: skip
    write_atomically(folder / HESSIAN, buffer.getvalue())


def _earlier(model: Any, folder: Path, atoms: ase.Atoms) -> tuple[ase.Atoms, float, torch.Tensor, torch.Tensor] | None:
    """The molecule at rest, its largest force, Hessian and forces of an earlier run; None where it did not get so far."""
    if not (folder / HESSIAN).exists():
        return None
    try:
        with np.load(folder / HESSIAN) as stored:
            kept = {name: stored[name] for name in stored.files}
        rest = ase.Atoms(kept["numbers"], kept["positions"])
        same = str(kept["fingerprint"]) == fingerprint(model, rest) and rest.numbers.tolist() == atoms.numbers.tolist()
        found = rest, float(kept["residual"]), torch.from_numpy(kept["hessian"]), torch.from_numpy(kept["forces"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{folder / HESSIAN} cannot be read ({error}); discard the run with --overwrite") from error
    if not same:
        raise DataError(f"{folder / HESSIAN} is of another model or molecule; discard the run with --overwrite")
    return found


def _responses(tensors: TensorModel | FieldResponses, atoms: ase.Atoms) -> dict[str, np.ndarray]:
    graph = build_graph(atoms, tensors.cutoff)

    def slopes(name: str) -> np.ndarray:
        def function(g: Graph) -> torch.Tensor:
            return tensors.property(name, g)

        return np.asarray(position_derivatives(function, graph).detach().cpu().numpy())

    names = [name for name in ("dipole", "polarizability") if name in tensors.settings.targets]
    return {f"{name}_derivatives": slopes(name) for name in names}


def _checks(
    atoms: ase.Atoms, matrix: torch.Tensor, forces: torch.Tensor, modes: NormalModes, exact: bool
) -> list[dict[str, Any]]:
    tight, positions = (1e-9 if exact else 1e-2), torch.as_tensor(atoms.positions)
    found = [
        ("translations", sum_rule_error(matrix), tight, "eV/Å²", "largest |ΣH|, nothing corrected"),
        (
            "rotations",
            rotation_rule_error(matrix, positions, forces),
            10 * tight,
            "eV/Å",
            "largest violation of rotational invariance",
        ),
        ("point group", modes.asymmetry, 100 * tight, "eV/Å²", f"largest part of H that {modes.symmetry.name} forbids"),
    ]
    return [
        {
            "name": name, "structure": atoms.get_chemical_formula(), "value": value, "threshold": limit, "unit": unit,
            "sentence": f"{sentence}: {value:.1e} {unit} (limit {limit:.0e})", "passed": value <= limit,
        }
        for name, value, limit, unit, sentence in found
    ]  # fmt: skip


def _summary(atoms: ase.Atoms, modes: NormalModes, residual: float, checks: list[dict[str, Any]]) -> dict[str, Any]:
    notes = []
    imaginary = [mode for mode in modes.modes if mode.frequency < 0]
    if imaginary:
        names = ", ".join(f"{-mode.frequency:.1f}i cm⁻¹ ({mode.irrep})" for mode in imaginary)
        notes.append(
            f"imaginary: {names}. The structure is a saddle point, perhaps held there by its symmetry: displace the atoms along "
            "that mode and start again"
        )
    return {
        "formula": atoms.get_chemical_formula(),
        "point_group": modes.symmetry.name,
        "deviation_from_it": modes.symmetry.deviation,
        "axes": modes.symmetry.group.setting,
        "irreps": modes.symmetry.vibration_irreps(),
        "largest_force": residual,
        "zero_point_energy_eV": modes.zero_point_energy,
        "modes": [_row(mode) for mode in modes.modes],
        "checks": checks,
        "notes": notes,
    }


def _row(mode: NormalMode) -> dict[str, Any]:
    return {
        "frequency": mode.frequency, "irrep": mode.irrep, "degeneracy": mode.degeneracy, "infrared": mode.infrared,
        "raman": mode.raman, "infrared_intensity": mode.infrared_intensity, "raman_activity": mode.raman_activity,
        "depolarization": mode.depolarization,
    }  # fmt: skip


def _write(
    folder: Path, atoms: ase.Atoms, modes: NormalModes, width: float, figure: str, summary: dict[str, Any],
    trajectory: TrajectorySpectrum | None,
) -> None:  # fmt: skip
    text = io.StringIO()
    ase.io.write(text, atoms, format="extxyz")
    write_atomically(folder / RELAXED, text.getvalue().encode())
    head = "frequency_cm-1,irrep,degeneracy,infrared_active,raman_active,infrared_km_mol,raman_A4_amu,depolarization"
    rows = [head]
    for mode in modes.modes:
        numbers = ("" if x is None else f"{x:.6g}" for x in (mode.infrared_intensity, mode.raman_activity, mode.depolarization))
        # A label holds quotes of its own: A", E'.
        label = '"' + mode.irrep.replace('"', '""') + '"'
        fields = (f"{mode.frequency:.4f}", label, str(mode.degeneracy), str(int(mode.infrared)), str(int(mode.raman)), *numbers)
        rows.append(",".join(fields))
    write_atomically(folder / MODES, ("\n".join(rows) + "\n").encode())
    grid = np.arange(0.0, max(mode.frequency for mode in modes.modes) + 300, min(1.0, width / 5))
    columns: dict[str, np.ndarray] = {"wavenumber_cm-1": grid}
    for kind, name in (("infrared_intensity", "infrared_km_mol_cm"), ("raman_activity", "raman_A4_amu_cm")):
        values = activity(modes, kind)
        if values is not None:
            columns[name] = broadened(grid, values[0], values[1], width)
    write_atomically(folder / CURVES, _csv(columns))
    if trajectory is not None:
        write_atomically(folder / DYNAMICS, _csv(trajectory.columns()))
    write_atomically(folder / FIGURE, figure.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).encode())
    write_atomically(folder / SUMMARY, json.dumps(summary, indent=1, default=float, ensure_ascii=False).encode())


def _csv(columns: Mapping[str, np.ndarray]) -> bytes:
    lines = [",".join(columns)]
    lines += [",".join(f"{x:.6g}" for x in row) for row in np.stack(list(columns.values()), axis=1)]
    return ("\n".join(lines) + "\n").encode()


HEAD = ("cm⁻¹", "irrep", "active", "IR, km/mol", "Raman, Å⁴/amu", "depolarization")


def _cells(mode: NormalMode) -> tuple[str, ...]:
    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    frequency = f"{mode.frequency:.1f}" if mode.frequency >= 0 else f"{-mode.frequency:.1f}i"
    return (
        frequency, mode.irrep, mode.activity, number(mode.infrared_intensity, ".2f"), number(mode.raman_activity, ".2f"),
        number(mode.depolarization, ".3f"),
    )  # fmt: skip


def _say(console: Console, modes: NormalModes, summary: dict[str, Any]) -> None:
    table = Table(title=f"{summary['formula']}: {summary['point_group']}", title_justify="left")
    for name in HEAD:
        table.add_column(name, justify="left" if name in ("irrep", "active") else "right")
    for mode in modes.modes:
        table.add_row(*_cells(mode))
    console.print(table)
    for sentence in summary["notes"]:
        console.print(f"note: {sentence}", highlight=False, soft_wrap=True, markup=False)
    for check in summary["checks"]:
        verdict = "[green]passed[/green]" if check["passed"] else "[bold red]failed[/bold red]"
        console.print(f"{verdict} {check['name']}: {check['sentence']}", highlight=False, soft_wrap=True)


def _report(
    folder: Path, structure: Path, atoms: ase.Atoms, modes: NormalModes, figure: str, checks: list[dict[str, Any]],
    summary: dict[str, Any], trajectory: TrajectorySpectrum | None,
) -> None:  # fmt: skip
    counts = summary["irreps"]
    facts = {
        "structure": f"{structure.name}, {summary['formula']}",
        "point group": f"{summary['point_group']}, to {summary['deviation_from_it']:.1e} Å",
        "labels": f"Mulliken; {summary['axes'] or 'no choice of axes enters'}",
        "vibrations": " + ".join(f"{n if n > 1 else ''}{label}" for label, n in counts.items()),
        "largest force": f"{summary['largest_force']:.1e} eV/Å",
        "zero-point energy": f"{summary['zero_point_energy_eV']:.4f} eV",
        "intensities": "from derivatives of dipole and polarizability"
        if modes.modes[0].infrared_intensity is not None or modes.modes[0].raman_activity is not None
        else "none: no tensor model was given; activities are those of the irreps",
    }
    leading = {"Lines": figure, "Normal modes": _html(modes)}
    if trajectory is not None:
        leading["Dynamics"] = trajectory_figure(trajectory)
    report = Report(
        title=f"Spectrum of {summary['formula']}",
        subtitle=structure.name,
        facts=facts,
        checks=checks,
        complaints=[{"severity": "warning", "sentence": note} for note in summary["notes"]],
        movies=[_movie(atoms, mode) for mode in modes.modes[:ANIMATED]],
        versions=installed_versions(),
        leading=leading,
        movies_title="Modes in motion",
    )
    write_report(report, folder / REPORT)


def _html(modes: NormalModes) -> str:
    head = "".join(f'<th class="text">{html.escape(name)}</th>' for name in HEAD)
    body = "".join(
        "<tr>" + "".join(f'<td class="text">{html.escape(cell)}</td>' for cell in _cells(mode)) + "</tr>" for mode in modes.modes
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _movie(atoms: ase.Atoms, mode: NormalMode, frames: int = 24, largest: float = 0.35) -> Movie:
    """One oscillation of the first partner, its largest displacement 0.35 Å."""
    shape = mode.displacements[0]
    phases = np.sin(2 * np.pi * np.arange(frames) / frames)
    positions = atoms.positions + phases[:, None, None] * shape * (largest / np.linalg.norm(shape, axis=1).max())
    partners = f", one of {mode.degeneracy}" if mode.degeneracy > 1 else ""
    title = f"{_cells(mode)[0]} cm⁻¹, {mode.irrep}{partners}: {mode.activity}"
    return Movie(title, atoms.get_chemical_symbols(), positions)
