"""Are the labels there, are they numbers, do they say anything?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import final

import numpy as np

from tesseral.data.doctor.complaint import Check, Complaint, DoctorSettings, Tally
from tesseral.data.errors import did_you_mean
from tesseral.data.frame import Frame
from tesseral.data.keys import BECOMES, LABELS, SYNONYMS
from tesseral.data.statistics import is_isolated_atom
from tesseral.graph.neighbors import NODE_LABELS


@final
class Presence(Check):
    """Labels that are asked for are there; keys that look like labels are read."""

    def __init__(self, settings: DoctorSettings) -> None:
        super().__init__(settings)
        self.frames: Counter[str] = Counter()
        self.labelled: dict[str, Counter[str]] = defaultdict(Counter)
        self.found: Counter[str] = Counter()

    def see(self, frame: Frame) -> None:
        if is_isolated_atom(frame):
            return
        self.frames[frame.file] += 1
        self.found.update(frame.keys)
        for name in frame.labels:
            self.labelled[name][frame.file] += 1

    def conclude(self) -> Iterator[Complaint]:
        total = sum(self.frames.values())
        if not total:
            yield Complaint(
                "error", "only-isolated-atoms", "the data hold nothing but isolated atoms: there are no structures to train on"
            )
            return
        expected = ["forces"] if "energy" in self.settings.required else []  # whoever trains on tensors alone needs none
        wanted = dict.fromkeys([*self.settings.required, *expected, *self._asked_for()])
        for label in wanted:
            serious = label in self.settings.required or label in self._asked_for()
            have = self.labelled[label].total()
            key = self.key(label)
            if have == 0:
                where = ", ".join(self.frames) or "the data"
                keys = ", ".join(sorted(self.found)) or "none at all"
                consequence = "" if serious else "; a model will learn from energies alone"
                yield Complaint(
                    "error" if serious else "warning",
                    "absent-label",
                    f"{where}: no frame has {label} under the key {key!r}{consequence}. Found are the keys: {keys}."
                    f"{self._suggestion(label)}",
                    file=next(iter(self.frames)),
                    key=key,
                )
            elif have < total:
                without = [file for file in self.frames if not self.labelled[label][file]]
                files = f", among them all of {', '.join(without)}" if without and len(self.frames) > 1 else ""
                yield Complaint(
                    "warning" if files else "note",
                    "partial-label",
                    f"{total - have} of {total} frames have no {label} under the key {key!r}{files}: they do not count in its "
                    "loss",
                    key=key,
                )
        read = set(self.settings.keys.labels().values())
        for label in LABELS:
            unread = [key for key in SYNONYMS[label] if key in self.found and key not in read]
            if unread and not self.labelled[BECOMES.get(label, label)].total() and label not in wanted:
                yield Complaint(
                    "note",
                    "unread-key",
                    f"the key {unread[0]!r} looks like {label}, but nobody reads it; to use it, set keys.{label} to "
                    f"{unread[0]!r}",
                    key=unread[0],
                )
                break

    def _asked_for(self) -> list[str]:
        return [BECOMES.get(name, name) for name in self.settings.keys.asked_for()]

    def _suggestion(self, label: str) -> str:
        likely = [key for key in SYNONYMS.get(label, ()) if key in self.found]
        likely += [key for key in sorted(self.found) if label.rstrip("s") in key.lower() and key not in likely]
        per_atom = [key for key in likely if "per_atom" in key.lower()]
        likely = [key for key in likely if key not in per_atom]
        if per_atom and not likely:
            return (
                f" {per_atom[0]!r} seems to be per atom: multiply it by the number of atoms, and write it as {self.key(label)!r}."
            )
        if likely:
            return f" Is it {' or '.join(repr(key) for key in likely[:3])}? Then set keys.{label} to {likely[0]!r}."
        if label not in self.settings.required and label not in self._asked_for():
            return ""
        return did_you_mean(self.key(label), self.found) or f" Set keys.{label} to the right one."


@final
class Finite(Check):
    """Labels are finite numbers of the right shape."""

    def __init__(self, settings: DoctorSettings) -> None:
        super().__init__(settings)
        self.shapes: dict[str, Tally] = defaultdict(Tally)
        self.nans: dict[str, Tally] = defaultdict(Tally)
        self.infinities: dict[str, Tally] = defaultdict(Tally)
        self.cell_free = Tally()
        self.positions = Tally()
        self.weights = Tally()

    def see(self, frame: Frame) -> None:
        if not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell).all()):
            self.positions.add(frame)
        if not (np.isfinite(frame.weight) and frame.weight >= 0):
            self.weights.add(frame, f"{frame.weight}")
        for name, value in frame.labels.items():
            expected = frame.expected_shape(name)
            if expected is not None and value.shape != expected:
                self.shapes[name].add(frame, f"{value.shape}, expected {expected}")
            elif np.isnan(value).any():
                self.nans[name].add(frame)
            elif np.isinf(value).any():
                self.infinities[name].add(frame)
        if "stress" in frame.labels and frame.volume < 1e-6:
            self.cell_free.add(frame)

    def conclude(self) -> Iterator[Complaint]:
        if self.positions:
            yield self.positions.complaint(
                "error", "position-not-finite", f"{self.positions.where}: positions or cell hold NaN or inf; remove the frame"
            )
        if self.weights:
            yield self.weights.complaint(
                "error",
                "bad-weight",
                f"{self.weights.where}: the weight under the key {self.settings.keys.weight!r} is {self.weights.detail}, "
                "expected a number that is not negative",
                key=self.settings.keys.weight,
            )
        for label, tally in self.shapes.items():
            rows = "one row per atom" if label in NODE_LABELS else "one value per frame"
            yield tally.complaint(
                "error",
                "wrong-shape",
                f"{tally.where}: {label} under the key {self.key(label)!r} have shape {tally.detail} ({rows}); "
                "correct the file, or name the right key",
                key=self.key(label),
            )
        for label, tally in self.nans.items():
            if not self.settings.nan_is_unknown:
                yield tally.complaint(
                    "error",
                    "nan",
                    f"{tally.where}: {label} under the key {self.key(label)!r} hold NaN; remove the frames (did the calculation "
                    "converge?), or set nan_is_unknown if NaN means 'not known' here",
                    key=self.key(label),
                )
        for label, tally in self.infinities.items():
            yield tally.complaint(
                "error",
                "infinite",
                f"{tally.where}: {label} under the key {self.key(label)!r} are infinite; remove the frames",
                key=self.key(label),
            )
        if self.cell_free:
            yield self.cell_free.complaint(
                "error",
                "stress-without-cell",
                f"{self.cell_free.where}: has a stress under the key {self.key('stress')!r}, but no cell with a volume; "
                "add the cell, or remove the stress",
                key=self.key("stress"),
            )


@final
class Constant(Check):
    """Labels vary, and are not zeros that stand for 'not computed'."""

    def __init__(self, settings: DoctorSettings) -> None:
        super().__init__(settings)
        self.zero: dict[str, Tally] = defaultdict(Tally)
        self.seen: Counter[str] = Counter()
        self.energies: dict[str, set[float]] = defaultdict(set)
        self.geometries: Counter[str] = Counter()
        self.example: dict[str, Frame] = {}

    def see(self, frame: Frame) -> None:
        if is_isolated_atom(frame):
            return
        for name, value in frame.labels.items():
            self.seen[name] += 1
            if value.size and not np.any(value):
                self.zero[name].add(frame)
        energy = frame.labels.get("energy")
        if energy is not None and energy.shape == () and len(self.energies[frame.formula]) < 3:
            self.energies[frame.formula].add(float(energy))
            self.geometries[frame.formula] += 1
            self.example.setdefault(frame.formula, frame)

    def conclude(self) -> Iterator[Complaint]:
        for label, tally in self.zero.items():
            share = tally.count / self.seen[label]
            if share == 1 and (self.seen[label] > 1 or label in ("energy", "forces")):
                yield tally.complaint(
                    "error",
                    "constant-zero",
                    f"{label} under the key {self.key(label)!r} are exactly zero in all {self.seen[label]} frames "
                    f"(first: {tally.first.place if tally.first else ''}): they were not computed; name the key that holds them, "
                    f"or set keys.{label} to null",
                    key=self.key(label),
                )
            elif label in ("energy", "forces") and share > 0.2:
                yield tally.complaint(
                    "warning",
                    "many-zeros",
                    f"{label} under the key {self.key(label)!r} are exactly zero in {tally.count} of {self.seen[label]} frames "
                    f"(first: {tally.first.place if tally.first else ''}): remove the key there if they were not computed",
                    key=self.key(label),
                )
        for formula, values in self.energies.items():
            if len(values) == 1 and self.geometries[formula] > 2 and 0.0 not in values:
                frame = self.example[formula]
                yield Complaint(
                    "error",
                    "constant-energy",
                    f"all {self.geometries[formula]} frames of {formula} (first: {frame.place}) have the same energy "
                    f"{next(iter(values)):.6f} eV under the key {self.key('energy')!r}: was one value copied to all of them?",
                    file=frame.file,
                    frame=frame.index,
                    key=self.key("energy"),
                )
