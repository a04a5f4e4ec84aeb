"""NequIP: an energy as a sum over atoms of an E(3)-equivariant message-passing network."""

import math
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tesseral.graph import Graph
from tesseral.nn import (
    MLP,
    BesselBasis,
    Convolution,
    Gate,
    Linear,
    PolynomialCutoff,
    RadialEmbedding,
    RadialFunctions,
    SpeciesEmbedding,
    SpeciesLinear,
)
from tesseral.nn.pair import ZBL
from tesseral.o3 import Irrep, Irreps
from tesseral.ops import scatter, spherical_harmonics

AtomicNumber = Annotated[int, Field(ge=1, le=118)]


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


class NequIP(torch.nn.Module):
    r"""The energy model of Batzner et al.: :math:`E = \sum_i (s_{z_i}\, \epsilon_i + E^0_{z_i})`.

    Layers gate :math:`L_2\big(\sum_j (L_1 x_j) \otimes_{R(r_{ij})} Y(\hat r_{ij})\big)/\sqrt{\bar n}` plus a species-dependent
    self-connection, which the first layer lacks, so that an isolated atom has exactly the energy :math:`E^0`.
    Called with a :class:`~tesseral.graph.Graph`, returns energies (graphs,) in eV, float64; the network inside runs in ``dtype``.
    Source: Nat. Commun. 13, 2453 (2022), and the public code of version 0.19 for what the paper leaves open.

    Raises ``ValueError`` for a settings object without ``species`` or ``num_neighbors``.
    """

    atomic_energies: Tensor
    scales: Tensor

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
        super().__init__()
        if not settings.species or settings.num_neighbors is None:
            raise ValueError(
                "NequIP needs settings.species and settings.num_neighbors; `tesseral train` takes both from the data"
            )
        self.settings, self.dtype = settings, dtype
        self.species, self.cutoff = tuple(settings.species), settings.cutoff
        factory: dict[str, Any] = {"dtype": dtype, "device": device}
        channels = settings.degree_channels()
        hidden = Irreps(
            [(mul, (l, p)) for l, mul in enumerate(channels) for p in ((1, -1) if settings.parity else ((-1) ** l,)) if mul]
        )
        self.irreps_sh = Irreps.spherical_harmonics(settings.lmax)
        self.embedding = SpeciesEmbedding(self.species, channels[0], **factory)
        basis = BesselBasis(settings.cutoff, settings.num_basis, "nequip")
        self.radial = RadialEmbedding(basis, PolynomialCutoff(settings.cutoff, settings.cutoff_power), settings.radial_knots)

        irreps = Irreps([(channels[0], (0, 1))])
        layers = []
        for index in range(settings.layers):
            last = index == settings.layers - 1
            target = Irreps([(channels[0], (0, 1))]) if last else hidden
            layer = NequIPLayer(
                irreps, self.irreps_sh, target, settings, attributes=channels[0] if index else 0, backend=backend, factory=factory
            )
            layers.append(layer)
            irreps = layer.irreps_out
        self.layers = torch.nn.ModuleList(layers)
        self.readout = Linear(irreps, "1x0e", **factory)
        self.zbl = ZBL(settings.cutoff, self.species) if settings.zbl else None

        energies = [(atomic_energies or {}).get(z, 0.0) for z in self.species]
        factors = [scales[z] if isinstance(scales, dict) else scales for z in self.species]
        self.register_buffer("atomic_energies", torch.tensor(energies, dtype=torch.float64, device=device))
        self.register_buffer("scales", torch.tensor(factors, dtype=torch.float64, device=device))

    def _apply(self, fn: Any, recurse: bool = True) -> "NequIP":
        # A model moved to another precision keeps its energies of isolated atoms exact, and knows its own precision.
        exact = self.atomic_energies, self.scales
        super()._apply(fn, recurse)
        self.dtype = self.embedding.weight.dtype
        self.atomic_energies, self.scales = (old.to(self.embedding.weight.device) for old in exact)
        return self

    def forward(self, graph: Graph) -> Float[Tensor, " graphs"]:
        """Energies of the graphs, in eV."""
        return scatter(self.node_energies(graph), graph.batch, graph.num_graphs)

    def node_energies(self, graph: Graph) -> Float[Tensor, " nodes"]:
        """Energy of each atom, in eV, its isolated-atom energy included; only sums of them over a structure mean anything."""
        edge_vectors = graph.edge_vectors()
        species = self.embedding.index(graph.species)
        features = self.features(edge_vectors, species, graph)
        energies = self.readout(features).squeeze(-1).to(torch.float64)
        energies = energies * self.scales[species] + self.atomic_energies[species]
        if self.zbl is not None:
            energies = energies + self.zbl.node_energies(graph)
        return energies

    def features(
        self, edge_vectors: Float[Tensor, "edges 3"], species: Int[Tensor, " nodes"], graph: Graph
    ) -> Float[Tensor, "nodes channels"]:
        """Invariant features of each atom before the readout."""
        vectors = edge_vectors.to(self.dtype)
        harmonics = spherical_harmonics(self.irreps_sh, vectors, normalize=True, normalization="component")
        radial = self.radial.functions(vectors)
        attributes = self.embedding.weight
        x = attributes[species]
        for layer in self.layers:
            x = layer(x, harmonics, radial, species, attributes, graph)
        return x


