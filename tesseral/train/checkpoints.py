"""Atomic files and the folder of a run: what survives a ``kill -9``, a full disk, or a second run into the same folder."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import socket
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

FORMAT = 1
"""The version of the checkpoint's content; a change of meaning raises it."""

LAST, BEST, LOCK, HISTORY = "last.ckpt", "best.ckpt", "run.lock", "history.csv"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written, read or continued; the message says why and what to do."""


class RunFolderError(RuntimeError):
    """The folder of a run cannot be used; the message says why and what to do."""


def write_atomically(path: Path, content: bytes) -> None:
    """The file holds either its old content or the new one, whatever happens; :class:`CheckpointError` when it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder) / "a.txt", b"new")
    ...     (Path(folder) / "a.txt").read_bytes()
    b'new'
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        kept = f"; the previous {path.name} is intact" if path.exists() else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CheckpointError(
                f"no space left to write {path} ({len(content) / 2**20:.1f} MiB){kept}; "
                "free some space and continue with --resume"
            ) from error
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}{kept}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes tensors, numbers, texts, lists and mappings atomically."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What :func:`save_checkpoint` wrote, on the CPU; nothing in the file is executed.

    Raises :class:`CheckpointError` for a file that is absent, damaged, of another kind, or of another version.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(
                f"{path} is damaged (checksum of {damaged}); use another checkpoint, such as {BEST}, or an older copy"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such checkpoint") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path} is a folder, not a checkpoint") from None
    except zipfile.BadZipFile:
        raise CheckpointError(
            f"{path} is not a checkpoint, or only half of one; use another, such as {BEST}, or an older copy"
        ) from None
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        raise CheckpointError(f"{path} is damaged or not a checkpoint of tesseral ({str(error).splitlines()[0]})") from error
    if not isinstance(state, dict) or "format" not in state:
        raise CheckpointError(f"{path} is not a checkpoint of tesseral")
    if state["format"] != FORMAT:
        raise CheckpointError(
            f"{path} is a checkpoint of format {state['format']}, this version of tesseral reads format {FORMAT}; "
            "continue it with the version that wrote it, or train anew"
        )
    return state


def best_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The averaged weights with the lowest monitored error of a run, as a ``state_dict``."""
    return load_checkpoint(Path(folder) / BEST)["weights"]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder for this process; the system lets go when the process ends, however it ends.

    Raises :class:`RunFolderError` with the number of the process that holds it. What a dead process left behind is taken over.
    """
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except (FileExistsError, NotADirectoryError):
        raise RunFolderError(f"{folder} is a file, or lies in one; name a folder for the run") from None
    except OSError as error:
        raise RunFolderError(f"the folder {folder} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 1000).decode(errors="replace")
        os.close(descriptor)
        try:
            who = json.loads(holder)
            text = f"process {who['pid']} on {who['host']}, since {who['since']}"
        except (json.JSONDecodeError, KeyError, TypeError):
            text = "another process"
        raise RunFolderError(f"{folder} is in use by a run ({text}); wait for it, stop it, or name another folder") from None
    try:
        os.ftruncate(descriptor, 0)
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.write(descriptor, json.dumps(who).encode())
        yield
    finally:
        # The file stays: were it removed, a process that had just opened it could hold a lock nobody else sees.
        os.ftruncate(descriptor, 0)
        os.close(descriptor)


def prepare_folder(folder: Path, resume: bool, overwrite: bool) -> dict[str, Any] | None:
    """The state to continue from, or None for a fresh run; call it inside :func:`locked`.

    Raises :class:`RunFolderError` when the folder holds a run and neither ``resume`` nor ``overwrite`` is given. ``overwrite``
    removes the files of the earlier run, and no others; ``resume`` without an earlier run starts afresh.
    """
    if resume and overwrite:
        raise RunFolderError("--resume continues a run and --overwrite discards it; give one of them")
    last = folder / LAST
    if resume:
        return load_checkpoint(last) if last.exists() else None
    earlier = [folder / name for name in (LAST, BEST, HISTORY) if (folder / name).exists()]
    if earlier and not overwrite:
        raise RunFolderError(
            f"{folder} holds a run ({', '.join(path.name for path in earlier)}); "
            "continue it with --resume, discard it with --overwrite, or name another folder"
        )
    for path in earlier:
        path.unlink()
    for path in folder.glob("*.tmp"):
        path.unlink()
    for path in (folder / "tensorboard").glob("events.out.tfevents.*"):
        path.unlink()
    return None
