r"""L1Net: properties of molecules from features of degree 0, 1 or 2, with heads that know how each property transforms.

Five residual layers of convolution and gate with a long cutoff; the width of the features (components, not channels) is the same
whatever the highest degree, so that networks with and without angular features compare. The heads:

- ``sum``: :math:`\sum_i a_i`, extensive (U0, zero-point energy, heat capacity, isotropic polarizability);
- ``mean``: :math:`\frac1N \sum_i a_i`, intensive (orbital energies, the gap);
- ``dipole``: the vector :math:`\sum_i (q_i - \bar q)(r_i - \bar r) + \sum_i \mu_i`, of charges and (degree 1) atomic dipoles;
- ``extent``: :math:`\sum_i a_i |r_i - r_m|^2` about the centre of mass (the electronic spatial extent);
- ``tensor``: the symmetric polarizability, :math:`\sum_i (a_i\,1 + A_i)`, A_i traceless, with degree 2.

Source: Miller, Geiger, Smidt, Noé, Relevance of rotationally equivariant convolutions for predicting molecular properties,
arXiv:2008.08461; the dipole of charges and the extent follow Schütt et al., PaiNN, ICML 2021.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from ase.data import atomic_masses
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tesseral.graph import Graph
from tesseral.nn import MLP, Convolution, CosineCutoff, Gate, GaussianBasis, Linear, SpeciesEmbedding
from tesseral.o3 import CartesianTensor, Irrep, Irreps
from tesseral.ops import scatter, spherical_harmonics

Head = Literal["sum", "mean", "dipole", "extent", "tensor"]
_SCALARS, _VECTORS, _DEGREE_2 = Irrep("0e"), Irrep("1o"), Irrep("2e")


class PropertyTarget(BaseModel):
    """One property: its head, and what its numbers are like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head: Head = Field("sum", description="how atoms make the property of the molecule")
    scale: float = Field(1.0, gt=0, description="typical size; the network's numbers are multiplied by it")
    shift: float = Field(0.0, description="added to a mean: the mean of the training data")
    atoms: dict[int, float] = Field({}, description="added to a sum for each atom, by atomic number: a fit to the training data")