class NequIPLayer(torch.nn.Module):
    """One interaction: linear, convolution, linear, plus the self-connection, then the gate."""

    def __init__(
        self,
        irreps_in: Irreps,
        irreps_sh: Irreps,
        irreps_target: Irreps,
        settings: NequIPSettings,
        *,
        attributes: int,
        backend: str,
        factory: dict[str, Any],
    ) -> None:
        super().__init__()
        reachable = {ir for _, a in irreps_in for _, b in irreps_sh for ir in a * b}
        scalars = Irreps([(mul, ir) for mul, ir in irreps_target if ir.l == 0 and ir in reachable])
        gated = Irreps([(mul, ir) for mul, ir in irreps_target if ir.l > 0 and ir in reachable])
        gate_irrep = Irrep("0e") if Irrep("0e") in reachable else Irrep("0o")
        gates = Irreps([(mul, gate_irrep) for mul, _ in gated])
        act: dict[int, Any] = {1: torch.nn.functional.silu, -1: torch.tanh}
        self.gate = Gate(scalars, [act[ir.p] for _, ir in scalars], gates, [act[ir.p] for _, ir in gates], gated, "e3nn")
        self.linear_in = Linear(irreps_in, irreps_in, **factory)
        self.convolution = Convolution(irreps_in, irreps_sh, self.gate.irreps_in, backend=backend)
        widths = [settings.num_basis, *[settings.radial_channels] * settings.radial_layers, self.convolution.weight_numel]
        self.radial = MLP(widths, normalization=math.sqrt(2), initialization="uniform", **factory)
        self.linear_out = Linear(self.convolution.irreps_out, self.gate.irreps_in, **factory)
        self.self_connection = SpeciesLinear(irreps_in, self.gate.irreps_in, attributes, **factory) if attributes else None
        self.linear_in.plan = self.linear_in.plan.scaled(1 / math.sqrt(settings.num_neighbors or 1.0))
        self.irreps_in, self.irreps_out = irreps_in, self.gate.irreps_out

    def forward(
        self,
        x: Float[Tensor, "nodes dim_in"],
        harmonics: Float[Tensor, "edges sh"],
        radial: RadialFunctions,
        species: Int[Tensor, " nodes"],
        attributes: Float[Tensor, "species attributes"],
        graph: Graph,
    ) -> Float[Tensor, "nodes dim_out"]:
        """New features of the nodes from those of their neighbours."""
        weights = radial.weights(self.radial)
        edges = (graph.edge_index, graph.source_order, graph.destination_pointers)
        messages = self.convolution(self.linear_in(x), harmonics, weights, *edges)
        y = self.linear_out(messages)
        if self.self_connection is not None:
            y = y + self.self_connection(x, species, attributes)
        return self.gate(y)
