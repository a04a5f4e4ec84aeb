"""Frames come back, and half a frame is cut off."""

import ase
import ase.build
import ase.io
import numpy as np
import pytest

from tesseral.interfaces.ase import Calculator
from tesseral.physics.trajectory import TrajectoryError, TrajectoryFile
from tests.physics.toys import ManyBody


def frame(seed=0):
    atoms = ase.build.molecule("H2O")
    atoms.rattle(0.1, seed=seed)
    atoms.set_momenta(np.random.default_rng(seed).normal(size=(3, 3)))
    atoms.calc = Calculator(ManyBody())
    atoms.get_forces()
    return atoms


@pytest.mark.parametrize("suffix", [".traj", ".extxyz", ".xyz"])
def test_frames_come_back(tmp_path, suffix):
    file = TrajectoryFile(tmp_path / f"run{suffix}")
    for seed in range(3):
        file.append(frame(seed), step=10 * seed, time=0.1)
    frames = ase.io.read(file.path, ":", format=file.format)
    assert [f.info["step"] for f in frames] == [0, 10, 20]
    last, original = TrajectoryFile(file.path, resume=True).last(), frame(2)
    tolerance = 0 if suffix == ".traj" else 1e-8
    np.testing.assert_allclose(last.positions, original.positions, atol=tolerance)
    np.testing.assert_allclose(last.get_momenta(), original.get_momenta(), atol=tolerance)
    assert last.get_potential_energy() == pytest.approx(original.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(last.get_forces(), original.get_forces(), atol=max(tolerance, 1e-12))


@pytest.mark.parametrize("text", ["precious", "2\nmine\nCu 0 0 0\nCu 0 0 2.5", "1\nmine\nCu 0 0 0\n2\nmine\nCu 0 0 0\n"])
def test_what_somebody_else_wrote_is_not_cut_off(tmp_path, text):
    path = tmp_path / "mine.xyz"
    path.write_text(text)
    with pytest.raises(TrajectoryError):
        TrajectoryFile(path, resume=True).last()
    assert path.read_text() == text


@pytest.mark.parametrize("cut", [1, 30, 100, 250])
def test_half_a_frame_is_cut_off(tmp_path, cut):
    file = TrajectoryFile(tmp_path / "run.extxyz")
    file.append(frame(0), step=0)
    whole = file.path.stat().st_size
    file.append(frame(1), step=1)
    with file.path.open("rb+") as handle:
        handle.truncate(file.path.stat().st_size - cut)
    assert TrajectoryFile(file.path, resume=True).last().info["step"] == 0
    assert file.path.stat().st_size == whole
    file.append(frame(2), step=2)
    assert [f.info["step"] for f in ase.io.read(file.path, ":")] == [0, 2]


def test_the_first_frame_may_be_the_half_one(tmp_path):
    path = tmp_path / "run.xyz"
    path.write_text("3\nProper")
    assert TrajectoryFile(path, resume=True).last() is None
    assert path.stat().st_size == 0
    path.unlink()
    assert TrajectoryFile(path, resume=True).last() is None


@pytest.mark.parametrize(
    ("name", "sentence"), [("run.pdb", "ends in .traj"), ("nowhere/run.traj", "no folder"), ("old.traj", "exists: resume it")]
)
def test_files_that_cannot_be_written_are_refused_before_the_run(tmp_path, name, sentence):
    (tmp_path / "old.traj").write_text("precious")
    with pytest.raises(TrajectoryError, match=sentence):
        TrajectoryFile(tmp_path / name)
    assert (tmp_path / "old.traj").read_text() == "precious"


@pytest.mark.parametrize("suffix", [".traj", ".xyz"])
def test_other_files_are_not_continued(tmp_path, suffix):
    path = tmp_path / f"notes{suffix}"
    path.write_text("shopping list\nmilk\n")
    with pytest.raises(TrajectoryError, match=r"no (trajectory|extxyz)"):
        TrajectoryFile(path, resume=True).last()
    assert path.read_text() == "shopping list\nmilk\n"
