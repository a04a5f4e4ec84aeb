"""Trajectories that survive a kill: frames are appended whole, and the last whole frame is where a run resumes."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import ase
import ase.io
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory as AseTrajectory
from ase.io.ulm import InvalidULMFileError

SUFFIXES = {".traj": "traj", ".xyz": "extxyz", ".extxyz": "extxyz"}


class TrajectoryError(ValueError):
    """A trajectory that cannot be written or continued; the message says why, and what to do."""


class TrajectoryFile:
    """Frames with positions, momenta, cell, energy and forces, in ASE's ``.traj`` (to the last bit) or ``.extxyz`` (8 decimals).

    Raises :class:`TrajectoryError` for another suffix, a missing folder, or a file that exists when ``resume`` is not set.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = TrajectoryFile(f"{folder}/run.extxyz")
    ...     file.append(ase.Atoms("H"), step=10)
    ...     int(TrajectoryFile(file.path, resume=True).last().info["step"])
    10
    """

    def __init__(self, path: str | os.PathLike[str], resume: bool = False) -> None:
        self.path = Path(path)
        if self.path.suffix not in SUFFIXES:
            raise TrajectoryError(f"{self.path}: a trajectory ends in {', '.join(SUFFIXES)}, not in {self.path.suffix!r}")
        if not self.path.parent.is_dir():
            raise TrajectoryError(f"{self.path}: there is no folder {self.path.parent}")
        if self.path.exists() and not resume:
            raise TrajectoryError(f"{self.path} exists: resume it, remove it, or choose another name")
        self.format = SUFFIXES[self.path.suffix]

    def append(self, atoms: ase.Atoms, **info: Any) -> None:
        """Add a frame with the results that its calculator holds; ``info`` is stored along with it."""
        frame = atoms.copy()
        frame.info = atoms.info | info
        results = getattr(atoms.calc, "results", {})
        frame.calc = SinglePointCalculator(frame, **{k: results[k] for k in ("energy", "forces", "stress") if k in results})
        try:
            if self.format == "traj":
                with AseTrajectory(self.path, "a", frame) as file:
                    file.write()
                return
            text = io.StringIO()
            ase.io.write(text, frame, format="extxyz")
            with self.path.open("a", encoding="utf-8") as lines:
                lines.write(text.getvalue())
                lines.flush()
        except OSError as error:
            raise TrajectoryError(f"cannot write {self.path}: {error.strerror or error}; the frames before are kept") from error

    def last(self) -> ase.Atoms | None:
        """The last whole frame, or None; what a kill left behind it is cut off."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return None
        if self.format == "extxyz":
            end = _whole_frames(self.path)
            if end < self.path.stat().st_size:
                _check_ours(self.path, end)
                os.truncate(self.path, end)
            if end == 0:
                return None
        try:
            frame = ase.io.read(self.path, index=-1, format=self.format)
        except (InvalidULMFileError, ValueError, KeyError, IndexError, ase.io.formats.UnknownFileTypeError) as error:
            raise TrajectoryError(f"{self.path} is no trajectory ({error}): remove it or choose another name") from error
        assert isinstance(frame, ase.Atoms)
        return frame


def _check_ours(path: Path, begin: int) -> None:
    """Half a frame is cut off only where a run wrote it: a file of somebody else may just lack its last line break."""
    with path.open("rb") as lines:
        lines.seek(begin)
        _, comment = lines.readline(), lines.readline()
    if comment.endswith(b"\n") and b"step=" not in comment:
        raise TrajectoryError(
            f"{path} ends in the middle of a frame that was not written by this program (it has no step): choose another name"
        )


def _whole_frames(path: Path) -> int:
    """The number of bytes of an extxyz file up to the end of its last whole frame."""
    end = position = 0
    with path.open("rb") as lines:
        while True:
            first = lines.readline()
            if not first:
                return end
            try:
                count = int(first)
            except ValueError:
                raise TrajectoryError(f"{path} is no extxyz file: expected a number of atoms at byte {position}") from None
            if not first.endswith(b"\n"):
                return end
            body = [lines.readline() for _ in range(count + 1)]
            if not all(line.endswith(b"\n") for line in body):
                return end
            position += len(first) + sum(map(len, body))
            end = position
