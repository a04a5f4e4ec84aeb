"""Sequences of frames, in memory and on disk, in one process and in many."""

import pickle

import ase
import ase.db
import ase.io
import numpy as np
import pytest
import torch

from tesseral.data import DataError, Frame, FramesInMemory, Graphs, Keys, Units, frames_from_atoms
from tesseral.data.frames import AseDatabase, XyzFile
from tesseral.graph import collate
from tests.data.made import crystal, ethanol


@pytest.fixture
def molecules():
    return ethanol(7)


@pytest.fixture
def xyz(tmp_path, molecules):
    ase.io.write(tmp_path / "a.xyz", molecules, format="extxyz")
    return tmp_path / "a.xyz"


def same(one, two):
    return [frame.digest() for frame in one] == [frame.digest() for frame in two]


def test_indexing_slicing_joining():
    frames = FramesInMemory([Frame(positions=np.zeros((1, 3)), numbers=np.array([z])) for z in range(1, 6)])
    numbers = lambda part: [int(frame.numbers[0]) for frame in part]  # noqa: E731
    assert numbers([frames[-1], frames[0]]) == [5, 1]
    assert numbers(frames[1:4]) == [2, 3, 4]
    assert numbers(frames[::-2]) == [5, 3, 1]
    assert numbers(frames.subset([4, 4, 0]) + frames[:1]) == [5, 5, 1, 1]
    assert len(frames[3:] + frames) == 7
    for wrong in (5, -6):
        with pytest.raises(IndexError):
            frames[wrong]
    with pytest.raises(IndexError):
        frames.subset([5])


def test_xyz_is_read_frame_by_frame(xyz, molecules):
    frames = XyzFile(xyz)
    assert len(frames) == 7
    expected = frames_from_atoms(molecules)
    for index in (3, 0, 6):
        np.testing.assert_allclose(frames[index].positions, expected[index].positions, atol=1e-8)
        np.testing.assert_allclose(frames[index].labels["energy"], expected[index].labels["energy"])
        assert frames[index].place == f"frame {index} of {xyz}"


def test_xyz_with_blank_comments_windows_lines_and_trailing_blanks(tmp_path):
    path = tmp_path / "odd.xyz"
    path.write_bytes(b"1\r\n\r\nH 0 0 0\r\n2\r\nenergy=3\r\nH 0 0 0\r\nO 0 0 1\r\n0\r\n\r\n1\nenergy=4\nHe 0 0 0\n\n  \n")
    frames = XyzFile(path)
    assert [frame.formula for frame in frames] == ["H", "HO", "", "He"]
    assert frames[3].labels["energy"] == 4


@pytest.mark.parametrize("cut", [20, 200, 400, 880, 1000])
def test_a_file_that_was_cut_off(tmp_path, xyz, cut):
    path = tmp_path / "cut.xyz"
    path.write_bytes(xyz.read_bytes()[:-cut])
    with pytest.raises(DataError, match=r"cut.xyz ends in the middle of frame [56], which announces 9 atoms"):
        XyzFile(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("H 0 0 0\n", "should begin with its number of atoms, but the line reads 'H 0 0 0'"),
        ("1\nenergy=1\nH 0 0 0\nH 0 0 1\n", "frame 1 should begin"),
        ("2\nenergy=1\nH 0 0 0\n1\nenergy=1\nH 0 0 0\n", "frame 0 announces 2 atoms, but one of its lines is shorter"),
        ("1\nenergy=1\nH 0 0 0\n\n1\nenergy=1\nH 0 0 0\n", "a blank line where frame 1"),
        ("3\nenergy=1\nH 0 0 0\n", "ends in the middle of frame 0, which announces 3 atoms"),
    ],
)
def test_broken_files_are_described(tmp_path, text, sentence):
    (tmp_path / "x.xyz").write_text(text)
    with pytest.raises(DataError, match=sentence):
        list(XyzFile(tmp_path / "x.xyz"))


@pytest.mark.parametrize(
    ("line", "sentence"), [("Qq 0 0 0", "'Qq' is not a chemical element"), ("H 0 zero 0", "cannot be read as extended XYZ")]
)
def test_broken_frames_are_named(tmp_path, line, sentence):
    (tmp_path / "x.xyz").write_text(f"1\nenergy=1\nH 0 0 0\n1\nenergy=1\n{line}\n")
    frames = XyzFile(tmp_path / "x.xyz")
    assert frames[0].formula == "H"
    with pytest.raises(DataError, match=f"frame 1 of .*x.xyz.*{sentence}"):
        frames[1]


def test_database(tmp_path):
    with ase.db.connect(tmp_path / "a.db") as database:
        for atoms in crystal(3):
            database.write(atoms, gap=1.5, data={"tensor": np.arange(3.0)})
    frames = AseDatabase(tmp_path / "a.db", Keys(extra={"gap": "gap", "tensor": "tensor"}), Units(extra={"gap": 2.0}))
    assert len(frames) == 3
    assert frames[2].labels["gap"] == 3.0
    np.testing.assert_array_equal(frames[1].labels["tensor"], [0, 1, 2])
    np.testing.assert_allclose(frames[0].labels["stress"], crystal(1)[0].get_stress(voigt=False))
    assert same(pickle.loads(pickle.dumps(frames)), frames)


def test_pickled_frames_read_on(xyz):
    frames = XyzFile(xyz)
    assert same(pickle.loads(pickle.dumps(frames[2:] + frames)), frames[2:] + frames)


def test_digest_of_a_sequence(xyz):
    frames = XyzFile(xyz)
    assert frames.digest() == FramesInMemory(frames).digest()
    assert frames.digest() != frames[::-1].digest()
    assert frames[:3].digest() != frames.digest()


def test_graphs_are_built_once(xyz):
    graphs = Graphs(XyzFile(xyz), cutoff=3.0)
    assert graphs[3] is graphs[3]
    fresh = Graphs(XyzFile(xyz), cutoff=3.0, cache=False, labels=["energy"])
    assert fresh[3] is not fresh[3]
    assert fresh[3].labels.keys() == fresh[3].masks.keys() == {"energy"}
    with pytest.raises(IndexError):
        graphs[7]


def test_graphs_in_data_workers(xyz):
    graphs = Graphs(XyzFile(xyz), cutoff=3.0, cache=False)
    loader = torch.utils.data.DataLoader(
        graphs, batch_size=3, collate_fn=collate, num_workers=1, multiprocessing_context="fork", timeout=60
    )
    batches = list(loader)
    assert [batch.num_graphs for batch in batches] == [3, 3, 1]
    assert torch.equal(batches[1].positions, collate([graphs[3], graphs[4], graphs[5]]).positions)
