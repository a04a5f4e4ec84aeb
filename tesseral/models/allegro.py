"""Allegro: a strictly local energy, a sum over pairs of neighbours of equivariant functions of one neighbourhood."""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tesseral.graph import Graph
from tesseral.models.atomwise import AtomicNumber, SumOverAtoms
from tesseral.nn import MLP, BesselBasis, PolynomialCutoff, RadialEmbedding, SpeciesEmbedding
from tesseral.nn.edge_products import NeighborhoodProduct, WeightedHarmonics
from tesseral.nn.pair import ZBL
from tesseral.o3 import Irrep, Irreps
from tesseral.ops import scatter, spherical_harmonics


class AllegroSettings(BaseModel):
    """Architecture of an Allegro model; ``species`` and ``num_neighbors`` are filled in from the training data when left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["allegro"] = "allegro"
    cutoff: float = Field(5.0, gt=0, description="radius of the neighbourhood of an atom, in Å: what it can feel at all")
    layers: int = Field(2, ge=1, description="number of products with the neighbourhood; the body order is one more, and one")
    lmax: int = Field(2, ge=0, le=8, description="highest degree of features and of harmonics")
    parity: bool = Field(True, description="keep both parities of each degree (false: the natural parity (-1)^l only)")
    scalar_channels: int = Field(64, ge=1, description="invariants of an edge")
    tensor_channels: int = Field(32, ge=1, description="channels of the equivariant features of an edge")
    embedding_channels: int = Field(0, ge=0, description="channels of the embedding of species and distance (0: scalar_channels)")
    embedding_widths: tuple[int, ...] = Field((64,), description="widths of the hidden layers after the embedding")
    latent_widths: tuple[int, ...] = Field((64,), description="widths of the hidden layers of each layer's network")
    readout_widths: tuple[int, ...] = Field((32,), description="widths of the hidden layers of the readout")
    coupled_paths: bool = Field(True, description="weights of the products differ between channels")
    num_basis: int = Field(8, ge=1, description="number of Bessel functions of the distance")
    cutoff_power: float = Field(6.0, ge=2, description="power p of the polynomial cutoff; smaller decays earlier")
    zbl: bool = Field(False, description="add the Ziegler-Biersack-Littmark repulsion of the nuclei at short distance")
    species: tuple[AtomicNumber, ...] = Field((), description="atomic numbers that the model knows (empty: those of the data)")
    num_neighbors: float | None = Field(None, gt=0, description="mean number of neighbours (empty: that of the data)")


class Allegro(SumOverAtoms):
    r"""The energy model of Musaelian et al.: :math:`E = \sum_i \big(E^0_{z_i} + s_{z_i} \sum_j \epsilon_{ij}\big)`.

    Each edge ij carries invariants and equivariant features. A layer multiplies the features by the neighbourhood of atom i,
    :math:`V_{ij} \leftarrow V_{ij} \otimes \sum_k w_{ik} Y(\hat r_{ik}) / \sqrt{\bar n}`, and takes the new invariants from the
    scalars of the product, by a network that sees those of all earlier layers; they give the weights w of the next. Nothing is
    passed between atoms: the energy of an atom depends on its neighbours within the cutoff, and on nothing else.
    Called with a :class:`~tesseral.graph.Graph`, returns energies (graphs,) in eV, float64; the network inside runs in ``dtype``.

    Source: Nat. Commun. 14, 579 (2023), in the form of nequip-allegro 0.8 (Tan et al., arXiv:2504.16068).

    Raises ``ValueError`` for a settings object without ``species`` or ``num_neighbors``, or an odd number of embedding channels.
    """

    def __init__(
        self,
        settings: AllegroSettings,
        *,
        atomic_energies: dict[int, float] | None = None,
        scales: dict[int, float] | float = 1.0,
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(settings, atomic_energies, scales, dtype, device)
        width = settings.embedding_channels or settings.scalar_channels
        if width % 2:
            raise ValueError(f"the embedding has {width} channels, half for each atom of a pair: give an even number")
        factory: dict[str, Any] = {"dtype": dtype, "device": device}
        scalars, tensors = settings.scalar_channels, settings.tensor_channels
        self.irreps_sh = Irreps.spherical_harmonics(settings.lmax)
        basis = BesselBasis(settings.cutoff, settings.num_basis, "nequip")
        self.radial = RadialEmbedding(basis, PolynomialCutoff(settings.cutoff, settings.cutoff_power))
        self.center = SpeciesEmbedding(self.species, width // 2, **factory)
        self.neighbor = SpeciesEmbedding(self.species, width // 2, **factory)

        def network(*dims: int) -> MLP:
            return MLP(dims, normalization=math.sqrt(2), initialization="uniform", **factory)

        self.basis_scale = settings.cutoff**2 / (2 * math.pi)  # to sin(nπx)/(πx) of x = r/r_c, which is of order one
        self.basis_linear = network(settings.num_basis, width)
        self.embedding = network(width, *settings.embedding_widths, scalars)
        self.norm = 1 / math.sqrt(self.num_neighbors)
        self.weighting = WeightedHarmonics(self.irreps_sh, tensors, backend=backend)
        self.neighborhood = WeightedHarmonics(self.irreps_sh, tensors, self.norm, backend=backend)
        self.tensor_linear = network(scalars, self.weighting.weight_numel)
        self.first_linear = network(scalars, scalars + self.neighborhood.weight_numel)
        products, latents = [], []
        track = _track(settings)
        for index, (irreps_in, irreps_out) in enumerate(itertools.pairwise(track)):
            edge, node, out = (Irreps([(tensors, ir) for ir in irreps]) for irreps in (irreps_in, track[0], irreps_out))
            products.append(NeighborhoodProduct(edge, node, out, settings.coupled_paths, backend, **factory))
            weights = self.neighborhood.weight_numel if index < settings.layers - 1 else 0
            latents.append(network(scalars * (index + 1) + tensors, *settings.latent_widths, scalars + weights))
        self.products, self.latents = torch.nn.ModuleList(products), torch.nn.ModuleList(latents)
        self.readout = network(scalars * (settings.layers + 1), *settings.readout_widths, 1)
        self.zbl = ZBL(settings.cutoff, self.species) if settings.zbl else None

    def node_energies(self, graph: Graph) -> Float[Tensor, " nodes"]:
        """Energy of each atom, in eV, its isolated-atom energy included: a function of its neighbourhood alone."""
        species = self.center.index(graph.species)
        energies = scatter(self.edge_energies(graph, species), graph.destination, graph.num_nodes)
        energies = energies * self.scales[species] + self.atomic_energies[species]
        if self.zbl is not None:
            energies = energies + self.zbl.node_energies(graph)
        return energies

    def edge_energies(self, graph: Graph, species: Int[Tensor, " nodes"] | None = None) -> Float[Tensor, " edges"]:
        """What each neighbour contributes to its destination, before the scale of the destination's species."""
        species = self.center.index(graph.species) if species is None else species
        vectors = graph.edge_vectors().to(self.dtype)
        harmonics = spherical_harmonics(self.irreps_sh, vectors, normalize=True, normalization="component")
        destination, pointers = graph.destination, graph.destination_pointers
        tables = self.center.weight * self.basis_scale, self.neighbor.weight * self.basis_scale
        pair = torch.cat([tables[0][species[destination]], tables[1][species[graph.source]]], dim=1)
        invariants = self.embedding(pair * self.basis_linear(self.radial(vectors)))

        channels, tensors = self.settings.scalar_channels, self.settings.tensor_channels
        features = self.weighting(harmonics, self.tensor_linear(invariants))
        found = self.first_linear(invariants)
        collected = [found[:, :channels]]
        for product, latent in zip(self.products, self.latents, strict=True):
            weights = found[:, channels:].contiguous()
            around = self.neighborhood.summed(harmonics, weights, destination, graph.num_nodes, pointers)
            features = product(features, around, destination, pointers)
            found = latent(torch.cat([*collected, features[:, :tensors]], dim=1))  # scalars come first
            collected.append(found[:, :channels])
        energies = self.readout(torch.cat(collected, dim=1)).squeeze(1)
        return energies.to(torch.float64) * (self.norm / math.sqrt(2))


def _track(settings: AllegroSettings) -> list[tuple[Irrep, ...]]:
    """Irreps of the equivariant features before the first and after each layer, without those that lead nowhere."""
    harmonics = tuple(ir for _, ir in Irreps.spherical_harmonics(settings.lmax))
    allowed = [Irrep((l, p)) for l in range(settings.lmax + 1) for p in (1, -1) if settings.parity or p == (-1) ** l]
    track = [harmonics]
    for index in range(settings.layers):
        wanted = allowed if index < settings.layers - 1 else [Irrep("0e")]
        track.append(tuple(ir for ir in wanted if any(ir in a * b for a in track[-1] for b in harmonics)))
    for index in reversed(range(settings.layers)):
        after = set(track[index + 1])
        track[index] = tuple(ir for ir in track[index] if any(after.intersection(ir * b) for b in harmonics))
    return track
