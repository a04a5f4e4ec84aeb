"""The command `tesseral symmetry`: the symmetry of a structure, and what distorts it into another, as tables and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.cell import Cell
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from tesseral import groups
from tesseral.groups import Distortion, MolecularSymmetry, PointGroup, SpaceGroup
from tesseral.interfaces.simulation import read_structure
from tesseral.interfaces.symmetry_pictures import arrows, with_images
from tesseral.train.checkpoints import write_atomically
from tesseral.train.report import Movie, Report, installed_versions, write_report

PICTURED = 6
"""Modes with a picture, the largest ones."""


@dataclass(frozen=True)
class Table:
    """A table of what was found; ``note`` says how to read it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A mode: equilibrium positions and displacements (n, 3) in Å."""

    title: str
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray | None
    displacements: np.ndarray


@dataclass(frozen=True)
class Analysis:
    """All that the command shows."""

    title: str
    facts: Mapping[str, str]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...] = ()


def symmetry_file(
    structure: Path, target: Path | None, output: Path | None, *, tolerance: float | None, overwrite: bool, console: Console
) -> Analysis:
    """Analyse a structure, print the tables, and write ``symmetry.json`` and ``report.html`` into the output folder."""
    if tolerance is not None and not 0 < tolerance < 1:
        raise ValueError(f"--tolerance is {tolerance}, expected a distance in Å between 0 and 1")
    if output is not None and output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file; name a folder for the output")
    written = [] if output is None else [output / "symmetry.json", output / "report.html"]
    for path in written:
        if path.exists() and not overwrite:
            raise ValueError(f"{path} exists; name another folder with --output, or give --overwrite to replace it")
    atoms = read_structure(structure)
    other = None if target is None else read_structure(target)
    with console.status(f"symmetry of {structure.name}"):
        analysis = analyse(atoms, other, tolerance=tolerance)
    say(console, analysis)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        contents = {"title": analysis.title, "facts": dict(analysis.facts), "tables": [asdict(t) for t in analysis.tables]}
        write_atomically(output / "symmetry.json", json.dumps(contents, indent=1, ensure_ascii=False).encode())
        write_report(
            page(analysis, structure.name if target is None else f"{structure.name} → {target.name}"), output / "report.html"
        )
        console.print(f"report: {output / 'report.html'}", highlight=False, soft_wrap=True)
    return analysis


def analyse(atoms: ase.Atoms, target: ase.Atoms | None = None, *, tolerance: float | None = None) -> Analysis:
    """The symmetry of a crystal (periodic in three directions) or a molecule, and the distortion to a target.

    The tolerance in Å is by default 0.001 for crystals and 0.01 for molecules. Raises ``ValueError`` for a structure that is
    periodic in one or two directions, or a target of the other kind.
    """
    if 0 < sum(atoms.pbc) < 3:
        raise ValueError(
            f"the structure is periodic along {sum(atoms.pbc)} of 3 directions: layer and rod groups are not known here; "
            "set pbc to true for all directions (with vacuum) or to false"
        )
    if target is not None and bool(target.pbc.all()) != bool(atoms.pbc.all()):
        raise ValueError("of structure and target one is periodic and the other is not: give two crystals or two molecules")
    if atoms.pbc.all():
        return _crystal(atoms, target, 1e-3 if tolerance is None else tolerance)
    return _molecule(atoms, target, 1e-2 if tolerance is None else tolerance)


def say(console: Console, analysis: Analysis) -> None:
    """The tables in a terminal."""
    console.print(analysis.title, style="bold", highlight=False)
    for key, value in analysis.facts.items():
        console.print(f"  {key}: {value}", highlight=False, soft_wrap=True, markup=False)
    for table in analysis.tables:
        drawn = RichTable(title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
        for column in table.columns:
            drawn.add_column(column)
        for row in table.rows:
            drawn.add_row(*(cell.replace("[", r"\[") for cell in row))
        console.print(drawn)
        if table.note:
            console.print(table.note, style="dim", highlight=False, markup=False)
            console.print()


def page(analysis: Analysis, source: str) -> Report:
    """The tables and pictures as a report."""
    pictures = "".join(
        f"<h3>{escape(p.title)}</h3>{arrows(p.numbers, p.positions, p.cell, p.displacements, f'mode{i}')}"
        for i, p in enumerate(analysis.pictures)
    )
    extra = {table.title: _html(table) for table in analysis.tables}
    if pictures:
        extra = {"Distortion modes": pictures, **extra}
    movies = [_movie(p) for p in analysis.pictures]
    return Report(
        title=analysis.title, subtitle=source, facts=analysis.facts, movies=movies, extra=extra, versions=installed_versions()
    )


def _html(table: Table) -> str:
    head = "".join(f'<th class="text">{escape(c)}</th>' for c in table.columns)
    body = "".join("<tr>" + "".join(f'<td class="text">{escape(cell)}</td>' for cell in row) + "</tr>" for row in table.rows)
    note = f'<p class="hint">{escape(table.note)}</p>' if table.note else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def _movie(picture: Picture, frames: int = 40, largest: float = 0.5) -> Movie:
    """The mode swung back and forth, drawn with a largest displacement of half an Å."""
    scale = largest / np.linalg.norm(picture.displacements, axis=1).max()
    phases = np.sin(2 * np.pi * np.arange(frames) / frames)
    numbers, positions, displacements = with_images(picture.numbers, picture.positions, picture.cell, picture.displacements)
    positions = positions + phases[:, None, None] * scale * displacements
    symbols = [ase.data.chemical_symbols[z] for z in numbers]
    return Movie(picture.title, symbols, positions, picture.cell, [f"displacements × {phase * scale:+.1f}" for phase in phases])


# ---------------------------------------------------------------------- crystals


def _crystal(atoms: ase.Atoms, target: ase.Atoms | None, tolerance: float) -> Analysis:
    whole = groups.space_group(atoms.cell.array, atoms.positions, atoms.numbers, tolerance)
    group = whole
    if not whole.primitive:
        group = groups.space_group(*groups.primitive_cell(atoms.cell.array, atoms.positions, atoms.numbers, tolerance), tolerance)
    at_origin = _atom_at(group, group.origin)
    facts = {
        "space group": f"{group.symbol} (number {group.number})",
        "point group": _named(group.point_group),
        "primitive cell": f"{len(group.numbers)} of {len(atoms)} atoms",
        "tolerance": f"{tolerance:g} Å",
        "labels": f"Mulliken, in the frame of the file; {group.point_group.setting or 'no choice of axes enters'}",
        "origin of labels at k ≠ 0": at_origin,
    }
    tables = [_sites(group), _gamma(group), *_tensors(group.point_group)]
    if target is None:
        return Analysis(f"{_formula(atoms)}: {group.symbol}", facts, tuple(tables))
    arrived = groups.space_group(target.cell.array, target.positions, target.numbers, tolerance)
    distortion = groups.find_distortion(group, target.cell.array, target.positions, target.numbers)
    modes = groups.decompose(distortion, tolerance)
    facts = {**facts, "target": f"{arrived.symbol} (number {arrived.number})"}
    facts["supercell"] = f"{distortion.supercell.tolist()}, {len(distortion.atoms) // len(group.numbers)} primitive cells"
    names = [_kpoint_name(group, mode.kpoint) for mode in modes]
    tables = [_mode_table(group, distortion, modes, names, arrived), _strains(distortion), *tables]
    pictures = tuple(
        Picture(
            f"{name} {mode.label}, {mode.amplitude:.3f} Å, alone: {mode.symbol}",
            distortion.numbers, distortion.positions, distortion.cell, mode.displacements,
        )
        for name, mode in list(zip(names, modes, strict=True))[:PICTURED]
    )  # fmt: skip
    return Analysis(f"{_formula(atoms)}: {group.symbol} → {arrived.symbol}", facts, tuple(tables), pictures)


def _sites(group: SpaceGroup) -> Table:
    rows = []
    for members, irreps in group.orbit_irreps().items():
        first = members[0]
        site = f"{group.site_symbols[first]} ({group.site_symmetry(first).name})"
        rows.append((_symbol(group.numbers[first]), str(len(members)), group.wyckoff[first], site, _sum(irreps)))
    return Table(
        "Sites", ("element", "atoms", "Wyckoff letter", "site symmetry", "displacements at Γ"), tuple(rows),
        "Atoms are those of a primitive cell.",
    )  # fmt: skip


def _gamma(group: SpaceGroup) -> Table:
    point, optical = group.point_group, group.optical_irreps()
    return _activity(
        "Irreps at Γ", point, {"displacements": group.displacement_irreps(), "acoustic": point.subduce("1o"), "optical": optical,
                               "strains": group.strain_irreps()}, optical,
    )  # fmt: skip


def _activity(title: str, point: PointGroup, rows: dict[str, dict[str, int]], modes: dict[str, int]) -> Table:
    infrared, raman = point.subduce("1o"), point.subduce("0e+2e")
    rows = {**rows, "infrared active": {k: n for k, n in modes.items() if k in infrared}}
    rows["Raman active"] = {k: n for k, n in modes.items() if k in raman}
    rows["silent"] = {k: n for k, n in modes.items() if k not in infrared and k not in raman}
    return Table(title, ("of", "irreps"), tuple((name, _sum(counts) or "none") for name, counts in rows.items()))


def _tensors(point: PointGroup) -> list[Table]:
    tables, vanishing = [], []
    for kind in groups.TENSORS:
        pattern = groups.tensor_pattern(point, kind)
        if not pattern.independent:
            vanishing.append((kind.name,))
            continue
        columns = ("xx", "yy", "zz", "yz", "xz", "xy") if len(pattern.entries[0]) == 6 else ("x", "y", "z")
        names = {1: ("",), 3: ("x", "y", "z"), 6: columns}[len(pattern.entries)]
        rows = tuple((name, *entries) for name, entries in zip(names, pattern.entries, strict=True))
        note = f"{pattern.independent} independent; Cartesian frame of the file."
        tables.append(Table(f"Tensor: {kind.name}", ("", *columns), rows, note))
    return [*tables, Table("Tensors that vanish by symmetry", ("tensor",), tuple(vanishing))] if vanishing else tables


def _mode_table(
    group: SpaceGroup, distortion: Distortion, modes: Sequence[groups.Mode], names: Sequence[str], arrived: SpaceGroup
) -> Table:
    rows = []
    for mode, name in zip(modes, names, strict=True):
        share = (mode.amplitude / distortion.amplitude) ** 2
        primary = "primary" if mode.number == arrived.number else ""
        label = mode.label + _miller_love(group, mode, name)
        rows.append((
            f"{name} {_fractions(mode.kpoint)}", label, f"{mode.amplitude:.4f}", f"{mode.per_cell:.4f}", f"{share:.1%}",
            f"{mode.symbol} ({mode.number})", primary,
        ))  # fmt: skip
    if not rows:
        rows.append(("none", "", "0", "0", "", "", ""))
    columns = ("k", "irrep", "Å", "Å/√cells", "share", "alone gives", "")
    note = (
        "Irreps of the little group. Amplitudes are roots of sums of squared displacements in the target's cell, without strain; "
        "divided by √cells, in a primitive cell of the parent. Labels at k ≠ 0 depend on the origin, "
        f"here {_atom_at(group, group.origin)}. Primary: alone it gives the target's space group."
    )
    return Table("Order parameters", columns, tuple(rows), note)


def _strains(distortion: Distortion) -> Table:
    parts = groups.strain_parts(distortion)
    rows = tuple(
        (label, f"{100 * np.linalg.norm(part):.3f}", *(f"{100 * part[i, j]:.3f}" for i, j in groups.VOIGT))
        for label, part in parts.items()
    )
    return Table(
        "Strain",
        ("irrep", "norm", "xx", "yy", "zz", "yz", "xz", "xy"),
        rows,
        "In percent, of the target's cell, in the parent's frame.",
    )


def _miller_love(group: SpaceGroup, mode: groups.Mode, name: str) -> str:
    """Where the little co-group is m-3m, the numbers of Miller and Love: A1, A2, E, T1, T2 are 1 to 5."""
    if mode.label[-1] not in "gu" or groups.little_group(group, mode.kpoint).cogroup.name != "Oh":
        return ""
    number = ("A1", "A2", "E", "T1", "T2").index(mode.label[:-1]) + 1
    return f" ({name}{number}{'+' if mode.label[-1] == 'g' else '-'})"


def _kpoint_name(group: SpaceGroup, k: np.ndarray) -> str:
    """The name of ASE's special point (Setyawan and Curtarolo) in the star of k, or "k"."""
    if not np.abs(k).max() > 0:
        return "Γ"
    images = np.linalg.inv(group.rotations).transpose(0, 2, 1) @ k
    for name, point in Cell(group.cell).bandpath(npoints=0).special_points.items():
        difference = images - point
        if np.abs(difference - np.rint(difference)).max(axis=1).min() < 1e-6:
            return str(name)
    return "k"


