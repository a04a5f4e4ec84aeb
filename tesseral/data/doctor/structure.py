"""Are these structures possible, different from each other, and connected within the cutoff?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import final

import numpy as np
from ase import units as ase_units
from ase.data import chemical_symbols, covalent_radii

from tesseral.data.doctor.complaint import Check, Complaint, DoctorSettings, Tally
from tesseral.data.frame import Frame
from tesseral.data.statistics import is_isolated_atom
from tesseral.graph.neighbors import complete_cell, find_neighbors


def distances(frame: Frame, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source, destination and length (Å) of all pairs within ``cutoff``."""
    if not frame.pbc.any() and len(frame) <= 200:  # faster than a cell list
        separations = np.sqrt(((frame.positions[:, None] - frame.positions) ** 2).sum(2))
        destination, source = np.nonzero((separations < cutoff) & ~np.eye(len(frame), dtype=bool))
        return source, destination, separations[destination, source]
    (source, destination), shifts = find_neighbors(frame.positions, frame.cell, frame.pbc, cutoff)
    vectors = frame.positions[source] + shifts @ frame.cell - frame.positions[destination]
    return source, destination, np.linalg.norm(vectors, axis=1)


def is_sound(frame: Frame) -> bool:
    """Whether the geometry can be searched for neighbours and its elements exist."""
    if len(frame) == 0 or not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell).all()):
        return False
    if frame.numbers.min() < 1 or frame.numbers.max() > 118:
        return False
    try:
        complete_cell(frame.cell, frame.pbc)
    except ValueError:
        return False
    return True


@final
class Possible(Check):
    """Elements exist, cells have a volume, atoms keep their distance."""

    def __init__(self, settings: DoctorSettings) -> None:
        super().__init__(settings)
        self.empty, self.elements, self.flat, self.close, self.across = Tally(), Tally(), Tally(), Tally(), Tally()

    def see(self, frame: Frame) -> None:
        if len(frame) == 0:
            self.empty.add(frame)
            return
        unknown = frame.numbers[(frame.numbers < 1) | (frame.numbers > 118)]
        if len(unknown):
            self.elements.add(frame, str(int(unknown[0])))
        if not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell).all()):
            return
        try:
            complete_cell(frame.cell, frame.pbc)
        except ValueError:
            self.flat.add(frame, f"pbc {frame.pbc.tolist()} and cell {np.round(frame.cell, 3).tolist()}")
            return
        # A cell list with cells of 0.3 Å would take more memory than the structure.
        source, destination, length = distances(frame, max(self.settings.min_distance, 1.5))
        if len(length) and length.min() < self.settings.min_distance:
            nearest = int(np.argmin(length))
            pair = sorted((int(source[nearest]), int(destination[nearest])))
            self.close.add(frame, f"atoms {pair[0]} and {pair[1]} are {length[nearest]:.3f} Å apart")
        if not frame.pbc.any() and not len(unknown) and frame.volume > 1e-6 and self._bonds_across(frame):
            self.across.add(frame)

    @staticmethod
    def _bonds_across(frame: Frame) -> bool:
        reach = 2.4 * float(covalent_radii[frame.numbers].max())
        inverse = np.linalg.inv(frame.cell)
        if (np.ptp(frame.positions @ inverse, axis=0) + reach * np.linalg.norm(inverse, axis=0) < 1).all():
            return False
        (source, destination), shifts = find_neighbors(frame.positions, frame.cell, np.ones(3, dtype=bool), reach)
        vectors = frame.positions[source] + shifts @ frame.cell - frame.positions[destination]
        bonds = np.linalg.norm(vectors, axis=1) < 1.2 * (
            covalent_radii[frame.numbers[source]] + covalent_radii[frame.numbers[destination]]
        )
        return bool((bonds & shifts.any(1)).any())

    def conclude(self) -> Iterator[Complaint]:
        if self.empty:
            yield self.empty.complaint("error", "no-atoms", f"{self.empty.where}: has no atoms; remove the frame")
        if self.elements:
            yield self.elements.complaint(
                "error",
                "unknown-element",
                f"{self.elements.where}: has an atom with atomic number {self.elements.detail}, which is no element "
                "(ASE reads unknown names as 'X' with number 0); correct the species column",
            )
        if self.flat:
            yield self.flat.complaint(
                "error",
                "pbc-without-cell",
                f"{self.flat.where}: is periodic, but its cell has no volume ({self.flat.detail}); write the Lattice, or set "
                "pbc to F F F",
            )
        if self.close:
            yield self.close.complaint(
                "error",
                "atoms-too-close",
                f"{self.close.where}: {self.close.detail}, closer than {self.settings.min_distance} Å; remove the frame, or "
                "correct "
                "the unit of length (units.length)",
            )
        if self.across:
            yield self.across.complaint(
                "warning",
                "cell-without-pbc",
                f"{self.across.where}: has a cell and pbc F F F, but atoms would bond across the cell; if it is a crystal, set "
                "pbc to T T T",
            )


