"""Harmonic vibrations: frequencies and normal modes from a Hessian, with translations and rotations projected out exactly."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import torch
from ase import units
from ase.data import atomic_masses
from jaxtyping import Float, Int
from torch import Tensor

from tesseral.graph import Graph

# From sqrt(eV/Å²/amu) to the wavenumber in 1/cm, ν = ω / 2πc.
WAVENUMBER = float(np.sqrt(units._e / units._amu) * 1e10 / (2 * np.pi * units._c * 100))
EV_PER_WAVENUMBER = units.invcm

Projection = Literal["auto", "rigid", "translations", "none"]


@dataclasses.dataclass(frozen=True, eq=False)
class Vibrations:
    """Normal modes in ascending order.

    ``frequencies`` in 1/cm, negative where imaginary (a saddle point); ``modes`` are Cartesian displacements of unit norm;
    ``reduced_masses`` in amu and ``force_constants`` in eV/Å² belong to these displacements.
    """

    frequencies: Float[Tensor, " modes"]
    modes: Float[Tensor, "modes nodes 3"]
    reduced_masses: Float[Tensor, " modes"]
    force_constants: Float[Tensor, " modes"]

    @property
    def zero_point_energy(self) -> float:
        """Half of the quanta of all real modes, in eV."""
        return float(0.5 * EV_PER_WAVENUMBER * self.frequencies.clamp(min=0).sum())


def masses(species: Int[Tensor, " nodes"]) -> Float[Tensor, " nodes"]:
    """Standard atomic weights in amu.

    >>> masses(torch.tensor([1, 8]))
    tensor([ 1.0080, 15.9990], dtype=torch.float64)
    """
    return torch.as_tensor(atomic_masses, dtype=torch.float64, device=species.device)[species]


def vibrations(
    hessian: Float[Tensor, "nodes 3 nodes 3"],
    graph: Graph,
    project: Projection = "auto",
    mass: Float[Tensor, " nodes"] | None = None,
) -> Vibrations:
    r"""Solve :math:`M^{-1/2} H M^{-1/2} q = \omega^2 q` in the space without rigid motions.

    ``project``: "rigid" leaves translations and rotations out (3N - 6 modes, 3N - 5 for a linear molecule), "translations" only
    those (crystals), "none" neither; "auto" is "translations" where anything repeats and "rigid" elsewhere. ``mass`` (amu) names
    isotopes. The Hessian is symmetrised. Raises ``ValueError`` when its shape does not fit the graph.
    Source: Wilson, Decius, Cross, Molecular Vibrations (1955), ch. 2; the projection is that of Miller, Handy, Adams,
    J. Chem. Phys. 72, 99 (1980).

    >>> import ase
    >>> from tesseral.graph import build_graph
    >>> h2 = build_graph(ase.Atoms("H2", positions=[(0, 0, 0), (0, 0, 0.74)]), cutoff=1.0)
    >>> spring = torch.zeros(2, 3, 2, 3, dtype=torch.float64)
    >>> spring[:, 2, :, 2] = 36.0 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> vibrations(spring, h2).frequencies
    tensor([4407.2335], dtype=torch.float64)
    """
    nodes = graph.num_nodes
    if graph.num_graphs != 1 or hessian.shape != (nodes, 3, nodes, 3):
        raise ValueError(f"a Hessian of shape {tuple(hessian.shape)} does not belong to {graph}; expected one structure")
    mass = masses(graph.species) if mass is None else mass.to(hessian.dtype)
    root = mass.sqrt().repeat_interleave(3)
    matrix = hessian.detach().reshape(3 * nodes, 3 * nodes) / (root[:, None] * root)
    matrix = 0.5 * (matrix + matrix.T)
    if project == "auto":
        project = "translations" if bool(graph.pbc.any()) else "rigid"
    rigid = (
        rigid_motions(graph.positions.detach(), mass, rotations=project == "rigid")
        if project != "none"
        else root.new_zeros(0, 3 * nodes)
    )
    internal = _complement(rigid)
    eigenvalues, vectors = torch.linalg.eigh(internal @ matrix @ internal.T)
    displacements = (vectors.T @ internal) / root
    norms = torch.linalg.vector_norm(displacements, dim=1)
    reduced = norms**-2
    return Vibrations(
        frequencies=WAVENUMBER * eigenvalues.sign() * eigenvalues.abs().sqrt(),
        modes=(displacements / norms[:, None]).reshape(len(norms), nodes, 3),
        reduced_masses=reduced,
        force_constants=eigenvalues * reduced,
    )


def rigid_motions(
    positions: Float[Tensor, "nodes 3"], mass: Float[Tensor, " nodes"], rotations: bool = True
) -> Float[Tensor, "motions coordinates"]:
    """An orthonormal basis of mass-weighted translations and rotations: 6 rows, 5 for a linear molecule, 3 for an atom.

    >>> x = torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, 0, 3]], dtype=torch.float64)
    >>> tuple(rigid_motions(x, torch.ones(3, dtype=torch.float64)).shape)
    (5, 9)
    """
    if len(positions) == 0:
        return positions.new_zeros(0, 0)
    root = mass.sqrt()[None, :, None]
    axes = torch.eye(3, dtype=positions.dtype, device=positions.device)
    shifts = axes[:, None, :] * root
    motions = [shifts / torch.linalg.vector_norm(shifts, dim=(1, 2), keepdim=True)]
    if rotations and len(positions) > 1:
        centre = (mass[:, None] * positions).sum(0) / mass.sum()
        arms = positions - centre
        turns = torch.linalg.cross(axes[:, None, :].expand(3, *arms.shape), arms.expand(3, *arms.shape)) * root
        # Singular values are roots of the principal moments of inertia: one is (nearly) zero for a linear molecule.
        _, sizes, basis = torch.linalg.svd(turns.reshape(3, -1), full_matrices=False)
        motions.append(basis[sizes > 1e-5 * sizes[0]].reshape(-1, *arms.shape))
    return torch.cat(motions).reshape(-1, 3 * len(positions))


def _complement(rows: Tensor) -> Tensor:
    """Orthonormal rows that span what the given orthonormal rows leave out."""
    count, size = rows.shape
    if count == 0:
        return torch.eye(size, dtype=rows.dtype, device=rows.device)
    return torch.linalg.svd(rows, full_matrices=True)[2][count:]
