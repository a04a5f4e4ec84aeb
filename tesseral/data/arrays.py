"""Structures kept as arrays of numpy: ``.npz`` files (MD17, rMD17, sGDML and the like) and folders of DeePMD-kit.

Both are read into ``ase.Atoms`` under the keys of the file, so that keys and units work as for every other format.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ase
import numpy as np

from tesseral.data.errors import DataError
from tesseral.data.units import Units, parse_unit

SPECIES = ("numbers", "atomic_numbers", "nuclear_charges", "z", "Z", "species", "symbols")
POSITIONS = ("positions", "coords", "coordinates", "R", "pos")
CELLS = ("cell", "cells", "lattice")
UNIT_KEYS = {"e_unit": "energy", "r_unit": "length"}
"""Where sGDML's files say their units, and the settings that should say the same."""


def images_of_npz(file: Path, units: Units) -> Iterator[ase.Atoms]:
    """The structures of an ``.npz`` file.

    One array has the elements, (atoms,) or (frames, atoms) filled up with zeros, one the positions (frames, atoms, 3) or, of a
    single structure, (atoms, 3); a cell and ``pbc`` may be there. What else has a row for each frame becomes a label of it, or of
    its atoms, under its own name. Raises ``DataError`` for other files, and for one that names other units than ``units``.
    """
    arrays = _load(file)
    numbers = _numbers(file, _one_of(file, arrays, SPECIES, "the elements"))
    positions = np.asarray(_one_of(file, arrays, POSITIONS, "positions"), dtype=np.float64)
    single = positions.ndim == 2
    if single:
        positions, arrays = positions[None], {name: array[None] for name, array in arrays.items()}
    frames, atoms = positions.shape[:2]
    if positions.shape[2:] != (3,) or numbers.shape[-1] != atoms or numbers.shape[:-1] not in ((), (frames,)):
        raise DataError(
            f"{file}: positions {positions.shape} and elements {numbers.shape} do not fit; expected (frames, atoms, 3) and "
            "(atoms,)"
        )
    _check_units(file, arrays, units)
    numbers = np.broadcast_to(numbers, (frames, atoms))
    cells = next((np.asarray(arrays[name]) for name in CELLS if name in arrays), None)
    pbc = np.asarray(arrays["pbc"]) if "pbc" in arrays else np.array(cells is not None)
    structure = {*SPECIES, *POSITIONS, *CELLS, *UNIT_KEYS, "pbc"}
    labels = {
        name: array for name, array in arrays.items() if name not in structure and array.ndim and len(array) == frames
    }  # fmt: skip
    for index in range(frames):
        there = numbers[index] > 0
        image = ase.Atoms(numbers[index][there], positions[index][there])
        if cells is not None:
            image.cell = np.asarray(cells[index] if cells.ndim == 3 else cells, dtype=np.float64)
        image.pbc = pbc[index] if pbc.ndim == 2 else pbc
        for name, array in labels.items():
            value = array[index]
            if value.ndim and len(value) == atoms and (atoms != 3 or name in PER_ATOM):
                image.arrays[name] = value[there]
            else:
                image.info[name] = value.item() if value.size == 1 else value
        yield image


PER_ATOM = {"forces", "F", "force", "charges", "magmoms", "gradients", "gradient", "born_charges"}
"""Names that mean a row for each atom in structures of three atoms, where the shape does not tell."""


def _load(file: Path) -> dict[str, np.ndarray]:
    try:
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(
            f"{file} cannot be read as arrays of numpy ({error}): is it complete, and free of Python objects?"
        ) from error


def _one_of(file: Path, arrays: Mapping[str, np.ndarray], names: tuple[str, ...], what: str) -> np.ndarray:
    for name in names:
        if name in arrays:
            return arrays[name]
    raise DataError(
        f"{file}: no array holds {what}; it has {', '.join(arrays) or 'none'}, expected one named {', '.join(names)}. Rename "
        "it, or write the structures as extended XYZ"
    )


