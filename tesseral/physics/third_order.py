"""Third derivatives of the energy with respect to positions: the cubic force constants of a molecule or of a cell at Γ."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.graph import Graph
from tesseral.physics.forces import EnergyFunction, _dimer, _springs, energy_and_forces  # noqa: F401 (examples)


def cubic_force_constants(
    model: EnergyFunction, graph: Graph, progress: Callable[[int, int], None] | None = None
) -> Float[Tensor, "nodes 3 nodes 3 nodes 3"]:
    r""":math:`\Psi_{i\alpha,j\beta,k\gamma} = \partial^3 E/\partial r_{i\alpha}\partial r_{j\beta}\partial r_{k\gamma}` in eV/Å³.

    In a crystal, atoms move with all their images: take a supercell. A pass for each pair of coordinates, so for some tens of
    atoms; :func:`hessian_derivative` contracts one index while it differentiates. Not symmetrised: the asymmetry measures
    the error. Raises ``ValueError`` for a batch of structures.

    >>> squeezed = _dimer()
    >>> psi = cubic_force_constants(lambda g: g.edge_vectors()[:1].norm().pow(3).reshape(1), squeezed)  # E = r³, so E''' = 6
    >>> psi[0, 2, 0, 2, 0, 2].abs().item()
    6.0
    """
    if graph.num_graphs != 1:
        raise ValueError(f"cubic_force_constants takes one structure, got a batch of {graph.num_graphs}")
    size = 3 * graph.num_nodes
    result = graph.positions.new_zeros(size, size, size, dtype=torch.float64)
    positions, slope = _slope(model, graph)
    for i in range(size):
        row = _derivative(slope.reshape(-1)[i], positions, keep=True).reshape(-1)
        for j in range(i + 1):
            result[i, j] = result[j, i] = _derivative(row[j], positions).reshape(-1)
        if progress is not None:
            progress(i + 1, size)
    return result.reshape(graph.num_nodes, 3, graph.num_nodes, 3, graph.num_nodes, 3)


def hessian_derivative(
    model: EnergyFunction, graph: Graph, direction: Float[Tensor, "nodes 3"]
) -> Float[Tensor, "nodes 3 nodes 3"]:
    r"""How the Hessian changes along a displacement, :math:`\sum_{k\gamma}\Psi_{i\alpha,j\beta,k\gamma}\,d_{k\gamma}`, in eV/Å²
    times the unit of ``direction`` over Å: one pass for each coordinate.

    >>> hessian_derivative(_springs, _dimer(), torch.zeros(2, 3, dtype=torch.float64)).abs().max().item()
    0.0
    """
    positions, slope = _slope(model, graph)
    with torch.enable_grad():
        pushed = _derivative((slope * direction).sum(), positions, keep=True)
    rows = [_derivative(value, positions) for value in pushed.reshape(-1)]
    return torch.stack(rows).to(torch.float64).reshape(graph.num_nodes, 3, graph.num_nodes, 3)


def _slope(model: EnergyFunction, graph: Graph) -> tuple[Tensor, Tensor]:
    positions = graph.positions.detach().clone().requires_grad_()
    with torch.enable_grad():
        forces = energy_and_forces(model, graph.replace(positions=positions), create_graph=True).forces
    return positions, -forces


def _derivative(value: Tensor, at: Tensor, keep: bool = False) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(at)
    return torch.autograd.grad(value, at, retain_graph=True, create_graph=keep, allow_unused=True, materialize_grads=True)[0]
