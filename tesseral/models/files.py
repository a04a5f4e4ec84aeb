"""Model files: weights as safetensors, everything else as JSON in the same file's header. Nothing in a file is ever executed.

The header's ``tesseral`` entry holds a :class:`Metadata`. Its ``schema_version`` rises when the meaning of a file changes;
``MIGRATIONS`` bring older files up to date while they are read.
"""

from __future__ import annotations

import datetime
import errno
import hashlib
import importlib.metadata
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from tesseral.models import EnergyModel, build, parse_settings, settings_of

SCHEMA_VERSION = 1
KEY = "tesseral"
UNITS = {"length": "Å", "energy": "eV", "forces": "eV/Å", "stress": "eV/Å³"}

# From the version of a file to the next: edits metadata (plain JSON data) and tensors in place.
MIGRATIONS: dict[int, Callable[[dict[str, Any], dict[str, Tensor]], None]] = {}


class ModelFileError(ValueError):
    """A file that cannot be written or read as a model; the message says why, and what to do."""


class Metadata(BaseModel):
    """What a model file says about its model. The writer fills the first group in; the rest is the author's to give."""

    model_config = ConfigDict(extra="allow", frozen=True)

    schema_version: int = SCHEMA_VERSION
    tesseral_version: str = ""
    torch_version: str = ""
    created: str = Field("", description="when it was written, UTC")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the model")
    dtype: str = Field("", description="precision of the network inside; positions and energies are float64")
    cutoff: float = Field(0.0, description="reach of the model, Å")
    species: tuple[int, ...] = Field((), description="atomic numbers that the model knows")
    atomic_energies: dict[int, float] = Field(default_factory=dict, description="energies of the isolated atoms, eV")
    units: dict[str, str] = Field(default_factory=lambda: dict(UNITS), description="units of what goes in and comes out")
    checksum: str = Field("", description="SHA-256 of names, types, shapes and bytes of the tensors")

    level_of_theory: str = Field("", description="what the training energies are, e.g. PBE0/def2-SVP")
    errors: dict[str, Any] = Field(default_factory=dict, description="errors on training, validation and test data")
    training: dict[str, Any] = Field(default_factory=dict, description="settings of the training run")
    citation: str = ""
    notes: str = ""


def save(model: torch.nn.Module, path: str | os.PathLike[str], metadata: Metadata | Mapping[str, Any] | None = None) -> Metadata:
    """Write the model to one file, atomically: a reader finds the old file or the new one, never a half.

    ``metadata`` gives the author's fields of :class:`Metadata`; the others are filled in. Returns what was written. Raises
    :class:`ModelFileError` when the file cannot be written, and ``TypeError`` for a model of another library.

    >>> import tempfile
    >>> from tesseral.nn.pair import ZBL
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save(ZBL(4.0, (1, 8)), f"{folder}/zbl.safetensors", {"level_of_theory": "Ziegler 1985"})
    ...     model, metadata = load(f"{folder}/zbl.safetensors")
    >>> model.cutoff, metadata.level_of_theory, metadata.units["forces"]
    (4.0, 'Ziegler 1985', 'eV/Å')
    """
    path = Path(path)
    settings = settings_of(model).model_dump(mode="json")
    given = metadata.model_dump() if isinstance(metadata, Metadata) else dict(metadata or {})
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    complete = Metadata.model_validate(given | _description(model, tensors) | {"settings": settings})
    content = safetensors.torch.save(tensors, {KEY: complete.model_dump_json()})
    write_atomically(path, content)
    return complete


