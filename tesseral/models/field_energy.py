"""An energy that reads an electric field: its derivatives are forces and stress, dipole, polarizability and Born charges."""

from __future__ import annotations

from typing import Any, Literal

import torch
from ase import units
from jaxtyping import Float
from torch import Tensor

from tesseral.graph import Graph
from tesseral.models.atomwise import SumOverAtoms
from tesseral.models.nequip import Body, NequIPSettings
from tesseral.models.tensor import SYMMETRIC
from tesseral.nn import Linear
from tesseral.nn.electrostatics import neutralized
from tesseral.nn.pair import ZBL
from tesseral.o3 import Irreps

VOLUME = float(units.Hartree * units.Bohr)  # a polarizability in e·Å per V/Å times this is its volume in Å³


class FieldEnergySettings(NequIPSettings):
    """NequIP's layers, below an energy that reads an electric field."""

    name: Literal["field_energy"] = "field_energy"  # type: ignore[assignment]


class FieldEnergy(SumOverAtoms):
    r"""An energy that reads the electric field of the graph,

    .. math:: E(r, F) = \sum_i e_i(r, F) - \sum_i (q_i\, r_i + \mu_i)\cdot F - \tfrac12\sum_i F\cdot\alpha_i F,

    with :math:`e_i = s_{z_i}\epsilon_i + E^0_{z_i}`. The field (V/Å) enters the first layer as a vector of every atom. Charges
    :math:`q_i`, dipoles :math:`\mu_i` and polarizabilities :math:`\alpha_i` of the atoms depend on the structure alone. The
    charges add up to its charge, so that Born charges obey their sum rule also in ions; without the polarizabilities, what knows
    the field by its components along the bonds would not polarise across a plane or an axis on which all atoms lie. Without a
    field it is NequIP's energy, at little more than its cost. Energies (graphs,) in eV, float64;
    :mod:`tesseral.physics.electric` differentiates them.

    Where something repeats, :math:`r_i` may be that of any image, so that :math:`q_i` is a constant of the species there (what it
    lacks, such as charge that follows a displacement, is in :math:`e_i` and :math:`\mu_i`): forces, Born charges and
    polarizability do not depend on the choice, energies in a field and the polarization itself do, as they must.

    Raises ``ValueError`` for settings without ``species`` or ``num_neighbors``.
    """

    reads_field = True

    def __init__(
        self,
        settings: FieldEnergySettings,
        *,
        atomic_energies: dict[int, float] | None = None,
        scales: dict[int, float] | float = 1.0,
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(settings, atomic_energies, scales, dtype, device)
        factory: dict[str, Any] = {"dtype": dtype, "device": device}
        self.body = Body(settings, irreps_extra=Irreps("1x1o"), backend=backend, factory=factory)
        self.readout = Linear(self.body.irreps_out, "1x0e", **factory)
        self.charges = Linear(self.body.irreps_out, "1x0e", **factory)
        self.dipoles = Linear(self.body.irreps_out, "1x1o", **factory)
        self.polarizabilities = Linear(self.body.irreps_out, SYMMETRIC.irreps, **factory)
        self.ionic = torch.nn.Parameter(torch.zeros(len(self.species), **factory))  # e
        self.isotropic = torch.nn.Parameter(torch.zeros(len(self.species), **factory))  # Å³
        self.zbl = ZBL(settings.cutoff, self.species) if settings.zbl else None

    def node_energies(self, graph: Graph) -> Float[Tensor, " nodes"]:
        """Energy of each atom, in eV, its isolated-atom energy included; only sums of them over a structure mean anything."""
        none = torch.zeros_like(graph.positions)
        field = none if graph.field is None else graph.field[graph.batch]
        species = self.body.embedding.index(graph.species)
        energies = self.readout(self.body(graph, field)).squeeze(-1).to(torch.float64)
        energies = energies * self.scales[species] + self.atomic_energies[species]
        if self.zbl is not None:
            energies = energies + self.zbl.node_energies(graph)
        if graph.field is None:
            return energies
        return energies - self._pulled(self.body(graph, none), species, field, graph)

    def _pulled(self, features: Tensor, species: Tensor, field: Tensor, graph: Graph) -> Float[Tensor, " nodes"]:
        """What the field does to the charges, dipoles and polarizabilities of the atoms, in eV, with the opposite sign."""
        free = torch.where(graph.pbc.any(1)[graph.batch], 0.0, self.charges(features).squeeze(-1))
        moments = neutralized(self.ionic[species] + free, graph)[:, None] * graph.positions.to(torch.float64)
        moments = moments + self.dipoles(features).to(torch.float64)
        tensors = SYMMETRIC.to_cartesian(self.polarizabilities(features).to(torch.float64))
        induced = self.isotropic[species].to(torch.float64)[:, None] * field + (tensors @ field[:, :, None]).squeeze(-1)
        return ((moments + 0.5 * induced / VOLUME) * field).sum(1)
