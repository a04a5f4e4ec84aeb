"""Mistakes with the symmetry of a structure."""

from __future__ import annotations

from ase.build import bulk, molecule
from ase.io import write
from bad_input_table import Bench, Outcome, case, crystal


@case("symmetry", "the structure is missing", "refuses", r"absent\.cif", "does not exist")
def _(bench: Bench) -> Outcome:
    return bench.run("symmetry", "absent.cif")


@case("symmetry", "a file that is no structure", "refuses", r"settings\.yaml", "cannot be read")
def _(bench: Bench) -> Outcome:
    return bench.run("symmetry", "settings.yaml")


@case("symmetry", "an empty file", "refuses", r"empty\.cif")
def _(bench: Bench) -> Outcome:
    (bench / "empty.cif").write_text("")
    return bench.run("symmetry", "empty.cif")


@case("symmetry", "a slab, periodic in two directions", "refuses", "periodic", "pbc")
def _(bench: Bench) -> Outcome:
    return bench.run("symmetry", crystal(bench, pbc=[True, True, False]))


@case("symmetry", "--tolerance -1", "refuses", "tolerance", "-1")
def _(bench: Bench) -> Outcome:
    return bench.run("symmetry", crystal(bench), "--tolerance", "-1")


@case("symmetry", "a crystal and a molecule as its target", "refuses", "target", "periodic")
def _(bench: Bench) -> Outcome:
    write(bench / "water.xyz", molecule("H2O"), format="extxyz")
    return bench.run("symmetry", crystal(bench), "--target", "water.xyz")


@case("symmetry", "a target of another composition", "refuses", "target", "Cu")
def _(bench: Bench) -> Outcome:
    write(bench / "au.xyz", bulk("Au", "fcc", a=3.6), format="extxyz")
    return bench.run("symmetry", crystal(bench), "--target", "au.xyz")


@case("symmetry", "an earlier report in the folder", "refuses", r"report\.html", "--overwrite")
def _(bench: Bench) -> Outcome:
    (bench / "new").mkdir()
    (bench / "new/report.html").write_text("mine")
    return bench.run("symmetry", crystal(bench), "-o", "new")


@case("symmetry", "the output folder is a file", "refuses", r"good\.xyz", "folder")
def _(bench: Bench) -> Outcome:
    return bench.run("symmetry", crystal(bench), "-o", "good.xyz")


@case("symmetry", "names with spaces and Greek letters", "works", "Fm-3m")
def _(bench: Bench) -> Outcome:
    (bench / "größe α β").mkdir()
    return bench.run("symmetry", crystal(bench, "größe α β/Kupfer ψ.xyz"), "-o", "größe α β/bericht")
