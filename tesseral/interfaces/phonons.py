"""``tesseral phonons``: relax, force constants, bands, densities of states, heat capacity, checks, files and a report."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import spglib
import torch
from phonopy import Phonopy
from phonopy.file_IO import parse_BORN, write_FORCE_CONSTANTS
from rich.console import Console

from tesseral.data import DataError
from tesseral.graph import build_graph
from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.phonon_report import write_phonon_report
from tesseral.interfaces.responses import load_field_energy, non_analytic
from tesseral.interfaces.simulation import check_species, crystal_formula, fingerprint, progress_bar, read_structure
from tesseral.physics.force_constants import ForceConstants, force_constants
from tesseral.physics.phonons import (
    Curves,
    curves_of,
    displacement_error,
    enclosing,
    exact_frequencies,
    phonopy_cell,
    present,
    standard_path,
    standard_primitive,
    to_phonopy,
)
from tesseral.physics.phonons import Path as BandPath
from tesseral.physics.receptive_field import receptive_hops
from tesseral.physics.relaxation import relax
from tesseral.train.checkpoints import write_atomically

STATE, RELAXED, SUMMARY, REPORT = "force_constants.npz", "relaxed.xyz", "summary.json", "report.html"
FILES = (STATE, RELAXED, SUMMARY, REPORT, "phonopy.yaml", "FORCE_CONSTANTS", "bands.csv", "dos.csv", "thermal.csv")


@dataclasses.dataclass(frozen=True)
class Phonons:
    """What :func:`phonons` found: the primitive cell at rest, its force constants, phonopy's object, and the checks."""

    primitive: ase.Atoms
    constants: ForceConstants
    phonopy: Phonopy
    checks: list[dict[str, Any]]
    summary: dict[str, Any]


