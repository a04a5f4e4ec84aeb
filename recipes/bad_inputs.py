"""Try every bad input we could think of on the real command, and write docs/bad_inputs.md from what it says.

    python recipes/bad_inputs.py                          # all cases, each in a process of its own; rewrites docs/bad_inputs.md
    python recipes/bad_inputs.py --only stress --fork     # the cases whose title contains "stress", importing torch once

What makes a case good is said in bad_input_table.py; the analyses have a table of their own, bad_inputs_analysis.py. Data:
four-atom crystals of copper and gold and an ethanol molecule, labelled with ASE's effective medium theory; the model has one
layer of four channels.
"""

from __future__ import annotations

import gzip
import os
import pickle
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from bad_input_table import (
    BOHR,
    HARTREE,
    KCAL,
    SETTINGS,
    Bench,
    Document,
    Outcome,
    case,
    crystals,
    labelled,
    molecules,
    run_cases,
    scaled,
    with_labels,
)

# Units and signs ------------------------------------------------------------------------------------------------------------


@case("units", "energies in Hartree, forces in eV/Å", "refuses", "energ", "Hartree", r"units")
def _(bench: Bench) -> Outcome:
    return bench.train(scaled(crystals(), energy=1 / HARTREE))


@case("units", "molecules: energies in Hartree, forces in eV/Å", "refuses", "energ", "Hartree", r"units")
def _(bench: Bench) -> Outcome:
    return bench.train(scaled(molecules(), energy=1 / HARTREE), "model.cutoff=4.0")


@case("units", "everything in kcal/mol and Å, isolated atoms among the frames", "refuses", "kcal", r"bad\.xyz", "units")
def _(bench: Bench) -> Outcome:
    alone = [labelled(Atoms(symbol), 0.0, np.zeros((1, 3)), None) for symbol in ("Cu", "Au")]
    return bench.train([*scaled(crystals(), energy=1 / KCAL, forces=1 / KCAL, stress=1 / KCAL), *alone])


@case("units", "molecules: everything in kcal/mol and Å", "warns", "kcal", r"bad\.xyz", "units")
def _(bench: Bench) -> Outcome:
    return bench.train(scaled(molecules(), energy=1 / KCAL, forces=1 / KCAL), "model.cutoff=4.0")


@case("units", "crystal: positions and cell in Bohr, labels in eV and Å", "refuses", "Bohr", "length")
def _(bench: Bench) -> Outcome:
    return bench.train(scaled(crystals(), length=1 / BOHR), "model.cutoff=6.0")


@case("units", "molecules: positions in Bohr", "refuses", "Bohr", "length")
def _(bench: Bench) -> Outcome:
    return bench.train(scaled(molecules(), length=1 / BOHR), "model.cutoff=6.0")


@case("units", "all in atomic units (Hartree, Bohr)", "refuses", "Bohr", "length")
def _(bench: Bench) -> Outcome:
    frames = scaled(molecules(), energy=1 / HARTREE, forces=BOHR / HARTREE, length=1 / BOHR)
    return bench.train(frames, "model.cutoff=6.0")


@case("units", "stress in GPa", "refuses", "stress", "GPa")
def _(bench: Bench) -> Outcome:
    return bench.train(scaled(crystals(), stress=160.21766), "loss.stress.weight=1")


@case("units", "the sign of the stress is flipped", "refuses", "stress", "sign")
def _(bench: Bench) -> Outcome:
    return bench.train(scaled(crystals(), stress=-1), "loss.stress.weight=1")


@case("units", "the sign of the forces is flipped", "refuses", "forces", "sign")
def _(bench: Bench) -> Outcome:
    return bench.train(scaled(crystals(), forces=-1))


@case("units", "molecules: the sign of the forces is flipped", "refuses", "forces", "sign")
def _(bench: Bench) -> Outcome:
    return bench.train(scaled(molecules(), forces=-1), "model.cutoff=4.0")


@case("units", "a unit that does not exist", "refuses", "units", "energy", "ev2", "eV")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "data.units.energy=ev2")


@case("units", "half of the frames in Hartree, half in eV", "refuses", r"bad\.xyz", "energ")
def _(bench: Bench) -> Outcome:
    frames = crystals()
    return bench.train([*frames[:12], *scaled(frames[12:], energy=1 / HARTREE, forces=BOHR / HARTREE)])


# Labels ---------------------------------------------------------------------------------------------------------------------


def renamed(frames: Sequence[Atoms]) -> list[Atoms]:
    changed = []
    for atoms in frames:
        copy = atoms.copy()
        copy.info["REF_energy"] = atoms.calc.results["energy"]
        copy.arrays["REF_forces"] = atoms.calc.results["forces"]
        changed.append(copy)
    return changed


@case("labels", "labels under other keys (REF_energy, REF_forces)", "refuses", "REF_energy", r"keys")
def _(bench: Bench) -> Outcome:
    return bench.train(renamed(crystals()))


@case(
    "labels",
    "a key that the file does not have (data.keys.energy=TotEnergy)",
    "refuses",
    "TotEnergy",
    r"bad\.xyz|good\.xyz",
    "energy",
)
def _(bench: Bench) -> Outcome:
    return bench.train(None, "data.keys.energy=TotEnergy")


@case("labels", "no labels at all", "refuses", r"bad\.xyz", "energy", "forces")
def _(bench: Bench) -> Outcome:
    return bench.train([atoms.copy() for atoms in crystals()])


@case("labels", "stress in the loss, none in the file", "refuses", "stress")
def _(bench: Bench) -> Outcome:
    return bench.train([with_labels(atoms, stress=None) for atoms in crystals()], "loss.stress.weight=1")


@case("labels", "all energies 0", "refuses", "energ", "zero|0")
def _(bench: Bench) -> Outcome:
    return bench.train([with_labels(atoms, energy=0.0) for atoms in crystals()])


@case("labels", "all forces 0", "refuses", "forces", "zero|0")
def _(bench: Bench) -> Outcome:
    return bench.train([with_labels(atoms, forces=np.zeros((4, 3))) for atoms in crystals()])