def _atom_at(group: SpaceGroup, origin: np.ndarray) -> str:
    scaled = group.positions @ np.linalg.inv(group.cell) - origin
    distance = np.linalg.norm((scaled - np.rint(scaled)) @ group.cell, axis=1)
    here = _fractions(origin)
    return f"at {_symbol(group.numbers[distance.argmin()])}, {here}" if distance.min() < 1e-2 else f"at the empty point {here}"


# ---------------------------------------------------------------------- molecules


def _molecule(atoms: ase.Atoms, target: ase.Atoms | None, tolerance: float) -> Analysis:
    symmetry = groups.molecular_point_group(atoms.positions, atoms.get_chemical_symbols(), tolerance)
    point = symmetry.group
    facts = {
        "point group": symmetry.name,
        "elements": "infinitely many" if symmetry.continuous else str(point.order),
        "largest deviation": f"{symmetry.deviation:.2e} Å (tolerance {tolerance:g} Å)",
        "principal axis": " ".join(f"{x:.4f}" for x in point.orientation[:, 2]),
        "secondary axis x": " ".join(f"{x:.4f}" for x in point.orientation[:, 0]),
        "labels": f"Mulliken; {point.setting or 'no choice of axes enters'}",
    }
    vibrations = symmetry.vibration_irreps()
    tables = [_orbits(symmetry), _vibrations(symmetry, vibrations), *_tensors(point)]
    if target is None:
        return Analysis(f"{_formula(atoms)}: {symmetry.name}", facts, tuple(tables))
    if list(target.numbers) != list(atoms.numbers):
        raise ValueError("the target has other atoms than the structure, or another order: give the same atoms in the same order")
    displacements = groups.aligned_displacements(symmetry, target.positions)
    arrived = groups.molecular_point_group(target.positions, target.get_chemical_symbols(), tolerance)
    parts = groups.molecular_modes(symmetry, displacements)
    rows, pictures = [], []
    total = float(np.linalg.norm(displacements))
    for label, field in parts.items():
        alone = groups.molecular_point_group(symmetry.symmetrized + field, atoms.get_chemical_symbols(), tolerance).name
        amplitude = float(np.linalg.norm(field))
        primary = "primary" if alone == arrived.name else ""
        rows.append((label, f"{amplitude:.4f}", f"{(amplitude / total) ** 2:.1%}", alone, primary))
        title = f"{label}, {amplitude:.3f} Å, alone: {alone}"
        pictures.append(Picture(title, atoms.numbers, symmetry.symmetrized, None, field))
    order = Table(
        "Order parameters", ("irrep", "Å", "share", "alone gives", ""), tuple(rows) or (("none", "0", "", "", ""),),
        "Roots of sums of squared displacements, after the best rotation of the target.",
    )  # fmt: skip
    facts = {**facts, "target": arrived.name}
    title = f"{_formula(atoms)}: {symmetry.name} → {arrived.name}"
    return Analysis(title, facts, (order, *tables), tuple(pictures[:PICTURED]))


