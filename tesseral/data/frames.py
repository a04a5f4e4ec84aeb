"""Sequences of frames: in memory, or lazily from files that need not fit into memory."""

from __future__ import annotations

import abc
import bisect
import hashlib
import io
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, final, overload

import ase.io
import numpy as np
import torch

from tesseral.data.errors import DataError
from tesseral.data.frame import Frame, frame_from_atoms
from tesseral.data.keys import Keys
from tesseral.data.units import Units
from tesseral.graph import Graph


class Frames(abc.ABC):
    """A sequence of frames. A slice or a list of indices gives a view, ``+`` joins, and all of it pickles for data workers.

    >>> frames = FramesInMemory([Frame(positions=np.zeros((1, 3)), numbers=np.array([z])) for z in (1, 2, 10)])
    >>> frames[1]
    Frame(He)
    >>> list(frames[1:] + frames.subset([0]))
    [Frame(He), Frame(Ne), Frame(H)]
    """

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def frame(self, index: int) -> Frame:
        """The frame at ``0 <= index < len(self)``."""

    @overload
    def __getitem__(self, index: int) -> Frame: ...

    @overload
    def __getitem__(self, index: slice) -> Frames: ...

    def __getitem__(self, index: int | slice) -> Frame | Frames:
        if isinstance(index, slice):
            return self.subset(range(*index.indices(len(self))))
        position = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= position < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        return self.frame(position)

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(index) for index in range(len(self)))

    def __add__(self, other: Frames) -> Frames:
        return Joined([self, other])

    def subset(self, indices: Iterable[int]) -> Frames:
        """The frames at ``indices``, without a copy."""
        return Subset(self, indices)

    def files(self) -> list[str]:
        """The files that the frames come from, in order."""
        return list(dict.fromkeys(frame.file for frame in self))

    def digest(self) -> str:
        """A hash of all frames in order, to know them again."""
        sha = hashlib.sha256()
        for frame in self:
            sha.update(frame.digest())
        return sha.hexdigest()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} frames)"


