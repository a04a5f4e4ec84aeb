"""Which frames train, validate and test: drawn once, written down, and held to."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections import defaultdict
from typing import Any, Literal

import numpy as np
import pydantic

from tesseral.data.errors import DataError
from tesseral.data.frames import Frames

FORMAT = "tesseral split"


class SplitSettings(pydantic.BaseModel):
    """How to divide a data set. A size is a fraction (0.1) or a number of frames (50).

    >>> SplitSettings(valid=50).valid
    50
    >>> SplitSettings(valid=0.7, test=0.5)
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: ...
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    method: Literal["random", "group", "file"] = pydantic.Field(
        default="random",
        description="random frames; or by group (trajectory, see keys.group) or file, so that neighbours in time stay together",
    )
    valid: int | float = pydantic.Field(default=0.1, ge=0, description="frames for validation: a fraction or a number")
    test: int | float = pydantic.Field(default=0, ge=0, description="frames for testing: a fraction or a number")
    seed: int = pydantic.Field(default=0, description="seed of the drawing")

    @pydantic.model_validator(mode="after")
    def _check(self) -> SplitSettings:
        for name in ("valid", "test"):
            size = getattr(self, name)
            if isinstance(size, float) and size >= 1:
                raise ValueError(f"{name} is the fraction {size}, expected less than 1; for a number of frames write {int(size)}")
        if sum(size for size in (self.valid, self.test) if isinstance(size, float)) >= 1:
            raise ValueError(f"valid={self.valid} and test={self.test} leave nothing to train on")
        return self


@dataclasses.dataclass(frozen=True)
class Split:
    """Indices of the frames that train, validate and test, with the hash of the frames they belong to."""

    train: tuple[int, ...]
    valid: tuple[int, ...]
    test: tuple[int, ...]
    seed: int
    method: str
    digest: str
    files: tuple[str, ...] = ()

    def apply(self, frames: Frames) -> tuple[Frames, Frames, Frames]:
        """The three parts of ``frames``; ``DataError`` when these are not the frames that were split."""
        self.check(frames)
        return frames.subset(self.train), frames.subset(self.valid), frames.subset(self.test)

    def check(self, frames: Frames) -> None:
        """Raise ``DataError`` when ``frames`` have changed since they were split."""
        digest = frames.digest()
        if digest != self.digest:
            count = len(self.train) + len(self.valid) + len(self.test)
            raise DataError(
                f"the data have changed since they were split: {count} frames of {', '.join(self.files) or 'unknown files'} "
                f"with hash {self.digest[:12]} then, {len(frames)} frames with hash {digest[:12]} now; "
                "keys, units and order count, too: restore the files, or leave the split file away to draw another split"
            )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the split as JSON; the file appears under its name only when it is complete."""
        target = pathlib.Path(path)
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            partial.write_text(json.dumps({"format": FORMAT, "version": 1} | dataclasses.asdict(self)) + "\n")
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)

    @staticmethod
    def read(path: str | os.PathLike[str]) -> Split:
        """Read what :meth:`write` wrote. ``DataError`` for anything else, and for indices in two parts at once."""
        try:
            content = json.loads(pathlib.Path(path).read_text())
        except FileNotFoundError:
            raise DataError(f"the split {path} does not exist: draw one, or correct the path") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise DataError(f"{path} is not JSON ({error}): it is damaged; delete it to draw the split again") from error
        fields = [field.name for field in dataclasses.fields(Split)]
        if not isinstance(content, dict) or content.get("format") != FORMAT or any(name not in content for name in fields):
            raise DataError(f"{path} is no split of tesseral: delete it, or choose another path")
        if content.get("version") != 1:
            raise DataError(
                f"{path} is a split of version {content.get('version')}, this tesseral reads version 1: draw it again"
            )
        parts: dict[str, Any] = {
            name: tuple(content[name]) if name in ("train", "valid", "test", "files") else content[name] for name in fields
        }
        together = [index for name in ("train", "valid", "test") for index in parts[name]]
        if len(set(together)) < len(together):
            raise DataError(f"{path} has the same frame in two parts: it was edited; delete it to draw the split again")
        return Split(**parts)


def make_split(frames: Frames, settings: SplitSettings | None = None) -> Split:
    """Divide ``frames``: the same frames and settings always give the same split.

    Frames of one group (or file) stay together; sizes are then met as nearly as whole groups allow, and each part that was asked
    for gets at least one group. Raises ``DataError`` when nothing would be left to train on.

    >>> from tesseral.data import Frame, FramesInMemory
    >>> frames = FramesInMemory([Frame(positions=np.zeros((1, 3)), numbers=np.array([z])) for z in range(1, 11)])
    >>> split = make_split(frames, SplitSettings(valid=0.2, test=1, seed=7))
    >>> len(split.train), len(split.valid), len(split.test)
    (7, 2, 1)
    """
    settings = settings or SplitSettings()
    count = len(frames)
    valid, test = (_number(size, count) for size in (settings.valid, settings.test))
    if valid + test >= count:
        raise DataError(
            f"{', '.join(frames.files()) or 'the data'}: {count} frame{'' if count == 1 else 's'} cannot give {valid} to "
            f"validation and {test} to testing and still train: lower data.split.valid or data.split.test, or add frames"
        )
    generator = np.random.Generator(np.random.PCG64(settings.seed))
    members = _groups(frames, settings.method)
    names = [list(members)[i] for i in generator.permutation(len(members))]
    parts: dict[str, list[int]] = {"valid": [], "test": []}
    if settings.method == "random":
        order = [members[name][0] for name in names]
        parts = {"test": order[:test], "valid": order[test : test + valid]}
        rest = order[test + valid :]
    else:
        wanted = sum(size > 0 for size in (valid, test)) + 1
        if len(names) < wanted:
            raise DataError(
                f"only {len(names)} {settings.method}s ({', '.join(names[:5])}), but {wanted} parts are asked for: "
                "split at random, or give more of them"
            )
        for part, size in (("test", test), ("valid", valid)):
            still = sum(1 for other in ("valid",) if part == "test" and valid > 0) + 1
            while size and len(names) > still and (not parts[part] or len(parts[part]) + len(members[names[0]]) / 2 <= size):
                parts[part] += members[names.pop(0)]
        rest = [index for name in names for index in members[name]]
    return Split(
        train=tuple(sorted(rest)),
        valid=tuple(sorted(parts["valid"])),
        test=tuple(sorted(parts["test"])),
        seed=settings.seed,
        method=settings.method,
        digest=frames.digest(),
        files=tuple(frames.files()),
    )


def _number(size: int | float, count: int) -> int:
    if isinstance(size, int):
        return size
    return max(1, round(size * count)) if size > 0 else 0


def _groups(frames: Frames, method: str) -> dict[str, list[int]]:
    members: dict[str, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        if method == "group" and frame.group is None:
            raise DataError(
                f"{frame.place} has no group, so it cannot be split by group: set keys.group to the key of the trajectory"
            )
        members[str(index) if method == "random" else (frame.group or "") if method == "group" else frame.file].append(index)
    return dict(members)


def split_or_read(frames: Frames, path: str | os.PathLike[str], settings: SplitSettings | None = None) -> Split:
    """The split written at ``path`` if there is one and it fits ``frames``, else a new one, which is written there."""
    if pathlib.Path(path).exists():
        split = Split.read(path)
        split.check(frames)
        return split
    split = make_split(frames, settings)
    split.write(path)
    return split
