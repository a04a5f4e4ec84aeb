"""What models share: an energy is a sum over atoms of one number that a network finds from the neighbourhood."""

from __future__ import annotations

import abc
from typing import Annotated, Any, NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tesseral.graph import Graph
from tesseral.nn import BesselBasis, PolynomialCutoff, SpeciesEmbedding
from tesseral.ops import scatter

AtomicNumber = Annotated[int, Field(ge=1, le=118)]


class AtomwiseSettings(BaseModel):
    """What every small model is told; ``species`` and ``num_neighbors`` are filled in from the training data when left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cutoff: float = Field(5.0, gt=0, description="radius of the neighbourhood of an atom, in Å")
    layers: int = Field(3, ge=1, description="number of message-passing layers")
    channels: int = Field(32, ge=1, description="channels of each degree")
    num_basis: int = Field(8, ge=1, description="number of Bessel functions of the distance")
    cutoff_power: float = Field(6.0, ge=2, description="power p of the polynomial cutoff; smaller decays earlier")
    species: tuple[AtomicNumber, ...] = Field((), description="atomic numbers that the model knows (empty: those of the data)")
    num_neighbors: float | None = Field(None, gt=0, description="mean number of neighbours (empty: that of the data)")


class Edges(NamedTuple):
    """The edges as a network sees them: vectors (edges, 3) in Å from the destination to the source, lengths, and functions of
    the lengths that vanish at the cutoff with their first two derivatives: ``radial`` (edges, basis), ``envelope`` (edges, 1).
    """

    vectors: Tensor
    lengths: Tensor
    radial: Tensor
    envelope: Tensor
    source: Tensor
    destination: Tensor


class SumOverAtoms(torch.nn.Module, abc.ABC):
    """An energy that is a sum over atoms: what it needs besides a network, kept exact in float64.

    ``atomic_energies`` (species,) in eV are those of isolated atoms, ``scales`` (species,) multiply what the network gives, which
    has the precision ``dtype``. Called with a :class:`~tesseral.graph.Graph`, returns energies (graphs,) in eV, float64.
    Raises ``ValueError`` for settings without ``species`` or ``num_neighbors``.
    """

    atomic_energies: Tensor
    scales: Tensor

    def __init__(
        self,
        settings: Any,
        atomic_energies: dict[int, float] | None,
        scales: dict[int, float] | float,
        dtype: torch.dtype,
        device: torch.device | str | None,
    ) -> None:
        super().__init__()
        if not settings.species or settings.num_neighbors is None:
            raise ValueError(
                f"{type(self).__name__} needs settings.species and settings.num_neighbors; `tesseral train` takes both from the "
                "data"
            )
        self.settings, self.dtype = settings, dtype
        self.species, self.cutoff = tuple(settings.species), settings.cutoff
        self.num_neighbors: float = settings.num_neighbors
        energies = [(atomic_energies or {}).get(z, 0.0) for z in self.species]
        factors = [scales[z] if isinstance(scales, dict) else scales for z in self.species]
        self.register_buffer("atomic_energies", torch.tensor(energies, dtype=torch.float64, device=device))
        self.register_buffer("scales", torch.tensor(factors, dtype=torch.float64, device=device))

    def forward(self, graph: Graph) -> Float[Tensor, " graphs"]:
        """Energies of the graphs, in eV."""
        return scatter(self.node_energies(graph), graph.batch, graph.num_graphs)

    @abc.abstractmethod
    def node_energies(self, graph: Graph) -> Float[Tensor, " nodes"]:
        """Energy of each atom, in eV, its isolated-atom energy included; only sums of them over a structure mean anything."""

    def _apply(self, fn: Any, recurse: bool = True) -> SumOverAtoms:
        # A model moved to another precision keeps its energies of isolated atoms exact, and knows its own precision.
        exact = self.atomic_energies, self.scales
        super()._apply(fn, recurse)
        weight = next(self.parameters())
        self.dtype = weight.dtype
        self.atomic_energies, self.scales = (old.to(weight.device) for old in exact)
        return self


class AtomwiseModel(SumOverAtoms):
    r"""An energy :math:`E = \sum_i \left(E^0_{z_i} + s_{z_i} (\epsilon_i - \epsilon^{lone}_{z_i})\right)`.

    A network gives :math:`\epsilon_i`; what it gives for a lone atom is subtracted: an isolated atom has exactly the energy
    :math:`E^0`. Called with a :class:`~tesseral.graph.Graph`, returns energies (graphs,) in eV, float64; the network runs in
    ``dtype``. Raises ``ValueError`` for settings without ``species`` or ``num_neighbors``.
    """

    def __init__(
        self,
        settings: Any,
        atomic_energies: dict[int, float] | None,
        scales: dict[int, float] | float,
        dtype: torch.dtype,
        device: torch.device | str | None,
    ) -> None:
        super().__init__(settings, atomic_energies, scales, dtype, device)
        self.embedding = SpeciesEmbedding(self.species, settings.channels, dtype=dtype, device=device)
        self.basis = BesselBasis(settings.cutoff, settings.num_basis, "nequip")
        self.envelope = PolynomialCutoff(settings.cutoff, settings.cutoff_power)

    @abc.abstractmethod
    def outputs(self, x: Float[Tensor, "atoms channels"], edges: Edges) -> Float[Tensor, "atoms 1"]:
        """One number for each atom, from the embeddings of the species and the edges; some atoms have none."""

    def node_energies(self, graph: Graph) -> Float[Tensor, " nodes"]:
        """Energy of each atom, in eV, its isolated-atom energy included; only sums of them over a structure mean anything."""
        species = self.embedding.index(graph.species)
        vectors = graph.edge_vectors().to(self.dtype)
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        envelope = self.envelope(lengths)[:, None]
        edges = Edges(vectors, lengths, self.basis(lengths) * envelope, envelope, graph.source, graph.destination)
        # A lone atom of each species comes after those of the structures.
        x = torch.cat([self.embedding.weight[species], self.embedding.weight])
        found = self.outputs(x, edges).squeeze(1).to(torch.float64)
        bound = found[: graph.num_nodes] - found[graph.num_nodes :][species]
        return bound * self.scales[species] + self.atomic_energies[species]


def gather_sum(values: Float[Tensor, "edges *shape"], edges: Edges, atoms: int) -> Float[Tensor, "atoms *shape"]:
    """Messages summed at their destinations."""
    index: Int[Tensor, " edges"] = edges.destination
    return scatter(values, index, atoms)
