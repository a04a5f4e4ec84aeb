"""Frames of files whose keys and units are given on the command line, and what the doctor says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from tesseral.data import DataError, Frames, Keys, Units, read_frames
from tesseral.data.doctor import Complaint, DoctorSettings, examine
from tesseral.data.doctor.labels import Presence
from tesseral.train.losses import QUANTITIES
from tesseral.train.settings_file import SettingsError, parse_yaml, validate


def read_labelled(path: Path | Sequence[Path], keys: str = "{}", units: str = "{}") -> Frames:
    """Frames of files whose keys and units are given as YAML mappings, as on the command line."""
    return read_frames(
        path, validate(Keys, _mapping(keys, "--keys"), "--keys"), validate(Units, _mapping(units, "--units"), "--units")
    )


def require_labels(frames: Frames, keys: str = "{}") -> None:
    """``DataError`` for frames among which nothing can be compared with a prediction; it names the keys that were found."""
    if any(set(QUANTITIES) & frame.labels.keys() for frame in frames):
        return
    presence = Presence(DoctorSettings(keys=validate(Keys, _mapping(keys, "--keys"), "--keys"), required=("energy", "forces")))
    for frame in frames:
        presence.see(frame)
    raise DataError("\n".join(complaint.sentence for complaint in presence.conclude()) + " (option --keys)")


def examine_files(paths: Sequence[Path], keys: str, units: str, cutoff: float) -> tuple[list[Complaint], str]:
    """Complaints about files, and a sentence about what they hold."""
    parsed = validate(Keys, _mapping(keys, "--keys"), "--keys")
    frames = read_labelled(list(paths), keys, units)
    species = sorted({int(z) for frame in frames for z in frame.numbers})
    labels = Counter(name for frame in frames for name in frame.labels)
    found = ", ".join(f"{name} of {count}" for name, count in labels.items()) or "no labels"
    elements = " ".join(chemical_symbols[z] if 0 < z <= 118 else str(z) for z in species)
    complaints = examine(frames, DoctorSettings(keys=parsed, cutoff=cutoff))
    return complaints, f"{len(frames)} frames of {elements}: {found}; {len(complaints)} complaints"


def _mapping(text: str, source: str) -> dict[str, Any]:
    content = parse_yaml(text, source)
    if not isinstance(content, dict):
        raise SettingsError(f"{source} is {text!r}, expected a mapping such as '{{energy: REF_energy}}'")
    return content
