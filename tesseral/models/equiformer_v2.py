"""EquiformerV2: attention among neighbours in the frames of the edges, high degrees made cheap by SO(2) convolutions."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from tesseral.graph import Graph
from tesseral.models.atomwise import AtomicNumber, SumOverAtoms
from tesseral.nn import BesselBasis, LayerNorm, PolynomialCutoff, RadialEmbedding, SpeciesEmbedding
from tesseral.nn.edge_attention import EdgeAttention, EdgeDegree, Edges, Shape, SphereFeedForward
from tesseral.o3 import Irreps
from tesseral.ops import scatter, spherical_harmonics
from tesseral.ops.so2 import edge_frames


class EquiformerV2Settings(BaseModel):
    """Architecture of an EquiformerV2; ``species`` and ``num_neighbors`` are filled in from the training data when left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["equiformer_v2"] = "equiformer_v2"
    cutoff: float = Field(5.0, gt=0, description="radius of the neighbourhood of an atom, in Å")
    layers: int = Field(3, ge=1, description="number of blocks of attention and feed-forward")
    lmax: int = Field(3, ge=1, le=10, description="highest degree of features")
    mmax: int = Field(2, ge=0, description="highest order kept in the frames of edges; no more than lmax")
    channels: int = Field(32, ge=1, description="channels of each degree")
    hidden_channels: int = Field(32, ge=1, description="channels of each degree inside attention and feed-forward")
    heads: int = Field(4, ge=1, description="attention heads")
    attention_channels: int = Field(16, ge=1, description="invariants of each head that the attention is computed from")
    value_channels: int = Field(8, ge=1, description="channels of each degree that each head passes on")
    radial_channels: int = Field(32, ge=1, description="width of the radial networks")
    num_basis: int = Field(16, ge=1, description="number of Bessel functions of the distance")
    cutoff_power: float = Field(6.0, ge=2, description="power p of the polynomial cutoff; smaller decays earlier")
    activation: Literal["s2", "gate"] = Field(
        "s2", description="s2: pointwise on a grid of the sphere, equivariant up to its resolution; gate: exactly equivariant"
    )
    grid: int | None = Field(
        None, ge=4, description="meridians of the grid of the sphere (empty: 6 lmax + 6); rings are half of it"
    )
    parity: bool = Field(True, description="commute with reflections (false: with rotations only, as published)")
    direct_forces: bool = Field(False, description="add a head that predicts forces without an energy behind them")
    species: tuple[AtomicNumber, ...] = Field((), description="atomic numbers that the model knows (empty: those of the data)")
    num_neighbors: float | None = Field(None, gt=0, description="mean number of neighbours (empty: that of the data)")

    @model_validator(mode="after")
    def _fits(self) -> EquiformerV2Settings:
        if self.mmax > self.lmax:
            raise ValueError(f"mmax={self.mmax} is more than lmax={self.lmax}; orders end at the highest degree")
        if self.grid is not None and self.grid < 2 * self.lmax + 2:
            raise ValueError(f"grid={self.grid} is too coarse for lmax={self.lmax}; give at least {2 * self.lmax + 2} meridians")
        return self

    @property
    def meridians(self) -> int:
        """Meridians of the grid of the sphere."""
        return 6 * self.lmax + 6 if self.grid is None else self.grid

    def shape(self) -> Shape:
        """The same in the terms of the layers."""
        return Shape(
            self.lmax, self.mmax, self.channels, self.hidden_channels, self.heads, self.attention_channels, self.value_channels,
            self.radial_channels, self.num_basis, len(self.species), self.meridians if self.activation == "s2" else None,
            self.parity,
        )  # fmt: skip


