"""Do the energies fit the compositions, and the species the geometry?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import final

import numpy as np
from ase import units as ase_units
from ase.data import atomic_numbers, chemical_symbols, covalent_radii

from tesseral.data.doctor.complaint import Check, Complaint, DoctorSettings, Tally
from tesseral.data.doctor.structure import distances, is_sound
from tesseral.data.frame import Frame
from tesseral.data.statistics import is_isolated_atom

ENERGY_UNITS = {
    "eV": 1.0,
    "Hartree": ase_units.Hartree,
    "Rydberg": ase_units.Rydberg,
    "kcal/mol": ase_units.kcal / ase_units.mol,
    "kJ/mol": ase_units.kJ / ase_units.mol,
    "meV": 1e-3,
}


_NONMETALS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53)


def all_electron_energy(number: int) -> float:
    r"""Non-relativistic total energy of an atom in eV, to a few percent.

    .. math:: E/E_h = -0.768745\,Z^{7/3} + Z^2/2 - 0.2699\,Z^{5/3}

    Source: Schwinger, Phys. Rev. A 24, 2353 (1981).

    >>> round(all_electron_energy(6) / 27.2114, 1)  # carbon: -37.8 Hartree
    -37.6
    """
    if number == 1:
        return -0.5 * ase_units.Hartree
    z = float(number)
    return float((-0.768745 * z ** (7 / 3) + z**2 / 2 - 0.2699 * z ** (5 / 3)) * ase_units.Hartree)


@final
class EnergyUnits(Check):
    """Energies of one composition are alike, agree with the isolated atoms, and are in the unit they are said to be in."""

    def __init__(self, settings: DoctorSettings) -> None:
        super().__init__(settings)
        self.energies: dict[str, list[float]] = defaultdict(list)
        self.places: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self.compositions: dict[str, np.ndarray] = {}
        self.isolated: dict[int, float] = {atomic_numbers[symbol]: value for symbol, value in settings.atomic_energies.items()}

    def see(self, frame: Frame) -> None:
        energy = frame.labels.get("energy")
        if energy is None or energy.shape != () or not np.isfinite(energy) or len(frame) == 0:
            return
        if is_isolated_atom(frame):
            self.isolated.setdefault(int(frame.numbers[0]), float(energy))
            return
        self.energies[frame.formula].append(float(energy))
        self.places[frame.formula].append((frame.file, frame.index))
        self.compositions.setdefault(frame.formula, frame.numbers)

    def conclude(self) -> Iterator[Complaint]:
        key = self.key("energy")
        mixed = False
        for formula, values in self.energies.items():
            for complaint in self._within(formula, np.array(values), key):
                mixed = mixed or complaint.name == "mixed-units"
                yield complaint
        if self.energies and not mixed:
            yield from self._absolute(key)
            yield from self._binding(key)

    def _within(self, formula: str, energies: np.ndarray, key: str) -> Iterator[Complaint]:
        if len(energies) < 3:
            return
        middle = float(np.median(energies))
        spread = float(np.median(abs(energies - middle)))
        atoms = len(self.compositions[formula])
        away = abs(energies - middle) / atoms
        # Where two units share the frames out, the numbers of the smaller unit tell: they are the larger ones.
        large = energies[abs(energies) >= 0.5 * abs(energies).max()] if spread >= 0.02 * abs(middle) else energies
        common = float(np.median(large))
        if abs(common) > 0 and len(large) > 1 and float(np.median(abs(large - common))) < 0.02 * abs(common):
            ratios = np.where(energies == 0, 1.0, energies / common)
            for name, size in ENERGY_UNITS.items():
                if name == "eV":
                    continue
                odd: np.ndarray = np.flatnonzero(abs(ratios * size - 1) < 0.05)
                back: np.ndarray = np.flatnonzero(abs(ratios / size - 1) < 0.05)
                for found, sentence in ((odd, f"looks like {name} among eV"), (back, f"looks like eV among {name}")):
                    if len(found):
                        file, index = self.places[formula][int(found[0])]
                        yield Complaint(
                            "error",
                            "mixed-units",
                            f"frame {index} of {file}: the energy {energies[found[0]]:.4f} under the key {key!r} {sentence}; "
                            "it is "
                            f"{common:.4f} in other frames of {formula} ({len(found)} of {len(energies)} frames are like this "
                            "one). "
                            "Convert them to one unit",
                            file=file,
                            frame=index,
                            key=key,
                        )
                        return
        outliers = np.flatnonzero(away > max(2.0, 50 * spread / atoms))
        if len(outliers) and len(outliers) < 0.2 * len(energies):
            worst = int(outliers[np.argmax(away[outliers])])
            file, index = self.places[formula][worst]
            yield Complaint(
                "warning",
                "energy-outlier",
                f"frame {index} of {file}: the energy {energies[worst]:.4f} eV under the key {key!r} is {away[worst]:.1f} eV "
                "per atom "
                f"from the median of {formula} ({len(outliers)} such frames): did the calculation converge, and is it this "
                "composition?",
                file=file,
                frame=index,
                key=key,
            )

    def _absolute(self, key: str) -> Iterator[Complaint]:
        ratios = []
        for formula, values in self.energies.items():
            expected = sum(all_electron_energy(int(z)) for z in self.compositions[formula] if 1 <= z <= 118)
            ratios += [float(np.median(values)) / expected] if expected else []
        ratio = float(np.median(ratios))
        for name, size in ENERGY_UNITS.items():
            if name != "eV" and abs(ratio * size - 1) < 0.03:
                file, index = next(iter(self.places.values()))[0]
                yield Complaint(
                    "error",
                    "energy-unit",
                    f"frame {index} of {file}: the energies under the key {key!r} are all-electron total energies in {name}, "
                    "not in eV "
                    f"({next(iter(self.energies.values()))[0]:.4f} for {next(iter(self.energies))}); set units.energy to "
                    f"{name!r}",
                    file=file,
                    frame=index,
                    key=key,
                )
                return

    def _binding(self, key: str) -> Iterator[Complaint]:
        per_atom = []
        scaled: dict[str, list[float]] = defaultdict(list)
        for formula, values in self.energies.items():
            numbers = self.compositions[formula]
            if all(int(z) in self.isolated for z in numbers):
                alone = sum(self.isolated[int(z)] for z in numbers)
                per_atom.append((float(np.median(values)) - alone) / len(numbers))
                for name, size in ENERGY_UNITS.items():
                    scaled[name].append((float(np.median(values)) * size - alone) / len(numbers))
                    scaled[f"eV while the isolated atoms are in {name}"].append(
                        (float(np.median(values)) - alone * size) / len(numbers)
                    )
        if not per_atom or -15 < np.median(per_atom) < 8:
            return
        likely = [name for name, values in scaled.items() if -12 < np.median(values) < 0.5]
        hint = f"; they would make sense in {likely[0]}" if likely else ""
        file, index = next(iter(self.places.values()))[0]
        yield Complaint(
            "error",
            "implausible-binding",
            f"{file}: energies under the key {key!r} minus the isolated atoms give {np.median(per_atom):.2f} eV per atom, "
            "where -10 to 0 is "
            f"usual{hint}. Correct units.energy, or take isolated atoms of the same level of theory",
            file=file,
            frame=index,
            key=key,
        )


@final
class Species(Check):
    """The species column belongs to the positions: bonds have the length of bonds, and elements stay where they are."""

    def __init__(self, settings: DoctorSettings) -> None:
        super().__init__(settings)
        self.frames = 0
        self.odd, self.swapped, self.changed = Tally(), Tally(), Tally()
        self.previous: Frame | None = None
        self.molecular = True

    def see(self, frame: Frame) -> None:
        before, self.previous = self.previous, frame
        if not is_sound(frame) or len(frame) < 2:
            return
        if before is not None and len(before) == len(frame) and not np.array_equal(before.numbers, frame.numbers):
            moved = np.sqrt(((frame.positions - before.positions) ** 2).sum(1).mean())
            changed = np.flatnonzero(before.numbers != frame.numbers)
            if moved < 0.4:
                atom = int(changed[0])
                was, now = (chemical_symbols[int(numbers[atom])] for numbers in (before.numbers, frame.numbers))
                tally = self.swapped if sorted(before.numbers) == sorted(frame.numbers) else self.changed
                tally.add(frame, f"atom {atom} is {now} here and {was} in {before.place}, at nearly the same positions")
        self.frames += 1
        self.molecular = self.molecular and not frame.pbc.any()
        radii = covalent_radii[frame.numbers]
        source, destination, length = distances(frame, 3.0 * float(radii.max()))
        if len(length) == 0:
            return
        relative = length / (radii[source] + radii[destination])
        nearest = np.full(len(frame), np.inf)
        np.minimum.at(nearest, destination, relative)
        # A wrong element is too large here and too small there; one alone is only an unusual bond.
        if nearest.min() < 0.75 and nearest[np.isfinite(nearest)].max() > 1.2:
            atom = int(np.argmin(nearest))
            self.odd.add(frame, f"{chemical_symbols[int(frame.numbers[atom])]} (atom {atom}) is too close to its neighbour")
        elif np.isin(frame.numbers, _NONMETALS).all():
            bonds = np.bincount(destination[relative < 1.3], minlength=len(frame))
            for atom in np.flatnonzero((frame.numbers == 1) & (bonds >= 3))[:1]:
                self.odd.add(frame, f"H (atom {atom}) has {bonds[atom]} bonds")
                return
            alone = np.flatnonzero((frame.numbers == 1) & (nearest > 1.4) & (nearest < 2.5))
            if len(alone) > 1:
                self.odd.add(frame, f"H (atoms {alone[0]} and {alone[1]}) have no bond")

    def conclude(self) -> Iterator[Complaint]:
        # In many frames this is how the data were made: substitutions in one lattice, swaps in an alloy.
        if self.swapped and (self.molecular or self.swapped.count < 0.1 * self.frames):
            yield self.swapped.complaint(
                "error" if self.molecular else "warning",
                "shuffled-species",
                f"{self.swapped.where}: {self.swapped.detail}: the species are permuted; put the species column back in the "
                "order of the positions",
            )
        if self.changed and self.changed.count < max(2, 0.02 * self.frames):
            yield self.changed.complaint(
                "warning",
                "changed-composition",
                f"{self.changed.where}: {self.changed.detail}: the composition changes; is the species column right?",
            )
        if self.odd and self.odd.count > 0.3 * self.frames:
            yield self.odd.complaint(
                "error" if self.odd.count > 0.7 * self.frames and self.frames > 2 else "warning",
                "species-misfit",
                f"{self.odd.where}: bonds do not fit the elements, first "
                f"{self.odd.detail}: the species column is probably not in the order of the positions",
            )
