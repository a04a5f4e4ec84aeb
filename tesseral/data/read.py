"""Reading frames from any file."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Sequence

import ase
import ase.io
import ase.io.formats

from tesseral.data.archive import FORMAT, Archive, AseLmdb
from tesseral.data.arrays import images_of, is_deepmd
from tesseral.data.errors import DataError
from tesseral.data.frame import frame_from_atoms
from tesseral.data.frames import AseDatabase, Frames, FramesInMemory, Joined, XyzFile
from tesseral.data.keys import Keys
from tesseral.data.units import Units

IN_MEMORY_BELOW = 200_000_000
"""Files with fewer bytes are parsed once and kept in memory."""


def read_frames(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    keys: Keys | None = None,
    units: Units | None = None,
    *,
    in_memory: bool | None = None,
) -> Frames:
    """The frames of one or several files, in eV, Å and e.

    Read are extended XYZ (``.xyz``, ``.extxyz``), ASE databases (``.db``, ``.aselmdb``), archives of
    :func:`tesseral.data.write_archive` (``.lmdb``; they are in our units already), arrays (``.npz``, folders of DeePMD-kit;
    :mod:`tesseral.data.arrays`), and whatever else ASE reads. Files of more
    than 200 MB stay on disk and are read frame by frame, unless ``in_memory`` says otherwise; formats that only ASE knows are
    always read into memory. Raises ``DataError`` for files that are absent, empty, cut off, or not understood.

    >>> import tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "he.xyz")
    >>> _ = path.write_text("1\\nenergy_dft=-2.9\\nHe 0 0 0\\n")
    >>> frames = read_frames(path, Keys(energy="energy_dft"), Units(energy="Hartree"))
    >>> float(frames[0].labels["energy"])
    -78.91...
    """
    if not isinstance(path, (str, os.PathLike)):
        if len(path) == 0:
            raise DataError("the list of files is empty: name at least one file with frames")
        parts = [read_frames(one, keys, units, in_memory=in_memory) for one in path]
        return parts[0] if len(parts) == 1 else Joined(parts)
    keys, units = keys or Keys(), units or Units()
    file = pathlib.Path(path)
    size = _size(file)
    lazy = _open_lazily(file, keys, units)
    frames = _in_memory(file, keys, units) if lazy is None else lazy
    if len(frames) == 0:
        raise DataError(f"{file} holds no frames: it is empty")
    if lazy is not None and (size < IN_MEMORY_BELOW if in_memory is None else in_memory):
        return FramesInMemory(lazy)
    return frames


def frames_from_atoms(
    images: Iterable[ase.Atoms], keys: Keys | None = None, units: Units | None = None, *, file: str = ""
) -> Frames:
    """Frames from ``ase.Atoms`` that somebody has in memory already; ``file`` is what messages call their origin.

    >>> frames_from_atoms([ase.Atoms("He"), ase.Atoms("Ne")])
    FramesInMemory(2 frames)
    """
    return FramesInMemory(frame_from_atoms(atoms, keys, units, file=file, index=index) for index, atoms in enumerate(images))


def _size(file: pathlib.Path) -> int:
    if file.is_symlink() and not file.exists():
        raise DataError(f"{file} is a link to {os.readlink(file)}, which does not exist")
    if not file.exists():
        near = sorted(str(other.name) for other in file.parent.glob(f"*{file.suffix}"))[:8] if file.parent.is_dir() else []
        hint = f"; {file.parent} has {', '.join(near)}" if near else f"; the folder {file.parent} has no such files"
        raise DataError(f"{file} does not exist{hint}")
    if is_deepmd(file):
        return sum(part.stat().st_size for part in file.rglob("*.npy"))
    if file.is_dir() and not (file / "data.mdb").exists():
        raise DataError(f"{file} is a folder: name the files in it (a folder of DeePMD-kit has type.raw and set.000)")
    size = (file / "data.mdb" if file.is_dir() else file).stat().st_size
    if size == 0:
        raise DataError(f"{file} holds no frames: it is empty")
    return size


def _open_lazily(file: pathlib.Path, keys: Keys, units: Units) -> Frames | None:
    suffix = file.suffix.lower()
    if is_deepmd(file):
        return None
    try:
        if suffix in (".xyz", ".extxyz"):
            return XyzFile(file, keys, units)
        if suffix == ".db":
            return AseDatabase(file, keys, units)
        if suffix == ".aselmdb":
            return AseLmdb(file, keys, units)
    except DataError:
        raise
    except Exception as error:  # sqlite, lmdb and zlib each have their own
        raise DataError(
            f"{file} cannot be read ({type(error).__name__}: {error}): it is damaged, or of another format"
        ) from error
    if suffix == ".lmdb" or file.is_dir():
        if keys != Keys() or units != Units():
            raise DataError(
                f"{file} is an archive of {FORMAT}, already in eV and Å under our keys: leave keys and units at their defaults"
            )
        return Archive(file)
    return None


def _in_memory(file: pathlib.Path, keys: Keys, units: Units) -> Frames:
    arrays = images_of(file, units)
    if arrays is not None:
        return frames_from_atoms(arrays, keys, units, file=str(file))
    try:
        images = list(ase.io.iread(str(file), index=":"))
    except ase.io.formats.UnknownFileTypeError as error:
        raise DataError(
            f"{file} is of no format that ASE knows ({error}): convert it to extended XYZ, or give it its usual suffix"
        ) from error
    except Exception as error:  # each of ASE's parsers raises whatever it likes
        raise DataError(f"{file} cannot be read by ASE ({type(error).__name__}: {error}): is it complete?") from error
    return frames_from_atoms(images, keys, units, file=str(file))
