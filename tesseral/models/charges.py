"""A network that predicts charges, and the energy of those charges beside the one that a neighbourhood determines."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.graph import Graph
from tesseral.models.nequip import NequIPSettings
from tesseral.models.tensor import Body
from tesseral.nn import Linear
from tesseral.nn.electrostatics import Coulomb, neutralized
from tesseral.o3 import Irreps
from tesseral.ops import scatter


class ChargeModel(torch.nn.Module):
    r"""A short-ranged energy and the Coulomb energy of predicted charges:

    .. math:: E = \sum_i e_i + \frac{k}{2}\sum_{i\neq j}\frac{q_i q_j}{r_{ij}}, \qquad \sum_i q_i = Q.

    One body of NequIP's layers gives both, :math:`e_i` and a charge, as invariants of each atom; every species has a charge of
    its own besides (``reference_charges``, zero at first). What is missing to the charge Q of the structure (``graph.charge``) is
    shared equally. Energies in eV, float64. With all charges zero, as a body without charges to predict would give, only the
    short-ranged part is left. Its forces on an atom depend on all others: it cannot be divided in space.
    Source: Ko, Finkler, Goedecker, Behler, Nat. Commun. 12, 398 (2021), for charges that respond globally; here they are local.
    """

    def __init__(
        self,
        settings: NequIPSettings,
        *,
        atomic_energies: Mapping[int, float] | None = None,
        reference_charges: Mapping[int, float] | None = None,
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.settings, self.species, self.cutoff = settings, tuple(settings.species), settings.cutoff
        self.body = Body(settings, Irreps(""), backend, dtype)
        self.readout = Linear(self.body.irreps_out, "1x0e", dtype=dtype)
        self.charge_readout = Linear(self.body.irreps_out, "1x0e", dtype=dtype)
        charges = [float((reference_charges or {}).get(z, 0.0)) for z in self.species]
        self.reference_charges = torch.nn.Parameter(torch.tensor(charges, dtype=dtype))
        energies = [(atomic_energies or {}).get(z, 0.0) for z in self.species]
        self.register_buffer("atomic_energies", torch.tensor(energies, dtype=torch.float64))
        self.coulomb = Coulomb(settings.cutoff)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the network; energies are summed in float64."""
        return self.reference_charges.dtype

    def forward(self, graph: Graph) -> Float[Tensor, " graphs"]:
        """Energies of the structures."""
        return scatter(self.node_energies(graph), graph.batch, graph.num_graphs)

    def node_energies(self, graph: Graph) -> Float[Tensor, " nodes"]:
        """The energy of each atom, with half of that of its charge among the others."""
        features = self.body(graph)
        energies = self.readout(features).squeeze(-1).to(torch.float64)
        energies = energies + self.atomic_energies[self.body.embedding.index(graph.species)]  # type: ignore[index]
        return energies + self.coulomb.node_energies(self._charges(features, graph), graph)

    def charges(self, graph: Graph) -> Float[Tensor, " nodes"]:
        """The predicted charges, in e; they add up to the charge of each structure."""
        return self._charges(self.body(graph), graph)

    def _charges(self, features: Tensor, graph: Graph) -> Tensor:
        own = self.reference_charges[self.body.embedding.index(graph.species)]
        return neutralized(self.charge_readout(features).squeeze(-1) + own, graph)
