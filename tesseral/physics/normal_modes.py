"""Normal modes of a molecule by irreps of its point group: activities from characters, intensities from derivatives."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from ase import units

from tesseral.groups import MolecularSymmetry, molecular_point_group
from tesseral.physics.vibrations import WAVENUMBER, masses, rigid_motions

# Integrated absorption N_A/(12 ε0 c²) |dμ/dQ|² in km/mol, for dμ/dQ in e/√amu (Q in Å √amu).
KM_PER_MOL = float(units._Nav / (12 * units._eps0 * units._c**2) * units._e**2 / units._amu / 1000)


@dataclasses.dataclass(frozen=True, eq=False)
class NormalMode:
    r"""One level: a mode, or the degenerate partners that symmetry ties together.

    ``frequency`` in 1/cm, negative where imaginary. ``displacements`` (degeneracy, atoms, 3) are
    :math:`\partial r/\partial Q` in 1/√amu. ``infrared`` and ``raman`` say what the characters allow; ``infrared_intensity``
    (km/mol) and ``raman_activity`` (Å⁴/amu) are summed over the partners, ``depolarization`` is the ratio for linearly polarised
    light; they are None where no derivatives were given, the last one also where nothing scatters.
    """

    frequency: float
    irrep: str
    displacements: np.ndarray
    infrared: bool
    raman: bool
    infrared_intensity: float | None = None
    raman_activity: float | None = None
    depolarization: float | None = None

    @property
    def degeneracy(self) -> int:
        """The number of partners."""
        return len(self.displacements)

    @property
    def activity(self) -> str:
        """What the characters allow, as in "IR, Raman" or "silent"."""
        return ", ".join(name for name, active in (("IR", self.infrared), ("Raman", self.raman)) if active) or "silent"


@dataclasses.dataclass(frozen=True, eq=False)
class NormalModes:
    """All vibrations of a molecule, lowest first.

    ``asymmetry`` is the part of the Hessian that the point group forbids, the largest entry in eV/Å²; it was left out.
    """

    symmetry: MolecularSymmetry
    modes: tuple[NormalMode, ...]
    asymmetry: float

    @property
    def frequencies(self) -> np.ndarray:
        """All frequencies in 1/cm, degenerate ones as often as they occur."""
        return np.array([mode.frequency for mode in self.modes for _ in range(mode.degeneracy)])

    @property
    def zero_point_energy(self) -> float:
        """Half of the quanta of all real modes, in eV."""
        return float(0.5 * units.invcm * self.frequencies.clip(min=0).sum())


def selection_rules(symmetry: MolecularSymmetry) -> tuple[set[str], set[str]]:
    """The irreps that absorb in the infrared, as a vector does, and that scatter in Raman, as a symmetric tensor does.

    >>> methane = [[0.0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]
    >>> [sorted(irreps) for irreps in selection_rules(molecular_point_group(methane, "CHHHH"))]
    [['T2'], ['A1', 'E', 'T2']]
    """
    infrared, raman = (symmetry.relabel(symmetry.group.subduce(irreps)) for irreps in ("1o", "0e+2e"))
    return set(infrared), set(raman)


def symmetry_of(species: Any, positions: Any, mass: Any = None, tolerance: float = 0.01) -> MolecularSymmetry:
    """The point group in which the molecule vibrates: isotopes, given by their ``mass`` in amu, are different atoms.

    >>> water = np.array([[0.0, 0, 0.12], [0.76, 0, -0.48], [-0.76, 0, -0.48]])
    >>> symmetry_of([8, 1, 1], water).name, symmetry_of([8, 1, 1], water, [16.0, 1.0, 2.0]).name
    ('C2v', 'Cs')
    """
    numbers = [int(z) for z in species]
    kinds = numbers if mass is None else [f"{z} {float(m):.4f}" for z, m in zip(numbers, mass, strict=True)]
    return molecular_point_group(positions, kinds, tolerance)


def normal_modes(
    hessian: np.ndarray,
    species: Any,
    symmetry: MolecularSymmetry,
    *,
    dipole_derivatives: np.ndarray | None = None,
    polarizability_derivatives: np.ndarray | None = None,
    mass: Any = None,
) -> NormalModes:
    r"""Solve :math:`M^{-1/2} H M^{-1/2} q = \omega^2 q` for each irrep apart, in the space without rigid motions.

    The Hessian (atoms, 3, atoms, 3) in eV/Å² is averaged over the group first, so that partners are degenerate and irreps do
    not mix; it belongs to the positions ``symmetry.symmetrized`` up to the tolerance of the symmetry. Derivatives of dipole
    (atoms, 3, 3) in e and polarizability (atoms, 3, 3, 3) in Å² have the displaced coordinate first. Intensities:

    .. math:: A = \frac{N_A}{12 \varepsilon_0 c^2} \Big|\frac{\partial\mu}{\partial Q}\Big|^2, \qquad
        S = 45 a'^2 + 7 \gamma'^2, \qquad \rho = \frac{3\gamma'^2}{45 a'^2 + 4\gamma'^2},

    a' and γ' being a third of the trace and the anisotropy of :math:`\partial\alpha/\partial Q`. ``mass`` (amu) names isotopes.
    Raises ``ValueError`` when shapes do not fit. Source: Long, The Raman Effect (2002), ch. 5; Neugebauer et al., J. Comput.
    Chem. 23, 895 (2002).
    """
    n = len(symmetry.positions)
    _check_shapes(n, hessian, dipole_derivatives, polarizability_derivatives)
    weight = np.asarray(masses(torch.as_tensor(np.asarray(species, dtype=np.int64))) if mass is None else mass, dtype=np.float64)
    root = np.sqrt(weight).repeat(3)
    action = symmetry.displacements()
    matrix = hessian.reshape(3 * n, 3 * n)
    matrix = 0.5 * (matrix + matrix.T)
    averaged = _averaged(action, matrix)
    dynamical = averaged / np.outer(root, root)
    rigid = rigid_motions(torch.as_tensor(symmetry.symmetrized), torch.as_tensor(weight)).numpy()
    infrared, raman = selection_rules(symmetry)
    modes = []
    for label in symmetry.group.reduce(np.trace(action, axis1=1, axis2=2)):
        name = next(iter(symmetry.relabel({label: 1})))
        size = symmetry.group.irrep(label).matrices.shape[1]
        basis = _without(symmetry.group.projector(action, label), rigid)
        eigenvalues, vectors = np.linalg.eigh(basis @ dynamical @ basis.T)
        shapes = (vectors.T @ basis / root).reshape(-1, size, n, 3)
        for value, displacements in zip(eigenvalues.reshape(-1, size).mean(axis=1), shapes, strict=True):
            frequency = float(WAVENUMBER * np.sign(value) * np.sqrt(np.abs(value)))
            modes.append(
                NormalMode(
                    frequency, name, displacements, name in infrared, name in raman,
                    _infrared(displacements, dipole_derivatives), *_raman(displacements, polarizability_derivatives),
                )
            )  # fmt: skip
    ordered = tuple(sorted(modes, key=lambda mode: mode.frequency))
    return NormalModes(symmetry, ordered, float(np.abs(matrix - averaged).max(initial=0.0)))


def _check_shapes(n: int, hessian: np.ndarray, dipole: np.ndarray | None, polarizability: np.ndarray | None) -> None:
    expected = (("the Hessian", hessian, (n, 3, n, 3)), ("dipole_derivatives", dipole, (n, 3, 3)),
                ("polarizability_derivatives", polarizability, (n, 3, 3, 3)))  # fmt: skip
    for name, array, shape in expected:
        if array is not None and array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape} for {n} atoms, the displaced coordinate first")


def _averaged(action: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    total = np.zeros_like(matrix)
    for d in action:
        total += d @ matrix @ d.T
    return np.asarray(total / len(action))


def _without(projector: np.ndarray, rigid: np.ndarray) -> np.ndarray:
    """An orthonormal basis of an isotypic subspace without the rigid motions, which the projector commutes with."""
    internal = np.eye(len(projector)) - rigid.T @ rigid
    values, vectors = np.linalg.eigh(internal @ projector @ internal)
    return np.asarray(vectors[:, values > 0.5].T)


def _infrared(displacements: np.ndarray, derivatives: np.ndarray | None) -> float | None:
    if derivatives is None:
        return None
    slopes = np.einsum("pia,iab->pb", displacements, derivatives)
    return float(KM_PER_MOL * (slopes**2).sum())


def _raman(displacements: np.ndarray, derivatives: np.ndarray | None) -> tuple[float | None, float | None]:
    """Activity in Å⁴/amu and depolarisation ratio."""
    if derivatives is None:
        return None, None
    slopes = np.einsum("pia,iabc->pbc", displacements, derivatives)
    slopes = 0.5 * (slopes + slopes.transpose(0, 2, 1))
    mean = np.trace(slopes, axis1=1, axis2=2) / 3
    deviator = slopes - mean[:, None, None] * np.eye(3)
    isotropic, anisotropic = float((mean**2).sum()), float(1.5 * (deviator**2).sum())
    activity = 45 * isotropic + 7 * anisotropic
    scattered = 45 * isotropic + 4 * anisotropic
    return activity, 3 * anisotropic / scattered if activity > 1e-6 else None
