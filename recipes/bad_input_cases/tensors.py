"""Mistakes in learning tensors, and with the files that come of it."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.io import write
from bad_input_table import Bench, Outcome, case, crystals

TENSORS = """\
data: {train: polar.xyz}
targets: {dipole: {}}
model: {name: nequip, cutoff: 3.0, layers: 1, lmax: 1, channels: 4, radial_channels: 8, num_basis: 4, parity: false}
max_epochs: 1
tensorboard: false
"""


def polar(count: int = 12, dipole: object = (0.1, 0.0, 0.2)) -> list[Atoms]:
    """Distorted molecules of water with a dipole that is the same for all."""
    random, frames = np.random.default_rng(0), []
    for _ in range(count):
        atoms = molecule("H2O")
        atoms.positions += 0.05 * random.normal(size=(3, 3))
        if dipole is not None:
            atoms.info["dipole"] = np.array(dipole)
        frames.append(atoms)
    return frames


def learn(bench: Bench, *overrides: str, frames: list[Atoms] | None = None, settings: str = TENSORS) -> Outcome:
    write(bench / "polar.xyz", frames or polar(), format="extxyz")
    bench.settings(settings, "tensors.yaml")
    return bench.run("tensors", "tensors.yaml", *overrides, "-o", "new")


@case("tensors", "no targets", "refuses", "targets")
def _(bench: Bench) -> Outcome:
    return learn(bench, settings=TENSORS.replace("targets: {dipole: {}}\n", ""))


@case("tensors", "an empty mapping of targets", "refuses", "targets")
def _(bench: Bench) -> Outcome:
    return learn(bench, settings=TENSORS.replace("{dipole: {}}", "{}"))


@case("tensors", "the settings of a potential", "refuses", "targets")
def _(bench: Bench) -> Outcome:
    return bench.run("tensors", "settings.yaml", "-o", "new")


@case("tensors", "frames without the label", "refuses", "dipole", r"data\.keys")
def _(bench: Bench) -> Outcome:
    return learn(bench, frames=polar(dipole=None))


@case("tensors", "dipoles of two components", "refuses", "dipole")
def _(bench: Bench) -> Outcome:
    return learn(bench, frames=polar(dipole=(0.1, 0.2)))


@case("tensors", "a dipole that is NaN", "refuses", "dipole", "NaN|finite")
def _(bench: Bench) -> Outcome:
    return learn(bench, frames=[*polar(6), *polar(1, dipole=(np.nan, 0.0, 0.0))])


@case("tensors", "a label without irreps", "refuses", r"targets\.spin_density", "irreps", "1o")
def _(bench: Bench) -> Outcome:
    frames = polar()
    for number, atoms in enumerate(frames):
        atoms.info["s"] = float(number)
    return learn(bench, "targets={spin_density: {}}", "data.keys.extra={spin_density: s}", frames=frames)


@case("tensors", "irreps that are none (1x)", "refuses", "dipole|irreps", "1x")
def _(bench: Bench) -> Outcome:
    return learn(bench, "targets={dipole: {irreps: 1x}}")


@case("tensors", "irreps of another dimension", "refuses", "dipole", "irreps")
def _(bench: Bench) -> Outcome:
    return learn(bench, "targets={dipole: {irreps: 2e}}")


@case("tensors", "a degree that no message reaches", "refuses", "polarizability", "2e", "lmax")
def _(bench: Bench) -> Outcome:
    frames = polar()
    for atoms in frames:
        atoms.info["polarizability"] = np.eye(3)
    return learn(bench, "targets={polarizability: {}}", frames=frames)


@case("tensors", "a dipole of a crystal", "refuses", "dipole", "pbc|repeats")
def _(bench: Bench) -> Outcome:
    frames = crystals(6)
    for number, atoms in enumerate(frames):
        atoms.calc = None
        atoms.info["dipole"] = np.full(3, 0.1 * number)
    return learn(bench, frames=frames)


@case("tensors", "a misspelt key of a target", "refuses", "wieght", "did you mean")
def _(bench: Bench) -> Outcome:
    return learn(bench, "targets={dipole: {wieght: 2.0}}")


@case("tensors", "early_stopping with the last weights", "refuses", "early_stopping", "monitor")
def _(bench: Bench) -> Outcome:
    return learn(bench, "early_stopping=5")


@case("tensors", "an earlier result in the folder", "refuses", "new", "--overwrite")
def _(bench: Bench) -> Outcome:
    (bench / "new").mkdir()
    (bench / "new/tensors.safetensors").write_text("mine")
    return learn(bench)


@case("tensors", "spectrum with a potential at --tensors", "refuses", r"model\.safetensors", "tensor")
def _(bench: Bench) -> Outcome:
    write(bench / "cu2.xyz", Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]]), format="extxyz")
    return bench.run("spectrum", "model.safetensors", "cu2.xyz", "--tensors", "model.safetensors", "-o", "new")


@case("tensors", "config of something else", "refuses", "tensor", "train")
def _(bench: Bench) -> Outcome:
    return bench.run("config", "phonons")