def phonons(
    model: Any,
    structure: Path,
    folder: Path,
    *,
    fmax: float = 1e-4,
    cell: bool = True,
    supercell: tuple[int, int, int] | None = None,
    born: Path | None = None,
    temperature: float = 1000.0,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> Phonons:
    """The phonons of the crystal in the last frame of ``structure``, written into ``folder``.

    Relaxes the atoms and, with ``cell``, the cell; takes the standard primitive cell and its exact force constants; hands
    them to phonopy in a ``supercell`` (by default 20 Å in every direction). ``born`` is phonopy's BORN file for that cell,
    or the file of a model that knows its energy in a field.
    Raises ``ValueError`` and its kin with a sentence for whatever a user can mend.
    """
    console = console or Console(stderr=True)
    atoms = read_structure(structure)
    check_species(model, atoms, structure)
    _check(atoms, structure, fmax, supercell, born, temperature)
    _prepare(folder, resume, overwrite)
    primitive, residual = _relaxed(model, atoms, folder, fmax, cell, resume, console)
    size = supercell or enclosing(primitive.cell.array, 20.0)
    nac = None if born is None else _born(born, primitive, size)
    constants = _force_constants(model, primitive, folder, resume)
    hops = receptive_hops(model)
    phonopy = to_phonopy(constants, primitive, size, nac)
    path = standard_path(primitive)
    with progress_bar("bands, density of states, thermal properties") as bar:
        bar.add_task("bands, density of states, thermal properties", total=None, note="")
        curves = curves_of(phonopy, path, temperature)
        exact = np.concatenate(exact_frequencies(constants, np.concatenate(path.pieces)))
    checks = _checks(model, constants, primitive, hops)
    bare = phonopy if nac is None else to_phonopy(constants, primitive, size)
    bare.run_qpoints(np.concatenate(path.pieces))
    interpolated = present(bare.qpoints, "frequencies").frequencies
    interpolation = float(np.abs(interpolated.reshape(-1) - exact).max())
    summary = _summary(curves, primitive, size, hops, residual, interpolation, checks, born is not None)
    _write(folder, phonopy, path, curves, summary)
    write_phonon_report(folder / REPORT, structure.name, primitive, path, curves, summary)
    for sentence in summary["notes"]:
        console.print(f"note: {sentence}", highlight=False, soft_wrap=True, markup=False)
    for check in checks:
        verdict = "[green]passed[/green]" if check["passed"] else "[bold red]failed[/bold red]"
        console.print(f"{verdict} {check['name']}: {check['sentence']}", highlight=False, soft_wrap=True)
    console.print(f"written to [bold]{folder}[/bold]: {', '.join(FILES[1:])}", highlight=False, soft_wrap=True)
    return Phonons(primitive, constants, phonopy, checks, summary)


def _check(
    atoms: ase.Atoms, structure: Path, fmax: float, supercell: tuple[int, ...] | None, born: Path | None, temperature: float
) -> None:
    if not atoms.pbc.all():
        raise DataError(
            f"{structure}: pbc is {atoms.pbc.tolist()}, but phonons need a crystal; set the cell and pbc in the file, "
            "or take the normal modes of the molecule (tesseral.physics.vibrations)"
        )
    if not 0 < fmax < np.inf or not 0 < temperature < np.inf:
        raise ValueError(f"--fmax is {fmax} and --temperature {temperature}, expected positive numbers")
    if supercell is not None and min(supercell) < 1:
        raise ValueError(f"--supercell is {supercell}, expected three positive numbers such as '4 4 4'")
    if born is not None and not born.is_file():
        raise FileNotFoundError(f"there is no file {born}; --born names a BORN file of phonopy")


def _prepare(folder: Path, resume: bool, overwrite: bool) -> None:
    if resume and overwrite:
        raise ValueError("--resume continues a run and --overwrite discards it; give one of them")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; name a folder for the output")
    earlier = [name for name in FILES if (folder / name).exists()]
    if earlier and not (resume or overwrite):
        raise ValueError(
            f"{folder} holds a run ({', '.join(earlier)}); continue it with --resume, discard it with --overwrite, "
            "or name another folder"
        )
    if overwrite:
        for name in earlier:
            (folder / name).unlink()
    folder.mkdir(parents=True, exist_ok=True)


def _relaxed(
    model: Any, atoms: ase.Atoms, folder: Path, fmax: float, cell: bool, resume: bool, console: Console
) -> tuple[ase.Atoms, float]:
    """The standard primitive cell at rest, and the largest force that is left (eV/Å)."""
    if resume and (folder / RELAXED).exists():
        try:
            primitive = read_structure(folder / RELAXED)
        except DataError as error:
            raise DataError(f"{error}; discard the run with --overwrite") from error
        console.print(f"continuing with {folder / RELAXED}", highlight=False, soft_wrap=True)
        return primitive, float(primitive.info.get("largest_force", 0.0))
    primitive = standard_primitive(atoms)
    primitive.calc = Calculator(model)
    with progress_bar("relaxing") as bar:
        task = bar.add_task("relaxing", total=500, note="")
        result = relax(
            primitive, fmax=fmax, steps=500, cell="full" if cell else "fixed", optimizer="bfgs",
            progress=lambda step, energy, force: bar.update(task, completed=step, note=f"{energy:.5f} eV, {force:.1e} eV/Å"),
        )  # fmt: skip
    console.print(result.sentence, highlight=False, soft_wrap=True)
    if not result.converged:
        raise ValueError(f"{result.sentence}; phonons of a structure that is not at rest are not those of the crystal")
    plain = ase.Atoms(primitive.numbers, primitive.positions, cell=primitive.cell, pbc=True)
    plain.info["largest_force"] = result.fmax
    text = io.StringIO()
    ase.io.write(text, plain, format="extxyz", write_info=True)
    write_atomically(folder / RELAXED, text.getvalue().encode())
    # extxyz rounds: what is computed must be what a resumed run would read.
    return _read_back(text.getvalue()), result.fmax


def _read_back(text: str) -> ase.Atoms:
    atoms = ase.io.read(io.StringIO(text), format="extxyz")
    assert isinstance(atoms, ase.Atoms)
    return atoms


def _born(born: Path, primitive: ase.Atoms, size: tuple[int, int, int]) -> Any:
    """Born charges and dielectric tensor, from phonopy's file or from a model of the energy in a field."""
    if born.suffix == ".safetensors":
        return non_analytic(load_field_energy(born), primitive)
    bare = Phonopy(phonopy_cell(primitive), supercell_matrix=np.diag(size), primitive_matrix=np.eye(3), log_level=0)
    try:
        nac = parse_BORN(bare.primitive, filename=str(born))
    except Exception as error:  # phonopy raises whatever it likes
        raise DataError(
            f"{born} does not fit the primitive cell of {len(primitive)} atoms ({primitive.get_chemical_formula()}): {error}. "
            "Expected: a first line, the dielectric tensor, then the charges of each atom "
            "that symmetry does not relate to an earlier one"
        ) from error
    nac["factor"] = nac.get("factor") or 14.399652
    return nac


def _force_constants(model: Any, primitive: ase.Atoms, folder: Path, resume: bool) -> ForceConstants:
    crystal = build_graph(primitive, float(model.cutoff))
    mark = fingerprint(model, primitive)
    if resume and (folder / STATE).exists():
        try:
            with np.load(folder / STATE) as stored:
                if str(stored["fingerprint"]) == mark:
                    values, atoms, shifts = (torch.from_numpy(stored[name]) for name in ("values", "atoms", "shifts"))
                    return ForceConstants(values, atoms, shifts, crystal)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{folder / STATE} is damaged ({type(error).__name__}); discard it with --overwrite") from error
        raise ValueError(f"{folder / STATE} belongs to another model or structure; discard it with --overwrite")
    with progress_bar("force constants") as bar:
        task = bar.add_task("force constants", total=3 * len(primitive), note="")
        constants = force_constants(model, crystal, progress=_advance(bar, task))
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, values=constants.values.cpu().numpy(), atoms=constants.atoms.cpu().numpy(),
        shifts=constants.shifts.cpu().numpy(), fingerprint=np.array(mark),
    )  # fmt: skip
    write_atomically(folder / STATE, buffer.getvalue())
    return ForceConstants(constants.values.cpu(), constants.atoms.cpu(), constants.shifts.cpu(), crystal)


