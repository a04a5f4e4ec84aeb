"""Forces and stresses with wrong signs and units, measured on data whose mechanics are exact."""

import dataclasses

import numpy as np
import pytest

from tesseral.data import FramesInMemory, Keys, Units, read_frames
from tesseral.data.doctor.mechanics import robust_slope, superpose
from tests.data.doctor.planting import clusters, complaints, crystals, errors, molecules, relabel, spoil, trajectory

HARTREE, BOHR = 27.211386, 0.52917721
FAMILIES = pytest.mark.parametrize("family", [molecules, trajectory, clusters])


@FAMILIES
def test_healthy(family):
    assert errors(family()) == set()


@FAMILIES
def test_gradients_instead_of_forces(family):
    (error,) = complaints(relabel(family(), forces=lambda frame: -frame.labels["forces"]), "force-sign")
    assert error.severity == "error"
    assert error.key == "forces"
    assert "multiply them by -1" in error.sentence


@pytest.mark.parametrize(
    ("energy", "force", "sentence"),
    [
        (1 / HARTREE, 1.0, "energies were in Hartree and forces in eV/Å"),
        (1 / 0.0433641, 1.0, "energies were in kcal/mol and forces in eV/Å"),
        (1.0, BOHR / HARTREE, "energies were in eV and forces in Hartree/Bohr"),
        (1.0, 1 / 0.0433641, "energies were in eV and forces in kcal/mol/Å"),
        (1.0, 1000.0, "energies were in eV and forces in meV/Å"),
        (1 / HARTREE, BOHR / HARTREE, "per Bohr, but positions in Å"),
        (1.0, BOHR, "per Bohr"),
        (1 / 9, 1.0, "energies were given per atom"),
    ],
)
def test_units_that_do_not_go_together(energy, force, sentence):
    frames = relabel(
        molecules(), energy=lambda frame: frame.labels["energy"] * energy, forces=lambda frame: frame.labels["forces"] * force
    )
    (error,) = complaints(frames, "energy-force-units")
    assert error.severity == "error"
    assert sentence in error.sentence


def test_forces_of_other_frames():
    frames = list(molecules())
    shuffled = [
        dataclasses.replace(a, labels=a.labels | {"forces": b.labels["forces"]}) for a, b in zip(frames, frames[7:] + frames[:7])
    ]
    assert errors(FramesInMemory(shuffled)) & {"forces-unrelated", "net-torque"}


def test_energies_of_other_frames():
    frames = list(molecules())
    shuffled = [
        dataclasses.replace(a, labels=a.labels | {"energy": b.labels["energy"]}) for a, b in zip(frames, frames[7:] + frames[:7])
    ]
    (error,) = complaints(FramesInMemory(shuffled), "forces-unrelated")
    assert error.severity == "error"
    assert "nothing to do with each other" in error.sentence


def test_forces_in_another_order_of_atoms():
    permutation = np.random.default_rng(0).permutation(9)
    (error,) = complaints(relabel(molecules(), forces=lambda frame: frame.labels["forces"][permutation]), "net-torque")
    assert (error.severity, error.key) == ("error", "forces")
    assert "another order of atoms" in error.sentence


def test_axes_of_forces_exchanged():
    assert "net-torque" in errors(relabel(molecules(), forces=lambda frame: frame.labels["forces"][:, [1, 2, 0]]))


def test_forces_that_do_not_cancel():
    rng = np.random.default_rng(0)
    (complaint,) = complaints(relabel(molecules(), forces=lambda frame: rng.normal(0.5, 1, (9, 3))), "net-force")
    assert complaint.key == "forces"
    (warning,) = complaints(relabel(molecules(), only=[4], forces=lambda frame: frame.labels["forces"] + 3.0), "net-force")
    assert (warning.severity, warning.frame) == ("warning", 4)


def test_magnitudes():
    assert complaints(relabel(molecules(), forces=lambda frame: frame.labels["forces"] * 100), "large-forces")
    assert complaints(relabel(molecules(), forces=lambda frame: frame.labels["forces"] * 1e-5), "small-forces")


def test_kcal_per_mol_taken_for_electronvolt():
    factor = 23.06
    frames = relabel(
        molecules(), forces=lambda frame: frame.labels["forces"] * factor, energy=lambda frame: frame.labels["energy"] * factor
    )
    (warning,) = complaints(frames, "large-forces")
    assert "read as kcal/mol" in warning.sentence


