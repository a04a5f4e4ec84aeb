"""Reading: every door, and what is said at a door that stays closed."""

import ase.db
import ase.io
import numpy as np
import pytest

from tesseral.data import DataError, Keys, Units, frames_from_atoms, read_frames, write_archive
from tesseral.data.frames import FramesInMemory, XyzFile
from tests.data.made import crystal, ethanol


def write(path, images):
    if path.suffix == ".db":
        with ase.db.connect(path) as database:
            for atoms in images:
                database.write(atoms)
    elif path.suffix == ".lmdb":
        write_archive(path, frames_from_atoms(images))
    else:
        ase.io.write(path, images)
    return path


@pytest.mark.parametrize("suffix", ["xyz", "extxyz", "db", "lmdb", "traj", "json"])
def test_every_format_gives_the_same(tmp_path, suffix):
    images = crystal(3)
    frames = read_frames(write(tmp_path / f"a.{suffix}", images))
    assert len(frames) == 3
    for frame, atoms in zip(frames, images):
        np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-8)
        np.testing.assert_allclose(frame.cell, atoms.cell.array, atol=1e-8)
        np.testing.assert_allclose(frame.labels["energy"], atoms.get_potential_energy(), atol=1e-8)
        np.testing.assert_allclose(frame.labels["forces"], atoms.get_forces(), atol=1e-7)
        np.testing.assert_allclose(frame.labels["stress"], atoms.get_stress(voigt=False), atol=1e-8)


def test_small_files_go_to_memory_and_large_ones_do_not(tmp_path, monkeypatch):
    path = write(tmp_path / "a.xyz", ethanol(3))
    assert isinstance(read_frames(path), FramesInMemory)
    assert isinstance(read_frames(path, in_memory=False), XyzFile)
    monkeypatch.setattr("tesseral.data.read.IN_MEMORY_BELOW", 10)
    assert isinstance(read_frames(path), XyzFile)
    assert isinstance(read_frames(path, in_memory=True), FramesInMemory)


def test_several_files(tmp_path):
    one, two = write(tmp_path / "a.xyz", ethanol(3)), write(tmp_path / "b.db", crystal(2))
    frames = read_frames([one, two])
    assert [frame.formula for frame in frames] == ["C2H6O"] * 3 + ["AuCu3"] * 2
    assert frames.files() == [str(one), str(two)]
    assert [frame.index for frame in frames] == [0, 1, 2, 0, 1]


def test_partly_labelled_frames(tmp_path):
    images = ethanol(2)
    images[0].calc.results.pop("forces")
    images[1].calc = None
    frames = read_frames(write(tmp_path / "a.xyz", images))
    assert [sorted(frame.labels) for frame in frames] == [["energy"], []]


def refused(path, keys=None, units=None):
    with pytest.raises(DataError) as caught:
        read_frames(path, keys, units)
    return str(caught.value)


def test_closed_doors(tmp_path):
    write(tmp_path / "train.xyz", ethanol(1))
    write(tmp_path / "a.lmdb", ethanol(1))
    (tmp_path / "empty.xyz").write_text("")
    (tmp_path / "blank.xyz").write_text("\n\n")
    (tmp_path / "noise.db").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "noise.xyz").write_bytes(bytes(range(128, 256)) * 40)
    (tmp_path / "a.strange").write_text("what is this")
    (tmp_path / "broken.cif").write_text("data_x\nloop_\n_cell 3")
    assert "train.xyz" in refused(tmp_path / "trian.xyz")
    assert "does not exist" in refused(tmp_path / "trian.xyz")
    assert "holds no frames" in refused(tmp_path / "empty.xyz")
    assert "holds no frames" in refused(tmp_path / "blank.xyz")
    assert "noise.db cannot be read" in refused(tmp_path / "noise.db")
    assert "should begin with its number of atoms" in refused(tmp_path / "noise.xyz")
    assert "no format that ASE knows" in refused(tmp_path / "a.strange")
    assert "broken.cif" in refused(tmp_path / "broken.cif")
    assert "is a folder" in refused(tmp_path)
    assert "list of files is empty" in refused([])
    assert "leave keys and units at their defaults" in refused(tmp_path / "a.lmdb", units=Units(energy="Hartree"))
    assert "leave keys and units at their defaults" in refused(tmp_path / "a.lmdb", keys=Keys(energy="E"))


def test_real_data(external_data):
    frames = read_frames(external_data / "acac" / "train_300K.xyz")
    assert len(frames) == 500
    assert frames[0].formula == "C5H8O2"
    assert frames[0].config_type == "300K_MD"
    assert frames[0].labels["forces"].shape == (15, 3)
    carbene = read_frames(
        external_data / "spookynet_carbene" / "carbene.xyz", Keys(charge="total_charge", spin="spin_multiplicity")
    )
    assert {frame.spin for frame in carbene} == {0.0, 2.0}
    assert carbene[0].labels["dipole"].shape == (3,)