class L1NetSettings(BaseModel):
    """Architecture of an L1Net; the published one is the default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["l1net"] = "l1net"
    targets: dict[str, PropertyTarget] = Field(min_length=1, description="properties by name")
    lmax: int = Field(1, ge=0, le=2, description="highest degree of the features: L0Net, L1Net, L2Net")
    width: int = Field(128, ge=12, description="components of the features of an atom; half are scalars when lmax > 0")
    layers: int = Field(5, ge=1, description="residual layers")
    cutoff: float = Field(10.0, gt=0, description="radius of the neighbourhood of an atom, in Å")
    num_basis: int = Field(50, ge=2, description="Gaussians of the distance")
    radial_channels: int = Field(128, ge=1, description="width of the two hidden layers of the radial networks")
    species: tuple[Annotated[int, Field(ge=1, le=118)], ...] = Field(min_length=1, description="atomic numbers")
    num_neighbors: float = Field(gt=0, description="mean number of neighbours")

    def hidden(self) -> Irreps:
        """Features of the same width for every lmax: half scalars, the rest shared equally by the degrees above.

        >>> common = {"targets": {"mu": {"head": "dipole"}}, "species": (1, 8), "num_neighbors": 9.0}
        >>> [str(L1NetSettings(lmax=l, **common).hidden()) for l in range(3)]
        ['128x0e', '64x0e+21x1o', '64x0e+10x1o+6x2e']
        """
        if not self.lmax:
            return Irreps([(self.width, (0, 1))])
        higher = [(self.width // (2 * self.lmax * (2 * l + 1)), (l, (-1) ** l)) for l in range(1, self.lmax + 1)]
        return Irreps([(self.width // 2, (0, 1)), *higher])


class L1Net(torch.nn.Module):
    r"""Maps a graph to properties by name: (graphs,) for invariants, (graphs, 3) for a dipole, (graphs, 3, 3) for a tensor.

    Units are those of the training data per Å for lengths: charges of a dipole in e·Å count e. Properties of molecules: graphs
    with periodic directions have no centre, and heads that need one refuse them with a ``ValueError``. The network runs in
    ``dtype``, sums over atoms in float64. Raises ``ValueError`` for a ``tensor`` without degree 2.
    """

    masses: Tensor

    references: Tensor

    def __init__(
        self,
        settings: L1NetSettings,
        *,
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.dtype = settings, dtype
        self.species, self.cutoff = settings.species, settings.cutoff
        factory: dict[str, Any] = {"dtype": dtype, "device": device}
        hidden = settings.hidden()
        self.irreps_sh = Irreps.spherical_harmonics(settings.lmax)
        self.embedding = SpeciesEmbedding(settings.species, hidden[0].mul, **factory)
        self.basis, self.envelope = GaussianBasis(settings.cutoff, settings.num_basis), CosineCutoff(settings.cutoff)
        sizes = [Irreps([(hidden[0].mul, (0, 1))]), *[hidden] * (settings.layers - 1)]
        self.layers = torch.nn.ModuleList(L1NetLayer(irreps, hidden, settings, backend, factory) for irreps in sizes)
        self.heads = torch.nn.ModuleDict()
        for name, target in settings.targets.items():
            if target.head == "tensor" and settings.lmax < 2:
                raise ValueError(f"the target {name!r} is a tensor, which needs features of degree 2: set lmax=2, or head=sum")
            wanted = {"dipole": [_SCALARS, _VECTORS], "tensor": [_SCALARS, _DEGREE_2]}.get(target.head, [_SCALARS])
            self.heads[name] = Linear(hidden, Irreps([(1, ir) for ir in wanted if hidden.count(ir)]), biases=True, **factory)
        energies = [[target.atoms.get(z, 0.0) for z in settings.species] for target in settings.targets.values()]
        self.register_buffer("references", torch.tensor(energies, dtype=torch.float64, device=device))
        masses = torch.tensor(atomic_masses[list(settings.species)], dtype=torch.float64, device=device)
        self.register_buffer("masses", masses, persistent=False)
        self._symmetric = CartesianTensor("ij=ji", layout="ir_mul")

    def forward(self, graph: Graph) -> dict[str, Tensor]:
        """The properties of each molecule."""
        species = self.embedding.index(graph.species)
        x = self.features(graph)
        return {
            name: self._property(number, target, self.heads[name](x).to(torch.float64), species, graph)
            for number, (name, target) in enumerate(self.settings.targets.items())
        }

    def features(self, graph: Graph) -> Float[Tensor, "nodes dim"]:
        """Equivariant features of each atom, layout ``ir_mul``."""
        vectors = graph.edge_vectors().to(self.dtype)
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        harmonics = spherical_harmonics(self.irreps_sh, vectors, normalize=True, normalization="component")
        radial = self.basis(lengths) * self.envelope(lengths)[:, None]
        x = self.embedding(graph.species)
        for layer in self.layers:
            x = layer(x, harmonics, radial, graph)
        return x

    def _property(self, number: int, target: PropertyTarget, a: Tensor, species: Tensor, graph: Graph) -> Tensor:
        def total(values: Tensor) -> Tensor:
            return scatter(values, graph.batch, graph.num_graphs)

        atoms = graph.nodes_per_graph()
        match target.head:
            case "sum":
                return total(a[:, 0] * target.scale + self.references[number, species])
            case "mean":
                return total(a[:, 0]) / atoms.clamp(min=1) * target.scale + target.shift
            case "dipole":
                charges = a[:, 0] - (total(a[:, 0]) / atoms.clamp(min=1))[graph.batch]
                moments = charges[:, None] * self._centred(graph, torch.ones_like(charges))
                return total(moments + a[:, 1:] if a.shape[1] > 1 else moments) * target.scale
            case "extent":
                return total(a[:, 0] * self._centred(graph, self.masses[species]).square().sum(1)) * target.scale
            case "tensor":
                return total(self._symmetric.to_cartesian(a)) * target.scale

    def _centred(self, graph: Graph, weights: Tensor) -> Float[Tensor, "nodes 3"]:
        if bool(graph.pbc.any()):
            raise ValueError(
                "a crystal has no centre: dipole and extent are properties of molecules, without periodic directions"
            )
        positions = graph.positions.to(torch.float64)
        centre = scatter(positions * weights[:, None], graph.batch, graph.num_graphs)
        centre = centre / scatter(weights, graph.batch, graph.num_graphs)[:, None]
        return positions - centre[graph.batch]


class L1NetLayer(torch.nn.Module):
    """Convolution, gate, and the features of before."""

    def __init__(self, irreps_in: Irreps, hidden: Irreps, settings: L1NetSettings, backend: str, factory: dict[str, Any]) -> None:
        super().__init__()
        scalars, gated = hidden[:1], hidden[1:]
        gates = Irreps([(gated.num_irreps, (0, 1))]) if gated.dim else Irreps([])
        acts = [torch.sigmoid] if gated.dim else []
        self.gate = Gate(scalars, [_shifted_softplus], gates, acts, gated)
        self.convolution = Convolution(irreps_in, Irreps.spherical_harmonics(settings.lmax), hidden, backend=backend)
        widths = [settings.num_basis, settings.radial_channels, settings.radial_channels, self.convolution.weight_numel]
        self.radial = MLP(widths, **factory)
        self.mix = Linear(self.convolution.irreps_out, self.gate.irreps_in, **factory)
        self.mix.plan = self.mix.plan.scaled(settings.num_neighbors**-0.5)
        self.of_self = Linear(irreps_in, hidden, **factory)

    def forward(
        self, x: Float[Tensor, "nodes dim_in"], harmonics: Float[Tensor, "edges sh"], radial: Float[Tensor, "edges basis"],
        graph: Graph,
    ) -> Float[Tensor, "nodes dim_out"]:  # fmt: skip
        edges = (graph.edge_index, graph.source_order, graph.destination_pointers)
        messages = self.convolution(x, harmonics, self.radial(radial), *edges)
        return (self.of_self(x) + self.gate(self.mix(messages))) * 0.5**0.5


def _shifted_softplus(x: Tensor) -> Tensor:
    return torch.nn.functional.softplus(x) - math.log(2)