@case("labels", "NaN in the forces of frame 5", "refuses", r"bad\.xyz", "5", "forces", "(?i)nan|finite")
def _(bench: Bench) -> Outcome:
    frames = crystals()
    frames[5].calc.results["forces"][1, 2] = np.nan
    return bench.train(frames)


@case("labels", "infinite energy of frame 7", "refuses", r"bad\.xyz", "7", "energy", "(?i)inf|finite")
def _(bench: Bench) -> Outcome:
    frames = crystals()
    frames[7].calc.results["energy"] = np.inf
    return bench.train(frames)


@case("labels", "one frame's forces are those of another (an outlier of 1000 eV/Å)", "warns", r"bad\.xyz", "3", "forces")
def _(bench: Bench) -> Outcome:
    frames = crystals()
    frames[3].calc.results["forces"] *= 1000
    return bench.train(frames)


@case("labels", "energy is a word in frame 2", "refuses", r"bad\.xyz", "2", "energy")
def _(bench: Bench) -> Outcome:
    write(bench / "bad.xyz", crystals(), format="extxyz")
    lines = (bench / "bad.xyz").read_text().splitlines()
    lines[13] = re.sub(r"energy=\S+", "energy=unconverged", lines[13])
    (bench / "bad.xyz").write_text("\n".join(lines) + "\n")
    return bench.train(None, "data.train=bad.xyz")


@case("labels", "forces with two columns", "refuses", r"bad\.xyz", "forces")
def _(bench: Bench) -> Outcome:
    frames = []
    for atoms in crystals():
        copy = atoms.copy()
        copy.info["REF_energy"] = atoms.calc.results["energy"]
        copy.arrays["REF_forces"] = atoms.calc.results["forces"][:, :2]
        frames.append(copy)
    return bench.train(frames, "data.keys.energy=REF_energy", "data.keys.forces=REF_forces")


@case("labels", "stress with four components", "refuses", r"bad\.xyz", "stress")
def _(bench: Bench) -> Outcome:
    frames = crystals()
    for atoms in frames:
        atoms.info["REF_stress"] = np.arange(4.0)
    return bench.train(frames, "data.keys.stress=REF_stress", "loss.stress.weight=1")


# Structures -----------------------------------------------------------------------------------------------------------------


@case(
    "structures",
    "shuffled species (molecules: the same atoms, species in another order in half of the frames)",
    "refuses",
    r"bad\.xyz",
    "species|elements|order",
)
def _(bench: Bench) -> Outcome:
    frames, random = molecules(), np.random.default_rng(1)
    for atoms in frames[::2]:
        atoms.numbers = random.permutation(atoms.numbers)
    return bench.train(frames, "model.cutoff=4.0")


@case("structures", "shuffled species in one frame of a crystal", "warns", r"bad\.xyz", "9", "species")
def _(bench: Bench) -> Outcome:
    frames = [atoms for atoms in crystals(36) if atoms.symbols.count("Au") == 1]
    frames[9].numbers = frames[9].numbers[[1, 0, 2, 3]]
    return bench.train(frames)


@case("structures", "shuffled species in every frame of an alloy: not to be told from swaps of sites", "works")
def _(bench: Bench) -> Outcome:
    frames, random = crystals(), np.random.default_rng(1)
    for atoms in frames:
        atoms.numbers = random.permutation(atoms.numbers)
    return bench.train(frames)


@case("structures", "two atoms 0.1 Å apart in frame 4", "refuses", r"bad\.xyz", "4", r"0\.1", "Å")
def _(bench: Bench) -> Outcome:
    frames = crystals()
    frames[4].positions[1] = frames[4].positions[0] + [0.1, 0, 0]
    return bench.train(frames)


@case("structures", "two atoms at the same place", "refuses", r"bad\.xyz", "4", "Å")
def _(bench: Bench) -> Outcome:
    frames = crystals()
    frames[4].positions[1] = frames[4].positions[0]
    return bench.train(frames)


@case("structures", "an unknown element (Xx) in frame 3", "refuses", r"bad\.xyz", "3", "Xx|element")
def _(bench: Bench) -> Outcome:
    write(bench / "bad.xyz", crystals(), format="extxyz")
    lines = (bench / "bad.xyz").read_text().splitlines()
    lines[3 * 6 + 2] = "Xx" + lines[3 * 6 + 2][2:]
    (bench / "bad.xyz").write_text("\n".join(lines) + "\n")
    return bench.train(None, "data.train=bad.xyz")


@case("structures", "an element that is no element (Qq) in frame 3", "refuses", r"bad\.xyz", "3", "Qq")
def _(bench: Bench) -> Outcome:
    write(bench / "bad.xyz", crystals(), format="extxyz")
    lines = (bench / "bad.xyz").read_text().splitlines()
    lines[3 * 6 + 2] = "Qq" + lines[3 * 6 + 2][2:]
    (bench / "bad.xyz").write_text("\n".join(lines) + "\n")
    return bench.train(None, "data.train=bad.xyz")


@case("structures", "NaN in a position", "refuses", r"bad\.xyz", "6", "position", "(?i)nan|finite")
def _(bench: Bench) -> Outcome:
    frames = crystals()
    frames[6].positions[0, 0] = np.nan
    return bench.train(frames)


@case("structures", "periodic, but the cell has no volume", "refuses", r"bad\.xyz", "2", "cell", "pbc|periodic")
def _(bench: Bench) -> Outcome:
    frames = crystals()
    frames[2].set_cell(np.zeros((3, 3)))
    frames[2].pbc = True
    return bench.train(frames)


@case("structures", "predict: periodic, but no cell", "refuses", r"flat\.xyz", "cell", "pbc|periodic")
def _(bench: Bench) -> Outcome:
    (bench / "flat.xyz").write_text('2\nProperties=species:S:1:pos:R:3 pbc="T T T"\nCu 0 0 0\nCu 0 0 2.5\n')
    return bench.run("predict", "model.safetensors", "flat.xyz", "-o", "new.xyz")


