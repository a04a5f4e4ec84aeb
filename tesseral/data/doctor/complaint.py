"""What the doctor says, and what it is told beforehand."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator
from typing import Literal

import pydantic

from tesseral.data.frame import Frame
from tesseral.data.keys import Keys

Severity = Literal["error", "warning", "note"]


@dataclasses.dataclass(frozen=True)
class Complaint:
    """One thing that is wrong with the data.

    An ``error`` makes training pointless, a ``warning`` is to be looked at, a ``note`` is good to know. ``name`` identifies
    the kind of complaint; ``file``, ``frame`` and ``key`` say where it was seen first.

    >>> print(Complaint("error", "nan", "frame 3 of train.xyz: NaN", file="train.xyz", frame=3))
    error: frame 3 of train.xyz: NaN
    """

    severity: Severity
    name: str
    sentence: str
    file: str = ""
    frame: int | None = None
    key: str | None = None

    def __str__(self) -> str:
        return f"{self.severity}: {self.sentence}"


class DoctorSettings(pydantic.BaseModel):
    """What the doctor should know to judge.

    >>> DoctorSettings(required=("energy", "forces")).min_distance
    0.3
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    required: tuple[str, ...] = pydantic.Field(default=("energy",), description="labels without which there is no training")
    keys: Keys = pydantic.Field(default_factory=Keys, description="the keys that the data were read with")
    cutoff: float | None = pydantic.Field(default=None, description="cutoff of the model in Å, if there is one already")
    atomic_energies: dict[str, float] = pydantic.Field(default={}, description="energies of isolated atoms in eV, if known")
    min_distance: float = pydantic.Field(default=0.3, description="atoms closer than this, in Å, are a mistake")
    nan_is_unknown: bool = pydantic.Field(default=False, description="NaN marks labels that are not known, on purpose")


class Check(abc.ABC):
    """One kind of examination: it sees every frame once, then concludes."""

    def __init__(self, settings: DoctorSettings) -> None:
        self.settings = settings

    @abc.abstractmethod
    def see(self, frame: Frame) -> None:
        """Look at one frame and remember what matters."""

    @abc.abstractmethod
    def conclude(self) -> Iterator[Complaint]:
        """Say what was found."""

    def key(self, label: str) -> str:
        """The key in the file under which ``label`` was read."""
        return self.settings.keys.labels().get(label, label)


class Tally:
    """Frames in which the same thing was found: the first, and how many.

    >>> import numpy as np
    >>> tally = Tally()
    >>> tally.add(Frame(positions=np.zeros((1, 3)), numbers=np.array([1]), file="a.xyz", index=7))
    >>> tally.where
    'frame 7 of a.xyz'
    """

    def __init__(self) -> None:
        self.count = 0
        self.first: Frame | None = None
        self.detail = ""

    def add(self, frame: Frame, detail: str = "") -> None:
        """Count a frame; the detail of the first is kept."""
        if self.first is None:
            self.first, self.detail = frame, detail
        self.count += 1

    def __bool__(self) -> bool:
        return self.count > 0

    @property
    def where(self) -> str:
        """``frame 7 of a.xyz (and 3 more frames)``."""
        assert self.first is not None
        others = self.count - 1
        return self.first.place + (f" (and {others} more frame{'s' if others > 1 else ''})" if others else "")

    def complaint(self, severity: Severity, name: str, sentence: str, key: str | None = None) -> Complaint:
        """A complaint located at the first frame."""
        assert self.first is not None
        return Complaint(severity, name, sentence, file=self.first.file, frame=self.first.index, key=key)