def load(
    path: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    backend: str = "auto",
) -> tuple[EnergyModel, Metadata]:
    """The model in a file, ready to evaluate, and what the file says about it.

    ``dtype`` is the precision inside the network (that of the file when left out). Raises :class:`ModelFileError` for a file
    that is absent, half-written, damaged, of another program, or of a newer schema, and
    ``ValueError`` for an unusable ``backend``.
    """
    path = Path(path)
    metadata, tensors = read(path)
    precision = dtype if dtype is not None else getattr(torch, metadata.dtype, None)
    if not (isinstance(precision, torch.dtype) and precision.is_floating_point):
        raise ModelFileError(f"{path} names an unknown precision, {metadata.dtype!r}: choose one by dtype")
    try:
        settings = parse_settings(metadata.settings)
    except ValidationError as error:
        raise ModelFileError(
            f"{path} describes a model that tesseral {_version()} does not know (written by {metadata.tesseral_version}): "
            + "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        ) from None
    model = build(settings, backend=backend, dtype=precision, device=device)
    problems = _differences(model.state_dict(), tensors)
    if problems:
        raise ModelFileError(
            f"{path} does not fit the model it describes: {problems}; it was written by {metadata.tesseral_version}"
        )
    model.load_state_dict(tensors)
    return model.eval().requires_grad_(False), metadata


def read(path: str | os.PathLike[str]) -> tuple[Metadata, dict[str, Tensor]]:
    """Metadata and tensors of a model file, migrated to the present schema, with no model built from them."""
    path = Path(path)
    header = _read_header(path)
    try:
        raw = json.loads(header[KEY])
        version = raw["schema_version"]
        if not isinstance(version, int):
            raise TypeError(version)
    except (KeyError, TypeError, ValueError):
        raise ModelFileError(
            f"{path} is a safetensors file of another program: it lacks the description that `tesseral train` writes"
        ) from None
    if version > SCHEMA_VERSION:
        raise ModelFileError(
            f"{path} was written by tesseral {raw.get('tesseral_version', '?')} in schema {version}; "
            f"this is tesseral {_version()}, which reads up to {SCHEMA_VERSION}: update tesseral"
        )
    try:
        tensors = safetensors.torch.load(path.read_bytes())
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ModelFileError(f"{path} is damaged: {error}; copy or train it again") from None
    if _checksum(tensors) != raw.get("checksum"):
        raise ModelFileError(f"{path} is damaged: its tensors do not match their checksum; copy or train it again")
    for step in range(version, SCHEMA_VERSION):
        MIGRATIONS[step](raw, tensors)
        raw["schema_version"] = step + 1
    try:
        return Metadata.model_validate(raw), tensors
    except ValidationError as error:
        raise ModelFileError(f"{path} is damaged: its description cannot be read ({error.error_count()} errors)") from None


def _read_header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, after the checks that tell a half-written file from a foreign one."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start, brace = file.read(8), file.read(1)
            # The length of a header may begin with these bytes, too: only the brace after it tells.
            if brace != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
                instead = path.with_name("model.safetensors")
                hint = f"; the model of that run is {instead}" if path.suffix == ".ckpt" and instead.exists() else ""
                raise ModelFileError(
                    f"{path} is a PyTorch (pickle) file, which can run any code when opened: tesseral reads only its own "
                    f"safetensors files{hint}"
                )
            length = int.from_bytes(start, "little")
            if size <= 8:
                raise ModelFileError(f"{path} holds {size} bytes: it was not written to the end; copy or train it again")
            body = brace + file.read(max(min(length - 1, size), 0))
    except FileNotFoundError:
        raise ModelFileError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise ModelFileError(f"{path} is a folder; give the model file in it, such as {path / 'model.safetensors'}") from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from None
    if not body.startswith(b"{"):
        raise ModelFileError(f"{path} is no model file of tesseral (safetensors with a JSON header)")
    try:
        header = json.loads(body) if len(body) == length else None
        ends = [entry["data_offsets"][1] for name, entry in (header or {}).items() if name != "__metadata__"]
        complete = header is not None and size >= 8 + length + max(ends, default=0)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelFileError(f"{path} is damaged: its header is not safetensors JSON; copy or train it again") from None
    if not complete or header is None:
        raise ModelFileError(f"{path} ends after {size} bytes: it was not written to the end; copy or train it again")
    return header.get("__metadata__") or {}


def _description(model: torch.nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    species = tuple(int(z) for z in getattr(model, "species"))  # noqa: B009
    energies = getattr(model, "atomic_energies", None)
    return {
        "schema_version": SCHEMA_VERSION,
        "tesseral_version": _version(),
        "torch_version": torch.__version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "dtype": str(getattr(model, "dtype", torch.float64)).removeprefix("torch."),
        "cutoff": float(getattr(model, "cutoff")),  # noqa: B009
        "species": species,
        "atomic_energies": dict(zip(species, energies.tolist())) if isinstance(energies, Tensor) else {},
        "units": dict(UNITS),
        "checksum": _checksum(tensors),
    }


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    missing, foreign = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    reshaped = [
        f"{name} has shape {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & found.keys())
        if expected[name].shape != found[name].shape
    ]
    lists = [(f"{len(missing)} tensors are missing", missing), (f"{len(foreign)} are not of this model", foreign)]
    return "; ".join([f"{what} ({', '.join(names[:3])})" for what, names in lists if names] + reshaped[:3])


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    temporary = None
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        reason = {
            errno.ENOENT: f"there is no folder {path.parent}",
            errno.ENOSPC: f"the disk is full ({len(content)} bytes are needed)",
            errno.EACCES: "permission denied",
            errno.EISDIR: "it is a folder",
        }.get(error.errno or 0, error.strerror)
        kept = "; the file that was there is untouched" if path.is_file() else ""
        raise ModelFileError(f"cannot write {path}: {reason}{kept}") from error


def _version() -> str:
    return importlib.metadata.version("tesseral")
