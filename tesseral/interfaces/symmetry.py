"""The command `tesseral symmetry`: the symmetry of a structure, and what distorts it into another, as tables and a page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.cell import Cell
from rich.console import Console

from tesseral import groups
from tesseral.groups import Distortion, MolecularSymmetry, PointGroup, SpaceGroup
from tesseral.interfaces.simulation import read_structure
from tesseral.interfaces.symmetry_page import Analysis, Picture, Table, page, say
from tesseral.interfaces.symmetry_tensors import direction, tensor_tables
from tesseral.train.checkpoints import write_atomically
from tesseral.train.report import write_report

PICTURED = 6
"""Modes with a picture, the largest ones."""

LARGER = (3, 10, 30)
"""Multiples of the tolerance at which a higher symmetry is looked for, too."""

NON_METALS = ("Rn", "Xe", "Kr", "Ar", "Ne", "He", "B", "Si", "C", "As", "P", "N", "H", "Te", "Se", "S", "I", "Br", "Cl", "O", "F")
"""In the order of formulae (IUPAC)."""

OF_MOLECULES = (groups.DIPOLE, groups.MAGNETIC, groups.POLARIZABILITY, groups.GYRATION, groups.HYPERPOLARIZABILITY)


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
    tensors, vanishing = tensor_tables(group.point_group, groups.TENSORS)
    facts |= _vanish(vanishing) | _nearly(lambda larger: _space_group_at(atoms, larger), f"{group.symbol}", tolerance)
    tables = [_sites(group), _gamma(group), *tensors]
    still = Picture("The structure", atoms.numbers, atoms.positions, atoms.cell.array, np.zeros((len(atoms), 3)))
    if target is None:
        return Analysis(f"{_formula(atoms)}: {group.symbol}", facts, tuple(tables), still)
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
    return Analysis(f"{_formula(atoms)}: {group.symbol} → {arrived.symbol}", facts, tuple(tables), still, pictures)


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
        f"here {_atom_at(group, group.origin)}. " + _together(distortion, modes, names, arrived)
    )
    return Table("Order parameters", columns, tuple(rows), note)


def _together(distortion: Distortion, modes: Sequence[groups.Mode], names: Sequence[str], arrived: SpaceGroup) -> str:
    """Which modes lead to the target: one alone, or else which pairs."""
    if not modes or any(mode.number == arrived.number for mode in modes):
        return "Primary: alone it gives the target's space group."
    pairs = []
    for (first, a), (second, b) in itertools.combinations(zip(names, modes, strict=True), 2):
        field = a.displacements + b.displacements
        both = groups.space_group(
            distortion.cell, distortion.positions + field, distortion.numbers, min(1e-3, 0.1 * np.abs(field).max())
        )
        if both.number == arrived.number:
            pairs.append(f"{first} {a.label} with {second} {b.label}")
    given = f"; these pairs do: {', '.join(pairs)}" if pairs else ", and no pair of them"
    return f"No mode alone gives {arrived.symbol}{given}."


def _strains(distortion: Distortion) -> Table:
    parts = groups.strain_parts(distortion)
    rows = tuple(
        (label, f"{100 * np.linalg.norm(part):.3f}", *(f"{round(100 * part[i, j], 3) + 0.0:.3f}" for i, j in groups.VOIGT))
        for label, part in parts.items()
        if np.linalg.norm(part) > 5e-6
    ) or (("none", "0", *[""] * 6),)
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
        "largest deviation": f"{symmetry.deviation:.2g} Å (tolerance {tolerance:g} Å)",
    }
    if point.name not in ("C1", "Ci") and symmetry.name != "O(3)":
        facts["principal axis z"] = direction(point.orientation[:, 2])
    if point.order > 2 and not symmetry.continuous:
        facts["secondary axis x"] = direction(point.orientation[:, 0])
    setting = "" if symmetry.continuous else point.setting
    facts["labels"] = f"Mulliken; {setting or 'no choice of axes enters'}"
    tensors, vanishing = tensor_tables(point, OF_MOLECULES)
    facts |= _vanish(vanishing) | _nearly(lambda larger: _point_group_at(atoms, larger), symmetry.name, tolerance)
    vibrations = symmetry.vibration_irreps()
    tables = [_orbits(symmetry, atoms.get_chemical_symbols()), _vibrations(symmetry, vibrations), *tensors]
    still = Picture("The molecule", atoms.numbers, atoms.positions, None, np.zeros((len(atoms), 3)))
    if target is None:
        return Analysis(f"{_formula(atoms)}: {symmetry.name}", facts, tuple(tables), still)
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
    return Analysis(title, facts, (order, *tables), still, tuple(pictures[:PICTURED]))


def _orbits(symmetry: MolecularSymmetry, symbols: Sequence[str]) -> Table:
    rows, seen = [], set()
    permutations = symmetry.permutations
    for atom in range(permutations.shape[1]):
        if atom in seen:
            continue
        members = sorted({int(i) for i in permutations[:, atom]})
        seen.update(members)
        site = groups.as_point_group(symmetry.group, [int(g) for g in np.flatnonzero(permutations[:, atom] == atom)])
        named = "on the axis" if symmetry.continuous else site.name
        rows.append((symbols[atom], _ranges(members), str(len(members)), named))
    return Table("Sites", ("element", "equivalent atoms", "number", "site symmetry"), tuple(rows), "Atoms are counted from 0.")


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


# ---------------------------------------------------------------------- near symmetries


def _nearly(found_at: Callable[[float], str], name: str, tolerance: float) -> dict[str, str]:
    """The symmetries at larger tolerances, where they are others: what a structure is a small distortion of."""
    higher: list[str] = []
    for larger in (factor * tolerance for factor in LARGER):
        found = found_at(larger)
        if found and found != name:
            higher.append(f"{found} at {larger:g} Å")
            name = found
    return {"at larger tolerances": ", ".join(higher)} if higher else {}


def _space_group_at(atoms: ase.Atoms, tolerance: float) -> str:
    try:
        return groups.space_group(atoms.cell.array, atoms.positions, atoms.numbers, tolerance).symbol
    except ValueError:  # too large for this structure
        return ""


def _point_group_at(atoms: ase.Atoms, tolerance: float) -> str:
    try:
        return groups.molecular_point_group(atoms.positions, atoms.get_chemical_symbols(), tolerance).name
    except ValueError:
        return ""


# ---------------------------------------------------------------------- words


def _vanish(names: Sequence[str]) -> dict[str, str]:
    return {"zero by symmetry": "; ".join(names)} if names else {}


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers that follow each other as a range: "0 2 4-9"."""
    runs = [[n for _, n in run] for _, run in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return " ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else " ".join(map(str, run)) for run in runs)


def _sum(counts: Mapping[str, int]) -> str:
    return " + ".join(f"{n if n > 1 else ''}{label}" for label, n in counts.items())


def _named(point: PointGroup) -> str:
    return f"{point.name} ({point.international})" if point.international else point.name


def _symbol(number: Any) -> str:
    return str(ase.data.chemical_symbols[int(number)])


def _formula(atoms: ase.Atoms) -> str:
    """Hill's order for hydrocarbons and the like; else metals before non-metals from B to F, as in BaTiO3, NH3, H2O."""
    formula = atoms.symbols.formula.reduce()[0] if atoms.pbc.all() else atoms.symbols.formula
    counts = formula.count()
    if "C" in counts and "H" in counts:
        return str(formula.convert("hill"))
    ordered = sorted(counts, key=lambda name: (NON_METALS.index(name) if name in NON_METALS else -1, name))
    return "".join(f"{name}{counts[name] if counts[name] > 1 else ''}" for name in ordered)


def _fractions(vector: np.ndarray) -> str:
    return "(" + " ".join(str(Fraction(float(x)).limit_denominator(48)) for x in vector) + ")"
