"""A network that predicts charges, and the energy of those charges beside the one that a neighbourhood determines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from ase.data import atomic_numbers
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor

from tesseral.graph import Graph
from tesseral.models.nequip import Body, NequIPSettings
from tesseral.nn import Linear
from tesseral.nn.electrostatics import Coulomb, neutralized
from tesseral.ops import scatter


class ChargeSettings(NequIPSettings):
    """A NequIP body that predicts short-ranged energies and charges, whose Coulomb energy is added."""

    name: Literal["charges"] = "charges"  # type: ignore[assignment]
    reference_charges: dict[str, float] = Field(
        default={},
        description="charges in e where training starts, as in {Na: 1.0, Cl: -1.0}; at zero the Coulomb energy has no slope, and "
        "charges grow slowly",
    )

    @field_validator("reference_charges")
    @classmethod
    def _elements(cls, charges: dict[str, float]) -> dict[str, float]:
        unknown = [symbol for symbol in charges if symbol not in atomic_numbers]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no chemical symbol: write charges as in {{Na: 1.0, Cl: -1.0}}")
        return charges


class ChargeModel(torch.nn.Module):
    r"""A short-ranged energy and the Coulomb energy of predicted charges:

    .. math:: E = \sum_i (s_{z_i} e_i + E^0_{z_i}) + \frac{k}{2}\sum_{i\neq j}\frac{q_i q_j}{r_{ij}}, \qquad \sum_i q_i = Q.

    One body of NequIP's layers gives both, :math:`e_i` and a charge, as invariants of each atom; every species has a charge of
    its own besides (``reference_charges``, which is learned, too). What is missing to the charge Q of the structure
    (``graph.charge``) is shared equally. Energies in eV, float64; the network runs in ``dtype``. With all charges zero, as a body
    without charges to predict would give, only the short-ranged part is left. Its forces on an atom depend on all others: it
    cannot be divided in space.
    Source: Ko, Finkler, Goedecker, Behler, Nat. Commun. 12, 398 (2021), for charges that respond globally; here they are local.
    """

    atomic_energies: Tensor
    scales: Tensor
    # Copies of a molecule feel each other at any distance.
    long_range = True

    def __init__(
        self,
        settings: ChargeSettings,
        *,
        atomic_energies: Mapping[int, float] | None = None,
        scales: Mapping[int, float] | float = 1.0,
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.species, self.cutoff = settings, tuple(settings.species), settings.cutoff
        self.body = Body(settings, backend=backend, factory={"dtype": dtype})
        self.readout = Linear(self.body.irreps_out, "1x0e", dtype=dtype)
        self.charge_readout = Linear(self.body.irreps_out, "1x0e", dtype=dtype)
        known = {atomic_numbers[symbol]: charge for symbol, charge in settings.reference_charges.items()}
        self.reference_charges = torch.nn.Parameter(torch.tensor([known.get(z, 0.0) for z in self.species], dtype=dtype))
        energies = [(atomic_energies or {}).get(z, 0.0) for z in self.species]
        factors = [scales[z] if isinstance(scales, Mapping) else scales for z in self.species]
        self.register_buffer("atomic_energies", torch.tensor(energies, dtype=torch.float64))
        self.register_buffer("scales", torch.tensor(factors, dtype=torch.float64))
        self.coulomb = Coulomb(settings.cutoff).to(torch.float64)
        if device is not None:
            self.to(device)

    def _apply(self, fn: Any, recurse: bool = True) -> ChargeModel:
        # A model moved to another precision keeps its energies of isolated atoms, scales and Ewald's sum exact.
        exact = self.atomic_energies, self.scales
        super()._apply(fn, recurse)
        self.coulomb.to(torch.float64)
        self.atomic_energies, self.scales = (old.to(self.reference_charges.device) for old in exact)
        return self

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
        species = self.body.embedding.index(graph.species)
        energies = self.readout(features).squeeze(-1).to(torch.float64) * self.scales[species] + self.atomic_energies[species]
        return energies + self.coulomb.node_energies(self._charges(features, graph), graph)

    def charges(self, graph: Graph) -> Float[Tensor, " nodes"]:
        """The predicted charges, in e; they add up to the charge of each structure."""
        return self._charges(self.body(graph), graph)

    def _charges(self, features: Tensor, graph: Graph) -> Tensor:
        own = self.reference_charges[self.body.embedding.index(graph.species)]
        return neutralized(self.charge_readout(features).squeeze(-1) + own, graph)
