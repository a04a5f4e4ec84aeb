"""Forces and stress: the first derivatives of an energy with respect to positions and to the shape of space."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import ase
import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.graph import Graph, build_graph

# Maps a graph to its energies (graphs,) in eV, each of which depends on the atoms of its own structure only.
EnergyFunction = Callable[[Graph], Tensor]


class Prediction(NamedTuple):
    """What a model says about a batch: energy (graphs,) eV, forces (nodes, 3) eV/Å, stress (graphs, 3, 3) eV/Å³ or None.

    The stress is positive under tension, as in ASE, and NaN for a structure without a volume (see :func:`stress`).
    """

    energy: Float[Tensor, " graphs"]
    forces: Float[Tensor, "nodes 3"]
    stress: Float[Tensor, "graphs 3 3"] | None = None


def energies(model: EnergyFunction, graph: Graph) -> Float[Tensor, " graphs"]:
    """Energies in eV, with no derivative taken and none prepared: the path for statistics, screening and Monte Carlo.

    >>> energies(_springs, _dimer()).tolist()
    [2.0]
    """
    with torch.no_grad():
        return model(graph)


def energy_and_forces(model: EnergyFunction, graph: Graph, stress: bool = False, create_graph: bool = False) -> Prediction:
    r"""Energies, forces :math:`F = -\partial E/\partial r` and, on demand, stress :math:`V^{-1}\,\partial E/\partial\varepsilon`.

    ``create_graph`` keeps the results differentiable, to train on them or to take Hessians; otherwise they are detached. Works in
    eager mode (also under ``no_grad``), while being traced by ``make_fx``, and inside the transformations of ``torch.func``.
    A model that ignores the positions has zero forces.

    >>> prediction = energy_and_forces(_springs, _dimer())
    >>> prediction.energy.tolist(), prediction.forces.tolist()
    ([2.0], [[0.0, 0.0, 2.0], [0.0, 0.0, -2.0]])
    """
    energy, (slope, virial) = _gradients(model, graph, strained=stress, create_graph=create_graph)
    tensor = None if virial is None else virial_per_volume(virial, graph)
    return Prediction(energy, -slope, tensor)


def stress(model: EnergyFunction, graph: Graph) -> Float[Tensor, "graphs 3 3"]:
    r"""Cauchy stress of each periodic structure, in eV/Å³: :math:`\sigma = V^{-1}\,\partial E/\partial\varepsilon`.

    Positive under tension, as in ASE, and symmetric: ε is a symmetric strain of positions and cell. V is the volume of the cell,
    vacuum included, also where only one or two directions repeat. Raises ``ValueError`` when a structure of the batch has no
    volume or repeats in no direction; :func:`virial` serves molecules.
    Source: Knuth et al., Comput. Phys. Commun. 190, 33 (2015).

    >>> import ase
    >>> from tesseral.graph import build_graph
    >>> chain = build_graph(ase.Atoms("H", cell=[1.5, 2, 2], pbc=(True, False, False)), cutoff=1.6)
    >>> stress(_springs, chain)[0].diagonal().tolist()  # E = (a - 1)²/2, so σ = a (a - 1) / V
    [0.125, 0.0, 0.0]
    """
    undefined = torch.nonzero(~_has_stress(graph)).flatten().tolist()
    if undefined:
        raise ValueError(
            f"no stress for structure {undefined[0]} of {graph.num_graphs}: its cell has no volume, or it repeats in no "
            "direction; use virial, or leave such structures out"
        )
    _, (_, gradient) = _gradients(model, graph, strained=True, create_graph=False)
    assert gradient is not None
    return virial_per_volume(gradient, graph)


def virial(model: EnergyFunction, graph: Graph) -> Float[Tensor, "graphs 3 3"]:
    r"""The virial :math:`W = -\partial E/\partial\varepsilon = -V\sigma` of each structure in eV, for molecules too.

    For pair forces it is :math:`\tfrac12 \sum_{ij} r_{ij} \otimes F_{ij}`.

    >>> virial(_springs, _dimer())[0].diagonal().tolist()
    [0.0, 0.0, -6.0]
    """
    _, (_, gradient) = _gradients(model, graph, strained=True, create_graph=False)
    assert gradient is not None
    return -gradient


def forces_of(model: EnergyFunction, graph: Graph) -> Callable[[Tensor], Tensor]:
    """Forces as a function of the positions alone, the edges held fixed: what ``torch.func.jvp`` and friends want.

    >>> force = forces_of(_springs, _dimer())
    >>> torch.func.jacrev(force)(_dimer().positions)[0, 2, 0, 2].item()
    -1.0
    """
    return lambda positions: energy_and_forces(model, graph.replace(positions=positions), create_graph=True).forces


def _gradients(
    model: EnergyFunction, graph: Graph, *, strained: bool, create_graph: bool
) -> tuple[Tensor, tuple[Tensor, Tensor | None]]:
    """Energies, and their gradients with respect to positions (nodes, 3) and symmetric strain (graphs, 3, 3)."""
    if torch._C._are_functorch_transforms_active():
        return _functional_gradients(model, graph, strained=strained)
    with torch.inference_mode(False), torch.enable_grad():
        if graph.positions.is_inference():  # such tensors can never be differentiated; their copies can
            graph = graph.map(torch.clone)
        positions, strain = _leaf(graph.positions, create_graph), torch.zeros_like(graph.cell) if strained else None
        inputs = [positions]
        placed = graph.replace(positions=positions)
        if strain is not None:
            strain.requires_grad_()
            inputs.append(strain)
            placed = placed.strained(strain)
        energy = model(placed)
        if energy.requires_grad:
            slopes = torch.autograd.grad(
                energy.sum(), inputs, create_graph=create_graph, allow_unused=True, materialize_grads=True
            )
        else:
            slopes = tuple(torch.zeros_like(x) for x in inputs)
    if not create_graph:
        energy = energy.detach()
    return energy, (slopes[0], slopes[1] if strained else None)


def _functional_gradients(model: EnergyFunction, graph: Graph, *, strained: bool) -> tuple[Tensor, tuple[Tensor, Tensor | None]]:
    # autograd.grad does not compose with vmap, jvp, ...: inside a transformation only another one will do.
    def energy(positions: Tensor, strain: Tensor) -> tuple[Tensor, Tensor]:
        placed = graph.replace(positions=positions)
        values = model(placed.strained(strain) if strained else placed)
        return values.sum(), values

    arguments = (graph.positions, torch.zeros_like(graph.cell))
    slopes, values = torch.func.grad(energy, argnums=(0, 1), has_aux=True)(*arguments)
    return values, (slopes[0], slopes[1] if strained else None)


def _leaf(positions: Tensor, create_graph: bool) -> Tensor:
    if create_graph and positions.requires_grad:
        return positions
    return positions.detach().requires_grad_()


def _has_stress(graph: Graph) -> Tensor:
    return graph.pbc.any(1) & (graph.volume > 0)


def virial_per_volume(gradient: Float[Tensor, "graphs 3 3"], graph: Graph) -> Float[Tensor, "graphs 3 3"]:
    """The stress from the slope of the energy with strain; NaN for a structure without a volume."""
    # NaN, not zero: a stress that does not exist must not look like one that vanishes. No NaN enters gradients that way.
    defined = _has_stress(graph)
    volume = torch.where(defined, graph.volume, 1.0)
    return torch.where(defined[:, None, None], gradient / volume[:, None, None], torch.nan)


def _springs(graph: Graph) -> Tensor:
    """Springs of stiffness 1 eV/Å² and length 1 Å between neighbours, for the examples."""
    length = torch.linalg.vector_norm(graph.edge_vectors(), dim=1)
    energy = 0.25 * (length - 1).square()
    return energy.new_zeros(graph.num_graphs).index_add(0, graph.batch[graph.destination], energy)


def _dimer() -> Graph:
    return build_graph(ase.Atoms("H2", positions=[(0, 0, 0), (0, 0, 3)]), cutoff=4.0)
