"""Energy models simple enough to be known exactly, on graphs, for the tests of everything derived from an energy."""

import dataclasses

import torch
from torch import Tensor

from tesseral.graph import Graph, build_graph
from tesseral.models import NequIPSettings, build


class PairPotential(torch.nn.Module):
    """E = Σ E0 + ½ Σ_edges φ(r), with φ given by a subclass."""

    def __init__(
        self, cutoff: float, species: tuple[int, ...] = (1, 18), atomic_energies: dict[int, float] | None = None
    ) -> None:
        super().__init__()
        self.cutoff, self.species = cutoff, species
        table = torch.zeros(119, dtype=torch.float64)
        for z, energy in (atomic_energies or {}).items():
            table[z] = energy
        self.register_buffer("atomic_energies", table)

    def pair(self, r: Tensor, graph: Graph) -> Tensor:
        raise NotImplementedError

    def node_energies(self, graph: Graph) -> Tensor:
        r = torch.linalg.vector_norm(graph.edge_vectors(), dim=1)
        energies = self.atomic_energies[graph.species]
        return energies.index_add(0, graph.destination, 0.5 * self.pair(r, graph).to(torch.float64))

    def forward(self, graph: Graph) -> Tensor:
        energies = self.node_energies(graph)
        return energies.new_zeros(graph.num_graphs).index_add(0, graph.batch, energies)


class LennardJones(PairPotential):
    """Exactly ``ase.calculators.lj.LennardJones``, shifted at the cutoff or (``smooth``) switched off from ``onset`` on."""

    def __init__(self, sigma=1.0, epsilon=1.0, cutoff=3.0, smooth=False, **options) -> None:
        super().__init__(cutoff, **options)
        self.sigma, self.epsilon, self.smooth, self.onset = sigma, epsilon, smooth, 0.66 * cutoff

    def pair(self, r, graph):
        def bare(r):
            c6 = (self.sigma / r) ** 6
            return 4 * self.epsilon * (c6**2 - c6)

        if not self.smooth:
            return torch.where(r < self.cutoff, bare(r) - bare(torch.tensor(self.cutoff, dtype=r.dtype)), 0.0)
        x = ((r - self.onset) / (self.cutoff - self.onset)).clamp(0, 1)
        return bare(r) * (1 - x**3 * (10 - 15 * x + 6 * x**2))


class Morse(PairPotential):
    """φ = D (1 - exp(-a (r - r0)))² - D: frequencies known from k = 2 D a²."""

    def __init__(self, depth=4.7, width=1.9, length=0.74, cutoff=12.0, **options) -> None:
        super().__init__(cutoff, **options)
        self.depth, self.width, self.length = depth, width, length

    def pair(self, r, graph):
        return self.depth * (1 - torch.exp(-self.width * (r - self.length))) ** 2 - self.depth


@dataclasses.dataclass(eq=False)
class ManyBody:
    """A smooth many-body model: E_i = E0 - sqrt(ρ_i + c) + angular terms; ``dtype`` is the precision inside."""

    cutoff: float = 4.0
    dtype: torch.dtype = torch.float64
    species: tuple[int, ...] = (1, 6, 8, 13, 29)
    shift: float = -1.3

    def envelope(self, r):
        x = r / self.cutoff
        return torch.where(x < 1, 1 - 28 * x**6 + 48 * x**7 - 21 * x**8, 0.0)

    def node_energies(self, graph: Graph) -> Tensor:
        vectors = graph.edge_vectors().to(self.dtype)
        r = torch.linalg.vector_norm(vectors, dim=1)
        strength = (graph.species.to(self.dtype) / 8)[graph.source] ** 0.3
        weight = strength * torch.exp(-r) * self.envelope(r)
        density = r.new_zeros(graph.num_nodes).index_add(0, graph.destination, weight)
        polar = vectors.new_zeros(graph.num_nodes, 3).index_add(0, graph.destination, vectors * weight[:, None])
        quad = vectors.new_zeros(graph.num_nodes, 9).index_add(
            0, graph.destination, (vectors[:, :, None] * vectors[:, None, :]).flatten(1) * weight[:, None]
        )
        repulsion = r.new_zeros(graph.num_nodes).index_add(0, graph.destination, 30 * torch.exp(-3.0 * r) * self.envelope(r))
        inside = 1 - torch.sqrt(1 + 40 * density) + repulsion + 0.3 * polar.square().sum(1) + 0.2 * quad.square().sum(1)
        return inside.to(torch.float64) + self.shift * graph.species.to(torch.float64)

    def __call__(self, graph: Graph) -> Tensor:
        energies = self.node_energies(graph)
        return energies.new_zeros(graph.num_graphs).index_add(0, graph.batch, energies)


def network(dtype=torch.float64):
    """A small NequIP with random weights."""
    torch.manual_seed(0)
    settings = NequIPSettings(species=(1, 6, 8, 13), num_neighbors=8.0, layers=2, channels=4, cutoff=3.5)
    return build(settings, atomic_energies={1: -13.6, 6: -1030.0, 8: -2040.0, 13: -6600.0}, scales=3.0, dtype=dtype)


def graph_of(atoms, model):
    return build_graph(atoms, model.cutoff)
