"""Units and signs that are not those of the labels."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from bad_input_table import BOHR, HARTREE, KCAL, Bench, Outcome, case, crystals, labelled, molecules, scaled


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