def test_one_frame_with_enormous_forces():
    (warning,) = complaints(relabel(molecules(), only=[3], forces=lambda frame: frame.labels["forces"] * 500), "force-outlier")
    assert (warning.severity, warning.frame) == ("warning", 3)


def test_crystals_without_neighbours_or_with_atoms_in_one_place_are_no_accident():
    apart = spoil(crystals(), lambda frame: {"positions": frame.positions * 4, "cell": frame.cell * 4})
    assert not complaints(apart, "stress-unit", cutoff=3.0)

    def collapse(frame):
        return {"positions": np.repeat(frame.positions[:1], len(frame), 0)}

    assert complaints(spoil(crystals(), collapse, only=4), "atoms-too-close")
    assert not complaints(spoil(crystals(), collapse), "stress-unit")


def test_flipped_stress_by_strained_cells():
    (error,) = complaints(relabel(crystals(), stress=lambda frame: -frame.labels["stress"]), "stress-sign")
    assert (error.severity, error.key) == ("error", "stress")
    assert "pairs of frames with strained cells" in error.sentence
    assert "units.stress_sign" in error.sentence


def test_flipped_stress_in_another_unit():
    (error,) = complaints(relabel(crystals(), stress=lambda frame: -frame.labels["stress"] * 1602.1766), "stress-sign")
    assert "kbar" in error.sentence


@pytest.mark.parametrize(("factor", "unit"), [(160.21766, "GPa"), (1602.1766, "kbar")])
def test_stress_in_another_unit(factor, unit):
    (error,) = complaints(relabel(crystals(), stress=lambda frame: frame.labels["stress"] * factor), "stress-unit")
    assert error.severity == "error"
    assert unit in error.sentence


def test_virial_read_as_stress():
    (error,) = complaints(relabel(crystals(), stress=lambda frame: frame.labels["stress"] * frame.volume), "stress-unit")
    assert "keys.virial" in error.sentence


def test_flipped_stress_without_strained_cells():
    # A trajectory at constant volume: fitted pair forces are the witness.
    (error,) = complaints(relabel(trajectory(), stress=lambda frame: -frame.labels["stress"]), "stress-sign")
    assert "pair forces" in error.sentence


def test_stress_that_is_not_symmetric():
    skew = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 0]])
    assert complaints(relabel(crystals(), only=[3], stress=lambda frame: frame.labels["stress"] + skew), "stress-not-symmetric")


def test_slope_is_robust_and_measures_its_own_failure():
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    y = 3 * x
    y[:60] = rng.normal(0, 10, 60)
    assert robust_slope(x, y, np.ones(200)).slope == pytest.approx(3)
    unrelated = robust_slope(x, rng.normal(size=200), np.ones(200))
    assert unrelated.residual > 0.8
    assert robust_slope(x, np.zeros(200), np.ones(200)) is None


def test_superposition_undoes_a_rotation():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(5, 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    rotations, displacements = superpose(reference, np.stack([reference @ rotation + 5.0, reference * (1, 1, -1)]))
    np.testing.assert_allclose(displacements[0], 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1)
    assert abs(displacements[1]).max() > 0.1  # a mirror image is another molecule


@pytest.mark.parametrize(
    ("folder", "file"),
    [("acac", "train_300K.xyz"), ("ethanol", "train.xyz"), ("mlearn", "Si_training.xyz"), ("mlearn", "Mo_training.xyz")],
)
def test_real_forces_against_energies(external_data, folder, file):
    frames = FramesInMemory(read_frames(external_data / folder / file, in_memory=False)[:150])
    assert errors(frames, cutoff=5.0, required=("energy", "forces")) == set()
    flipped = relabel(frames, forces=lambda frame: -frame.labels["forces"])
    assert "force-sign" in errors(flipped)
    assert "energy-force-units" in errors(relabel(frames, energy=lambda frame: frame.labels["energy"] / HARTREE))


@pytest.mark.parametrize("element", ["Si", "Mo"])
def test_real_stress_of_vasp(external_data, element):
    keys = Keys(stress="virial_stress_raw")
    raw = {"stress": "kbar", "voigt": "xx yy zz xy yz xz"}
    path = external_data / "mlearn" / f"{element}_training.xyz"
    frames = FramesInMemory(read_frames(path, keys, Units(**raw), in_memory=False)[::2])
    assert "stress-sign" in errors(frames, keys=keys)
    assert errors(relabel(frames, stress=lambda frame: -frame.labels["stress"]), keys=keys) == set()
