"""A tiny energy model and tiny data for it: what the loop needs, in milliseconds."""

from __future__ import annotations

import ase
import numpy as np
import torch
from torch import Tensor

from tesseral.graph import Graph, build_graph
from tesseral.physics.forces import energy_and_forces

CUTOFF = 4.0


class PairPotential(torch.nn.Module):
    """A learned function of the distance (a small network on Gaussians) times a smooth cutoff, and a shift per atom."""

    def __init__(self, width: int = 8, dtype: torch.dtype = torch.float64, seed: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.cutoff = CUTOFF
        self.register_buffer("centers", torch.linspace(0.5, CUTOFF, 8, dtype=dtype))
        self.first = torch.nn.Parameter(torch.randn(10, width, generator=generator, dtype=dtype) / 3)
        self.second = torch.nn.Parameter(torch.randn(width, generator=generator, dtype=dtype) / width)
        self.shift = torch.nn.Parameter(torch.zeros(10, dtype=torch.float64))
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, graph: Graph) -> Tensor:
        vectors = graph.edge_vectors().to(self.first.dtype)
        length = torch.linalg.vector_norm(vectors, dim=1)
        species = graph.species.to(self.first.dtype)
        basis = torch.exp(-4 * (length[:, None] - self.centers) ** 2)
        ends = torch.stack(
            [species[graph.source] + species[graph.destination], species[graph.source] * species[graph.destination]], 1
        )
        hidden = self.dropout(torch.tanh(torch.cat([basis, ends / 10], 1) @ self.first))
        envelope = (1 - (length / self.cutoff).clamp(max=1) ** 2) ** 3
        pair = ((hidden @ self.second) * envelope).to(torch.float64)
        node = torch.zeros(graph.num_nodes, dtype=torch.float64).to(pair.device).index_add(0, graph.destination, pair)
        node = node + self.shift[graph.species]
        return torch.zeros(graph.num_graphs, dtype=torch.float64, device=node.device).index_add(0, graph.batch, node)


def frames(number: int, seed: int = 0, atoms: int = 4, labels: tuple[str, ...] = ("energy", "forces")) -> list[Graph]:
    """Clusters of H, C, O labelled by another pair potential; sizes vary, so that processes get unequal numbers of labels."""
    random = np.random.default_rng(seed)
    teacher = PairPotential(seed=99)
    result = []
    for index in range(number):
        size = atoms + index % 3
        grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), -1).reshape(-1, 3)[:size] * 1.3
        structure = ase.Atoms(
            numbers=random.choice([1, 6, 8], size),
            positions=grid + random.normal(scale=0.1, size=(size, 3)),
            cell=np.eye(3) * 12,
            pbc=True,
        )
        graph = build_graph(structure, CUTOFF)
        prediction = energy_and_forces(teacher, graph, stress=True)
        known = {name: getattr(prediction, name).detach() for name in labels}
        masks = {name: torch.ones(len(value), dtype=torch.bool) for name, value in known.items()}
        result.append(graph.replace(labels=known, masks=masks))
    return result


class Polar(torch.nn.Module):
    """Springs that carry charge from atom to atom and polarise along themselves: an energy in a field with known responses."""

    reads_field = True

    def __init__(self, stiffness: float = 2.0, transfer: float = 0.1, softness: float = 0.05) -> None:
        super().__init__()
        self.cutoff = CUTOFF
        numbers = {"stiffness": stiffness, "transfer": transfer, "softness": softness}
        self.numbers = torch.nn.ParameterDict({k: torch.tensor([v], dtype=torch.float64) for k, v in numbers.items()})

    def forward(self, graph: Graph) -> Tensor:
        vectors, (source, destination) = graph.edge_vectors(), graph.edge_index
        length = torch.linalg.vector_norm(vectors, dim=1)
        envelope = (1 - (length / self.cutoff).clamp(max=1) ** 2) ** 3
        energy = 0.25 * self.numbers["stiffness"] * envelope * (length - 1.2).square()
        if graph.field is not None:
            along = (vectors * graph.field[graph.batch[source]]).sum(1)
            carried = self.numbers["transfer"] * envelope * (graph.species[source] - graph.species[destination])
            energy = energy - 0.5 * carried * along - 0.25 * self.numbers["softness"] * envelope * along.square()
        return torch.zeros(graph.num_graphs, dtype=torch.float64).index_add(0, graph.batch[destination], energy)