class EquiformerV2(SumOverAtoms):
    r"""Energies :math:`E = \sum_i (\sigma_{Z_i} (\varepsilon_i - \varepsilon_{Z_i}) + E^0_{Z_i})` of a graph transformer.

    :math:`\varepsilon_{Z}` is what the network gives a lone atom, so that an isolated atom has exactly the energy :math:`E^0`.
    What the published model lacks and this one has: an envelope that makes attention smooth at the cutoff, forces as derivatives
    through the frames of the edges, and by default symmetry under reflections. The activation on a grid of the sphere commutes
    with rotations up to an error that falls exponentially with ``settings.grid``; ``activation="gate"`` has none.
    Called with a :class:`~tesseral.graph.Graph`, returns energies (graphs,) in eV, float64; the network runs in ``dtype``.
    Source: Liao et al., EquiformerV2, ICLR 2024, and the public code for what the paper leaves open; no dropout.

    Raises ``ValueError`` for a settings object without ``species`` or ``num_neighbors``.
    """

    def __init__(
        self,
        settings: EquiformerV2Settings,
        *,
        atomic_energies: dict[int, float] | None = None,
        scales: dict[int, float] | float = 1.0,
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(settings, atomic_energies, scales, dtype, device)
        shape = settings.shape()
        self.irreps = self.irreps_encoding = self.irreps_features = shape.irreps(settings.channels)
        factory: dict[str, Any] = {"dtype": dtype, "device": device}
        self.embedding = SpeciesEmbedding(self.species, settings.channels, **factory)
        self.envelope = PolynomialCutoff(settings.cutoff, settings.cutoff_power)
        self.radial = RadialEmbedding(BesselBasis(settings.cutoff, settings.num_basis, "nequip"), self.envelope)
        self.degree = EdgeDegree(shape, self.num_neighbors, backend, factory)
        self.blocks = torch.nn.ModuleList([Block(shape, backend, factory) for _ in range(settings.layers)])
        self.norm = LayerNorm(self.irreps, together=True, **factory)
        self.readout = torch.nn.Sequential(
            torch.nn.Linear(settings.channels, settings.hidden_channels, **factory),
            torch.nn.SiLU(),
            torch.nn.Linear(settings.hidden_channels, 1, **factory),
        )
        self.force_head = EdgeAttention(shape, Irreps("1x1o"), backend, factory) if settings.direct_forces else None

    def describe(
        self, graph: Graph, encoding: Float[Tensor, "nodes encoding"] | None = None
    ) -> tuple[Float[Tensor, " graphs"], Float[Tensor, "nodes features"]]:
        """Energies and the features of the atoms; ``encoding`` (``irreps_encoding``) is added to the embedding of the atoms."""
        x, edges = self._network(graph, encoding)
        return self._total(x, edges, graph), x[: graph.num_nodes]

    def node_energies(self, graph: Graph) -> Float[Tensor, " nodes"]:
        """Energy of each atom, in eV, its isolated-atom energy included; only sums of them over a structure mean anything."""
        return self._energies(*self._network(graph, None), graph)

    def direct(self, graph: Graph) -> tuple[Float[Tensor, " graphs"], Float[Tensor, "nodes 3"]]:
        """Energies and the forces of the direct head, in eV/Å: faster, and no derivative of any energy.

        Raises ``ValueError`` for a model without that head.
        """
        if self.force_head is None:
            raise ValueError("this model has no head of direct forces; build it with direct_forces=true")
        x, edges = self._network(graph, None)
        forces = self.force_head(x, edges)[: graph.num_nodes].to(torch.float64)
        return self._total(x, edges, graph), forces * self.scales[edges.species[: graph.num_nodes], None]

    def _network(self, graph: Graph, encoding: Tensor | None) -> tuple[Tensor, Edges]:
        """Features of the atoms and, in more rows, of a lone atom of each species."""
        lone = len(self.species)
        edges = self._edges(graph)
        x = self.embedding.weight[edges.species]
        x = torch.nn.functional.pad(x, (0, self.irreps.dim - x.shape[1])) + self.degree(edges, graph.num_nodes + lone)
        if encoding is not None:
            x = x + torch.nn.functional.pad(encoding.to(x.dtype), (0, 0, 0, lone))
        for block in self.blocks:
            x = block(x, edges)
        return self.norm(x), edges

    def _edges(self, graph: Graph) -> Edges:
        vectors = graph.edge_vectors().to(self.dtype)
        species = self.embedding.index(graph.species)
        everyone = torch.cat([species, torch.arange(len(self.species), device=species.device)])
        pointers = graph.destination_pointers
        return Edges(
            edge_frames(self.settings.lmax, vectors, self.settings.mmax),
            spherical_harmonics(list(range(self.settings.lmax + 1)), vectors, normalize=True, normalization="norm"),
            self.radial(vectors),
            # squared: a softmax hands the change of one weight on to all others, and their second derivatives should not jump
            self.envelope(torch.linalg.vector_norm(vectors, dim=1)).square(),
            graph.source,
            graph.destination,
            graph.source_order,
            torch.cat([pointers, pointers[-1:].expand(len(self.species))]),
            everyone,
        )

    def _energies(self, x: Tensor, edges: Edges, graph: Graph) -> Tensor:
        outputs = self.readout(x[:, : self.settings.channels]).squeeze(-1).to(torch.float64)
        species = edges.species[: graph.num_nodes]
        energies = outputs[: graph.num_nodes] - outputs[graph.num_nodes :][species]
        return energies * self.scales[species] + self.atomic_energies[species]

    def _total(self, x: Tensor, edges: Edges, graph: Graph) -> Tensor:
        return scatter(self._energies(x, edges, graph), graph.batch, graph.num_graphs)


class Block(torch.nn.Module):
    """Attention, then the feed-forward network of each node, each after a norm and around a residual connection."""

    def __init__(self, shape: Shape, backend: str, factory: dict[str, Any]) -> None:
        super().__init__()
        irreps = shape.irreps(shape.channels)
        self.norm_attention, self.norm_feed = (LayerNorm(irreps, together=True, **factory) for _ in range(2))
        self.attention = EdgeAttention(shape, irreps, backend, factory)
        self.feed = SphereFeedForward(shape, factory)

    def forward(self, x: Float[Tensor, "nodes features"], edges: Edges) -> Float[Tensor, "nodes features"]:
        """New features of the nodes."""
        x = x + self.attention(self.norm_attention(x), edges)
        return x + self.feed(self.norm_feed(x))