@final
class Lengths(Check):
    """Positions are in the unit they are said to be in: neighbours are about as far apart as the radii of their atoms allow."""

    FRAMES = 200  # the rest of a large data set is taken to be like them

    def __init__(self, settings: DoctorSettings) -> None:
        super().__init__(settings)
        self.nearest: list[np.ndarray] = []
        self.first: Frame | None = None

    def see(self, frame: Frame) -> None:
        if len(self.nearest) >= self.FRAMES or len(frame) < 2 or not is_sound(frame):
            return
        radii = covalent_radii[frame.numbers]
        source, destination, length = distances(frame, 5.0 * float(radii.max()))
        nearest = np.full(len(frame), np.inf)
        np.minimum.at(nearest, destination, length / (radii[source] + radii[destination]))
        bound = ~np.isin(frame.numbers, (2, 10, 18, 36, 54, 86)) & np.isfinite(nearest)  # noble gases keep their distance
        if bound.any():
            self.first = self.first or frame
            self.nearest.append(nearest[bound])

    def conclude(self) -> Iterator[Complaint]:
        if self.first is None:
            return
        relative = np.concatenate(self.nearest)
        middle = float(np.median(relative))
        # Bonds are 0.8 to 1.3 radii long, so all of them are too long by the same factor, or the atoms really are apart.
        if 1.55 < middle < 2.4 and np.percentile(relative, 5) > 1.35:
            yield Complaint(
                "error",
                "length-unit",
                f"{self.first.place} and following: nearest atoms are {middle:.2f} times as far apart as their covalent radii, "
                f"which would be {middle * ase_units.Bohr:.2f} times if the positions were in Bohr; set units.length to 'Bohr' "
                "(and units.forces, which then are per Bohr unless it says otherwise)",
                file=self.first.file,
                frame=self.first.index,
            )