@case("structures", "a frame of zero atoms", "refuses", r"bad\.xyz", "4", "no atoms|atoms")
def _(bench: Bench) -> Outcome:
    write(bench / "bad.xyz", crystals(4), format="extxyz")
    with (bench / "bad.xyz").open("a") as file:
        file.write('0\nProperties=species:S:1:pos:R:3 energy=0.0 pbc="F F F"\n')
    return bench.train(None, "data.train=bad.xyz")


@case("structures", "predict: a frame of zero atoms", "refuses", r"empty\.xyz", "no atoms|atoms")
def _(bench: Bench) -> Outcome:
    (bench / "empty.xyz").write_text('0\nProperties=species:S:1:pos:R:3 pbc="F F F"\n')
    return bench.run("predict", "model.safetensors", "empty.xyz", "-o", "new.xyz")


@case("structures", "one frame only", "refuses", r"bad\.xyz", "1 |one ", "valid|frames")
def _(bench: Bench) -> Outcome:
    return bench.train(crystals(1))


@case("structures", "isolated atoms only", "refuses", r"bad\.xyz", "atom")
def _(bench: Bench) -> Outcome:
    frames = [labelled(Atoms(symbol), 0.1, np.zeros((1, 3)), None) for symbol in ("Cu", "Au") * 6]
    return bench.train(frames)


@case("structures", "cutoff 1.0 Å: no atom has a neighbour", "refuses", "cutoff", "neighbo", "Å")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.cutoff=1.0")


@case("structures", "cutoff 40 Å in a cell of 4 Å", "refuses", "cutoff", "neighbo", "Å")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.cutoff=40")


@case("structures", "test data that are the training data", "refuses", "test", "train", r"good\.xyz", "same|also")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "data.test={again: good.xyz}")


@case("structures", "validation data that are the training data", "refuses", "valid", "train", r"good\.xyz", "same")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "data.validation=good.xyz")


@case("structures", "every frame twice in one file", "warns", r"bad\.xyz", "twice|same|duplicate")
def _(bench: Bench) -> Outcome:
    return bench.train([*crystals(12), *crystals(12)])


# Files ----------------------------------------------------------------------------------------------------------------------


@case("files", "a file that is not there", "refuses", r"god\.xyz", "good|no file|not")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "data.train=god.xyz")


@case("files", "an empty file", "refuses", r"empty\.xyz", "empty|no frames")
def _(bench: Bench) -> Outcome:
    (bench / "empty.xyz").write_text("")
    return bench.train(None, "data.train=empty.xyz")


@case(
    "files",
    "an extended XYZ file that ends in the middle of a frame",
    "refuses",
    r"cut\.xyz",
    "frame 23|23",
    "ends|incomplete|atoms",
)
def _(bench: Bench) -> Outcome:
    text = (bench / "good.xyz").read_text()
    (bench / "cut.xyz").write_text(text[: -len(text) // 60])
    return bench.train(None, "data.train=cut.xyz")


@case(
    "files",
    "an extended XYZ file that ends after whole lines, before the last frame's last atom",
    "refuses",
    r"cut\.xyz",
    "frame 23|23",
    "ends|incomplete|atoms",
)
def _(bench: Bench) -> Outcome:
    lines = (bench / "good.xyz").read_text().splitlines()
    (bench / "cut.xyz").write_text("\n".join(lines[:-1]) + "\n")
    return bench.train(None, "data.train=cut.xyz")


@case("files", "bytes of a program, named .xyz", "refuses", r"junk\.xyz")
def _(bench: Bench) -> Outcome:
    (bench / "junk.xyz").write_bytes(np.random.default_rng(0).bytes(4000))
    return bench.train(None, "data.train=junk.xyz")


@case("files", "a text, named .xyz", "refuses", r"prose\.xyz")
def _(bench: Bench) -> Outcome:
    (bench / "prose.xyz").write_text("Dear reader,\nthis is no structure.\n")
    return bench.train(None, "data.train=prose.xyz")


@case("files", "a folder as data", "refuses", "run", "folder|directory")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "data.train=run")


@case("files", "a broken gzip file", "refuses", r"cut\.xyz\.gz")
def _(bench: Bench) -> Outcome:
    packed = gzip.compress((bench / "good.xyz").read_bytes())
    (bench / "cut.xyz.gz").write_bytes(packed[: len(packed) // 2])
    return bench.train(None, "data.train=cut.xyz.gz")


@case("files", "text, named .db (an ASE database)", "refuses", r"data\.db")
def _(bench: Bench) -> Outcome:
    (bench / "data.db").write_text("not a database\n" * 100)
    return bench.train(None, "data.train=data.db")


@case("files", "junk, named .lmdb", "refuses", r"data\.lmdb")
def _(bench: Bench) -> Outcome:
    (bench / "data.lmdb").write_bytes(b"\1" * 5000)
    return bench.train(None, "data.train=data.lmdb")


@case("files", "a file in Latin-1, not UTF-8", "refuses", r"latin\.xyz", "UTF-8")
def _(bench: Bench) -> Outcome:
    text = (bench / "good.xyz").read_text().replace("Properties=", "author=Schrödinger Properties=", 1)
    (bench / "latin.xyz").write_bytes(text.encode("latin-1"))
    return bench.train(None, "data.train=latin.xyz")


@case("files", "a data file without permission to read it", "refuses", r"secret\.xyz", "permission|read")
def _(bench: Bench) -> Outcome:
    if os.geteuid() == 0:  # root may read everything: a link that points nowhere is the nearest thing
        (bench / "secret.xyz").symlink_to("nowhere.xyz")
        outcome = bench.train(None, "data.train=secret.xyz")
        return Outcome(
            outcome.status, outcome.text + " [as root: a dangling link instead; no permission to read]", outcome.changed
        )
    shutil.copy(bench / "good.xyz", bench / "secret.xyz")
    (bench / "secret.xyz").chmod(0)
    return Outcome(**{**vars(bench.wait(bench.start("train", "settings.yaml", "data.train=secret.xyz", "-o", "new")))})


@case("files", "spaces, umlauts and Greek letters in paths", "works")
def _(bench: Bench) -> Outcome:
    (bench / "größe α β").mkdir()
    shutil.copy(bench / "good.xyz", bench / "größe α β" / "gute Daten ψ.xyz")
    bench.settings(SETTINGS.replace("good.xyz", '"größe α β/gute Daten ψ.xyz"'), "größe α β/set tings.yaml")
    bench.settings(SETTINGS.replace("good.xyz", '"gute Daten ψ.xyz"'), "größe α β/set tings2.yaml")
    outcome = bench.run("train", "größe α β/set tings.yaml", "-o", "größe α β/new run")
    if outcome.status:
        outcome = bench.run("train", "größe α β/set tings2.yaml", "-o", "größe α β/new run 2")
    return outcome


# Settings -------------------------------------------------------------------------------------------------------------------


@case("settings", "a typo (optimiser.lr)", "refuses", "optimiser", "optimizer")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "optimiser.lr=0.001")


@case("settings", "a typo in the file (max_epoch)", "refuses", r"settings\.yaml", "max_epoch", "max_epochs")
def _(bench: Bench) -> Outcome:
    bench.settings(SETTINGS.replace("max_epochs", "max_epoch"))
    return bench.train()


@case("settings", "a wrong type (batch_size: five)", "refuses", "batch_size", "five", "integer|number")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "batch_size=five")


@case("settings", "a negative batch size", "refuses", "batch_size", "-3", "greater|positive|least")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "batch_size=-3")


