"""Units of the labels in a file, and their conversion to eV, Å and e."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

import numpy as np
import pydantic
from ase import units as ase_units

from tesseral.data.errors import did_you_mean

# 1/(4πε₀) in eV Å/e²: turns a polarizability into its volume.
COULOMB = ase_units.Hartree * ase_units.Bohr


class Dimension(NamedTuple):
    """Powers of energy, length and charge."""

    energy: int = 0
    length: int = 0
    charge: int = 0

    def __str__(self) -> str:
        powers = [f"{name}^{power}" if power != 1 else name for name, power in zip(self._fields, self) if power]
        return "·".join(powers) or "a pure number"


ENERGY = Dimension(energy=1)
LENGTH = Dimension(length=1)
FORCE = Dimension(energy=1, length=-1)
STRESS = Dimension(energy=1, length=-3)
DIPOLE = Dimension(length=1, charge=1)
POLARIZABILITY = Dimension(length=3)  # as a volume, α/4πε₀
FIELD = Dimension(energy=1, length=-1, charge=-1)

_ENERGIES = {
    "eV": 1.0,
    "meV": 1e-3,
    "Hartree": ase_units.Hartree,
    "Ha": ase_units.Hartree,
    "mHa": 1e-3 * ase_units.Hartree,
    "Rydberg": ase_units.Rydberg,
    "Ry": ase_units.Rydberg,
    "kcal/mol": ase_units.kcal / ase_units.mol,
    "kJ/mol": ase_units.kJ / ase_units.mol,
    "J": ase_units.J,
}
_LENGTHS = {"Å": 1.0, "Angstrom": 1.0, "A": 1.0, "Bohr": ase_units.Bohr, "a0": ase_units.Bohr, "nm": 10.0, "pm": 0.01, "m": 1e10}
_PRESSURES = {
    "GPa": ase_units.GPa,
    "MPa": 1e-3 * ase_units.GPa,
    "kbar": 0.1 * ase_units.GPa,
    "bar": 1e-4 * ase_units.GPa,
    "Pa": ase_units.Pascal,
}
_KNOWN: dict[str, tuple[float, Dimension]] = {
    **{name: (value, ENERGY) for name, value in _ENERGIES.items()},
    **{name: (value, LENGTH) for name, value in _LENGTHS.items()},
    **{name: (value, STRESS) for name, value in _PRESSURES.items()},
    "Debye": (ase_units.Debye, DIPOLE),
    "D": (ase_units.Debye, DIPOLE),
    "e": (1.0, Dimension(charge=1)),
    "V": (1.0, Dimension(energy=1, charge=-1)),
    "1": (1.0, Dimension()),
}
_EXPONENTS = str.maketrans({"²": "^2", "³": "^3", "⁴": "^4", "·": "*", " ": "*"})


def parse_unit(unit: str) -> tuple[float, Dimension]:
    """The size of a unit in eV, Å, e, and its dimension. ``ValueError`` for a unit that is not known.

    >>> parse_unit("eV/Å^3")
    (1.0, Dimension(energy=1, length=-3, charge=0))
    >>> round(parse_unit("Hartree/Bohr")[0], 3)
    51.422
    >>> parse_unit("hartree")
    Traceback (most recent call last):
    ValueError: unknown unit 'hartree' in 'hartree'. Did you mean 'Hartree'? Known are: eV, meV, Hartree, ...
    """
    # "kcal/mol" is one unit, so it is set aside before the slashes are read.
    text = re.sub(r"\*+", "*", unit.strip().translate(_EXPONENTS).replace("/mol", "_per_mol")).replace("*/*", "/")
    value, powers, sign = 1.0, np.zeros(3, dtype=int), 1
    for token in re.findall(r"[*/]|[^*/]+", text) if text and text[-1] not in "*/" else [unit]:
        if token in "*/":
            sign = 1 if token == "*" else -1
            continue
        name, _, exponent = token.replace("_per_mol", "/mol").partition("^")
        if name not in _KNOWN or not re.fullmatch(r"-?\d*", exponent):
            raise ValueError(f"unknown unit {token!r} in {unit!r}.{did_you_mean(name, _KNOWN)} Known are: {', '.join(_KNOWN)}")
        power = sign * int(exponent or 1)
        value *= _KNOWN[name][0] ** power
        powers += power * np.array(_KNOWN[name][1])
    return value, Dimension(*powers.tolist())


def conversion(unit: str, dimension: Dimension) -> float:
    """The factor from ``unit`` to the unit of ``dimension`` in eV, Å, e. ``ValueError`` for a unit of another dimension.

    Polarizabilities are volumes, and may also be given as charge² length² / energy.

    >>> conversion("kcal/mol", ENERGY)
    0.04336...
    >>> round(conversion("e^2*Bohr^2/Hartree", POLARIZABILITY) / conversion("Bohr^3", POLARIZABILITY), 12)
    1.0
    """
    value, found = parse_unit(unit)
    if dimension == POLARIZABILITY and found == Dimension(energy=-1, length=2, charge=2):
        return value * COULOMB
    if found != dimension:
        raise ValueError(f"{unit!r} is a unit of {found}, expected a unit of {dimension}")
    return value


class Units(pydantic.BaseModel):
    """The units in which a file gives its numbers. What is left out follows from ``energy`` and ``length``.

    >>> Units(energy="Hartree", length="Bohr").factor("forces")
    51.42...
    >>> Units(energy="eV", stress="kbar").factor("stress")
    0.000624...
    >>> Units(forces="eV")
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: ...'eV' is a unit of energy, expected a unit of energy·length^-1...
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    energy: str = pydantic.Field(default="eV", description="unit of energies: eV, meV, Hartree, Rydberg, kcal/mol, kJ/mol")
    length: str = pydantic.Field(default="Å", description="unit of positions and cells: Å, Bohr, nm")
    forces: str | None = pydantic.Field(default=None, description="unit of forces; default: energy/length")
    stress: str | None = pydantic.Field(default=None, description="unit of stress: GPa, kbar, eV/Å^3; default: energy/length^3")
    virial: str | None = pydantic.Field(default=None, description="unit of virials; default: the unit of energies")
    dipole: str = pydantic.Field(default="e*Å", description="unit of dipoles: e*Å, Debye, e*Bohr")
    polarizability: str = pydantic.Field(
        default="Å^3", description="unit of polarizabilities: Å^3, Bohr^3 (atomic units), e^2*Å^2/eV"
    )
    field: str = pydantic.Field(default="V/Å", description="unit of electric fields: V/Å, V/nm, Hartree/Bohr/e")
    extra: dict[str, float] = pydantic.Field(default={}, description="factors to multiply the extra labels with")
    stress_sign: Literal["tension", "compression"] = pydantic.Field(
        default="tension", description="what a positive stress means: tension (ASE, ours) or compression (VASP, pressures)"
    )
    virial_sign: Literal["tension", "compression"] = pydantic.Field(
        default="compression",
        description="what a positive virial means: compression (-dE/dstrain: QUIP, MACE, LAMMPS) or tension",
    )
    born_axes: Literal["displacement field", "field displacement"] = pydantic.Field(
        default="displacement field",
        description="what the rows and columns of Born charges are: displacement field (dμ_b/dr_a in row a, column b), or field "
        "displacement (phonopy, VASP, Quantum ESPRESSO's rows Ex Ey Ez)",
    )
    voigt: Literal["xx yy zz yz xz xy", "xx yy zz xy yz xz"] = pydantic.Field(
        default="xx yy zz yz xz xy", description="order of six-component stresses: ASE's, or VASP's (xx yy zz xy yz xz)"
    )

    @pydantic.model_validator(mode="after")
    def _check(self) -> Units:
        for name in _DIMENSIONS:
            try:
                self.factor(name)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return self

    def factor(self, label: str) -> float:
        """What a number of ``label`` in the file is multiplied with to be in eV, Å, e; 1 for labels without a unit."""
        if label not in _DIMENSIONS:
            return self.extra.get(label, 1.0)
        unit = getattr(self, label)
        if unit is None:
            energy, length = conversion(self.energy, ENERGY), conversion(self.length, LENGTH)
            return {"forces": energy / length, "stress": energy / length**3, "virial": energy}[label]
        return conversion(unit, _DIMENSIONS[label])


_DIMENSIONS = {
    "energy": ENERGY,
    "length": LENGTH,
    "forces": FORCE,
    "stress": STRESS,
    "virial": ENERGY,
    "dipole": DIPOLE,
    "polarizability": POLARIZABILITY,
    "field": FIELD,
}


def symmetric_matrix(values: np.ndarray, order: str = "xx yy zz yz xz xy") -> np.ndarray | None:
    """A (3, 3) matrix from 6 Voigt components, 9 numbers or a matrix; None when the shape is none of these.

    >>> symmetric_matrix(np.arange(6.0))
    array([[0., 5., 4.],
           [5., 1., 3.],
           [4., 3., 2.]])
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape == (6,):
        matrix = np.empty((3, 3))
        for value, name in zip(values, order.split()):
            i, j = "xyz".index(name[0]), "xyz".index(name[1])
            matrix[i, j] = matrix[j, i] = value
        return matrix
    return values.reshape(3, 3) if values.size == 9 else None
