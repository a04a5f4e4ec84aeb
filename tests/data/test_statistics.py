"""Statistics against data whose atomic energies are known because we chose them."""

import dataclasses

import ase
import ase.build
import numpy as np
import pydantic
import pytest

from tesseral.data import AtomicEnergies, DataError, FramesInMemory, compute_statistics, frames_from_atoms
from tesseral.data.statistics import (
    atomic_energies,
    find_isolated_atoms,
    interaction_energies,
    is_isolated_atom,
    isolated_energies,
    least_squares_energies,
)
from tests.data.made import ethanol, isolated_atoms

TRUE = {1: -13.6, 6: -1036.0, 8: -2043.0}


def additive(*names, noise=0.0):
    """Molecules whose energy is the sum of TRUE."""
    rng = np.random.default_rng(0)
    frames = []
    for frame in frames_from_atoms([ase.build.molecule(name) if len(name) > 1 else ase.Atoms(name) for name in names]):
        energy = np.array(sum(TRUE[int(z)] for z in frame.numbers) + rng.normal(0, noise) * len(frame))
        frames.append(dataclasses.replace(frame, labels={"energy": energy}))
    return FramesInMemory(frames)


def test_isolated_atoms_are_found():
    assert isolated_energies(additive("H", "C", "O", "H2O")) == TRUE


def test_isolated_atoms_by_name():
    crystal = frames_from_atoms([ase.build.bulk("Cu")])[0]
    assert not is_isolated_atom(crystal)
    assert is_isolated_atom(dataclasses.replace(crystal, config_type="Isolated_Atom"))


def test_two_energies_of_one_atom():
    one, two = additive("H", "H")
    other = dataclasses.replace(two, labels={"energy": np.array(-13.0)}, file="b.xyz", index=3)
    with pytest.raises(DataError, match=r"two isolated atoms of H .* -13.6.* -13.0.* frame 3 of b.xyz"):
        isolated_energies([one, other])


def test_least_squares_recovers_the_truth():
    energies, note = least_squares_energies(additive("CH4", "H2O", "CO2", "CH3OH", "C2H6", noise=1e-4))
    assert note is None
    for z, energy in TRUE.items():
        assert energies[z] == pytest.approx(energy, abs=5e-3)


def test_least_squares_of_one_composition():
    frames = additive("H2O", "H2O")
    energies, note = least_squares_energies(frames)
    assert 2 * energies[1] + energies[8] == pytest.approx(2 * TRUE[1] + TRUE[8], abs=1e-6)
    assert "H2O" in note
    assert "rank 1" in note


def test_least_squares_without_energies():
    with pytest.raises(DataError, match="cannot be fitted"):
        least_squares_energies(frames_from_atoms([ase.build.molecule("H2O")]))


def test_sources():
    molecules, atoms = additive("CH4", "H2O", "CO2"), additive("H", "C", "O")
    assert atomic_energies(molecules + atoms) == (TRUE, ())
    assert atomic_energies(molecules, isolated=atoms) == (TRUE, ())
    dictionary = AtomicEnergies(source="dictionary", values={"H": -1.0, "C": -2.0, "O": -3.0})
    assert atomic_energies(molecules, dictionary) == ({1: -1.0, 6: -2.0, 8: -3.0}, ())
    fitted, notes = atomic_energies(molecules + atoms[:2])
    assert fitted[8] == pytest.approx(TRUE[8], abs=1e-3)
    assert "isolated atoms of H, C were found, but none of O" in notes[0]
    with pytest.raises(DataError, match=r"no isolated atom of O .*found: H, C"):
        atomic_energies(molecules + atoms[:2], AtomicEnergies(source="isolated"))
    with pytest.raises(DataError, match="lacks C, O"):
        atomic_energies(molecules, AtomicEnergies(values={"H": -1.0}))
    ignored, _ = atomic_energies(molecules + atoms, AtomicEnergies(source="least_squares"))
    assert ignored[8] == pytest.approx(TRUE[8], abs=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [{"values": {"Hy": 1.0}}, {"source": "dictionary"}, {"source": "isolated", "values": {"H": 1.0}}, {"values": {"X": 0.0}}],
)
def test_settings_are_strict(wrong):
    with pytest.raises(pydantic.ValidationError):
        AtomicEnergies(**wrong)


def test_statistics_of_made_data():
    images = ethanol(10) + isolated_atoms()
    frames = frames_from_atoms(images)
    statistics = compute_statistics(frames, cutoff=2.0)
    forces = np.concatenate([atoms.get_forces() for atoms in images[:10]])
    numbers = np.concatenate([atoms.numbers for atoms in images[:10]])
    assert statistics.force_rms == pytest.approx(np.sqrt((forces**2).mean()))
    for z in (1, 6, 8):
        assert statistics.force_rms_by_species[z] == pytest.approx(np.sqrt((forces[numbers == z] ** 2).mean()))
    assert statistics.species == (1, 6, 8)
    assert (statistics.num_frames, statistics.num_atoms) == (13, 93)
    energies = dict(zip((1, 6, 8), (atoms.get_potential_energy() for atoms in images[10:])))
    assert statistics.atomic_energies == pytest.approx(energies)
    binding = [(atoms.get_potential_energy() - sum(energies[int(z)] for z in atoms.numbers)) / 9 for atoms in images[:10]]
    assert statistics.energy_scale == pytest.approx(np.std(binding))
    np.testing.assert_allclose(interaction_energies(frames, energies)[:10], binding)
    pairs = [np.linalg.norm(a.positions[:, None] - a.positions, axis=2) for a in images[:10]]
    assert statistics.num_neighbors == pytest.approx(np.mean([(d < 2.0).sum() - 9 for d in pairs]) / 9)
    assert statistics.notes == ()


def test_statistics_of_partly_labelled_frames():
    frames = frames_from_atoms(ethanol(4))
    forces = frames[1].labels["forces"].copy()
    forces[0] = np.nan
    partly = [
        dataclasses.replace(frames[0], labels={"energy": frames[0].labels["energy"]}),
        dataclasses.replace(frames[1], labels={"energy": frames[1].labels["energy"], "forces": forces}),
        dataclasses.replace(frames[2], labels={}),
    ]
    statistics = compute_statistics(FramesInMemory(partly), 3.0)
    assert statistics.force_rms == pytest.approx(np.sqrt((forces[1:] ** 2).mean()))
    assert "rank 1" in " ".join(statistics.notes)


def test_statistics_need_frames():
    with pytest.raises(DataError, match="empty"):
        compute_statistics(FramesInMemory([]), 3.0)


def test_files_of_isolated_atoms(tmp_path):
    assert find_isolated_atoms(tmp_path / "train.xyz") is None
    (tmp_path / "isolated_atoms.xyz").write_text("")
    assert find_isolated_atoms(tmp_path / "train.xyz") == tmp_path / "isolated_atoms.xyz"


def test_real_data(external_data):
    from tesseral.data import read_frames

    frames = read_frames(external_data / "acac" / "train_300K.xyz")
    isolated = read_frames(find_isolated_atoms(external_data / "acac" / "train_300K.xyz"))
    statistics = compute_statistics(frames, 5.0, isolated=isolated)
    assert statistics.force_rms == pytest.approx(1.051, abs=0.05)  # counted before, for the 300 K frames
    assert statistics.energy_scale * 15 == pytest.approx(0.15, abs=0.02)
    # Atomization of acetylacetone takes about 60 eV.
    assert -6 < interaction_energies(frames, statistics.atomic_energies).mean() < -3
