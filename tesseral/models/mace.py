"""MACE: messages of many-body order, polynomials of the neighbours' density with weights for each species."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

from tesseral.graph import Graph
from tesseral.nn import (
    MLP,
    BesselBasis,
    Convolution,
    GaussianBasis,
    Linear,
    Normalized,
    PolynomialCutoff,
    RadialEmbedding,
    RadialFunctions,
    SpeciesEmbedding,
    SymmetricContraction,
)
from tesseral.nn.distance_transform import AgnesiTransform, SoftTransform
from tesseral.nn.screened_repulsion import ScreenedRepulsion
from tesseral.o3 import Irrep, Irreps
from tesseral.ops import scatter, spherical_harmonics
from tesseral.ops.linear import linear_by_group
from tesseral.ops.linear_plan import linear_plan
from tesseral.ops.symmetric_contraction import symmetric_basis

AtomicNumber = Annotated[int, Field(ge=1, le=118)]
Interaction = Literal["plain", "residual", "density", "density_residual"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": torch.nn.functional.silu,
    "tanh": torch.tanh,
    "abs": torch.abs,
}


class MACESettings(BaseModel):
    """Architecture of a MACE model; ``species`` and ``num_neighbors`` are filled in from the training data when left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["mace"] = "mace"
    cutoff: float = Field(5.0, gt=0, description="radius of the neighbourhood of an atom, in Å")
    layers: int = Field(2, ge=1, description="number of message-passing layers")
    hidden: str = Field(
        "128x0e+128x1o", description="irreps of the features between layers; the number of 0e is that of channels"
    )
    lmax: int = Field(3, ge=0, le=8, description="highest degree of the harmonics and of the messages")
    correlation: int | tuple[int, ...] = Field(3, description="order of the polynomials (1 to 4), or one for each layer")
    interaction: Interaction = Field(
        "residual", description="residual: a self-connection; density: division by a learned density"
    )
    first_interaction: Interaction = Field("residual", description="the same of the first layer")
    edge_irreps: str = Field("", description="irreps of the neighbours' features inside messages (empty: those of the layer)")
    edge_irreps_first: bool = Field(False, description="use the scalars of edge_irreps in the first layer, too")
    shared_product: bool = Field(False, description="the polynomials have the same weights for all species")
    radial_widths: tuple[int, ...] = Field((64, 64, 64), description="widths of the hidden layers of the radial network")
    basis: Literal["bessel", "gaussian"] = Field("bessel", description="functions of the distance")
    num_basis: int = Field(8, ge=1, description="number of functions of the distance")
    radial_knots: int = Field(0, ge=0, description="intervals of splines that stand for the radial networks (0: no splines)")
    transform: Literal["none", "agnesi", "soft"] = Field("none", description="transform of the distance before the basis")
    cutoff_power: float = Field(5.0, ge=2, description="power p of the polynomial cutoff; smaller decays earlier")
    cutoff_on_weights: bool = Field(False, description="the cutoff multiplies the radial network's output, not its input")
    readout_width: int = Field(16, ge=1, description="width of the last layer's readout")
    readout_activation: Literal["silu", "tanh", "abs", "none"] = Field("silu", description="its nonlinearity")
    last_readout_only: bool = Field(False, description="energies come from the last layer alone")
    zbl: bool = Field(False, description="add the repulsion of screened nuclei at short distance")
    heads: tuple[str, ...] = Field(("default",), min_length=1, description="names of the energies that the model gives")
    head: str = Field("", description="the energy that it gives when called (empty: the first)")
    species: tuple[AtomicNumber, ...] = Field((), description="atomic numbers that the model knows (empty: those of the data)")
    num_neighbors: float | None = Field(None, gt=0, description="mean number of neighbours (empty: that of the data)")

    @field_validator("hidden")
    @classmethod
    def _are_irreps(cls, hidden: str) -> str:
        Irreps(hidden)
        return hidden

    def orders(self) -> tuple[int, ...]:
        """Correlation of each layer."""
        orders = (self.correlation,) * self.layers if isinstance(self.correlation, int) else self.correlation
        if len(orders) != self.layers:
            raise ValueError(f"correlation has {len(orders)} entries for {self.layers} layers: give one number, or one a layer")
        return orders

    def channels(self) -> int:
        """Channels of a message: the number of scalars between the layers."""
        channels = Irreps(self.hidden).count(Irrep("0e"))
        if not channels:
            raise ValueError(f"hidden is {self.hidden!r}: it needs even scalars, as in 128x0e+128x1o")
        return channels