def _numbers(file: Path, species: np.ndarray) -> np.ndarray:
    if species.dtype.kind in "US":
        symbols = species.astype(str)
        try:
            return np.vectorize(lambda s: ase.data.atomic_numbers[s] if s else 0, otypes=[np.int64])(symbols)
        except KeyError as error:
            raise DataError(f"{file}: {error} is not a chemical element; correct it") from None
    return species.astype(np.int64)


def _check_units(file: Path, arrays: Mapping[str, np.ndarray], units: Units) -> None:
    """What the file says of its units must be what the settings say."""
    for key, name in UNIT_KEYS.items():
        if key not in arrays:
            continue
        said = arrays[key].reshape(-1)[0]
        unit = said.decode() if isinstance(said, bytes) else str(said)
        unit = {"Ang": "Å", "bohr": "Bohr"}.get(unit, unit)
        try:
            factor = parse_unit(unit)[0]
        except ValueError:
            continue  # a word that nobody knows decides nothing
        if abs(factor / units.factor(name) - 1) > 1e-3:
            raise DataError(f"{file} says that its unit of {name} is {unit}, the settings say {getattr(units, name)}: set "
                            f"data.units.{name}={unit}")  # fmt: skip


def is_deepmd(folder: Path) -> bool:
    """Whether a folder is a system of DeePMD-kit in its numpy format."""
    return folder.is_dir() and (folder / "type.raw").exists() and any(folder.glob("set.*"))


def images_of_deepmd(folder: Path) -> Iterator[ase.Atoms]:
    """The structures of a system of DeePMD-kit: ``type.raw``, ``type_map.raw`` and ``set.*/{coord,box,energy,force,virial}.npy``.

    ``force`` becomes ``forces``; other arrays of the sets keep their names. Their virial is -dE/dstrain (the default of
    ``units.virial_sign``) and is read when ``keys.virial`` says so. Raises ``DataError`` for a system without elements.
    """
    kinds = _table(folder / "type.raw").astype(int)
    names = folder / "type_map.raw"
    if not names.exists():
        raise DataError(f"{folder} has no type_map.raw: write into it the symbols of the elements of types 0 to {kinds.max()}")
    symbols = np.array(names.read_text().split())
    unknown = sorted(set(symbols) - set(ase.data.chemical_symbols))
    if unknown or kinds.max(initial=0) >= len(symbols):
        raise DataError(f"{names} names {' '.join(symbols)}, expected symbols of elements for types 0 to {kinds.max()}")
    periodic = not (folder / "nopbc").exists()
    for part in sorted(folder.glob("set.*")):
        arrays = {file.stem: _table(file) for file in sorted(part.glob("*.npy"))}
        if "coord" not in arrays:
            raise DataError(f"{part} has no coord.npy")
        types = arrays.pop("real_atom_types", np.broadcast_to(kinds, (len(arrays["coord"]), len(kinds)))).astype(int)
        positions = arrays.pop("coord").reshape(len(types), -1, 3)
        boxes = arrays.pop("box", None)
        if positions.shape[1] != types.shape[1] or any(len(array) != len(types) for array in arrays.values()):
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise DataError(f"{part}: {types.shape[1]} atoms in {len(types)} frames do not fit coord {positions.shape}, {shapes}")
        for index, (row, places) in enumerate(zip(types, positions, strict=True)):
            image = ase.Atoms(symbols[row], places)
            if boxes is not None and periodic:
                image.cell, image.pbc = boxes[index].reshape(3, 3), True
            for name, array in arrays.items():
                value = array[index].reshape(-1)
                if name == "force":
                    image.arrays["forces"] = value.reshape(-1, 3)
                else:
                    image.info[name] = value.item() if value.size == 1 else value
            yield image


def _table(file: Path) -> np.ndarray:
    try:
        return np.load(file, allow_pickle=False) if file.suffix == ".npy" else np.loadtxt(file, ndmin=1)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{file} cannot be read ({error}): is it complete?") from error


def images_of(file: Path, units: Units) -> Iterator[Any] | None:
    """The structures of a file or folder of arrays; None for anything else."""
    if file.suffix.lower() == ".npz":
        return images_of_npz(file, units)
    return images_of_deepmd(file) if is_deepmd(file) else None