@case("settings", "a word where an average number of neighbours goes", "refuses", "num_neighbors", "many")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.num_neighbors=many")


@case("settings", "a negative cutoff", "refuses", "cutoff", "-5")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.cutoff=-5")


@case("settings", "learning rate NaN", "refuses", "lr", "nan")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "optimizer.lr=.nan")


@case("settings", "learning rate 1e8: the loss explodes", "refuses", "lr|learning rate", "(?i)nan|finite|diverge")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "optimizer.lr=1e8", "max_epochs=4", "schedule={name: constant}", "clip_gradients=null")


@case("settings", "1e-3 as YAML reads it (a string)", "works")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "optimizer.lr=1e-3")


@case("settings", "a YAML syntax error", "refuses", r"settings\.yaml", "line 1|line 2")
def _(bench: Bench) -> Outcome:
    bench.settings("data: {train: good.xyz\nmodel: ]\n")
    return bench.train()


@case("settings", "a tab in YAML", "refuses", r"settings\.yaml", "tab|line 2")
def _(bench: Bench) -> Outcome:
    bench.settings("data:\n\ttrain: good.xyz\n")
    return bench.train()


@case("settings", "a key given twice", "refuses", r"settings\.yaml", "max_epochs", "twice|duplicate")
def _(bench: Bench) -> Outcome:
    bench.settings(SETTINGS + "max_epochs: 2\n")
    return bench.train()


@case("settings", "an empty settings file", "refuses", r"settings\.yaml", "data", "missing")
def _(bench: Bench) -> Outcome:
    bench.settings("")
    return bench.train()


@case("settings", "a list instead of a mapping", "refuses", r"settings\.yaml", "list|mapping|key")
def _(bench: Bench) -> Outcome:
    bench.settings("- data\n- model\n")
    return bench.train()


@case("settings", "a settings file that is not UTF-8", "refuses", r"settings\.yaml", "UTF-8")
def _(bench: Bench) -> Outcome:
    (bench / "settings.yaml").write_bytes((SETTINGS + "# Größe\n").encode("latin-1"))
    return bench.train()


@case("settings", "binary junk as settings", "refuses", r"settings\.yaml")
def _(bench: Bench) -> Outcome:
    (bench / "settings.yaml").write_bytes(np.random.default_rng(0).bytes(500))
    return bench.train()


@case("settings", "the data file as settings", "refuses", r"good\.xyz", "settings|config|YAML")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "good.xyz", "-o", "new")


@case("settings", "the settings file is not there", "refuses", r"seting\.yaml", "settings|config|no file")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "seting.yaml", "-o", "new")


@case("settings", "an override without =", "refuses", "max_epochs", "=")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "max_epochs")


@case("settings", "an override with spaces round = ('max_epochs', '=', '3')", "refuses", "max_epochs|=", "key=value")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "max_epochs", "=", "3")


@case("settings", "an override into a number (batch_size.x=1)", "refuses", "batch_size")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "batch_size.x=1")


@case("settings", "an override that is no YAML (model.channels=[4,)", "refuses", r"model\.channels", r"\[4,")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.channels=[4,")


@case("settings", "a model that does not exist", "refuses", "model|name", "nequik", "nequip")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.name=nequik")


@case("settings", "species that miss an element of the data", "refuses", "species", "Au|79")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.species=[29]")


@case("settings", "validation split larger than the data (valid=100)", "refuses", "valid", "100", "24")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "data.split.valid=100")


@case("settings", "valid=0.7 and test=0.5 of the frames", "refuses", "valid|test", "24|0.7")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "data.split.valid=0.7", "data.split.test=0.5")


@case("settings", "split by group, but no key of groups", "refuses", "group")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "data.split.method=group")


@case("settings", "a split file of other data", "refuses", r"split\.json", "frames|data|file")
def _(bench: Bench) -> Outcome:
    shutil.copy(bench / "run/split.json", bench / "split.json")
    return bench.train(crystals(9), "data.split_file=split.json")


@case("settings", "a split file that is no JSON", "refuses", r"split\.json", "JSON|split")
def _(bench: Bench) -> Outcome:
    (bench / "split.json").write_text("{train: [0, 1")
    return bench.train(None, "data.split_file=split.json")


