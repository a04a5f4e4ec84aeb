"""What a model is told about its training data before the first step: atomic energies, scales, neighbours."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import pydantic
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Float

from tesseral.data.errors import DataError, did_you_mean
from tesseral.data.frame import Frame
from tesseral.data.frames import Frames, Graphs

_ISOLATED_NAMES = {"isolatedatom", "isolatedatoms", "singleatom", "atom"}


class AtomicEnergies(pydantic.BaseModel):
    """Where the energies of the isolated atoms (E0s) come from.

    ``auto`` takes isolated atoms when there is one for every element, and else fits. The energies of a dictionary are in
    eV and leave no room for another unit.

    >>> AtomicEnergies(source="dictionary", values={"H": -13.6}).values
    {'H': -13.6}
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    source: Literal["auto", "isolated", "least_squares", "dictionary"] = pydantic.Field(
        default="auto", description="isolated atoms in the data, least squares over compositions, a dictionary, or auto"
    )
    values: dict[str, float] = pydantic.Field(default={}, description="energy in eV of each element, for source: dictionary")
    ridge: float = pydantic.Field(default=1e-10, ge=0, description="regularisation of the least squares, relative to the data")

    @pydantic.model_validator(mode="after")
    def _check(self) -> AtomicEnergies:
        for symbol in self.values:
            if symbol not in atomic_numbers or symbol == "X":
                raise ValueError(f"{symbol!r} is not a chemical element.{did_you_mean(symbol, chemical_symbols[1:])}")
        if self.values and self.source not in ("dictionary", "auto"):
            raise ValueError(f"values are given, but the source is {self.source!r}: set source to 'dictionary'")
        if self.source == "dictionary" and not self.values:
            raise ValueError("the source is 'dictionary', but no values are given: values: {H: -13.6, ...}")
        return self


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Statistics of a training set.

    ``atomic_energies`` in eV by atomic number; ``force_rms`` is the root mean square of a force component in eV/Å, and
    ``force_rms_by_species`` the same per element; ``energy_scale`` the standard deviation in eV per atom of what the
    atomic energies leave; ``num_neighbors`` the average number of edges per atom. ``notes`` says what to know about them.
    """

    atomic_energies: dict[int, float]
    species: tuple[int, ...]
    force_rms: float | None
    force_rms_by_species: dict[int, float]
    energy_scale: float | None
    num_neighbors: float
    num_frames: int
    num_atoms: int
    notes: tuple[str, ...] = ()


def is_isolated_atom(frame: Frame) -> bool:
    """A single atom that sees no other, by its cell or because its ``config_type`` says so.

    >>> is_isolated_atom(Frame(positions=np.zeros((1, 3)), numbers=np.array([1])))
    True
    """
    named = frame.config_type.lower().replace("_", "").replace(" ", "") in _ISOLATED_NAMES
    return len(frame) == 1 and (named or frame.is_isolated_atom)


def isolated_energies(frames: Iterable[Frame]) -> dict[int, float]:
    """Energies in eV of the isolated atoms among ``frames``, by atomic number.

    Raises ``DataError`` when one element has two energies that differ by more than 1 meV.

    >>> hydrogen = Frame(positions=np.zeros((1, 3)), numbers=np.array([1]), labels={"energy": np.array(-13.6)})
    >>> isolated_energies([hydrogen])
    {1: -13.6}
    """
    found: dict[int, tuple[float, str]] = {}
    for frame in frames:
        if not is_isolated_atom(frame) or "energy" not in frame.labels:
            continue
        number, energy = int(frame.numbers[0]), float(frame.labels["energy"])
        if number in found and abs(found[number][0] - energy) > 1e-3:
            raise DataError(
                f"two isolated atoms of {chemical_symbols[number]} have different energies: {found[number][0]:.6f} eV in "
                f"{found[number][1]} and {energy:.6f} eV in {frame.place}; keep the one of your level of theory"
            )
        found.setdefault(number, (energy, frame.place))
    return {number: energy for number, (energy, _) in sorted(found.items())}


def least_squares_energies(frames: Iterable[Frame], ridge: float = 1e-10) -> tuple[dict[int, float], str | None]:
    r"""Atomic energies in eV that explain the total energies best, and a sentence when the data do not determine them.

    Minimises :math:`\sum_s (E_s - \sum_z n_{sz} e_z)^2 / N_s^2` with a small ridge towards equal energy per atom, so that
    compositions that always occur together share their energy evenly. Isolated atoms are not used.

    >>> from ase.build import molecule
    >>> from tesseral.data import frame_from_atoms
    >>> water = dataclasses.replace(frame_from_atoms(molecule("H2O")), labels={"energy": np.array(-9.0)})
    >>> energies, note = least_squares_energies([water])
    >>> {number: round(energy, 3) for number, energy in energies.items()}
    {1: -3.0, 8: -3.0}
    >>> note
    'the compositions (H2O) do not determine the energies of H, O one by one: ...'
    """
    labelled = [(frame.numbers, float(frame.labels["energy"]), frame.formula) for frame in frames if _has_energy(frame)]
    if not labelled:
        raise DataError("no frame with an energy and more than one atom: atomic energies cannot be fitted, give a dictionary")
    species = np.unique(np.concatenate([numbers for numbers, _, _ in labelled]))
    counts = np.array([[np.count_nonzero(numbers == z) for z in species] for numbers, _, _ in labelled], dtype=np.float64)
    sizes = counts.sum(1)
    fractions = counts / sizes[:, None]
    per_atom = np.array([energy for _, energy, _ in labelled]) / sizes
    mean = per_atom.mean()
    design = np.concatenate([fractions, np.sqrt(ridge * len(labelled)) * np.eye(len(species))])
    target = np.concatenate([per_atom - mean, np.zeros(len(species))])
    solution = np.linalg.lstsq(design, target, rcond=None)[0] + mean
    rank = np.linalg.matrix_rank(fractions, tol=1e-6 * np.sqrt(len(labelled)))
    note = None
    if rank < len(species):
        formulas = list(dict.fromkeys(formula for _, _, formula in labelled))
        shown = ", ".join(formulas[:3]) + (", ..." if len(formulas) > 3 else "")
        note = (
            f"the compositions ({shown}) do not determine the energies of {', '.join(chemical_symbols[z] for z in species)} "
            f"one by one: {len(species)} elements, rank {rank}. Energies of these compositions are right, but those of others "
            "and of dissociation are not; add isolated atoms to the data, or give a dictionary"
        )
    return {int(z): float(energy) for z, energy in zip(species, solution)}, note


def _has_energy(frame: Frame) -> bool:
    energy = frame.labels.get("energy")
    return (
        energy is not None and energy.shape == () and bool(np.isfinite(energy)) and len(frame) > 0 and not is_isolated_atom(frame)
    )


def atomic_energies(
    frames: Frames, settings: AtomicEnergies | None = None, isolated: Iterable[Frame] = ()
) -> tuple[dict[int, float], tuple[str, ...]]:
    """Atomic energies in eV by atomic number, as ``settings`` say, and sentences about them.

    ``isolated`` are further frames with isolated atoms, from a file of their own. Raises ``DataError`` when an element of
    the data has no energy.
    """
    settings = settings or AtomicEnergies()
    species = sorted({int(z) for frame in frames for z in np.unique(frame.numbers)})
    values = {atomic_numbers[symbol]: value for symbol, value in settings.values.items()}
    if values:
        missing = [chemical_symbols[z] for z in species if z not in values]
        if missing:
            raise DataError(
                f"the dictionary of atomic energies lacks {', '.join(missing)}, which the data contain: add their energies to "
                "atomic_energies.values"
            )
        return values, ()
    if settings.source in ("auto", "isolated"):
        alone = isolated_energies(frames) | isolated_energies(isolated)
        missing = [chemical_symbols[z] for z in species if z not in alone]
        if not missing:
            return alone, ()
        if settings.source == "isolated":
            have = ", ".join(chemical_symbols[z] for z in alone) or "none"
            raise DataError(
                f"no isolated atom of {', '.join(missing)} with an energy in the data (found: {have}): add frames of one atom, "
                "or set atomic_energies.source to least_squares or dictionary"
            )
        energies, note = least_squares_energies(frames, settings.ridge)
        some = (
            f"isolated atoms of {', '.join(chemical_symbols[z] for z in alone)} were found, but none of"
            if alone
            else "no isolated atoms of"
        )
        notes = [f"{some} {', '.join(missing)}: atomic energies are fitted by least squares instead"]
        return energies, tuple(notes + ([note] if note else []))
    energies, note = least_squares_energies(frames, settings.ridge)
    return energies, (note,) if note else ()


def compute_statistics(
    frames: Frames,
    cutoff: float | int,
    settings: AtomicEnergies | None = None,
    isolated: Iterable[Frame] = (),
    max_graphs: int = 200,
) -> Statistics:
    """The statistics of a training set; neighbours are counted on at most ``max_graphs`` frames spread over it.

    >>> from ase.build import molecule
    >>> from tesseral.data import frames_from_atoms
    >>> known = AtomicEnergies(values={"H": -13.6, "O": -2041.0})
    >>> statistics = compute_statistics(frames_from_atoms([molecule("H2O")]), 2.0, known)
    >>> statistics.species, statistics.num_neighbors
    ((1, 8), 2.0)
    """
    if len(frames) == 0:
        raise DataError("the training set is empty: there is nothing to learn from")
    energies, notes = atomic_energies(frames, settings, isolated)
    species = sorted({int(z) for frame in frames for z in np.unique(frame.numbers)})
    residuals, force_sums = [], {z: np.zeros(2) for z in species}
    atoms = 0
    for frame in frames:
        atoms += len(frame)
        if _has_energy(frame):
            residuals.append((float(frame.labels["energy"]) - _reference(frame, energies)) / len(frame))
        forces = frame.labels.get("forces")
        if forces is not None and forces.shape == (len(frame), 3) and not is_isolated_atom(frame):
            known = np.isfinite(forces).all(1)
            for z in np.unique(frame.numbers):
                chosen = forces[(frame.numbers == z) & known]
                force_sums[int(z)] += (chosen**2).sum(), chosen.size
    total = sum(force_sums.values(), start=np.zeros(2))
    connected = [index for index, frame in enumerate(frames) if not is_isolated_atom(frame)] or list(range(len(frames)))
    chosen_frames = [
        connected[i] for i in np.unique(np.linspace(0, len(connected) - 1, min(len(connected), max_graphs)).round().astype(int))
    ]
    graphs = Graphs(frames.subset(chosen_frames), cutoff, cache=False)
    edges, nodes = 0, 0
    for index in range(len(graphs)):
        graph = graphs[index]
        edges, nodes = edges + graph.num_edges, nodes + graph.num_nodes
    return Statistics(
        atomic_energies=energies,
        species=tuple(species),
        force_rms=float(np.sqrt(total[0] / total[1])) if total[1] else None,
        force_rms_by_species={z: float(np.sqrt(s[0] / s[1])) for z, s in force_sums.items() if s[1]},
        energy_scale=float(np.std(residuals)) if residuals else None,
        num_neighbors=edges / max(nodes, 1),
        num_frames=len(frames),
        num_atoms=atoms,
        notes=notes,
    )


def _reference(frame: Frame, energies: Mapping[int, float]) -> float:
    return float(sum(energies[int(z)] for z in frame.numbers))


def interaction_energies(frames: Frames, energies: Mapping[int, float]) -> Float[np.ndarray, " frames"]:
    """Total energy minus the atomic energies, in eV per atom, of each frame; NaN without an energy or an atomic energy.

    >>> helium = Frame(positions=np.zeros((1, 3)), numbers=np.array([2]), labels={"energy": np.array(-78.0)})
    >>> from tesseral.data import FramesInMemory
    >>> interaction_energies(FramesInMemory([helium]), {2: -79.0})
    array([1.])
    """
    values = np.full(len(frames), np.nan)
    for index, frame in enumerate(frames):
        known = all(int(z) in energies for z in frame.numbers)
        if known and len(frame) and "energy" in frame.labels and frame.labels["energy"].shape == ():
            values[index] = (float(frame.labels["energy"]) - _reference(frame, energies)) / len(frame)
    return values


def find_isolated_atoms(path: str | pathlib.Path) -> pathlib.Path | None:
    """A file of isolated atoms in the folder of a training file, named ``isolated_atoms`` or ``iso_atoms``, if there is one."""
    folder = pathlib.Path(path).parent
    for stem in ("isolated_atoms", "iso_atoms", "isolated_atom"):
        for suffix in (".xyz", ".extxyz"):
            if (folder / (stem + suffix)).is_file():
                return folder / (stem + suffix)
    return None
