"""One labelled structure, in eV, Å and e, that remembers where it came from."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.symbols import Symbols
from jaxtyping import Float, Int64

from tesseral.data.errors import DataError
from tesseral.data.keys import Keys
from tesseral.data.units import Units, symmetric_matrix
from tesseral.graph import Graph, build_graph
from tesseral.graph.neighbors import NODE_LABELS

LABEL_SHAPES = {
    "energy": (),
    "forces": (3,),
    "stress": (3, 3),
    "dipole": (3,),
    "polarizability": (3, 3),
    "born_charges": (3, 3),
    "charges": (),
    "magmoms": (),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """A structure with what is known about it.

    Positions and cell in Å, energies in eV, forces in eV/Å, stress in eV/Å³ (positive under tension), dipoles in e·Å,
    polarizabilities in Å³ (the volume α/4πε₀), Born charges in e with the displaced axis first, fields in V/Å. ``keys`` are all
    keys that the file had for this frame.

    >>> frame = Frame(positions=np.zeros((1, 3)), numbers=np.array([2]), labels={"energy": np.array(-78.8)})
    >>> frame
    Frame(He, labels=['energy'])
    """

    positions: Float[np.ndarray, "nodes 3"]
    numbers: Int64[np.ndarray, " nodes"]
    cell: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((3, 3)))
    pbc: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3, dtype=bool))
    labels: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    charge: float | None = None
    spin: float | None = None
    field: np.ndarray | None = None
    weight: float = 1.0
    config_type: str = ""
    group: str | None = None
    file: str = ""
    index: int = 0
    keys: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def formula(self) -> str:
        """The Hill formula, such as ``C2H6O``; elements that do not exist appear as X."""
        known = np.where((self.numbers >= 0) & (self.numbers <= 118), self.numbers, 0)
        return str(Symbols(known).get_chemical_formula()) if len(known) else ""

    @property
    def place(self) -> str:
        """Where the frame is, for messages: ``frame 12 of train.xyz``."""
        return f"frame {self.index} of {self.file}" if self.file else f"frame {self.index}"

    @property
    def volume(self) -> float:
        """Volume of the cell in Å³."""
        return abs(float(np.linalg.det(self.cell)))

    @property
    def is_isolated_atom(self) -> bool:
        """Whether this is a single atom that sees no other: not periodic, or in a cell of more than 6 Å height."""
        if len(self) != 1:
            return False
        if not self.pbc.any():
            return True
        heights = 1 / np.maximum(np.linalg.norm(np.linalg.pinv(self.cell), axis=0), 1e-12)
        return bool((heights[self.pbc] > 6.0).all())

    def graph(self, cutoff: float | int, dtype: torch.dtype = torch.float64) -> Graph:
        """The graph of this frame, with its labels; ``DataError`` names the frame when it cannot be built."""
        for name, value in self.labels.items():
            expected = self.expected_shape(name)
            if expected is not None and value.shape != expected:
                raise DataError(f"{self.place}: the label {name!r} has shape {value.shape}, expected {expected}")
        try:
            return build_graph(
                self,
                cutoff,
                labels=self.labels,
                charge=self.charge,
                spin=self.spin,
                field=self.field,
                weight=self.weight,
                dtype=dtype,
            )
        except ValueError as error:
            raise DataError(f"{self.place}: {error}") from error

    def expected_shape(self, label: str) -> tuple[int, ...] | None:
        """The shape that ``label`` must have in this frame; None for labels that are not ours."""
        if label not in LABEL_SHAPES:
            return None
        return ((len(self),) if label in NODE_LABELS else ()) + LABEL_SHAPES[label]

    def atoms(self) -> ase.Atoms:
        """The frame as ``ase.Atoms``, with its labels in a calculator."""
        atoms = ase.Atoms(self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)
        results: dict[str, Any] = {
            name: value for name, value in self.labels.items() if name in ("energy", "forces", "dipole", "charges", "magmoms")
        }
        if "stress" in self.labels:
            results["stress"] = self.labels["stress"].reshape(9)[[0, 4, 8, 5, 2, 1]]
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info |= {
            name: value
            for name, value in (("charge", self.charge), ("spin", self.spin), ("config_type", self.config_type or None))
            if value is not None
        }
        atoms.info |= {name: value for name, value in self.labels.items() if name not in results and name not in NODE_LABELS}
        if "born_charges" in self.labels:
            atoms.arrays["born_charges"] = self.labels["born_charges"].reshape(len(self), -1)
        return atoms

    def digest(self) -> bytes:
        """Sixteen bytes that change when the structure or a label changes.

        >>> frame = Frame(positions=np.zeros((1, 3)), numbers=np.array([2]))
        >>> frame.digest() == dataclasses.replace(frame, numbers=np.array([3])).digest()
        False
        """
        sha = hashlib.sha256()
        for array in (self.positions, self.numbers, self.cell, self.pbc):
            sha.update(np.ascontiguousarray(array).tobytes())
        for name in sorted(self.labels):
            sha.update(name.encode() + np.ascontiguousarray(self.labels[name], dtype=np.float64).tobytes())
        sha.update(repr((self.charge, self.spin, self.weight, self.config_type, self.group)).encode())
        return sha.digest()[:16]

    def __repr__(self) -> str:
        labels = f", labels={sorted(self.labels)}" if self.labels else ""
        return f"Frame({self.formula}{labels})"


def frame_from_atoms(
    atoms: ase.Atoms, keys: Keys | None = None, units: Units | None = None, *, file: str = "", index: int = 0
) -> Frame:
    """A frame from ``ase.Atoms``: labels by ``keys`` from its calculator, ``info`` and ``arrays``, converted from ``units``.

    Raises ``DataError`` for a label that is not a number. A label of a wrong shape is kept as it is, for the doctor to see.

    >>> atoms = ase.Atoms("H2", positions=[(0, 0, 0), (0, 0, 0.74)], info={"REF_energy": -1.17})
    >>> frame_from_atoms(atoms, Keys(energy="REF_energy"), Units(energy="Hartree")).labels["energy"]
    array(-31.83...)
    """
    keys, units = keys or Keys(), units or Units()
    found = _available(atoms)
    length = units.factor("length")
    place = f"frame {index} of {file}" if file else f"frame {index}"
    cell = np.array(atoms.cell.array, dtype=np.float64) * length
    labels: dict[str, np.ndarray] = {}
    for name, key in keys.labels().items():
        if key not in found or found[key] is None:
            continue
        value = _numeric(found[key], key, place) * units.factor(name)
        if name == "born_charges":
            value = _born_charges(value, len(atoms), units)
        if name in ("stress", "virial", "polarizability", "dielectric"):
            matrix = symmetric_matrix(value, units.voigt)
            value = value if matrix is None else matrix
        if name == "energy" and value.size == 1:
            value = value.reshape(())
        if name == "stress" and units.stress_sign == "compression":
            value = -value
        if name == "virial":
            if "stress" in labels:
                continue
            volume = abs(np.linalg.det(cell))
            if volume < 1e-6:
                raise DataError(f"{place}: the key {key!r} holds a virial, but the cell has no volume to turn it into a stress")
            name, value = "stress", value / volume * (-1.0 if units.virial_sign == "compression" else 1.0)
        if name == "dielectric":
            if "polarizability" in labels:
                continue
            name, value = "polarizability", _polarizability(value, cell, atoms.pbc, key, place)
        labels[name] = np.asarray(value)

    def number(name: str, default: float | None) -> float | None:
        key = getattr(keys, name)
        if key is None or found.get(key) is None:
            return default
        value = _numeric(found[key], key, place)
        if value.size != 1:
            raise DataError(f"{place}: the key {key!r} has shape {value.shape}, expected one number for the {name}")
        return float(value.reshape(()))

    field = found.get(keys.field) if keys.field else None
    config_type = found.get(keys.config_type) if keys.config_type else None
    group = found.get(keys.group) if keys.group else None
    if keys.group and group is None:
        raise DataError(f"{place}: no key {keys.group!r} to tell its group; found are {', '.join(sorted(found))}")
    weight = number("weight", 1.0)
    return Frame(
        positions=np.array(atoms.positions, dtype=np.float64) * length,
        numbers=np.array(atoms.numbers, dtype=np.int64),
        cell=cell,
        pbc=np.array(atoms.pbc, dtype=bool),
        labels=labels,
        charge=number("charge", None),
        spin=number("spin", None),
        field=None if field is None or keys.field is None else _numeric(field, keys.field, place) * units.factor("field"),
        weight=1.0 if weight is None else weight,
        config_type="" if config_type is None else str(config_type),
        group=None if group is None else str(group),
        file=file,
        index=index,
        keys=tuple(sorted(found)),
    )


def _born_charges(value: np.ndarray, nodes: int, units: Units) -> np.ndarray:
    """One matrix for each atom, the displaced axis first; as it is where it has another size."""
    if value.size != 9 * nodes:
        return value
    matrices = value.reshape(nodes, 3, 3)
    return matrices if units.born_axes == "displacement field" else np.ascontiguousarray(matrices.transpose(0, 2, 1))


def _polarizability(dielectric: np.ndarray, cell: np.ndarray, pbc: np.ndarray, key: str, place: str) -> np.ndarray:
    """The polarizability of a cell in Å³ from its dielectric tensor."""
    volume = abs(np.linalg.det(cell))
    if volume < 1e-6 or not pbc.all() or dielectric.shape != (3, 3):
        raise DataError(
            f"{place}: the key {key!r} holds a dielectric tensor, which is 3x3 and belongs to a crystal; set pbc and cell, or "
            "remove the key"
        )
    return volume * (dielectric - np.eye(3)) / (4 * np.pi)


def _available(atoms: ase.Atoms) -> dict[str, Any]:
    found = {key: value for key, value in atoms.arrays.items() if key not in ("numbers", "positions")}
    found |= atoms.info
    # ASE's own readers put energy, forces and stress into a calculator whose results win over a leftover in info.
    results = getattr(atoms.calc, "results", None) or {}
    return found | {key: value for key, value in results.items() if value is not None}


def _numeric(value: Any, key: str, place: str) -> np.ndarray:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{place}: the key {key!r} holds {str(value)[:60]!r}, which is not a number; "
            "correct it, or remove the key from this frame"
        ) from None
