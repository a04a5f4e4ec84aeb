"""Energies in other units, energies of other structures, species in another order."""

import dataclasses

import numpy as np
import pytest

from tesseral.data import FramesInMemory
from tesseral.data.doctor.composition import all_electron_energy
from tests.data.doctor.planting import atoms, complaints, crystals, errors, molecules, relabel, spoil

# Total energies of atoms, in Hartree (Chakravorty et al., Phys. Rev. A 47, 3649 (1993)).
HARTREE = {1: -0.5, 2: -2.9037, 6: -37.8450, 8: -75.0673, 14: -289.359, 18: -527.540}


def total(frame):
    """An all-electron energy in eV: atoms plus what EMT says of the bonds."""
    return 27.211386 * sum(HARTREE[int(z)] for z in frame.numbers) + frame.labels["energy"]


@pytest.mark.parametrize("z", HARTREE)
def test_all_electron_energies_of_atoms(z):
    assert all_electron_energy(z) / 27.211386 == pytest.approx(HARTREE[z], rel=0.06)


@pytest.mark.parametrize(
    ("unit", "size"), [("Hartree", 27.211386), ("Rydberg", 13.605693), ("kcal/mol", 0.0433641), ("kJ/mol", 0.0103643)]
)
def test_total_energies_in_another_unit(unit, size):
    frames = relabel(molecules(), energy=lambda frame: total(frame) / size, forces=lambda frame: frame.labels["forces"] / size)
    (error,) = complaints(frames, "energy-unit")
    assert error.severity == "error"
    assert (error.file, error.frame, error.key) == ("ethanol.xyz", 0, "energy")
    assert f"set units.energy to '{unit}'" in error.sentence


def test_total_energies_in_electronvolt():
    assert errors(relabel(molecules(), energy=total)) == set()


@pytest.mark.parametrize(("size", "name"), [(27.211386, "Hartree"), (0.0433641, "kcal/mol")])
def test_mixed_units(size, name):
    frames = relabel(relabel(molecules(), energy=total), only=[5, 9], energy=lambda frame: frame.labels["energy"] / size)
    (error,) = complaints(frames, "mixed-units")
    assert (error.severity, error.frame, error.key) == ("error", 5, "energy")
    assert f"looks like {name} among eV" in error.sentence
    assert "2 of 24" in error.sentence


def test_half_of_the_energies_in_another_unit():
    frames = relabel(molecules(), energy=lambda frame: frame.labels["energy"] - 40.0)
    frames = relabel(frames, only=range(0, 24, 2), energy=lambda frame: frame.labels["energy"] / 27.2114)
    (error,) = complaints(frames, "mixed-units")
    assert "looks like Hartree among eV" in error.sentence
    assert not complaints(frames, "force-sign") + complaints(frames, "forces-unrelated")


def test_outliers():
    frames = relabel(molecules(), only=[5], energy=lambda frame: frame.labels["energy"] + 50.0)
    (warning,) = complaints(frames, "energy-outlier")
    assert (warning.severity, warning.frame) == ("warning", 5)
    assert "eV per atom from the median of C2H6O (1 such frames)" in warning.sentence


@pytest.mark.parametrize(("size", "name"), [(27.211386, "Hartree"), (0.0433641, "kcal/mol")])
def test_isolated_atoms_of_another_level(size, name):
    isolated = {"H": -13.6, "C": -1036.0, "O": -2043.0}
    binding = relabel(
        molecules(), energy=lambda frame: sum({1: -13.6, 6: -1036.0, 8: -2043.0}[int(z)] for z in frame.numbers) - 30.0
    )
    assert not complaints(binding, "implausible-binding", atomic_energies=isolated)
    scaled = {symbol: value / size for symbol, value in isolated.items()}
    (error,) = complaints(binding, "implausible-binding", atomic_energies=scaled)
    assert error.severity == "error"
    assert name in error.sentence


def test_isolated_atoms_in_the_data():
    frames = FramesInMemory([*molecules(), *relabel(atoms(), energy=lambda frame: frame.labels["energy"] - 1000.0)])
    assert "implausible-binding" in errors(frames)
    assert errors(FramesInMemory([*molecules(), *atoms()])) == set()


def test_species_shuffled_in_one_frame():
    # Two frames of one trajectory, nearly the same positions.
    first = molecules()[0]
    follower = dataclasses.replace(first, positions=first.positions + 0.01, index=1, numbers=np.roll(first.numbers, 3))
    (error,) = complaints(FramesInMemory([first, follower]), "shuffled-species")
    assert (error.severity, error.frame) == ("error", 1)
    assert "frame 0 of ethanol.xyz" in error.sentence


def test_composition_changed_in_one_frame():
    first = molecules()[0]
    numbers = first.numbers.copy()
    numbers[2] = 7
    follower = dataclasses.replace(first, positions=first.positions + 0.01, index=1, numbers=numbers)
    (warning,) = complaints(FramesInMemory([first, follower]), "changed-composition")
    assert warning.severity == "warning"
    assert "atom 2 is N here and O in frame 0" in warning.sentence


def test_species_shuffled_everywhere():
    permutation = np.random.default_rng(1).permutation(9)
    frames = spoil(molecules(), lambda frame: {"numbers": frame.numbers[permutation]})
    (error,) = complaints(frames, "species-misfit")
    assert error.severity == "error"
    assert "species column" in error.sentence


def test_species_shuffled_differently_in_each_frame():
    rng = np.random.default_rng(2)
    frames = spoil(molecules(), lambda frame: {"numbers": rng.permutation(frame.numbers)})
    assert complaints(frames, "species-misfit")


def test_swaps_in_an_alloy_are_no_mistake():
    frames = spoil(crystals(), lambda frame: {"numbers": np.roll(frame.numbers, frame.index)})
    assert not complaints(frames, "shuffled-species")
    assert not complaints(frames, "species-misfit")
