"""Labels that are absent, constant, not finite or of another shape."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.io import write
from bad_input_table import Bench, Outcome, case, crystals, with_labels


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
