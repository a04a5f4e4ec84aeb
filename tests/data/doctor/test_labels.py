"""Labels that are absent, constant, not numbers, or of the wrong shape."""

import numpy as np
import pytest

from tesseral.data import FramesInMemory, Keys
from tests.data.doctor.planting import atoms, complaints, crystals, errors, molecules, relabel, spoil


def test_absent_labels_name_the_likely_key():
    frames = spoil(relabel(molecules(), energy=None, forces=None), lambda frame: {"keys": ("REF_energy", "dft_force", "step")})
    energy, forces = complaints(frames, "absent-label", required=("energy", "forces"))
    assert (energy.severity, forces.severity) == ("error", "error")
    assert energy.file == "ethanol.xyz"
    assert energy.key == "energy"
    for part in ("ethanol.xyz", "'energy'", "set keys.energy to 'REF_energy'"):
        assert part in energy.sentence
    assert "set keys.forces to 'dft_force'" in forces.sentence


def test_energies_alone_are_allowed_unless_forces_are_required():
    frames = relabel(molecules(), forces=None)
    assert errors(frames) == set()
    (warning,) = complaints(frames, "absent-label")
    assert warning.severity == "warning"
    assert "energies alone" in warning.sentence
    assert errors(frames, required=("energy", "forces")) == {"absent-label"}


def test_keys_that_were_named_must_be_there():
    assert errors(molecules(), keys=Keys(stress="REF_stress")) == {"absent-label"}
    assert errors(molecules(), keys=Keys(virial="virial")) == {"absent-label"}
    assert errors(molecules(), keys=Keys(extra={"gap": "gap"})) == {"absent-label"}
    assert errors(crystals(), keys=Keys(stress="stress")) == set()


def test_misspelt_keys():
    frames = spoil(relabel(molecules(), energy=None), lambda frame: {"keys": ("E_total_pbe",)})
    (energy,) = [c for c in complaints(frames, "absent-label", keys=Keys(energy="E_total_pb")) if c.severity == "error"]
    assert "Did you mean 'E_total_pbe'?" in energy.sentence


def test_partly_labelled_frames_are_a_note():
    (note,) = complaints(relabel(molecules(), only=[2, 5], forces=None), "partial-label")
    assert note.severity == "note"
    assert "2 of 24 frames have no forces" in note.sentence


def test_a_file_without_the_label_is_a_warning():
    frames = FramesInMemory([*molecules(), *spoil(relabel(crystals(), forces=None), lambda frame: {})])
    (warning,) = complaints(frames, "partial-label")
    assert warning.severity == "warning"
    assert "all of crystal.xyz" in warning.sentence


def test_unread_labels_are_a_note():
    frames = spoil(relabel(crystals(), stress=None), lambda frame: {"keys": ("energy", "forces", "virial")})
    (note,) = complaints(frames, "unread-key")
    assert note.severity == "note"
    assert "'virial'" in note.sentence


@pytest.mark.parametrize("label", ["energy", "forces"])
def test_constant_zeros(label):
    (error,) = complaints(relabel(molecules(), **{label: lambda frame: 0 * frame.labels[label]}), "constant-zero")
    assert error.severity == "error"
    assert error.key == label
    assert "exactly zero in all 24 frames (first: frame 0 of ethanol.xyz)" in error.sentence


def test_zero_stress():
    assert "constant-zero" in errors(relabel(crystals(), stress=lambda frame: np.zeros((3, 3))))


def test_many_zeros():
    (warning,) = complaints(relabel(molecules(), only=range(8), forces=lambda frame: np.zeros((9, 3))), "many-zeros")
    assert warning.severity == "warning"
    assert "8 of 24" in warning.sentence
    assert not complaints(relabel(molecules(), only=[1], forces=lambda frame: np.zeros((9, 3))), "many-zeros")


def test_one_energy_for_all():
    (error,) = complaints(relabel(molecules(), energy=lambda frame: 7.0), "constant-energy")
    assert error.severity == "error"
    assert "C2H6O" in error.sentence
    assert "7.000000 eV" in error.sentence


@pytest.mark.parametrize(("value", "name"), [(np.nan, "nan"), (np.inf, "infinite"), (-np.inf, "infinite")])
@pytest.mark.parametrize("label", ["energy", "forces"])
def test_not_finite(label, value, name):
    def change(frame):
        array = frame.labels[label].copy()
        array[(0,) * array.ndim] = value
        return array

    (error,) = complaints(relabel(molecules(), only=[3, 4], **{label: change}), name)
    assert error.severity == "error"
    assert (error.file, error.frame, error.key) == ("ethanol.xyz", 3, label)
    assert "frame 3 of ethanol.xyz (and 1 more frame)" in error.sentence


def test_nan_on_purpose():
    frames = relabel(molecules(), only=[3], energy=lambda frame: np.nan)
    assert errors(frames) == {"nan"}
    assert errors(frames, nan_is_unknown=True) == set()


@pytest.mark.parametrize("shape", [(9, 2), (8, 3), (27,), (3, 9)])
def test_forces_of_wrong_shape(shape):
    (error,) = complaints(relabel(molecules(), only=[1], forces=lambda frame: np.ones(shape)), "wrong-shape")
    assert error.severity == "error"
    assert (error.frame, error.key) == (1, "forces")
    assert f"{shape}, expected (9, 3)" in error.sentence


def test_energies_of_wrong_shape():
    assert "wrong-shape" in errors(relabel(molecules(), energy=lambda frame: np.ones(9)))


def test_positions_must_be_finite():
    frames = spoil(molecules(), lambda frame: {"positions": frame.positions * np.nan}, only=5)
    (error,) = complaints(frames, "position-not-finite")
    assert (error.severity, error.frame) == ("error", 5)


@pytest.mark.parametrize("weight", [-1.0, np.nan])
def test_weights(weight):
    (error,) = complaints(spoil(molecules(), lambda frame: {"weight": weight}, only=5), "bad-weight")
    assert (error.severity, error.frame, error.key) == ("error", 5, "config_weight")


def test_stress_needs_a_cell():
    (error,) = complaints(relabel(molecules(), only=[2], stress=lambda frame: np.eye(3)), "stress-without-cell")
    assert (error.severity, error.frame, error.key) == ("error", 2, "stress")


def test_nothing_but_isolated_atoms():
    assert errors(FramesInMemory(atoms())) == {"only-isolated-atoms"}