class MACE(torch.nn.Module):
    r"""The energy model of Batatia et al.: :math:`E = \sum_i \left(E^0_{z_i} + b + s_{z_i} \sum_t R_t(h_i^{(t)})\right)`.

    Each layer sums :math:`A_i = \sum_j (L h_j) \otimes_{R(r_{ij})} Y(\hat r_{ij})` over the neighbours, takes the symmetric
    polynomials of A up to the order ``correlation`` with weights for the species of atom i, and adds a linear map of the old
    features for each species where the interaction is "residual". The readouts R are linear, that of the last layer a perceptron.
    Called with a :class:`~tesseral.graph.Graph`, returns energies (graphs,) in eV, float64; the network inside runs in ``dtype``.
    Features have the layout ``ir_mul``.

    Source: NeurIPS 35, 11423 (2022), arXiv:2401.00096 (density, distance transform, repulsion), and the public code of version
    0.3 for what the papers leave open.

    Raises ``ValueError`` for a settings object without ``species`` or ``num_neighbors``, or an unknown ``head``.
    """

    head_energies: Tensor
    scales: Tensor
    shifts: Tensor

    def __init__(
        self,
        settings: MACESettings,
        *,
        atomic_energies: dict[int, float] | None = None,
        scales: dict[int, float] | float = 1.0,
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if not settings.species or settings.num_neighbors is None:
            raise ValueError("MACE needs settings.species and settings.num_neighbors; `tesseral train` takes both from the data")
        self.settings, self.dtype = settings, dtype
        self.species, self.cutoff = tuple(settings.species), settings.cutoff
        factory: dict[str, Any] = {"dtype": dtype, "device": device}
        channels, hidden = settings.channels(), Irreps(settings.hidden)
        self.irreps_sh = Irreps.spherical_harmonics(settings.lmax)
        self.embedding = SpeciesEmbedding(self.species, channels, **factory)
        self.embedding_scale = len(self.species) ** -0.5
        self.radial = _Radial(settings).to(device)

        irreps = Irreps([(channels, (0, 1))])
        layers: list[torch.nn.Module] = []
        readouts: list[torch.nn.Module] = []
        for index, order in enumerate(settings.orders()):
            last = index == settings.layers - 1
            target = Irreps([hidden[0]]) if last else hidden
            layer = MACELayer(irreps, self.irreps_sh, target, settings, index == 0, order, backend=backend, factory=factory)
            layers.append(layer)
            irreps = layer.irreps_out
            if last and settings.layers > 1:
                width, act = settings.readout_width, settings.readout_activation
                readouts.append(_PerceptronReadout(irreps, width, act, len(settings.heads), factory))
            elif last or not settings.last_readout_only:
                readouts.append(Linear(irreps, f"{len(settings.heads)}x0e", **factory))
        self.layers, self.readouts = torch.nn.ModuleList(layers), torch.nn.ModuleList(readouts)
        self.zbl = ScreenedRepulsion(settings.cutoff_power).to(device) if settings.zbl else None
        self.head = self._head_number(settings.head)

        energies = [(atomic_energies or {}).get(z, 0.0) for z in self.species]
        factors = [scales[z] if isinstance(scales, dict) else scales for z in self.species]
        exact: dict[str, Any] = {"dtype": torch.float64, "device": device}
        heads = len(settings.heads)
        self.register_buffer("head_energies", torch.tensor([energies] * heads, **exact))
        self.register_buffer("scales", torch.tensor([factors] * heads, **exact))
        self.register_buffer("shifts", torch.zeros(heads, **exact))

    @property
    def atomic_energies(self) -> Float[Tensor, " species"]:
        """Energies of the isolated atoms of the head that the model gives, in eV."""
        return self.head_energies[self.head]

    def _head_number(self, name: str) -> int:
        if name and name not in self.settings.heads:
            raise ValueError(f"head {name!r} is not one of this model's: {', '.join(self.settings.heads)}")
        return self.settings.heads.index(name) if name else 0

    def _apply(self, fn: Any, recurse: bool = True) -> MACE:
        # A model moved to another precision keeps its energies of isolated atoms exact, and knows its own precision.
        exact = self.head_energies, self.scales, self.shifts
        super()._apply(fn, recurse)
        self.dtype, device = self.embedding.weight.dtype, self.embedding.weight.device
        self.head_energies, self.scales, self.shifts = (old.to(device) for old in exact)
        return self

    def forward(self, graph: Graph, heads: Int[Tensor, " graphs"] | None = None) -> Float[Tensor, " graphs"]:
        """Energies of the graphs, in eV; ``heads`` chooses the head of each graph by number (default: ``settings.head``)."""
        return scatter(self.node_energies(graph, heads), graph.batch, graph.num_graphs)

    def node_energies(self, graph: Graph, heads: Int[Tensor, " graphs"] | None = None) -> Float[Tensor, " nodes"]:
        """Energy of each atom, in eV, its isolated-atom energy included; only sums of them over a structure mean anything."""
        species = self.embedding.index(graph.species)
        found = [readout(x) for readout, x in zip(self.readouts, self._read(graph, species), strict=True)]
        outputs = torch.stack(found).sum(0)  # (nodes, heads)
        if heads is None:
            energies, factors = outputs[:, self.head].to(torch.float64), self.scales[self.head, species]
            shifts, isolated = self.shifts[self.head], self.head_energies[self.head, species]
        else:
            head = heads[graph.batch]
            energies, factors = outputs.gather(1, head[:, None]).squeeze(1).to(torch.float64), self.scales[head, species]
            shifts, isolated = self.shifts[head], self.head_energies[head, species]
        if self.zbl is not None:
            energies = energies + self.zbl(graph)
        return energies * factors + shifts + isolated

    def _read(self, graph: Graph, species: Int[Tensor, " nodes"]) -> list[Tensor]:
        features = self.features(graph, species)
        return features[-1:] if self.settings.last_readout_only else features

    def features(self, graph: Graph, species: Int[Tensor, " nodes"] | None = None) -> list[Tensor]:
        """Features of each atom (nodes, irreps) after each layer, in the layout ``ir_mul``."""
        species = self.embedding.index(graph.species) if species is None else species
        vectors = graph.edge_vectors().to(self.dtype)
        harmonics = spherical_harmonics(self.irreps_sh, vectors, normalize=True, normalization="component")
        radial, envelope = self.radial(vectors, graph)
        x = self.embedding.weight[species] * self.embedding_scale
        found = []
        for layer in self.layers:
            x = layer(x, harmonics, radial, envelope, species, graph)
            found.append(x)
        return found


class MACELayer(torch.nn.Module):
    """One interaction and its product: messages, their polynomials, and the self-connection."""

    def __init__(
        self,
        irreps_in: Irreps,
        irreps_sh: Irreps,
        irreps_out: Irreps,
        settings: MACESettings,
        first: bool,
        correlation: int,
        *,
        backend: str,
        factory: dict[str, Any],
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = irreps_in, irreps_out
        species, channels = len(settings.species), settings.channels()
        kind = settings.first_interaction if first else settings.interaction
        messages = _message_irreps(settings, first)
        edges = Irreps(settings.edge_irreps) if settings.edge_irreps and not first else irreps_in
        if settings.edge_irreps and first and settings.edge_irreps_first:
            edges = Irreps([(Irreps(settings.edge_irreps).count(Irrep("0e")), (0, 1))])

        self.linear_in = Linear(irreps_in, edges, **factory)
        self.convolution = Convolution(edges, irreps_sh, messages, backend=backend)
        widths = [settings.num_basis, *settings.radial_widths, self.convolution.weight_numel]
        self.radial = MLP(widths, normalization="e3nn", **factory)
        self.linear_out = Linear(self.convolution.irreps_out, messages, **factory)
        if kind.startswith("density"):
            self.density: MLP | None = MLP([settings.num_basis, 1], **factory)
        else:
            self.density = None
            self.linear_out.plan = self.linear_out.plan.scaled(1 / (settings.num_neighbors or 1.0))
        residual = kind.endswith("residual")
        self.self_connection = _SpeciesMatrix(irreps_in, irreps_out, species, factory) if residual else None
        self.by_species = None if residual else _SpeciesMatrix(messages, messages, species, factory)

        irreps = tuple(ir for _, ir in messages)
        possible = [ir for ir in dict.fromkeys(ir for _, ir in irreps_out) if _reachable(irreps, ir, correlation)]
        products = Irreps([(channels, ir) for ir in possible])
        self.shared = settings.shared_product
        self.product = SymmetricContraction(
            messages, products, correlation, 1 if self.shared else species, backend=backend, **factory
        )
        self.linear_product = Linear(products, irreps_out, **factory)

    def forward(
        self,
        x: Float[Tensor, "nodes dim_in"],
        harmonics: Float[Tensor, "edges sh"],
        radial: RadialFunctions,
        envelope: Float[Tensor, "edges 1"] | None,
        species: Int[Tensor, " nodes"],
        graph: Graph,
    ) -> Float[Tensor, "nodes dim_out"]:
        """New features of the nodes from those of their neighbours."""
        weights = radial.weights(self.radial) if envelope is None else radial.through(self.radial) * envelope
        edges = (graph.edge_index, graph.source_order, graph.destination_pointers)
        messages = self.linear_out(self.convolution(self.linear_in(x), harmonics, weights, *edges))
        if self.density is not None:
            density = torch.tanh(radial.through(self.density).square())
            density = density if envelope is None else density * envelope
            messages = messages / (1 + scatter(density, graph.destination, graph.num_nodes))
        if self.by_species is not None:
            messages = self.by_species(messages, species)
        y = self.linear_product(self.product(messages, torch.zeros_like(species) if self.shared else species))
        return y if self.self_connection is None else y + self.self_connection(x, species)


class _Radial(torch.nn.Module):
    """Radial functions of the edges, and the cutoff that is left to multiply (or None)."""

    def __init__(self, settings: MACESettings) -> None:
        super().__init__()
        cutoff, number = settings.cutoff, settings.num_basis
        basis = BesselBasis(cutoff, number) if settings.basis == "bessel" else GaussianBasis(cutoff, number)
        if settings.radial_knots and (settings.transform != "none" or settings.cutoff_on_weights):
            raise ValueError(
                f"radial_knots is {settings.radial_knots}, but splines of the distance alone follow no transform that knows "
                "the species, and no cutoff_on_weights: set radial_knots to 0"
            )
        self.embedding = RadialEmbedding(basis, PolynomialCutoff(cutoff, settings.cutoff_power), settings.radial_knots)
        transforms = {"none": None, "agnesi": AgnesiTransform, "soft": SoftTransform}
        transform = transforms[settings.transform]
        self.transform = transform() if transform else None
        self.on_weights = settings.cutoff_on_weights

    def forward(self, vectors: Float[Tensor, "edges 3"], graph: Graph) -> tuple[RadialFunctions, Tensor | None]:
        if self.transform is None and not self.on_weights:
            return self.embedding.functions(vectors), None
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        envelope = self.embedding.cutoff(lengths)[:, None]
        if self.transform is not None:
            lengths = self.transform(lengths, graph.species[graph.source], graph.species[graph.destination])
        functions = self.embedding.basis(lengths)
        return (RadialFunctions(functions), envelope) if self.on_weights else (RadialFunctions(functions * envelope), None)


class _SpeciesMatrix(torch.nn.Module):
    """A linear map with a matrix for each species: e3nn's fully connected product with one-hot species."""

    def __init__(self, irreps_in: Irreps, irreps_out: Irreps, species: int, factory: dict[str, Any]) -> None:
        super().__init__()
        self.plan = linear_plan(irreps_in, irreps_out, f_in=species)
        self.weight = torch.nn.Parameter(torch.randn(species, self.plan.weight_numel, **factory))

    def matrices(self) -> list[Tensor]:
        """The matrices (species, channels in, channels out) that the weights form: views."""
        return self.plan.matrices(self.weight)

    def forward(self, x: Float[Tensor, "nodes dim_in"], species: Int[Tensor, " nodes"]) -> Float[Tensor, "nodes dim_out"]:
        return linear_by_group(x, species, self.weight, self.plan)


class _PerceptronReadout(torch.nn.Module):
    """A hidden layer for each head, and its energy."""

    def __init__(self, irreps_in: Irreps, width: int, activation: str, heads: int, factory: dict[str, Any]) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.hidden = Linear(irreps_in, f"{heads * width}x0e", **factory)
        self.act = torch.nn.Identity() if activation == "none" else Normalized(ACTIVATIONS[activation], "e3nn")
        self.weight = torch.nn.Parameter(torch.randn(heads, width, **factory))

    def forward(self, x: Float[Tensor, "nodes dim_in"]) -> Float[Tensor, "nodes heads"]:
        hidden = self.act(self.hidden(x)).view(-1, self.heads, self.width)
        return (hidden * self.weight).sum(2) * (self.heads * self.width) ** -0.5


def _message_irreps(settings: MACESettings, first: bool) -> Irreps:
    """What a message keeps: the irreps of the harmonics; both parities where the features have pseudoscalars."""
    both = Irreps(settings.hidden).count(Irrep("0o")) and not first
    parities = [(l, p) for l in range(settings.lmax + 1) for p in ((-1, 1) if both else ((-1) ** l,))]
    return Irreps([(settings.channels(), ir) for ir in parities])


def _reachable(irreps: tuple[Irrep, ...], ir: Irrep, correlation: int) -> bool:
    return any(len(symmetric_basis(irreps, ir, order)) for order in range(1, correlation + 1))