@final
class Connected(Check):
    """Every atom has neighbours, and the cell is wide enough to show more than an atom's own images."""

    def __init__(self, settings: DoctorSettings) -> None:
        super().__init__(settings)
        self.lonely, self.narrow = Tally(), Tally()
        self.frames = self.periodic = self.atoms = self.edges = 0
        self.widest = 0.0

    def see(self, frame: Frame) -> None:
        cutoff = self.settings.cutoff
        if cutoff is None or not is_sound(frame) or is_isolated_atom(frame):
            return
        _, destination, _ = distances(frame, cutoff)
        self.frames += 1
        self.atoms += len(frame)
        self.edges += len(destination)
        alone = np.flatnonzero(np.bincount(destination, minlength=len(frame)) == 0)
        if len(alone):
            self.lonely.add(frame, f"atom {alone[0]} ({chemical_symbols[int(frame.numbers[alone[0]])]})")
        if frame.pbc.any():
            self.periodic += 1
            heights = 1 / np.linalg.norm(np.linalg.inv(complete_cell(frame.cell, frame.pbc)), axis=0)[frame.pbc]
            if cutoff > heights.min():
                self.narrow.add(frame)
                self.widest = max(self.widest, float(heights.min()))

    def conclude(self) -> Iterator[Complaint]:
        cutoff = self.settings.cutoff
        if self.lonely:
            share = self.lonely.count / self.frames
            yield self.lonely.complaint(
                "error" if share > 0.5 else "warning",
                "no-neighbors",
                f"{self.lonely.where}: {self.lonely.detail} has no neighbour within the cutoff of {cutoff} Å, so its energy "
                "cannot "
                "depend on anything; enlarge the cutoff, check units.length, or remove the fragment",
            )
        if self.periodic and self.narrow.count == self.periodic:
            yield self.narrow.complaint(
                "warning",
                "cutoff-beyond-cell",
                f"the cutoff of {cutoff} Å is longer than the data allow: all {self.periodic} periodic frames (first: "
                f"{self.narrow.first.place if self.narrow.first else ''}) have cells lower than that (at most "
                f"{self.widest:.2f} Å), so "
                "atoms are only ever seen together with their own images; add frames of larger cells, or shorten the cutoff",
            )
        if self.atoms and self.edges / self.atoms > 250:
            yield Complaint(
                "error" if self.edges / self.atoms > 1500 else "warning",
                "many-neighbors",
                f"the cutoff of {cutoff} Å gives {self.edges / self.atoms:.0f} neighbours per atom, which costs memory and time; "
                "5 to 6 Å are usual; check units.length, too",
            )


@final
class Duplicates(Check):
    """No geometry twice: with different labels it contradicts itself, in train and test it betrays the test."""

    def __init__(self, settings: DoctorSettings, betrays: Duplicates | None = None, role: str = "test") -> None:
        super().__init__(settings)
        self.betrays, self.role = betrays, role
        self.known: dict[bytes, tuple[str, float]] = {}
        self.same, self.contradicting, self.leaked = Tally(), Tally(), Tally()

    def see(self, frame: Frame) -> None:
        if len(frame) == 0 or is_isolated_atom(frame):
            return
        digest = hashlib.blake2b(digest_size=12)
        for array in (
            np.round(frame.positions, 5) + 0.0,
            frame.numbers,
            np.round(frame.cell * frame.pbc[:, None], 5) + 0.0,
            frame.pbc,
        ):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr((frame.charge, frame.spin, None if frame.field is None else frame.field.tolist())).encode())
        key = digest.digest()
        label = frame.labels.get("energy")
        energy = float(label) if label is not None and label.shape == () else np.nan
        if self.betrays is not None and key in self.betrays.known:
            self.leaked.add(frame, self.betrays.known[key][0])
        if key not in self.known:
            self.known[key] = (frame.place, energy)
            return
        place, before = self.known[key]
        if abs(before - energy) > 1e-3:
            self.contradicting.add(frame, f"as {place}, but energies of {before:.4f} and {energy:.4f} eV")
        else:
            self.same.add(frame, f"as {place}")

    def conclude(self) -> Iterator[Complaint]:
        if self.contradicting:
            yield self.contradicting.complaint(
                "error",
                "contradicting-duplicates",
                f"{self.contradicting.where}: the same geometry {self.contradicting.detail}; keep the one of your level of "
                "theory, "
                "or tell them apart by keys.charge and keys.spin",
            )
        if self.same:
            yield self.same.complaint(
                "warning", "duplicates", f"{self.same.where}: the same geometry {self.same.detail}; remove it, it counts twice"
            )
        if self.leaked:
            yield self.leaked.complaint(
                "error",
                f"{self.role}-in-train",
                f"{self.leaked.where} is a {self.role} frame, but has the same geometry as {self.leaked.detail} in training; "
                "remove one of them",
            )