def _orbits(symmetry: MolecularSymmetry) -> Table:
    rows, seen = [], set()
    permutations = symmetry.permutations
    for atom in range(permutations.shape[1]):
        if atom in seen:
            continue
        members = sorted({int(i) for i in permutations[:, atom]})
        seen.update(members)
        site = groups.as_point_group(symmetry.group, [int(g) for g in np.flatnonzero(permutations[:, atom] == atom)])
        named = "on the axis" if symmetry.continuous else site.name
        rows.append((" ".join(map(str, members)), str(len(members)), named))
    return Table("Sites", ("equivalent atoms", "number", "site symmetry"), tuple(rows), "Atoms are counted from 0.")


def _vibrations(symmetry: MolecularSymmetry, vibrations: dict[str, int]) -> Table:
    point = symmetry.group
    infrared, raman = (symmetry.relabel(point.subduce(irreps)) for irreps in ("1o", "0e+2e"))
    parts = {
        "displacements": symmetry.displacement_irreps(), "vibrations": vibrations,
        "infrared active": {k: n for k, n in vibrations.items() if k in infrared},
        "Raman active": {k: n for k, n in vibrations.items() if k in raman},
        "silent": {k: n for k, n in vibrations.items() if k not in infrared and k not in raman},
    }  # fmt: skip
    return Table("Irreps", ("of", "irreps"), tuple((name, _sum(counts) or "none") for name, counts in parts.items()))


# ---------------------------------------------------------------------- words


def _sum(counts: Mapping[str, int]) -> str:
    return " + ".join(f"{n if n > 1 else ''}{label}" for label, n in counts.items())


def _named(point: PointGroup) -> str:
    return f"{point.name} ({point.international})" if point.international else point.name


def _symbol(number: Any) -> str:
    return str(ase.data.chemical_symbols[int(number)])


def _formula(atoms: ase.Atoms) -> str:
    return str(atoms.symbols.formula.reduce()[0] if atoms.pbc.all() else atoms.symbols.formula)


def _fractions(vector: np.ndarray) -> str:
    from fractions import Fraction

    return "(" + " ".join(str(Fraction(float(x)).limit_denominator(48)) for x in vector) + ")"