@case("settings", "atomic energies from a dictionary that misses gold", "refuses", "Au|79", "atomic_energies")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "atomic_energies.source=dictionary", "atomic_energies.values={Cu: -1.0}")


@case("settings", "atomic energies of isolated atoms that are not there", "refuses", "isolated")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "atomic_energies.source=isolated")


@case("settings", "a time limit that is no time", "refuses", "max_time", "soon")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "max_time=soon")


@case("settings", "a graphics processor that is not there", "refuses", "accelerator|CUDA|cuda")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "accelerator=cuda")


@case("settings", "a backend that does not exist", "refuses", "backend|auto", "reference")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "-o", "new", "--backend", "cpp")


@case("settings", "no weight in the loss at all", "refuses", "loss", "weight")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "loss.energy.weight=0", "loss.forces.weight=0")


@case("settings", "--keys that are no YAML", "refuses", "keys")
def _(bench: Bench) -> Outcome:
    return bench.run("doctor", "good.xyz", "--keys", "{energy: ")


@case("settings", "--units with an unknown key", "refuses", "enery", "energy")
def _(bench: Bench) -> Outcome:
    return bench.run("evaluate", "model.safetensors", "good.xyz", "--units", "{enery: eV}")


# Runs and checkpoints -------------------------------------------------------------------------------------------------------


def checkpoints(bench: Bench) -> list[Path]:
    found = [
        path for path in (bench / "run").rglob("*") if path.is_file() and re.search(r"checkpoint|last|\.ckpt|\.pt$", path.name)
    ]
    if not found:
        raise FileNotFoundError(f"no checkpoint among {sorted(p.name for p in (bench / 'run').rglob('*'))}")
    return found


@case("runs", "the output folder holds a run", "refuses", "run", "--resume", "--overwrite")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "-o", "run")


@case("runs", "the output folder holds other files of the user", "refuses", "mine")
def _(bench: Bench) -> Outcome:
    (bench / "mine").mkdir()
    (bench / "mine/model.safetensors").write_text("precious")
    (bench / "mine/thesis.tex").write_text("precious")
    return bench.run("train", "settings.yaml", "-o", "mine")


@case("runs", "--overwrite of a folder with other files of the user", "works", may_change=("run/",))
def _(bench: Bench) -> Outcome:
    (bench / "run/thesis.tex").write_text("precious")
    outcome = bench.run("train", "settings.yaml", "-o", "run", "--overwrite")
    if not (bench / "run/thesis.tex").exists():
        outcome.changed.append("thesis.tex")
    return outcome


@case("runs", "--overwrite with bad data keeps the old run", "refuses", r"god\.xyz")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "data.train=god.xyz", "-o", "run", "--overwrite")


@case("runs", "--resume and --overwrite together", "refuses", "--resume", "--overwrite")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "-o", "run", "--resume", "--overwrite")


@case("runs", "--resume where there is no run: a new one begins", "warns", "nothing to resume", "new")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "-o", "new", "--resume")


@case("runs", "--resume with another model (channels 8)", "refuses", r"model\.channels", "8", "4")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "model.channels=8", "max_epochs=2", "-o", "run", "--resume")


@case("runs", "--resume with another batch size", "refuses", "batch_size")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "batch_size=2", "max_epochs=2", "-o", "run", "--resume")


@case("runs", "--resume after the data changed", "refuses", "run", "other training frames")
def _(bench: Bench) -> Outcome:
    write(bench / "good.xyz", crystals(20, seed=5), format="extxyz")
    return bench.run("train", "settings.yaml", "max_epochs=2", "-o", "run", "--resume")


@case("runs", "--resume of a finished run", "works", may_change=("run/",))
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "-o", "run", "--resume")


@case("runs", "a half-written checkpoint", "refuses", "run", "checkpoint")
def _(bench: Bench) -> Outcome:
    for path in checkpoints(bench):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return bench.run("train", "settings.yaml", "max_epochs=2", "-o", "run", "--resume")


@case("runs", "an empty checkpoint", "refuses", "run", "checkpoint")
def _(bench: Bench) -> Outcome:
    for path in checkpoints(bench):
        path.write_bytes(b"")
    return bench.run("train", "settings.yaml", "max_epochs=2", "-o", "run", "--resume")


@case("runs", "a checkpoint of another version", "refuses", "run", "checkpoint", "version|format")
def _(bench: Bench) -> Outcome:
    import torch

    for path in checkpoints(bench):
        if path.suffix != ".json":
            content = torch.load(path, weights_only=False)
            content["format"] = 99
            torch.save(content, path)
    return bench.run("train", "settings.yaml", "max_epochs=2", "-o", "run", "--resume")


@case("runs", "a pickle that would run code, as a checkpoint", "refuses", "run", "checkpoint")
def _(bench: Bench) -> Outcome:
    for path in checkpoints(bench):
        path.write_bytes(MALICE)
    outcome = bench.run("train", "settings.yaml", "max_epochs=2", "-o", "run", "--resume")
    if (bench / "owned").exists():
        outcome.changed.append("code of the pickle was run")
    return outcome


@case("runs", "two runs into one folder at the same time", "refuses", "new", "another|running|process|already")
def _(bench: Bench) -> Outcome:
    first = bench.start("train", "settings.yaml", "max_epochs=400", "max_time=40", "-o", "new")
    until = time.monotonic() + 120
    while not list(bench.folder.glob("new/*.csv")) and time.monotonic() < until:
        time.sleep(0.2)
    second = bench.wait(bench.start("train", "settings.yaml", "-o", "new", "--overwrite"))
    finished = bench.wait(first)
    if finished.status:
        second.changed.append("the first run failed: " + message(finished.text))
    return second


@case("runs", "kill -9, then --resume", "works")
def _(bench: Bench) -> Outcome:
    first = bench.start("train", "settings.yaml", "max_epochs=8", "-o", "new")
    until = time.monotonic() + 120
    while not (bench / "new/last.ckpt").exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(first[0], signal.SIGKILL)
    bench.wait(first)
    outcome = bench.run("train", "settings.yaml", "max_epochs=8", "-o", "new", "--resume")
    outcome.changed = ["the run began anew"] if "nothing to resume" in outcome.text else []
    return outcome


