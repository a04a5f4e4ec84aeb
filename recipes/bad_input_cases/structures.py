"""Structures that no model can use, or that are not what they say."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.io import write
from bad_input_table import Bench, Outcome, case, crystals, labelled, molecules


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
