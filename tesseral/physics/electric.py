r"""Responses to a homogeneous electric field, as derivatives of an energy that takes one: the electric enthalpy.

The model reads ``graph.field`` (graphs, 3) in V/Å and returns :math:`E(r, F)` in eV. Then

.. math:: \mu = -\frac{\partial E}{\partial F}, \quad \alpha = -\frac{\partial^2 E}{\partial F^2}, \quad
    Z^*_i = \frac{\partial\mu}{\partial r_i} = -\frac{\partial^2 E}{\partial r_i\,\partial F}.

In a crystal only derivatives of the polarization mean anything (Z*, α, never μ itself), and the dipole of a charged molecule
depends on the origin; see :func:`about`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import torch
from ase import units
from jaxtyping import Float
from torch import Tensor

from tesseral.graph import Graph
from tesseral.physics.forces import EnergyFunction, virial_per_volume

# A polarizability in e·Å per V/Å times this is its volume α/4πε0 in Å³: e/(4πε0) in V·Å.
VOLUME = float(units.Hartree * units.Bohr)

TensorFunction = Callable[[Graph], Tensor]
"""Maps a graph to a property (graphs, ...) of each structure."""


def dipole(model: EnergyFunction, graph: Graph, create_graph: bool = False) -> Float[Tensor, "graphs 3"]:
    r"""The dipole :math:`-\partial E/\partial F` of each structure, in e·Å, at the field of the graph (zero without one).

    ``create_graph`` keeps it differentiable. A model that ignores the field has no dipole.

    >>> dipole(_ions, _pair()).tolist()
    [[0.0, 0.0, -1.5]]
    """
    with torch.enable_grad():
        field = _field(graph)
        energy = model(graph.replace(field=field))
        return -_slope(energy, field, create_graph)


def polarizability(model: EnergyFunction, graph: Graph, create_graph: bool = False) -> Float[Tensor, "graphs 3 3"]:
    r"""The polarizability :math:`-\partial^2 E/\partial F^2`, as the volume :math:`\alpha/4\pi\varepsilon_0` in Å³.

    >>> polarizability(_ions, _pair())[0].diagonal().tolist()
    [2.0, 2.0, 2.0]
    """
    with torch.enable_grad():
        field = _field(graph)
        moment = dipole(model, graph.replace(field=field), create_graph=True)
        columns = [_slope(moment[:, axis], field, create_graph, keep=True) for axis in range(3)]
    return VOLUME * torch.stack(columns, dim=1)


def born_charges(model: EnergyFunction, graph: Graph) -> Float[Tensor, "nodes 3 3"]:
    r"""Born effective charges :math:`Z^*_{i,ab} = \partial\mu_b/\partial r_{ia}` in e; the displaced axis comes first.

    For a batch of structures each atom has the derivative of its own structure's dipole.

    >>> born_charges(_ions, _pair())[:, 2, 2].tolist()
    [1.0, -1.0]
    """
    return position_derivatives(lambda g: dipole(model, g, create_graph=True), graph)


class Responses(NamedTuple):
    """What an energy in a field says about a batch; None for what was not asked for.

    Energy (graphs,) eV, forces (nodes, 3) eV/Å, stress (graphs, 3, 3) eV/Å³, dipole (graphs, 3) e·Å, polarizability
    (graphs, 3, 3) Å³, Born charges (nodes, 3, 3) e with the displaced axis first.
    """

    energy: Float[Tensor, " graphs"]
    forces: Float[Tensor, "nodes 3"]
    stress: Float[Tensor, "graphs 3 3"] | None = None
    dipole: Float[Tensor, "graphs 3"] | None = None
    polarizability: Float[Tensor, "graphs 3 3"] | None = None
    born_charges: Float[Tensor, "nodes 3 3"] | None = None


RESPONSES = ("dipole", "polarizability", "born_charges")
"""What :func:`energy_and_responses` gives besides energies, forces and stresses."""


def reads_field(model: Any) -> bool:
    """Whether the energy of a model, or of a term of a sum of models, depends on the electric field of the graph."""
    return bool(getattr(model, "reads_field", False)) or any(reads_field(term) for term in getattr(model, "terms", ()))


def energy_and_responses(
    model: EnergyFunction, graph: Graph, wanted: Collection[str], *, stress: bool = False, create_graph: bool = False
) -> Responses:
    r"""Energies, forces and, as far as they are ``wanted`` (of ``RESPONSES``), the responses to the field of the graph.

    One evaluation of the energy gives all: a backward pass the first derivatives, and one more for each axis of the field the
    polarizability and the Born charges together. The dipole of something that repeats is NaN: it has no meaning there.

    >>> found = energy_and_responses(_ions, _pair(), ["dipole", "born_charges"])
    >>> found.dipole.tolist(), found.born_charges[:, 2, 2].tolist(), found.polarizability
    ([[0.0, 0.0, -1.5]], [1.0, -1.0], None)
    """
    second = [name for name in ("polarizability", "born_charges") if name in wanted]
    with torch.inference_mode(False), torch.enable_grad():
        positions, field = graph.positions.detach().requires_grad_(), _field(graph)
        placed, inputs = graph.replace(positions=positions, field=field), [positions, field]
        if stress:
            inputs.append(torch.zeros_like(graph.cell).requires_grad_())
            placed = placed.strained(inputs[2])
        energy = model(placed)
        slopes = _slopes(energy, inputs, create_graph or bool(second))
        moment, rows = -slopes[1], []
        for axis in range(3) if second else ():
            rows.append(_slopes(moment[:, axis], [field, positions], create_graph, keep=create_graph or axis < 2))
    tension = virial_per_volume(slopes[2], graph) if stress else None
    found = Responses(energy, -slopes[0], tension)
    if "dipole" in wanted:
        found = found._replace(dipole=torch.where(graph.pbc.any(1, keepdim=True), torch.nan, moment))
    if "polarizability" in wanted:
        found = found._replace(polarizability=VOLUME * torch.stack([row[0] for row in rows], dim=1))
    if "born_charges" in wanted:
        found = found._replace(born_charges=torch.stack([row[1] for row in rows], dim=2))
    return found if create_graph else Responses(*(None if value is None else value.detach() for value in found))  # type: ignore[arg-type]


def dielectric_tensor(model: EnergyFunction, graph: Graph) -> Float[Tensor, "graphs 3 3"]:
    r"""The electronic dielectric tensor :math:`\varepsilon_\infty = 1 + 4\pi\alpha/V` of crystals, atoms clamped.

    The field is the macroscopic one. Raises ``ValueError`` for a structure that does not repeat in three directions.
    """
    if not bool(graph.pbc.all()) or bool((graph.volume <= 0).any()):
        raise ValueError("a dielectric tensor belongs to a crystal, but a structure does not repeat in three directions")
    volume = graph.volume[:, None, None]
    return torch.eye(3, dtype=volume.dtype, device=volume.device) + 4 * torch.pi * polarizability(model, graph) / volume


def position_derivatives(function: TensorFunction, graph: Graph, create_graph: bool = False) -> Float[Tensor, "nodes 3 ..."]:
    """Derivatives of a property (graphs, ...) with respect to the positions: (nodes, 3, ...), the displaced coordinate first.

    One backward pass for each component of the property.

    >>> position_derivatives(lambda g: g.positions.square().sum().reshape(1), _pair()).tolist()
    [[[0.0], [0.0], [-1.5]], [[0.0], [0.0], [1.5]]]
    """
    with torch.enable_grad():
        positions = graph.positions if graph.positions.requires_grad else graph.positions.detach().requires_grad_()
        values = function(graph.replace(positions=positions))
        flat = values.reshape(graph.num_graphs, -1)
        slopes = [_slope(column, positions, create_graph, keep=True) for column in flat.unbind(1)]
    shape = values.shape[1:] if values.ndim > 1 else (1,)
    return torch.stack(slopes, dim=2).reshape(graph.num_nodes, 3, *shape)


def charge_sum_error(
    charges: Float[Tensor, "nodes 3 3"], graph: Graph, total: Float[Tensor, " graphs"] | None = None
) -> Float[Tensor, " graphs"]:
    r"""Largest entry of :math:`\sum_i Z^*_i - Q\,1` for each structure, in e: the acoustic sum rule.

    The total charge Q is that of the graph, unless given.

    >>> charge_sum_error(born_charges(_ions, _pair()), _pair()).tolist()
    [0.0]
    """
    total = graph.charge if total is None else total
    sums = charges.new_zeros(graph.num_graphs, 3, 3).index_add(0, graph.batch, charges)
    if total is not None:
        sums = sums - total.to(sums)[:, None, None] * torch.eye(3, dtype=sums.dtype, device=sums.device)
    return sums.abs().amax(dim=(1, 2))


def about(
    dipole: Float[Tensor, "graphs 3"], charge: Float[Tensor, " graphs"], origin: Float[Tensor, "graphs 3"]
) -> Float[Tensor, "graphs 3"]:
    r"""The dipole about another origin: :math:`\mu - Q R`, for charged molecules.

    >>> about(torch.zeros(1, 3), torch.ones(1), torch.tensor([[0.0, 0.0, 2.0]])).tolist()
    [[0.0, 0.0, -2.0]]
    """
    return dipole - charge[:, None] * origin


def _field(graph: Graph) -> Tensor:
    if graph.field is None:
        return torch.zeros(graph.num_graphs, 3, dtype=graph.dtype, device=graph.device).requires_grad_()
    return graph.field if graph.field.requires_grad else graph.field.detach().requires_grad_()


def _slope(values: Tensor, argument: Tensor, create_graph: bool, keep: bool = False) -> Tensor:
    return _slopes(values, [argument], create_graph, keep)[0]


def _slopes(values: Tensor, arguments: list[Tensor], create_graph: bool, keep: bool = False) -> tuple[Tensor, ...]:
    if not values.requires_grad:
        return tuple(torch.zeros_like(argument) for argument in arguments)
    return torch.autograd.grad(
        values.sum(), arguments, create_graph=create_graph, retain_graph=create_graph or keep, allow_unused=True,
        materialize_grads=True,
    )  # fmt: skip


def _ions(graph: Graph) -> Tensor:
    """Charges of 1 and -1 e, each with a polarizability of 1 Å³, for the examples."""
    assert graph.field is not None
    charges = torch.where(graph.species == 11, 1.0, -1.0).to(graph.positions)
    field = graph.field[graph.batch]
    energies = -charges * (graph.positions * field).sum(1) - 0.5 * field.square().sum(1) / VOLUME
    return energies.new_zeros(graph.num_graphs).index_add(0, graph.batch, energies)


def _pair() -> Graph:
    import ase

    from tesseral.graph import build_graph

    return build_graph(ase.Atoms("NaCl", positions=[(0, 0, -0.75), (0, 0, 0.75)]), cutoff=2.0)