def _checks(model: Any, constants: ForceConstants, primitive: ase.Atoms, hops: int) -> list[dict[str, Any]]:
    precision = getattr(model, "dtype", torch.float64)
    exact = precision == torch.float64
    symmetry = spglib.get_symmetry_dataset(
        (primitive.cell.array, primitive.get_scaled_positions(), primitive.numbers), symprec=1e-4
    )
    different = sorted(set(symmetry.equivalent_atoms.tolist())) if symmetry is not None else list(range(len(primitive)))
    size = enclosing(primitive.cell.array, 2.001 * hops * float(model.cutoff))
    with progress_bar("finite displacements") as bar:
        task = bar.add_task("finite displacements", total=len(different), note=f"{int(np.prod(size)) * len(primitive)} atoms")
        displaced = displacement_error(model, constants, primitive, size, different, progress=_advance(bar, task))
    found = [
        ("translations", constants.sum_rule_error(), 1e-9 if exact else 1e-3, "eV/Å²", "largest |ΣΦ|, nothing corrected"),
        ("symmetry", constants.asymmetry(), 1e-10 if exact else 1e-3, "eV/Å²", "largest |Φ(R) - Φ(-R)ᵀ|, nothing corrected"),
        (
            "displacements", displaced, 1e-5 if exact else 1e-1, "relative",
            f"force constants against displacements of ±0.001 Å in {size[0]}×{size[1]}×{size[2]} cells, "
            f"{int(np.prod(size)) * len(primitive)} atoms",
        ),
    ]  # fmt: skip
    return [
        {
            "name": name, "structure": crystal_formula(primitive), "value": value, "threshold": limit, "unit": unit,
            "sentence": f"{sentence}: {value:.1e} {unit} (limit {limit:.0e})", "passed": value <= limit,
        }
        for name, value, limit, unit, sentence in found
    ]  # fmt: skip