@case("runs", "Ctrl-C while training", "refuses", "--resume|resume")
def _(bench: Bench) -> Outcome:
    first = bench.start("train", "settings.yaml", "max_epochs=10000", "-o", "new")
    until = time.monotonic() + 120
    while not list(bench.folder.glob("new/*.csv")) and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(first[0], signal.SIGINT)
    return bench.wait(first)


@case(
    "runs",
    "a full disk (a file system of 48 kB; without the right to mount one, files of at most 20 kB)",
    "refuses",
    "space|large|disk",
    "new",
)
def _(bench: Bench) -> Outcome:
    disk = bench / "new"
    disk.mkdir()
    if (
        os.geteuid() == 0
        and not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk], check=False).returncode
    ):
        try:
            return bench.run("train", "settings.yaml", "model.channels=32", "max_epochs=3", "-o", "new")
        finally:
            subprocess.run(["umount", "-l", disk], check=True)
    return bench.train(None, limit=20_000)


@case("runs", "files may not grow beyond 20 kB", "refuses", "large|space|disk", "new")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.channels=32", limit=20_000)


@case("runs", "a full disk while resuming keeps the last checkpoint", "refuses", "large|space|disk")
def _(bench: Bench) -> Outcome:
    outcome = bench.run("train", "settings.yaml", "max_epochs=3", "-o", "run", "--resume", limit=5_000)
    kept = bench.run("train", "settings.yaml", "max_epochs=3", "-o", "run", "--resume")
    outcome.changed = [] if kept.status == 0 else ["no longer resumes: " + message(kept.text)]
    return outcome


@case("runs", "the output folder is a file", "refuses", "taken", "file|folder")
def _(bench: Bench) -> Outcome:
    (bench / "taken").write_text("precious")
    return bench.run("train", "settings.yaml", "-o", "taken")


@case("runs", "the output folder cannot be written", "refuses", "permission|cannot be used", "proc|locked")
def _(bench: Bench) -> Outcome:
    if os.geteuid() == 0:
        return bench.run("train", "settings.yaml", "-o", "/proc/locked")
    (bench / "locked").mkdir(mode=0o500)
    return bench.run("train", "settings.yaml", "-o", "locked")


# Models ---------------------------------------------------------------------------------------------------------------------


class Malice:
    def __reduce__(self) -> tuple:
        return os.system, ("touch owned",)


MALICE = pickle.dumps(Malice())


def predict(bench: Bench, model: str) -> Outcome:
    return bench.run("predict", model, "good.xyz", "-o", "new.xyz")


@case("models", "a half-written model file", "refuses", r"half\.safetensors", "not written to the end")
def _(bench: Bench) -> Outcome:
    content = (bench / "model.safetensors").read_bytes()
    (bench / "half.safetensors").write_bytes(content[: len(content) // 2])
    return predict(bench, "half.safetensors")


@case("models", "an empty model file", "refuses", r"none\.safetensors")
def _(bench: Bench) -> Outcome:
    (bench / "none.safetensors").write_bytes(b"")
    return predict(bench, "none.safetensors")


@case("models", "a pickle as a model", "refuses", r"model\.pt", "pickle|safetensors")
def _(bench: Bench) -> Outcome:
    (bench / "model.pt").write_bytes(MALICE)
    outcome = predict(bench, "model.pt")
    if (bench / "owned").exists():
        outcome.changed.append("code of the pickle was run")
    return outcome


@case("models", "a pickle named model.safetensors", "refuses", r"evil\.safetensors")
def _(bench: Bench) -> Outcome:
    (bench / "evil.safetensors").write_bytes(MALICE)
    return predict(bench, "evil.safetensors")


@case("models", "a folder as a model", "refuses", "run", "folder|directory", r"model\.safetensors")
def _(bench: Bench) -> Outcome:
    return predict(bench, "run")


@case("models", "a model file that is not there", "refuses", r"modle\.safetensors")
def _(bench: Bench) -> Outcome:
    return predict(bench, "modle.safetensors")


@case("models", "a checkpoint as a model", "refuses", "pickle", r"run/model\.safetensors")
def _(bench: Bench) -> Outcome:
    return predict(bench, str(checkpoints(bench)[0].relative_to(bench.folder)))


@case("models", "safetensors of another program", "refuses", r"other\.safetensors", "tesseral")
def _(bench: Bench) -> Outcome:
    import torch
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(3)}, bench / "other.safetensors")
    return predict(bench, "other.safetensors")


def rewritten(bench: Bench, name: str, change: Callable[[dict, dict], None]) -> str:
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(bench / "model.safetensors", "pt") as file:
        metadata, tensors = dict(file.metadata()), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    change(metadata, tensors)
    save_file(tensors, bench / name, metadata)
    return name


@case("models", "a model file of a later format", "refuses", r"later\.safetensors", "schema")
def _(bench: Bench) -> Outcome:
    def change(metadata: dict, tensors: dict) -> None:
        for key, value in metadata.items():
            metadata[key] = re.sub(r'("schema_version": *)(\d+)', r"\g<1>99", value)

    return predict(bench, rewritten(bench, "later.safetensors", change))


@case("models", "a model file that lacks a tensor", "refuses", r"lacks\.safetensors")
def _(bench: Bench) -> Outcome:
    return predict(bench, rewritten(bench, "lacks.safetensors", lambda metadata, tensors: tensors.pop(sorted(tensors)[0])))


@case("models", "a model file with NaN in its weights", "refuses", r"nan\.safetensors", "(?i)nan|finite")
def _(bench: Bench) -> Outcome:
    return predict(
        bench,
        rewritten(
            bench,
            "nan.safetensors",
            lambda metadata, tensors: [t.fill_(np.nan) for t in tensors.values() if t.is_floating_point()],
        ),
    )


