"""Mistakes with evaluation, and with the uncertainty that molecular dynamics watches."""

from __future__ import annotations

import json

from ase.io import write
from bad_input_table import Bench, Outcome, case, crystal, crystals


@case("evaluate", "the frames are missing", "refuses", r"absent\.xyz")
def _(bench: Bench) -> Outcome:
    return bench.run("evaluate", "model.safetensors", "absent.xyz")


@case("evaluate", "frames without labels", "refuses", r"bare\.xyz|energy", "keys")
def _(bench: Bench) -> Outcome:
    write(bench / "bare.xyz", [atoms.copy() for atoms in crystals(3)], format="extxyz")
    return bench.run("evaluate", "model.safetensors", "bare.xyz")


@case("evaluate", "the output is the frames", "refuses", "is the input")
def _(bench: Bench) -> Outcome:
    return bench.run("evaluate", "model.safetensors", "good.xyz", "-o", "good.xyz", "--overwrite")


@case("evaluate", "two files of one name in two folders: both are reported", "works", "a/same", "b/same")
def _(bench: Bench) -> Outcome:
    for folder in "ab":
        (bench / folder).mkdir()
        write(bench / f"{folder}/same.xyz", crystals(2, ord(folder)), format="extxyz")
    outcome = bench.run("evaluate", "model.safetensors", "a/same.xyz", "b/same.xyz", "--no-uncertainty", "-o", "errors.json")
    if (bench / "errors.json").exists():
        outcome.text += " ".join(json.loads((bench / "errors.json").read_text()))
    return outcome


def watched(bench: Bench, model: str, limit: str) -> Outcome:
    options = ("-o", "new.extxyz", "--max-uncertainty", limit, "--time", "0.001")
    return bench.run("md", model, crystal(bench), *options)


@case("md", "--max-uncertainty -1", "refuses", "uncertainty", "-1")
def _(bench: Bench) -> Outcome:
    return watched(bench, "model.safetensors", "-1")


@case("md", "--max-uncertainty nan", "refuses", "uncertainty", "nan")
def _(bench: Bench) -> Outcome:
    return watched(bench, "model.safetensors", "nan")


@case("md", "--max-uncertainty for a file that has lost its uncertainty", "refuses", "uncertainty", r"train|file")
def _(bench: Bench) -> Outcome:
    from tesseral.models import files

    model, _ = files.load(bench / "model.safetensors")
    files.save(model, bench / "unsure.safetensors")
    return watched(bench, "unsure.safetensors", "0.3")
