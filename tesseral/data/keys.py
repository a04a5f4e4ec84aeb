"""Under which keys a file keeps its labels."""

from __future__ import annotations

import pydantic


class Keys(pydantic.BaseModel):
    """The keys under which energies, forces and the rest are found, per frame or per atom. None: do not read it.

    ASE moves the keys energy, forces, stress, dipole, charges and magmoms of an extxyz file into a calculator; they are
    found there as well as in ``info`` and ``arrays``.

    >>> Keys(energy="REF_energy", forces="REF_forces").energy
    'REF_energy'
    >>> Keys(enregy="E")
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: ...
    """

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, frozen=True)

    energy: str | None = pydantic.Field(default="energy", description="total energy of a frame")
    forces: str | None = pydantic.Field(default="forces", description="forces on the atoms")
    stress: str | None = pydantic.Field(default="stress", description="stress of a periodic frame: 6 Voigt components or 3x3")
    virial: str | None = pydantic.Field(default=None, description="virial of a periodic frame, turned into a stress")
    dipole: str | None = pydantic.Field(default="dipole", description="dipole moment of a frame")
    polarizability: str | None = pydantic.Field(default="polarizability", description="polarizability of a frame, 3x3")
    dielectric: str | None = pydantic.Field(
        default=None, description="electronic dielectric tensor of a crystal, 3x3, turned into a polarizability"
    )
    born_charges: str | None = pydantic.Field(
        default="born_charges", description="Born effective charges (atomic polar tensors), 9 numbers or 3x3 of each atom, in e"
    )
    charges: str | None = pydantic.Field(default=None, description="partial charges of the atoms, in e")
    magmoms: str | None = pydantic.Field(default=None, description="magnetic moments of the atoms, in Bohr magnetons")
    charge: str | None = pydantic.Field(default="charge", description="total charge of a frame, in e")
    spin: str | None = pydantic.Field(default="spin", description="number of unpaired electrons of a frame")
    field: str | None = pydantic.Field(default="field", description="homogeneous electric field on a frame")
    weight: str | None = pydantic.Field(default="config_weight", description="weight of a frame in the loss")
    config_type: str | None = pydantic.Field(default="config_type", description="kind of a frame; errors are reported by kind")
    group: str | None = pydantic.Field(default=None, description="trajectory or family of a frame; splits never cut a group")
    extra: dict[str, str] = pydantic.Field(default={}, description="further labels: our name -> key in the file")

    def labels(self) -> dict[str, str]:
        """Our name of each label that is read, and its key in the file.

        >>> Keys(stress=None, extra={"gap": "homo_lumo_gap"}).labels()["gap"]
        'homo_lumo_gap'
        """
        return {name: key for name in LABELS if (key := getattr(self, name)) is not None} | self.extra

    def asked_for(self) -> dict[str, str]:
        """The labels whose key somebody chose, and so expects to find."""
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        return {name: key for name, key in self.labels().items() if name in self.extra or key != defaults[name]}


LABELS = ("energy", "forces", "stress", "virial", "dipole", "polarizability", "dielectric", "born_charges", "charges", "magmoms")

# Labels under which others are kept once they are read.
BECOMES = {"virial": "stress", "dielectric": "polarizability"}

# Where other programs and data sets keep the same thing; the doctor suggests these when a key is absent.
SYNONYMS = {
    "energy": (
        "energy",
        "REF_energy",
        "dft_energy",
        "Energy",
        "energies",
        "E",
        "total_energy",
        "free_energy",
        "U0",
        "energy_pbe",
    ),
    "forces": ("forces", "REF_forces", "dft_forces", "force", "Forces", "F", "dft_force", "gradient", "gradients"),
    "stress": ("stress", "REF_stress", "dft_stress", "Stress", "virial", "virials", "REF_virials", "dft_virial", "virial_stress"),
    "virial": ("virial", "virials", "REF_virials", "REF_virial", "dft_virial", "stress"),
    "dipole": ("dipole", "REF_dipole", "mu", "dipole_moment", "dft_dipole"),
    "polarizability": ("polarizability", "REF_polarizability", "alpha"),
    "dielectric": ("dielectric", "dielectric_tensor", "epsilon_inf", "REF_dielectric"),
    "born_charges": ("born_charges", "born_effective_charges", "becs", "bec", "REF_becs", "atomic_polar_tensors", "apt"),
    "charges": ("charges", "REF_charges", "initial_charges", "partial_charges", "hirshfeld_charges"),
    "magmoms": ("magmoms", "REF_magmoms", "initial_magmoms", "magnetic_moments"),
}
