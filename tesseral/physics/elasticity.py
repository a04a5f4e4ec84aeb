"""Elastic constants: second derivatives of the energy in strain, with the atoms held and with the atoms following."""

from __future__ import annotations

import dataclasses

import torch
from ase import units
from jaxtyping import Float
from torch import Tensor

from tesseral.graph import Graph
from tesseral.physics.forces import EnergyFunction, _springs, stress  # noqa: F401 (examples)
from tesseral.physics.hessian import hessian

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Order of the six strains: xx, yy, zz, yz, xz, xy; shears are engineering shears, twice the tensor component."""


@dataclasses.dataclass(frozen=True, eq=False)
class Elasticity:
    r"""The elastic response of a crystal.

    ``clamped`` is the 6×6 Voigt matrix in GPa with the atoms carried along by the strain, ``relaxed`` the one with the atoms at
    their new minima: what is measured. ``internal_strain`` (nodes, 3, 6), in Å per unit of Voigt strain, is how they move there.
    ``stress`` (3, 3), in GPa, is what the crystal was under: constants of the order of it are uncertain by definition.
    """

    clamped: Float[Tensor, "6 6"]
    relaxed: Float[Tensor, "6 6"]
    internal_strain: Float[Tensor, "nodes 3 6"]
    stress: Float[Tensor, "3 3"]


def elasticity(model: EnergyFunction, graph: Graph) -> Elasticity:
    r"""Elastic constants of one crystal at its minimum, from exact second derivatives:

    .. math:: C_{mn} = \frac1V \frac{\partial^2 E}{\partial\varepsilon_m\,\partial\varepsilon_n}
              - \frac1V \sum_{ij} \Lambda_{im}\,(H^{+})_{ij}\,\Lambda_{jn},\qquad
              \Lambda_{im} = \frac{\partial^2 E}{\partial u_i\,\partial\varepsilon_m}.

    The first term is the clamped-ion tensor; the second, with the pseudoinverse of the Hessian at Γ (translations left
    out), is the internal-strain correction. Relax atoms and cell first: away from zero stress, the derivative in the
    symmetric strain taken here differs from the other definitions by terms of the size of the stress.
    Raises ``ValueError`` for something that does not repeat in three directions, a batch, or an unstable arrangement of atoms.
    Source: Born and Huang, Dynamical Theory of Crystal Lattices (1954), ch. V; Wu, Vanderbilt, Hamann,
    Phys. Rev. B 72, 035105 (2005), eq. 15.

    >>> import ase.build
    >>> from tesseral.graph import build_graph
    >>> chain = build_graph(ase.build.bulk("Po", "sc", a=1.0), cutoff=1.2)
    >>> response = elasticity(_springs, chain)  # springs of 1 eV/Å² along the cube's edges: C11 = k/a, C12 = 0
    >>> [round(x / 160.2177, 6) for x in response.relaxed[0, :2].tolist()]
    [1.0, 0.0]
    """
    if graph.num_graphs != 1 or not bool(graph.pbc.all()) or graph.num_nodes == 0:
        raise ValueError(
            f"elastic constants need one crystal that repeats in three directions, got {graph} with pbc {graph.pbc.tolist()}"
        )
    second, mixed = _strain_derivatives(model, graph)
    volume = float(graph.volume)
    nodes = graph.num_nodes
    matrix = hessian(model, graph).reshape(3 * nodes, 3 * nodes)
    response = _follow(0.5 * (matrix + matrix.T), mixed.reshape(3 * nodes, 6))
    correction = mixed.reshape(3 * nodes, 6).T @ response
    return Elasticity(
        clamped=_symmetric(second) / volume / units.GPa,
        relaxed=_symmetric(second + correction) / volume / units.GPa,
        internal_strain=response.reshape(nodes, 3, 6),
        stress=stress(model, graph)[0] / units.GPa,
    )


def strain_tensor(voigt: Float[Tensor, "6"]) -> Float[Tensor, "3 3"]:
    """The symmetric tensor of six Voigt strains.

    >>> strain_tensor(torch.tensor([0.0, 0, 0, 0, 0, 2.0]))[0].tolist()
    [0.0, 1.0, 0.0]
    """
    result = voigt.new_zeros(3, 3)
    for value, (a, b) in zip(voigt, VOIGT, strict=True):
        result[a, b] += 0.5 * value
        result[b, a] += 0.5 * value
    return result


def _strain_derivatives(model: EnergyFunction, graph: Graph) -> tuple[Tensor, Tensor]:
    """Second derivatives in strain (6, 6) in eV, and in positions and strain (nodes, 3, 6) in eV/Å."""
    with torch.enable_grad():
        positions = graph.positions.detach().requires_grad_()
        strain = torch.zeros_like(graph.cell).requires_grad_()
        # Atoms move in the frame of the undeformed crystal, then everything is strained: at u = 0, ε = 0 the order matters only
        # under forces, which vanish at the minimum.
        energy = model(graph.replace(positions=positions).strained(strain)).sum()
        if not energy.requires_grad:
            return strain.new_zeros(6, 6), strain.new_zeros(graph.num_nodes, 3, 6)
        (slope,) = torch.autograd.grad(energy, strain, create_graph=True)
    second, mixed = [], []
    for a, b in VOIGT:
        s, u = torch.autograd.grad(slope[0, a, b], [strain, positions], retain_graph=True, materialize_grads=True)
        second.append(torch.stack([s[0, c, d] for c, d in VOIGT]))
        mixed.append(u)
    return torch.stack(second).detach(), torch.stack(mixed, -1).detach()


def _follow(matrix: Tensor, push: Tensor) -> Tensor:
    """Displacements -H⁺ Λ of the atoms to their minimum, with the centre of the crystal at rest."""
    nodes = len(matrix) // 3
    shifts = torch.eye(3, dtype=matrix.dtype, device=matrix.device).repeat(nodes, 1) / nodes**0.5
    # Translations get the stiffness 1 instead of 0, and are not pushed.
    values, vectors = torch.linalg.eigh(_project(matrix, shifts) + shifts @ shifts.T)
    if float(values[0]) <= 0:
        raise ValueError(
            f"the atoms are not at a minimum: a mode at the zone centre has the stiffness {float(values[0]):.3g} eV/Å², so they "
            "have nowhere to follow a strain to. Relax the structure, with its symmetry broken by a small random displacement"
        )
    rest = push - shifts @ (shifts.T @ push)
    return -vectors @ ((vectors.T @ rest) / values[:, None])


def _project(matrix: Tensor, shifts: Tensor) -> Tensor:
    left = matrix - shifts @ (shifts.T @ matrix)
    return left - (left @ shifts) @ shifts.T


def _symmetric(matrix: Tensor) -> Tensor:
    return 0.5 * (matrix + matrix.T)
