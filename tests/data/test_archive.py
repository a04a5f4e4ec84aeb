"""The archive: everything comes back, nothing half-written appears, nothing is executed."""

import dataclasses
import pickle
import struct
import zlib

import lmdb
import numpy as np
import pytest
from ase.db.row import atoms2dict
from ase.io.jsonio import encode as encode_json

from tesseral.data import Archive, DataError, Frame, frames_from_atoms, read_frames, write_archive
from tesseral.data.archive import AseLmdb, decode, encode
from tests.data.made import crystal, ethanol


def full_frame():
    frame = frames_from_atoms(crystal(1), file="c.xyz")[0]
    return dataclasses.replace(
        frame, charge=-1.0, spin=2.0, field=np.array([0, 0, 1.0]), weight=0.25, config_type="Größe", group="run 3", index=12
    )


def test_everything_comes_back():
    frame = full_frame()
    again = decode(encode(frame))
    for field in dataclasses.fields(Frame):
        one, two = getattr(frame, field.name), getattr(again, field.name)
        if field.name == "labels":
            assert one.keys() == two.keys()
            for name in one:
                assert one[name].shape == two[name].shape
                np.testing.assert_array_equal(one[name], two[name])
        elif isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, two)
            assert one.dtype == two.dtype
        else:
            assert one == two, field.name
    assert again.digest() == frame.digest()


def test_frames_without_atoms_or_labels():
    empty = Frame(positions=np.zeros((0, 3)), numbers=np.zeros(0, dtype=np.int64))
    assert decode(encode(empty)).digest() == empty.digest()


def test_write_and_read(tmp_path):
    frames = frames_from_atoms(ethanol(20) + crystal(5))
    assert write_archive(tmp_path / "a.lmdb", iter(frames)) == 25
    archive = read_frames(tmp_path / "a.lmdb", in_memory=False)
    assert isinstance(archive, Archive)
    assert archive.digest() == frames.digest()
    assert pickle.loads(pickle.dumps(archive))[7].digest() == frames[7].digest()
    assert [path.name for path in tmp_path.iterdir()] == ["a.lmdb"]


def test_grows_beyond_its_first_map(tmp_path, monkeypatch):
    real_open = lmdb.open
    monkeypatch.setattr(
        lmdb,
        "open",
        lambda path, **options: real_open(path, **options | {"map_size": 1 << 16} if "map_size" in options else options),
    )
    frames = frames_from_atoms(crystal(3))
    many = [frames[i % 3] for i in range(400)]
    assert write_archive(tmp_path / "a.lmdb", many) == 400
    monkeypatch.undo()
    assert Archive(tmp_path / "a.lmdb")[399].digest() == frames[0].digest()


def test_an_interrupted_writer_leaves_nothing(tmp_path):
    def broken():
        yield full_frame()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_archive(tmp_path / "a.lmdb", broken())
    assert list(tmp_path.iterdir()) == []


def test_existing_archives_are_kept(tmp_path):
    path = tmp_path / "a.lmdb"
    write_archive(path, [full_frame()])
    with pytest.raises(DataError, match="exists already"):
        write_archive(path, [full_frame()] * 2)
    assert len(Archive(path)) == 1
    write_archive(path, [full_frame()] * 2, overwrite=True)
    assert len(Archive(path)) == 2


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.lmdb").write_text("hello" * 1000)
    with pytest.raises(DataError, match="cannot be opened as LMDB"):
        Archive(tmp_path / "text.lmdb")
    with (
        lmdb.open(str(tmp_path / "other.lmdb"), subdir=False, lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"0", pickle.dumps("not for us"))
    with pytest.raises(DataError, match="holds no frames of tesseral"):
        Archive(tmp_path / "other.lmdb")
    with pytest.raises(DataError, match="has no rows of ASE"):
        AseLmdb(tmp_path / "other.lmdb")


def test_damaged_records_are_named(tmp_path):
    path = tmp_path / "a.lmdb"
    write_archive(path, [full_frame()] * 3)
    with lmdb.open(str(path), subdir=False, lock=False) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"frame" + struct.pack(">Q", 1), b"rubbish")
        transaction.delete(b"frame" + struct.pack(">Q", 2))
    archive = Archive(path)
    with pytest.raises(DataError, match=r"frame 1 of .*a.lmdb is damaged"):
        archive[1]
    with pytest.raises(DataError, match="lacks frame 2"):
        archive[2]


def test_rows_of_an_ase_lmdb_file(tmp_path):
    # The layout of ase-db-backends, which OMat24 and OMol25 are published in.
    path = tmp_path / "a.aselmdb"
    with lmdb.open(str(path), subdir=False, lock=False) as environment, environment.begin(write=True) as transaction:
        images = crystal(4)
        for number, atoms in enumerate(images, start=1):
            row = atoms2dict(atoms) | {
                "energy": atoms.get_potential_energy(),
                "forces": atoms.get_forces(),
                "stress": atoms.get_stress(),
            }
            row |= {
                "calculator": "emt",
                "calculator_parameters": {},
                "key_value_pairs": {"group": "g"},
                "data": {},
                "ctime": 0.0,
                "mtime": 0.0,
                "user": "",
            }
            transaction.put(str(number).encode(), zlib.compress(encode_json(row).encode()))
        transaction.delete(b"3")
        transaction.put(b"nextid", zlib.compress(encode_json(5).encode()))
        transaction.put(b"deleted_ids", zlib.compress(encode_json([3]).encode()))
    frames = read_frames(path)
    assert len(frames) == 3
    for frame, atoms in zip(frames, [images[0], images[1], images[3]]):
        np.testing.assert_allclose(frame.positions, atoms.positions)
        np.testing.assert_allclose(frame.labels["energy"], atoms.get_potential_energy())
        np.testing.assert_allclose(frame.labels["forces"], atoms.get_forces())
        np.testing.assert_allclose(frame.labels["stress"], atoms.get_stress(voigt=False))
