"""NequIP: an energy as a sum over atoms of an E(3)-equivariant message-passing network."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tesseral.graph import Graph
from tesseral.models.atomwise import AtomicNumber, SumOverAtoms
from tesseral.nn import (
    BesselBasis,
    Linear,
    PolynomialCutoff,
    RadialEmbedding,
    SpeciesEmbedding,
)
from tesseral.nn.interaction import NequIPLayer
from tesseral.nn.pair import ZBL
from tesseral.o3 import Irreps
from tesseral.ops import scatter, spherical_harmonics


class NequIPSettings(BaseModel):
    """Architecture of a NequIP model; ``species`` and ``num_neighbors`` are filled in from the training data when left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["nequip"] = "nequip"
    cutoff: float = Field(5.0, gt=0, description="radius of the neighbourhood of an atom, in Å")
    layers: int = Field(4, ge=1, description="number of message-passing layers")
    lmax: int = Field(1, ge=0, le=8, description="highest degree of features and of harmonics")
    channels: int | tuple[int, ...] = Field(32, description="channels of each irrep, or one number for each degree 0..lmax")
    parity: bool = Field(True, description="keep both parities of each degree (false: the natural parity (-1)^l only)")
    radial_channels: int = Field(64, ge=1, description="width of the radial network")
    radial_layers: int = Field(2, ge=0, description="hidden layers of the radial network")
    num_basis: int = Field(8, ge=1, description="number of Bessel functions of the distance")
    radial_knots: int = Field(0, ge=0, description="intervals of splines that stand for the radial networks (0: no splines)")
    cutoff_power: float = Field(6.0, ge=2, description="power p of the polynomial cutoff; smaller decays earlier")
    zbl: bool = Field(False, description="add the Ziegler-Biersack-Littmark repulsion of the nuclei at short distance")
    species: tuple[AtomicNumber, ...] = Field((), description="atomic numbers that the model knows (empty: those of the data)")
    num_neighbors: float | None = Field(None, gt=0, description="mean number of neighbours (empty: that of the data)")

    def degree_channels(self) -> tuple[int, ...]:
        """Channels of the degrees 0..lmax."""
        if isinstance(self.channels, int):
            return (self.channels,) * (self.lmax + 1)
        if len(self.channels) != self.lmax + 1:
            raise ValueError(
                f"channels has {len(self.channels)} entries, but lmax={self.lmax} needs {self.lmax + 1}, for the degrees from 0"
            )
        return self.channels

    def hidden(self) -> Irreps:
        """Features between the layers."""
        parities = [(1, -1) if self.parity else ((-1) ** l,) for l in range(self.lmax + 1)]
        return Irreps([(n, (l, p)) for l, n in enumerate(self.degree_channels()) for p in parities[l] if n])

    def radial_widths(self) -> tuple[int, ...]:
        """Widths of the radial network before its last layer, whose width the convolution knows."""
        return (self.num_basis, *[self.radial_channels] * self.radial_layers)


