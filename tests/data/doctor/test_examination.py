"""The whole examination: of files, of healthy data, of data that are ill in several ways."""

import ase.io
import pytest

from tesseral.data import FramesInMemory, Keys, Units, embedded, frames_from_atoms, read_frames
from tesseral.data.doctor import DoctorSettings, diagnose, examine
from tests.data.doctor.planting import molecules, relabel
from tests.data.made import crystal, ethanol


def test_errors_come_first():
    frames = relabel(molecules(), only=[3, 4, 5], energy=None)
    frames = relabel(frames, forces=lambda frame: 100 * frame.labels["forces"])
    order = [complaint.severity for complaint in examine(frames)]
    assert order == sorted(order, key=["error", "warning", "note"].index)
    assert {"error", "warning", "note"} == set(order)


def test_no_frames():
    (error,) = examine(FramesInMemory([]))
    assert (error.severity, error.name) == ("error", "no-frames")


def test_generators_will_do():
    assert examine(iter(molecules())) == examine(FramesInMemory(molecules()))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "does not exist"),
        ("", "holds no frames"),
        ("9\nenergy=1\nH 0 0 0\n", "ends in the middle of frame 0"),
        ("1\nenergy=none\nH 0 0 0\n", "holds 'none', which is not a number"),
        ("1\nenergy=1\nQq 0 0 0\n", "not a chemical element"),
        ("hello\n", "number of atoms"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, content, sentence):
    path = tmp_path / "x.xyz"
    if content is not None:
        path.write_text(content)
    (error,) = diagnose(path)
    assert (error.severity, error.name) == ("error", "unreadable")
    assert sentence in error.sentence
    assert "x.xyz" in error.sentence


def test_files_with_keys_and_units(tmp_path):
    images = ethanol(20)
    for atoms in images:
        atoms.info["E"] = atoms.get_potential_energy() / 27.211386
        atoms.arrays["F"] = atoms.get_forces() / 51.422067
        atoms.calc = None
    ase.io.write(tmp_path / "a.xyz", images, format="extxyz")
    keys = Keys(energy="E", forces="F")
    right = diagnose(tmp_path / "a.xyz", DoctorSettings(keys=keys), Units(energy="Hartree", forces="Hartree/Bohr"))
    assert right == []
    wrong = diagnose(tmp_path / "a.xyz", DoctorSettings(keys=keys), Units(forces="Hartree/Bohr"))
    assert [complaint.name for complaint in wrong if complaint.severity == "error"] == ["energy-force-units"]
    unread = diagnose(tmp_path / "a.xyz")
    assert unread[0].name == "absent-label"
    assert "'E'" in unread[0].sentence


def test_healthy_data_of_every_kind():
    for images in (ethanol(30), crystal(30)):
        assert [c for c in examine(frames_from_atoms(images)) if c.severity != "note"] == []


def test_embedded_data_are_healthy():
    try:
        images = embedded.load("ethanol", "train")
    except ValueError:
        pytest.skip("the embedded data are not built yet")
    settings = DoctorSettings(cutoff=5.0, required=("energy", "forces"))
    found = examine(frames_from_atoms(images, file="ethanol"), settings, test=frames_from_atoms(embedded.load("ethanol", "test")))
    assert [str(complaint) for complaint in found if complaint.severity == "error"] == []


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (["acac/train_300K.xyz", "acac/isolated_atoms.xyz"], ["acac/test_MD_300K.xyz", "acac/test_dihedral.xyz"]),
        (["ethanol/train.xyz", "ethanol/isolated_atoms.xyz"], ["ethanol/test_MD.xyz"]),
        (["mlearn/Si_training.xyz"], ["mlearn/Si_test.xyz"]),
        (["mlearn/Mo_training.xyz"], ["mlearn/Mo_test.xyz"]),
    ],
)
def test_published_data_are_healthy(external_data, train, test):
    train, test = (read_frames([external_data / file for file in files], in_memory=False) for files in (train, test))
    found = examine(train[::2], DoctorSettings(cutoff=5.0), test=test[::4])
    assert [str(complaint) for complaint in found if complaint.severity != "note"] == []


def test_two_spin_states_without_the_key_of_the_spin(external_data):
    # Singlet and triplet carbene at the same geometries: without the spin, the data contradict themselves.
    path = external_data / "spookynet_carbene" / "carbene.xyz"
    chosen = [*range(100), *range(550, 650)]
    assert "contradicting-duplicates" in {
        complaint.name for complaint in examine(read_frames(path, in_memory=False).subset(chosen))
    }
    keys = Keys(charge="total_charge", spin="spin_multiplicity")
    found = examine(read_frames(path, keys, in_memory=False).subset(chosen), DoctorSettings(keys=keys))
    assert [str(complaint) for complaint in found if complaint.severity == "error"] == []