# The other commands ---------------------------------------------------------------------------------------------------------


@case("commands", "an unknown command (trian)", "refuses", "trian", "train")
def _(bench: Bench) -> Outcome:
    return bench.run("trian", "settings.yaml")


@case("commands", "an unknown option", "refuses", "--epochs")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "--epochs", "3")


@case("commands", "train without settings", "refuses", "config")
def _(bench: Bench) -> Outcome:
    return bench.run("train")


@case("commands", "predict over a file that is there", "refuses", r"mine\.xyz", "--overwrite")
def _(bench: Bench) -> Outcome:
    (bench / "mine.xyz").write_text("precious")
    return bench.run("predict", "model.safetensors", "good.xyz", "-o", "mine.xyz")


@case("commands", "predict --overwrite of its own input", "refuses", r"good\.xyz", "input|same")
def _(bench: Bench) -> Outcome:
    return bench.run("predict", "model.safetensors", "good.xyz", "-o", "good.xyz", "--overwrite")


@case("commands", "relax into its own input with --overwrite", "refuses", r"one\.xyz", "input|same")
def _(bench: Bench) -> Outcome:
    write(bench / "one.xyz", crystals(1)[0].copy())
    return bench.run("relax", "model.safetensors", "one.xyz", "-o", "one.xyz", "--overwrite", "--steps", "1")


@case("commands", "predict into a folder that is not there", "refuses", "nowhere", "folder|directory")
def _(bench: Bench) -> Outcome:
    return bench.run("predict", "model.safetensors", "good.xyz", "-o", "nowhere/new.xyz")


@case("commands", "predict into a folder", "refuses", "run", "folder|directory")
def _(bench: Bench) -> Outcome:
    return bench.run("predict", "model.safetensors", "good.xyz", "-o", "run", "--overwrite")


@case("commands", "predict: an element that the model does not know, in frame 2", "refuses", r"ag\.xyz", "2", "Ag")
def _(bench: Bench) -> Outcome:
    frames = [atoms.copy() for atoms in crystals(4)]
    frames[2].symbols[0] = "Ag"
    write(bench / "ag.xyz", frames)
    outcome = bench.run("predict", "model.safetensors", "ag.xyz", "-o", "new.xyz")
    if (bench / "new.xyz").exists():
        outcome.changed.append("new.xyz holds half of the frames")
    return outcome


@case("commands", "evaluate: an element that the model does not know", "refuses", r"ag\.xyz", "Ag")
def _(bench: Bench) -> Outcome:
    frames = crystals(4)
    frames[2].symbols[0] = "Ag"
    write(bench / "ag.xyz", frames, format="extxyz")
    return bench.run("evaluate", "model.safetensors", "ag.xyz")


@case("commands", "evaluate: frames without labels", "refuses", r"bare\.xyz", "label|energy")
def _(bench: Bench) -> Outcome:
    write(bench / "bare.xyz", [atoms.copy() for atoms in crystals(4)], format="extxyz")
    return bench.run("evaluate", "model.safetensors", "bare.xyz")


@case("commands", "evaluate: model and frames exchanged", "refuses", r"good\.xyz", "model")
def _(bench: Bench) -> Outcome:
    return bench.run("evaluate", "good.xyz", "model.safetensors")


@case("commands", "evaluate --output over the frames", "refuses", r"good\.xyz")
def _(bench: Bench) -> Outcome:
    return bench.run("evaluate", "model.safetensors", "good.xyz", "-o", "good.xyz")


def structure(bench: Bench, symbol: str = "Cu") -> None:
    atoms = bulk(symbol, "fcc", a=3.7, cubic=True)
    write(bench / "one.xyz", atoms, format="extxyz")


def md(bench: Bench, *options: object) -> Outcome:
    if not (bench / "one.xyz").exists():
        structure(bench)
    return bench.run("md", "model.safetensors", "one.xyz", "-o", "traj.xyz", "--time", "0.01", "--every", "1", *options)


@case("commands", "md: an element that the model does not know", "refuses", r"one\.xyz", "Ag")
def _(bench: Bench) -> Outcome:
    structure(bench, "Ag")
    return md(bench)


@case("commands", "md: a timestep of 1000 fs", "refuses", "timestep", "1000", "50")
def _(bench: Bench) -> Outcome:
    return bench.run(
        "md", "model.safetensors", *(structure(bench) or ("one.xyz",)), "-o", "traj.xyz", "--time", "10", "--timestep", "1000"
    )


@case("commands", "md: a timestep of 30 fs", "warns", "timestep", "30.* fs", "Cu")
def _(bench: Bench) -> Outcome:
    return bench.run(
        "md", "model.safetensors", *(structure(bench) or ("one.xyz",)), "-o", "traj.xyz", "--time", "0.3", "--timestep", "30"
    )


@case("commands", "md: a negative timestep", "refuses", "timestep", "-1")
def _(bench: Bench) -> Outcome:
    return md(bench, "--timestep", "-1")


@case("commands", "md: a negative temperature", "refuses", "temperature", "-300")
def _(bench: Bench) -> Outcome:
    return md(bench, "--temperature", "-300")


@case("commands", "md: temperature NaN", "refuses", "temperature", "nan")
def _(bench: Bench) -> Outcome:
    return md(bench, "--temperature", "nan")


@case("commands", "md: an ensemble that does not exist", "refuses", "nev", "nve", "nvt")
def _(bench: Bench) -> Outcome:
    return md(bench, "--ensemble", "nev")


@case("commands", "md: a frame every 0 steps", "refuses", "every", "0")
def _(bench: Bench) -> Outcome:
    return md(bench, "--every", "0")


@case("commands", "md: shorter than a step", "refuses", "time", "step")
def _(bench: Bench) -> Outcome:
    return md(bench, "--time", "0")


@case("commands", "md: over a trajectory that is there", "refuses", r"traj\.xyz", "--overwrite|--resume")
def _(bench: Bench) -> Outcome:
    (bench / "traj.xyz").write_text("precious")
    return md(bench)


