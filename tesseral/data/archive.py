"""An archive of frames larger than memory: one LMDB file, one record per frame, nothing executable inside."""

from __future__ import annotations

import json
import os
import pathlib
import weakref
import zlib
from collections.abc import Iterable
from typing import Any, final

import lmdb
import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as tensors

from tesseral.data.errors import DataError
from tesseral.data.frame import Frame
from tesseral.data.frames import Frames, frame_from_row
from tesseral.data.keys import Keys
from tesseral.data.units import Units

FORMAT = "tesseral frames"
VERSION = 1
_TEXT = ("charge", "spin", "weight", "config_type", "group", "file", "index", "keys")


def write_archive(path: str | os.PathLike[str], frames: Iterable[Frame], *, overwrite: bool = False) -> int:
    """Write frames into an archive, in one pass and without holding them in memory; returns their number.

    The file appears under its name only when it is complete. Raises ``DataError`` when it exists already.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/two.lmdb"
    >>> write_archive(path, [Frame(positions=np.zeros((1, 3)), numbers=np.array([z])) for z in (1, 2)])
    2
    >>> list(Archive(path))
    [Frame(H), Frame(He)]
    """
    target = pathlib.Path(path)
    if target.exists() and not overwrite:
        raise DataError(f"{target} exists already: choose another name, or ask to overwrite it")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    count = 0
    try:
        with lmdb.open(str(partial), subdir=False, map_size=1 << 26, lock=False, sync=False, meminit=False) as environment:
            batch: list[tuple[bytes, bytes]] = []
            size = 0
            for frame in frames:
                batch.append((_key(count), encode(frame)))
                size += len(batch[-1][1])
                count += 1
                if size > 1 << 24:
                    _put(environment, batch)
                    batch, size = [], 0
            header = {"format": FORMAT, "version": VERSION, "frames": count, "units": "eV, Å, e; stress positive under tension"}
            batch.append((b"header", json.dumps(header).encode()))
            _put(environment, batch)
            environment.sync(True)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _put(environment: lmdb.Environment, batch: list[tuple[bytes, bytes]]) -> None:
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, value in batch:
                    transaction.put(key, value)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])


def _key(index: int) -> bytes:
    return b"frame" + index.to_bytes(8, "big")


def encode(frame: Frame) -> bytes:
    """A frame as bytes: arrays as safetensors, everything else as JSON.

    >>> decode(encode(Frame(positions=np.zeros((1, 3)), numbers=np.array([2]), config_type="atom"))).config_type
    'atom'
    """
    text = json.dumps({name: getattr(frame, name) for name in _TEXT})
    arrays = {name: getattr(frame, name) for name in ("positions", "numbers", "cell", "pbc")}
    if frame.field is not None:
        arrays["field"] = frame.field
    arrays |= {f"label {name}": np.asarray(value) for name, value in frame.labels.items()}
    arrays["text"] = np.frombuffer(text.encode(), dtype=np.uint8)
    return bytes(tensors.save({name: np.ascontiguousarray(value).reshape(value.shape) for name, value in arrays.items()}))


def decode(record: bytes) -> Frame:
    """The frame that :func:`encode` turned into bytes."""
    arrays: dict[str, Any] = tensors.load(record)
    text: dict[str, Any] = json.loads(arrays.pop("text").tobytes())
    labels = {name.removeprefix("label "): arrays.pop(name) for name in list(arrays) if name.startswith("label ")}
    return Frame(**arrays, **(text | {"keys": tuple(text["keys"])}), labels=labels)


@final
class Archive(Frames):
    """The frames of an archive, each read when asked for. Raises ``DataError`` for a file that is not an archive."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = str(path)
        self._environment: Any = None
        header = self._get(b"header")
        description = {} if header is None else json.loads(header)
        if description.get("format") != FORMAT:
            raise DataError(f"{self.path} is an LMDB file, but holds no frames of tesseral: write it with write_archive")
        if description["version"] != VERSION:
            raise DataError(
                f"{self.path} is an archive of version {description['version']}, this tesseral reads version {VERSION}: "
                "write it again from its source, or use the tesseral that wrote it"
            )
        self._length: int = description["frames"]

    def _get(self, key: bytes) -> bytes | None:
        with _open(self).begin() as transaction:
            return transaction.get(key)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_environment": None}

    def __len__(self) -> int:
        return self._length

    def frame(self, index: int) -> Frame:
        record = self._get(_key(index))
        if record is None:
            raise DataError(f"{self.path} lacks frame {index}: the archive is damaged; write it again from its source")
        try:
            return decode(record)
        except (SafetensorError, ValueError, KeyError) as error:
            raise DataError(
                f"frame {index} of {self.path} is damaged ({error}): write the archive again from its source"
            ) from error


@final
class AseLmdb(Frames):
    """An ``.aselmdb`` file (ASE's LMDB database, as OMat and OMol are published), read row by row.

    Layout: key ``nextid`` and one key per row number, values JSON compressed by zlib.
    """

    def __init__(self, path: str | os.PathLike[str], keys: Keys | None = None, units: Units | None = None) -> None:
        self.path = str(path)
        self._keys, self._units = keys or Keys(), units or Units()
        self._environment: Any = None
        with _open(self).begin() as transaction:
            if transaction.get(b"nextid") is None:
                raise DataError(f"{self.path} is an LMDB file, but has no rows of ASE in it")
            deleted = self._json(transaction.get(b"deleted_ids")) or []
            last = int(self._json(transaction.get(b"nextid")))
        gone = set(deleted)
        self._ids = [row for row in range(1, last) if row not in gone]

    @staticmethod
    def _json(value: bytes | None) -> Any:
        from ase.io.jsonio import decode as decode_json

        return None if value is None else decode_json(zlib.decompress(value).decode())

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_environment": None}

    def __len__(self) -> int:
        return len(self._ids)

    def frame(self, index: int) -> Frame:
        from ase.db.row import AtomsRow

        with _open(self).begin() as transaction:
            row = self._json(transaction.get(str(self._ids[index]).encode()))
        if row is None:
            raise DataError(f"{self.path} lacks row {self._ids[index]}: the file is damaged or incomplete")
        return frame_from_row(AtomsRow({"id": self._ids[index], **row}), self._keys, self._units, file=self.path, index=index)


# LMDB allows a file to be open once per process and never across a fork: this is the registry that it asks its users to keep.
_OPEN: weakref.WeakValueDictionary[tuple[int, int, int], lmdb.Environment] = weakref.WeakValueDictionary()


def _open(owner: Archive | AseLmdb) -> lmdb.Environment:
    if owner._environment is not None and owner._environment[0] == os.getpid():
        return owner._environment[1]
    path = pathlib.Path(owner.path)
    if not path.exists():
        raise DataError(f"{path} does not exist")
    status = path.stat()
    identity = (os.getpid(), status.st_dev, status.st_ino)
    environment = _OPEN.get(identity)
    if environment is None:
        try:
            environment = lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False)
        except lmdb.Error as error:
            raise DataError(f"{path} cannot be opened as LMDB ({error}): it is damaged, or something else") from error
        _OPEN[identity] = environment
    owner._environment = (os.getpid(), environment)
    return environment