class NequIP(SumOverAtoms):
    r"""The energy model of Batzner et al.: :math:`E = \sum_i (s_{z_i}\, \epsilon_i + E^0_{z_i})`.

    Layers gate :math:`L_2\big(\sum_j (L_1 x_j) \otimes_{R(r_{ij})} Y(\hat r_{ij})\big)/\sqrt{\bar n}` plus a species-dependent
    self-connection, which the first layer lacks, so that an isolated atom has exactly the energy :math:`E^0`.
    Called with a :class:`~tesseral.graph.Graph`, returns energies (graphs,) in eV, float64; the network inside runs in ``dtype``.
    Source: Nat. Commun. 13, 2453 (2022), and the public code of version 0.19 for what the paper leaves open.

    Raises ``ValueError`` for a settings object without ``species`` or ``num_neighbors``.
    """

    def __init__(
        self,
        settings: NequIPSettings,
        *,
        atomic_energies: dict[int, float] | None = None,
        scales: dict[int, float] | float = 1.0,
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(settings, atomic_energies, scales, dtype, device)
        factory: dict[str, Any] = {"dtype": dtype, "device": device}
        scalars = Irreps([(settings.degree_channels()[0], (0, 1))])
        body = Body(settings, last=scalars, backend=backend, factory=factory)
        self.irreps_sh, self.embedding, self.radial, self.layers = body.irreps_sh, body.embedding, body.radial, body.layers
        self.readout = Linear(body.irreps_out, "1x0e", **factory)
        self.zbl = ZBL(settings.cutoff, self.species) if settings.zbl else None
        # Denoising comes in after the first layer, where vectors begin, and looks before the last, where they end.
        self.irreps_encoding = body.layers[0].irreps_out
        self.irreps_features = body.layers[-2 if settings.layers > 1 else -1].irreps_out

    def node_energies(self, graph: Graph) -> Float[Tensor, " nodes"]:
        """Energy of each atom, in eV, its isolated-atom energy included; only sums of them over a structure mean anything."""
        return self._energies(atom_features(self, graph)[-1], graph)

    def describe(
        self, graph: Graph, encoding: Float[Tensor, "nodes encoding"] | None = None
    ) -> tuple[Float[Tensor, " graphs"], Float[Tensor, "nodes features"]]:
        """Energies and features of the atoms; ``encoding`` (``irreps_encoding``) is added to them after the first layer."""
        features = atom_features(self, graph, encoding=encoding)
        energies = scatter(self._energies(features[-1], graph), graph.batch, graph.num_graphs)
        return energies, features[-2 if len(features) > 1 else -1]

    def _energies(self, features: Float[Tensor, "nodes channels"], graph: Graph) -> Float[Tensor, " nodes"]:
        species = self.embedding.index(graph.species)
        energies = self.readout(features).squeeze(-1).to(torch.float64)
        energies = energies * self.scales[species] + self.atomic_energies[species]
        return energies if self.zbl is None else energies + self.zbl.node_energies(graph)


class Body(torch.nn.Module):
    """NequIP's layers: features of the atoms (nodes, ``irreps_out.dim``), in ``ir_mul``.

    ``irreps_extra`` are features that every atom has besides its species, such as a field; ``last`` are the irreps that the last
    layer is asked for, by default those of the others. Raises ``ValueError`` for settings without ``species`` or
    ``num_neighbors``.
    """

    def __init__(
        self,
        settings: NequIPSettings,
        *,
        irreps_extra: Irreps | None = None,
        last: Irreps | None = None,
        backend: str = "auto",
        factory: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not settings.species or settings.num_neighbors is None:
            raise ValueError("a model needs settings.species and settings.num_neighbors; take both from the data")
        factory, channels, hidden = factory or {}, settings.degree_channels(), settings.hidden()
        self.irreps_sh = Irreps.spherical_harmonics(settings.lmax)
        self.embedding = SpeciesEmbedding(settings.species, channels[0], **factory)
        basis = BesselBasis(settings.cutoff, settings.num_basis, "nequip")
        self.radial = RadialEmbedding(basis, PolynomialCutoff(settings.cutoff, settings.cutoff_power), settings.radial_knots)
        irreps = Irreps([(channels[0], (0, 1))]) + (irreps_extra or Irreps(""))
        layers = []
        for index in range(settings.layers):
            layer = NequIPLayer(
                irreps,
                self.irreps_sh,
                last if last is not None and index == settings.layers - 1 else hidden,
                settings.radial_widths(),
                settings.num_neighbors,
                attributes=channels[0] if index else 0,
                backend=backend,
                factory=factory,
            )
            layers.append(layer)
            irreps = layer.irreps_out
        self.layers = torch.nn.ModuleList(layers)
        self.irreps_out = irreps

    def forward(self, graph: Graph, extra: Float[Tensor, "nodes extra"] | None = None) -> Float[Tensor, "nodes dim"]:
        """Features of the atoms."""
        return atom_features(self, graph, extra)[-1]


def atom_features(
    body: Body | NequIP,
    graph: Graph,
    extra: Float[Tensor, "nodes extra"] | None = None,
    encoding: Float[Tensor, "nodes encoding"] | None = None,
) -> list[Float[Tensor, "nodes dim"]]:
    """Features of the atoms after each layer; ``extra`` comes with the species, ``encoding`` is added after the first layer."""
    dtype = body.embedding.weight.dtype
    vectors = graph.edge_vectors().to(dtype)
    harmonics = spherical_harmonics(body.irreps_sh, vectors, normalize=True, normalization="component")
    radial = body.radial.functions(vectors)
    species, attributes = body.embedding.index(graph.species), body.embedding.weight
    x = attributes[species] if extra is None else torch.cat([attributes[species], extra.to(dtype)], dim=1)
    found: list[Tensor] = []
    for layer in body.layers:
        x = layer(x, harmonics, radial, species, attributes, graph)
        if encoding is not None and not found:
            x = x + encoding.to(dtype)
        found.append(x)
    return found