@case("commands", "md --overwrite with a bad setting keeps the old trajectory", "refuses", "timestep", "-1")
def _(bench: Bench) -> Outcome:
    (bench / "traj.xyz").write_text("precious")
    (bench / "traj.csv").write_text("precious")
    return md(bench, "--timestep", "-1", "--overwrite")


@case("commands", "md --overwrite of its own input", "refuses", r"one\.xyz", "input")
def _(bench: Bench) -> Outcome:
    structure(bench)
    return bench.run("md", "model.safetensors", "one.xyz", "-o", "one.xyz", "--time", "0.01", "--overwrite")


@case("commands", "md: a table of the user where the energies will go", "refuses", r"traj\.csv", "--overwrite")
def _(bench: Bench) -> Outcome:
    (bench / "traj.csv").write_text("precious")
    return md(bench)


@case("commands", "md --resume of a file of the user without a last line break", "refuses", r"traj\.xyz", "step")
def _(bench: Bench) -> Outcome:
    structure(bench)
    (bench / "traj.xyz").write_text((bench / "one.xyz").read_text().rstrip())
    return md(bench, "--resume")


@case("commands", "md --resume of a file that is no trajectory", "refuses", r"traj\.xyz")
def _(bench: Bench) -> Outcome:
    (bench / "traj.xyz").write_text("precious")
    return md(bench, "--resume")


@case("commands", "md --resume of a trajectory of another structure", "refuses", r"traj\.xyz", "atoms|structure")
def _(bench: Bench) -> Outcome:
    write(bench / "traj.xyz", bulk("Au", "fcc", a=4.0, cubic=True), format="extxyz")
    return md(bench, "--resume")


@case("commands", "md --resume of a trajectory whose last frame is cut", "works", may_change=("traj.xyz", "traj.csv"))
def _(bench: Bench) -> Outcome:
    first = md(bench)
    if first.status:
        return first
    text = (bench / "traj.xyz").read_text()
    (bench / "traj.xyz").write_text(text[:-90])
    outcome = bench.run("md", "model.safetensors", "one.xyz", "-o", "traj.xyz", "--time", "0.02", "--every", "1", "--resume")
    if outcome.status == 0 and len(read(bench / "traj.xyz", ":")) != 41:
        outcome.changed.append(f"{len(read(bench / 'traj.xyz', ':'))} frames instead of 41")
    return outcome


@case("commands", "relax: a negative fmax", "refuses", "fmax", "-1")
def _(bench: Bench) -> Outcome:
    structure(bench)
    return bench.run("relax", "model.safetensors", "one.xyz", "-o", "new.xyz", "--fmax", "-1")


@case("commands", "relax --cell of a molecule without a cell", "refuses", r"one\.xyz", "--cell", "pbc")
def _(bench: Bench) -> Outcome:
    write(bench / "one.xyz", Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.4]]), format="extxyz")
    return bench.run("relax", "model.safetensors", "one.xyz", "-o", "new.xyz", "--cell")


@case("commands", "relax: it does not converge in the steps given", "warns", "not relaxed", "steps")
def _(bench: Bench) -> Outcome:
    write(bench / "one.xyz", crystals(1)[0].copy(), format="extxyz")
    return bench.run("relax", "model.safetensors", "one.xyz", "-o", "new.xyz", "--steps", "1", "--fmax", "1e-9")


@case("commands", "relax: two atoms at the same place", "refuses", r"one\.xyz", "atoms")
def _(bench: Bench) -> Outcome:
    write(bench / "one.xyz", Atoms("Cu2", positions=np.zeros((2, 3))), format="extxyz")
    return bench.run("relax", "model.safetensors", "one.xyz", "-o", "new.xyz")


@case("commands", "precision float16", "refuses", "float16", "float64")
def _(bench: Bench) -> Outcome:
    return bench.run("predict", "model.safetensors", "good.xyz", "-o", "new.xyz", "--precision", "float16")


@case("commands", "selftest on a structure with an unknown element", "refuses", r"one\.xyz", "Ag")
def _(bench: Bench) -> Outcome:
    structure(bench, "Ag")
    return bench.run("selftest", "model.safetensors", "--structure", "one.xyz")


@case("commands", "doctor: a negative cutoff", "refuses", "cutoff", "-1")
def _(bench: Bench) -> Outcome:
    return bench.run("doctor", "good.xyz", "--cutoff", "-1")


@case("commands", "doctor: a file of which frame 3 is bad, among good ones", "refuses", r"bad\.xyz", "3")
def _(bench: Bench) -> Outcome:
    frames = crystals()
    frames[3].calc.results["energy"] = np.nan
    write(bench / "bad.xyz", frames, format="extxyz")
    return bench.run("doctor", "good.xyz", "bad.xyz", "--cutoff", "3")


@case("commands", "demo for minus five minutes", "refuses", "minutes", "-5")
def _(bench: Bench) -> Outcome:
    return bench.run("demo", "--minutes", "-5", "-o", "new")


def introduction(tried: int, good: int) -> str:
    return (
        f"{tried} mistakes, each tried on the command; {good} end as they should: no traceback, nothing lost or overwritten,\n"
        "and a message that names the file, the frame, the key and the cure. Written by `python recipes/bad_inputs.py`, which\n"
        "says how each input is made and which words the message must contain. Data: crystals of copper and gold, and ethanol,\n"
        "labelled with effective medium theory. Of what the command goes on to print when it only warns, little is shown.\n"
        "The analyses, imports and LAMMPS have a table of their own, `bad_inputs_analysis.md`."
    )


DOCUMENT = Document(
    Path(__file__).parents[1] / "docs/bad_inputs.md",
    "Bad inputs",
    introduction,
    tuple(f"tesseral.interfaces.{name}" for name in ("cli", "demo", "simulation", "training")),
)


if __name__ == "__main__":
    raise SystemExit(run_cases(__doc__, DOCUMENT))
