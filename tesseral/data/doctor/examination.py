"""The examination: every check sees every frame once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np
from ase.data import chemical_symbols

from tesseral.data.doctor.complaint import Check, Complaint, DoctorSettings
from tesseral.data.doctor.composition import EnergyUnits, Species
from tesseral.data.doctor.labels import Constant, Finite, Presence
from tesseral.data.doctor.mechanics import Balance, EnergyAgainstForces, Stress
from tesseral.data.doctor.responses import FieldResponses
from tesseral.data.doctor.structure import Connected, Duplicates, Lengths, Possible
from tesseral.data.errors import DataError
from tesseral.data.frame import Frame
from tesseral.data.keys import Keys
from tesseral.data.read import read_frames
from tesseral.data.units import Units

# What is wrong only because something else is: it would send the reader after the wrong thing.
_CONSEQUENCES = {
    "length-unit": ("species-misfit",),
    "mixed-units": ("force-sign", "energy-force-units", "forces-unrelated", "stress-sign", "stress-unit"),
}
_ORDER = {"error": 0, "warning": 1, "note": 2}


def examine(
    frames: Iterable[Frame], settings: DoctorSettings | None = None, *, test: Iterable[Frame] | None = None
) -> list[Complaint]:
    """All complaints about ``frames``, errors first; an empty list is good news.

    With ``test``, frames of a test set that also appear in ``frames``, or hold elements that ``frames`` do not, are complained
    about, too.

    >>> import ase
    >>> from tesseral.data import frames_from_atoms
    >>> pair = ase.Atoms("H2", positions=[(0, 0, 0), (0, 0, 0.1)])
    >>> for complaint in examine(frames_from_atoms([pair], file="pair.xyz")):
    ...     print(complaint)
    error: pair.xyz: no frame has energy under the key 'energy'. Found are the keys: none at all. ...
    error: frame 0 of pair.xyz: atoms 0 and 1 are 0.100 Å apart, closer than 0.3 Å; remove the frame, or correct the unit ...
    warning: pair.xyz: no frame has forces under the key 'forces'; a model will learn from energies alone. ...
    """
    settings = settings or DoctorSettings()
    duplicates = Duplicates(settings)
    checks = _checks(settings, duplicates)
    species: set[int] = set()
    count = 0
    for frame in frames:
        count += 1
        species.update(np.unique(frame.numbers).tolist())
        for check in checks:
            check.see(frame)
    if count == 0:
        return [Complaint("error", "no-frames", "the data hold no frames: name files that do")]
    complaints = [complaint for check in checks for complaint in check.conclude()]
    found = {complaint.name for complaint in complaints}
    follows = {name for cause in found & _CONSEQUENCES.keys() for name in _CONSEQUENCES[cause]}
    complaints = [complaint for complaint in complaints if complaint.name not in follows]
    if test is not None:
        complaints += _examine_test(test, settings, duplicates, species)
    return sorted(complaints, key=lambda complaint: _ORDER[complaint.severity])


def _checks(settings: DoctorSettings, duplicates: Duplicates) -> list[Check]:
    return [
        Presence(settings),
        Finite(settings),
        Constant(settings),
        Possible(settings),
        Lengths(settings),
        Connected(settings),
        duplicates,
        EnergyUnits(settings),
        Species(settings),
        EnergyAgainstForces(settings),
        Balance(settings),
        Stress(settings),
        FieldResponses(settings),
    ]


def _examine_test(test: Iterable[Frame], settings: DoctorSettings, train: Duplicates, species: set[int]) -> list[Complaint]:
    duplicates = Duplicates(settings, betrays=train)
    checks: list[Check] = [Finite(settings), Possible(settings), Connected(settings), EnergyUnits(settings), duplicates]
    stranger: Complaint | None = None
    for frame in test:
        for check in checks:
            check.see(frame)
        new = sorted(set(np.unique(frame.numbers).tolist()) - species)
        if new and stranger is None:
            names = ", ".join(chemical_symbols[z] if 0 <= z <= 118 else str(z) for z in new)
            have = ", ".join(chemical_symbols[z] for z in sorted(species) if 0 <= z <= 118)
            stranger = Complaint(
                "error",
                "element-not-in-train",
                f"{frame.place}: has {names}, but the training data only {have}; add such frames to training, or remove this one",
                file=frame.file,
                frame=frame.index,
            )
    return [complaint for check in checks for complaint in check.conclude()] + ([stranger] if stranger else [])


def diagnose(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    settings: DoctorSettings | None = None,
    units: Units | None = None,
    *,
    test: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
) -> list[Complaint]:
    """All complaints about files, those that keep them from being read among them; never raises ``DataError``.

    The keys are those of ``settings``.

    >>> print(diagnose("no-such-file.xyz")[0])
    error: no-such-file.xyz does not exist...
    """
    settings = settings or DoctorSettings()
    keys: Keys = settings.keys
    try:
        frames = read_frames(path, keys, units)
        others = None if test is None else read_frames(test, keys, units)
        return examine(frames, settings, test=others)
    except DataError as error:
        return [Complaint("error", "unreadable", str(error))]
