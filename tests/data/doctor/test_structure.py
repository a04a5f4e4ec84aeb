"""Structures that cannot be, that come twice, or that fall apart within the cutoff."""

import dataclasses

import ase
import ase.build
import numpy as np
import pytest

from tesseral.data import Frame, FramesInMemory, frames_from_atoms
from tesseral.data.doctor import DoctorSettings
from tesseral.data.doctor.structure import Duplicates
from tests.data.doctor.planting import complaints, crystals, errors, molecules, relabel, spoil
from tests.data.made import argon


def test_atoms_too_close():
    def squeeze(frame):
        positions = frame.positions.copy()
        positions[4] = positions[2] + (0.0, 0.0, 0.2)
        return {"positions": positions}

    (error,) = complaints(spoil(molecules(), squeeze, only=6), "atoms-too-close")
    assert (error.severity, error.frame) == ("error", 6)
    assert "atoms 2 and 4 are 0.200 Å apart" in error.sentence


def test_atoms_too_close_across_the_cell():
    atoms = ase.Atoms("Cu2", positions=[(0, 0, 0.05), (0, 0, 4.9)], cell=np.eye(3) * 5, pbc=True)
    (error,) = complaints(frames_from_atoms([atoms]), "atoms-too-close")
    assert "0.150 Å" in error.sentence


@pytest.mark.parametrize("number", [0, -3, 119])
def test_unknown_elements(number):
    numbers = np.array(molecules()[0].numbers)
    numbers[3] = number
    (error,) = complaints(spoil(molecules(), lambda frame: {"numbers": numbers}, only=2), "unknown-element")
    assert (error.severity, error.frame) == ("error", 2)
    assert f"atomic number {number}" in error.sentence


@pytest.mark.parametrize("cell", [np.zeros((3, 3)), np.diag([4.0, 4.0, 0.0]), np.ones((3, 3))])
def test_periodic_without_a_cell(cell):
    frames = relabel(spoil(crystals(), lambda frame: {"cell": cell}, only=1), only=1, stress=None)
    (error,) = complaints(frames, "pbc-without-cell")
    assert (error.severity, error.frame) == ("error", 1)


def test_a_crystal_that_lost_its_pbc():
    frames = spoil(crystals(), lambda frame: {"pbc": np.zeros(3, dtype=bool)})
    (warning,) = complaints(frames, "cell-without-pbc")
    assert warning.severity == "warning"
    assert "pbc to T T T" in warning.sentence


def test_a_molecule_in_a_box_is_fine():
    frames = spoil(molecules(), lambda frame: {"cell": np.eye(3) * 50})
    assert not complaints(frames, "cell-without-pbc")


def test_no_atoms():
    empty = Frame(positions=np.zeros((0, 3)), numbers=np.zeros(0, dtype=np.int64), file="e.xyz", index=24)
    (error,) = complaints(FramesInMemory([*molecules(), empty]), "no-atoms")
    assert (error.severity, error.frame) == ("error", 24)


@pytest.mark.parametrize("made", [molecules, crystals])
def test_positions_in_bohr(made):
    frames = spoil(made(), lambda frame: {"positions": frame.positions / 0.5292, "cell": frame.cell / 0.5292})
    (error,) = complaints(frames, "length-unit")
    assert (error.severity, error.frame) == ("error", 0)
    assert "units.length to 'Bohr'" in error.sentence
    assert not complaints(frames, "species-misfit")
    assert not complaints(made(), "length-unit")


def test_noble_gases_are_far_apart_in_any_unit():
    assert not complaints(frames_from_atoms(argon()), "length-unit")


def test_absurdly_many_neighbours():
    (error,) = complaints(FramesInMemory(crystals()[:1]), "many-neighbors", cutoff=20.0)
    assert error.severity == "error"


def test_validation_frames_in_training():
    training = Duplicates(DoctorSettings())
    validation = Duplicates(DoctorSettings(), betrays=training, role="validation")
    for frame in molecules():
        training.see(frame)
    validation.see(molecules()[5])
    (error,) = validation.conclude()
    assert (error.severity, error.name, error.frame) == ("error", "validation-in-train", 5)


def test_atoms_without_neighbours():
    (error,) = complaints(molecules(), "no-neighbors", cutoff=0.8)
    assert error.severity == "error"
    assert "within the cutoff of 0.8 Å" in error.sentence
    torn = spoil(molecules(), lambda frame: {"positions": frame.positions + 30 * np.eye(9, 3)}, only=4)
    (warning,) = complaints(torn, "no-neighbors", cutoff=5.0)
    assert (warning.severity, warning.frame) == ("warning", 4)
    assert not complaints(molecules(), "no-neighbors", cutoff=5.0)


def test_cutoff_longer_than_the_data_allow():
    (warning,) = complaints(crystals(), "cutoff-beyond-cell", cutoff=5.0)
    assert warning.severity == "warning"
    assert "all 24 periodic frames" in warning.sentence
    assert not complaints(crystals(), "cutoff-beyond-cell", cutoff=2.5)
    large = frames_from_atoms([ase.build.bulk("Cu", cubic=True) * 2])[0]
    assert not complaints(FramesInMemory([*crystals(), large]), "cutoff-beyond-cell", cutoff=5.0)


def test_many_neighbours():
    assert complaints(crystals(), "many-neighbors", cutoff=11.0)
    assert not complaints(crystals(), "many-neighbors", cutoff=5.0)


def test_duplicates():
    twice = [*molecules(), dataclasses.replace(molecules()[3], index=24)]
    (warning,) = complaints(FramesInMemory(twice), "duplicates")
    assert (warning.severity, warning.frame) == ("warning", 24)
    assert "as frame 3 of ethanol.xyz" in warning.sentence


def test_contradicting_duplicates():
    frame = molecules()[3]
    other = dataclasses.replace(frame, index=24, labels=frame.labels | {"energy": np.array(frame.labels["energy"] + 0.1)})
    (error,) = complaints(FramesInMemory([*molecules(), other]), "contradicting-duplicates")
    assert (error.severity, error.frame) == ("error", 24)
    # Another charge is another system.
    charged = dataclasses.replace(other, charge=1.0)
    assert not complaints(FramesInMemory([*molecules(), charged]), "contradicting-duplicates")


def test_test_frames_in_training():
    train, test = FramesInMemory(molecules()[:16]), FramesInMemory(molecules()[14:])
    (error,) = complaints(train, "test-in-train", test=test)
    assert error.severity == "error"
    assert "frame 14 of ethanol.xyz (and 1 more frame)" in error.sentence
    assert not complaints(train, "test-in-train", test=FramesInMemory(molecules()[16:]))


def test_elements_that_training_never_saw():
    (error,) = complaints(FramesInMemory(molecules()), "element-not-in-train", test=FramesInMemory(crystals()))
    assert error.severity == "error"
    assert "has Cu, Au, but the training data only H, C, O" in error.sentence


def test_healthy():
    assert errors(molecules(), cutoff=5.0) == set()
    assert errors(crystals(), cutoff=3.5) == set()