def _summary(
    curves: Curves, primitive: ase.Atoms, size: tuple[int, ...], hops: int, residual: float, interpolation: float,
    checks: list[dict[str, Any]], corrected: bool,
) -> dict[str, Any]:  # fmt: skip
    lowest = min(float(np.min(piece)) for piece in curves.bands)
    room = int(np.argmin(np.abs(curves.temperatures - 300)))
    notes = []
    if lowest < -0.05:
        notes.append(
            f"a frequency is imaginary ({-lowest:.3g}i THz): the structure is no minimum. Displace the atoms along that mode "
            "in a supercell and relax, or look at whether the model knows this structure"
        )
    if interpolation > 0.01:
        notes.append(
            f"phonopy's interpolation from {'×'.join(map(str, size))} cells differs from the exact matrices by up to "
            f"{interpolation:.3f} THz along the path; a larger --supercell brings them together"
        )
    return {
        "formula": crystal_formula(primitive),
        "cell": primitive.cell.cellpar().tolist(),
        "supercell": list(size),
        "receptive_field_edges": hops,
        "largest_force": residual,
        "lowest_frequency_THz": lowest,
        "highest_frequency_THz": max(float(np.max(piece)) for piece in curves.bands),
        "interpolation_error_THz": interpolation,
        "non_analytic_correction": corrected,
        "zero_point_energy_kJ_mol": float(curves.free_energy[0]),
        "heat_capacity_300K_J_K_mol": float(curves.heat_capacity[room]),
        "checks": checks,
        "notes": notes,
    }


def _write(folder: Path, phonopy: Phonopy, path: BandPath, curves: Curves, summary: dict[str, Any]) -> None:
    rows = ["distance,k1,k2,k3," + ",".join(f"branch{n + 1}_THz" for n in range(curves.bands[0].shape[1]))]
    for distances, points, frequencies in zip(curves.distances, path.pieces, curves.bands):
        rows += [",".join(f"{x:.6f}" for x in (d, *k, *f)) for d, k, f in zip(distances, points, frequencies)]
    thermal = zip(curves.temperatures, curves.free_energy, curves.entropy, curves.heat_capacity)
    tables = {
        "bands.csv": rows,
        "dos.csv": ["frequency_THz,dos"] + [f"{x:.6f},{y:.6f}" for x, y in zip(curves.dos_frequencies, curves.dos)],
        "thermal.csv": ["temperature_K,free_energy_kJ_mol,entropy_J_K_mol,heat_capacity_J_K_mol"]
        + [f"{t:.1f},{f:.6f},{s:.6f},{c:.6f}" for t, f, s, c in thermal],
    }
    for name, lines in tables.items():
        write_atomically(folder / name, ("\n".join(lines) + "\n").encode())
    _through(folder / "phonopy.yaml", lambda path: phonopy.save(path, settings={"force_constants": False}))
    values, rows_of = present(phonopy.force_constants, "force constants"), phonopy.primitive.p2s_map
    _through(folder / "FORCE_CONSTANTS", lambda path: write_FORCE_CONSTANTS(values, filename=str(path), p2s_map=rows_of))
    write_atomically(folder / SUMMARY, json.dumps(summary, indent=1, default=float).encode())


def _through(path: Path, write: Callable[[Path], Any]) -> None:
    """A file that a library writes appears whole or not at all."""
    draft = path.with_name(f"{path.stem}.part{path.suffix}")
    write(draft)
    draft.replace(path)


def _advance(bar: Any, task: Any) -> Callable[[int, int], None]:
    return lambda done, total: bar.update(task, completed=done, total=total)