@final
class FramesInMemory(Frames):
    """Frames in a list."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames = list(frames)

    def __len__(self) -> int:
        return len(self._frames)

    def frame(self, index: int) -> Frame:
        return self._frames[index]


@final
class Subset(Frames):
    """Some frames of another sequence."""

    def __init__(self, frames: Frames, indices: Iterable[int]) -> None:
        self._indices = np.fromiter(indices, dtype=np.int64)
        if len(self._indices) and not (self._indices.min() >= 0 and self._indices.max() < len(frames)):
            raise IndexError(f"indices {self._indices.min()} to {self._indices.max()} of {len(frames)} frames")
        self._frames = frames

    def __len__(self) -> int:
        return len(self._indices)

    def frame(self, index: int) -> Frame:
        return self._frames.frame(int(self._indices[index]))


@final
class Joined(Frames):
    """Several sequences, one after the other."""

    def __init__(self, parts: Iterable[Frames]) -> None:
        self._parts = list(parts)
        self._ends = list(itertools.accumulate(len(part) for part in self._parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def frame(self, index: int) -> Frame:
        part = bisect.bisect_right(self._ends, index)
        return self._parts[part].frame(index - (self._ends[part - 1] if part else 0))


@final
class XyzFile(Frames):
    """An extended XYZ file, read frame by frame: only the places where frames begin are kept in memory.

    Raises ``DataError`` for a file that ends in the middle of a frame, and for a line that should be a number of atoms.
    """

    def __init__(self, path: str | os.PathLike[str], keys: Keys | None = None, units: Units | None = None) -> None:
        self.path = str(path)
        self._keys, self._units = keys or Keys(), units or Units()
        self._offsets = _index_xyz(self.path)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def frame(self, index: int) -> Frame:
        with open(self.path, "rb") as file:
            file.seek(int(self._offsets[index]))
            raw = file.read(int(self._offsets[index + 1] - self._offsets[index]))
        place = f"frame {index} of {self.path}"
        try:
            (atoms,) = ase.io.iread(io.StringIO(raw.decode("utf-8")), format="extxyz", index=":")
        except KeyError as error:
            raise DataError(f"{place}: {error} is not a chemical element; correct the symbol, or remove the frame") from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"{place} is not UTF-8 text (byte {raw[error.start]:#04x}): save the file as UTF-8, or remove that character"
            ) from error
        except Exception as error:  # ASE's parser raises whatever its parts raise
            raise DataError(f"{place} cannot be read as extended XYZ ({type(error).__name__}: {error})") from error
        return frame_from_atoms(atoms, self._keys, self._units, file=self.path, index=index)


def _index_xyz(path: str) -> np.ndarray:
    """Byte offsets of the frames of an extended XYZ file, and its end."""
    offsets: list[int] = []
    with open(path, "rb") as file:
        while True:
            offset = file.tell()
            line = file.readline()
            if not line.strip():
                if not line or not file.read(4096).strip():
                    break
                raise DataError(f"{path}: a blank line where frame {len(offsets)} should begin with its number of atoms")
            if not re.fullmatch(rb"\s*\d+\s*", line):
                raise DataError(
                    f"{path}: frame {len(offsets)} should begin with its number of atoms, but the line reads "
                    f"{line[:60].decode('utf-8', 'replace').strip()!r}; is an atom missing or too many in the frame before?"
                )
            nodes = int(line)
            comment = file.readline()
            rows = [len(row.split()) for row in itertools.islice(file, nodes)]
            complete = sum(columns > 0 for columns in rows)
            if nodes > 1 and 0 < min(rows, default=0) < rows[0] and file.peek(1):
                raise DataError(
                    f"{path}: frame {len(offsets)} announces {nodes} atoms, but one of its lines is shorter than the others; "
                    "is an atom missing?"
                )
            if not comment.endswith(b"\n") or complete < nodes or (nodes > 1 and rows[-1] < rows[0]):
                raise DataError(
                    f"{path} ends in the middle of frame {len(offsets)}, which announces {nodes} atoms: it was cut off after "
                    f"{complete} of them while it was written; write it again, or delete that frame"
                )
            offsets.append(offset)
        offsets.append(offset)
    return np.array(offsets, dtype=np.int64)


@final
class AseDatabase(Frames):
    """An ASE database (sqlite ``.db`` or ``.json``), read row by row."""

    def __init__(self, path: str | os.PathLike[str], keys: Keys | None = None, units: Units | None = None) -> None:
        self.path = str(path)
        self._keys, self._units = keys or Keys(), units or Units()
        self._database: Any = None
        self._ids = [row.id for row in self._connect().select(include_data=False, columns=["id"])]

    def _connect(self) -> Any:
        import ase.db

        # A sqlite connection must not cross a fork, so each process opens its own.
        if self._database is None or self._database[0] != os.getpid():
            self._database = (os.getpid(), ase.db.connect(self.path))
        return self._database[1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_database": None}

    def __len__(self) -> int:
        return len(self._ids)

    def frame(self, index: int) -> Frame:
        row = self._connect().get(id=self._ids[index])
        return frame_from_row(row, self._keys, self._units, file=self.path, index=index)


def frame_from_row(row: Any, keys: Keys, units: Units, *, file: str, index: int) -> Frame:
    """A frame from a row of an ASE database, whose key-value pairs and data are searched for labels like ``info``."""
    atoms = row.toatoms()
    atoms.info |= dict(row.data or {}) | dict(row.key_value_pairs)
    return frame_from_atoms(atoms, keys, units, file=file, index=index)


@final
class Graphs(torch.utils.data.Dataset[Graph]):
    """Frames as graphs, ready for a ``DataLoader`` with ``collate_fn=tesseral.graph.collate``.

    With ``cache`` a graph is built once and kept in memory, for data sets that fit; each data worker keeps its own.

    >>> frames = FramesInMemory([Frame(positions=np.zeros((1, 3)), numbers=np.array([2]))])
    >>> Graphs(frames, cutoff=5.0)[0]
    Graph(nodes=1, edges=0, graphs=1)
    """

    def __init__(
        self,
        frames: Frames,
        cutoff: float | int,
        *,
        cache: bool = True,
        dtype: torch.dtype = torch.float64,
        labels: Sequence[str] | None = None,
    ) -> None:
        self.frames = frames
        self.cutoff = cutoff
        self.dtype = dtype
        self.labels = None if labels is None else tuple(labels)
        self._cache: dict[int, Graph] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Graph:
        if index < 0 or index >= len(self):
            raise IndexError(f"graph {index} of {len(self)}")
        if self._cache is None:
            return self._build(index)
        if index not in self._cache:
            self._cache[index] = self._build(index)
        return self._cache[index]

    def _build(self, index: int) -> Graph:
        graph = self.frames[index].graph(self.cutoff, self.dtype)
        if self.labels is None:
            return graph
        kept = {name: value for name, value in graph.labels.items() if name in self.labels}
        return graph.replace(labels=kept, masks={name: graph.masks[name] for name in kept})
