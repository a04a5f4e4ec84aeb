"""What tesseral's workers do with a model of energies: training steps, or evaluations of energies and forces."""

from __future__ import annotations

import ase.io
import torch

from benchmarks.interleave import serve
from tesseral.graph import Graph, build_graph, collate
from tesseral.physics.forces import energy_and_forces


def batch_of(file: str, number: str) -> Graph:
    """The first frames of a file, with edges up to 5 Å."""
    return collate([build_graph(atoms, 5.0) for atoms in ase.io.read(file, f":{number}")])


def serve_steps(mode: str, model: torch.nn.Module, graph: Graph) -> None:
    """Serve the case of the ``mode``: "train" or "md"."""
    weights = list(model.parameters())
    optimizer = torch.optim.Adam(weights, lr=1e-3)
    target = torch.randn(graph.num_nodes, 3, dtype=torch.float64)

    def train() -> None:
        prediction = energy_and_forces(model, graph, create_graph=True)
        loss = (prediction.forces - target).square().mean() + prediction.energy.square().mean() * 1e-9
        optimizer.zero_grad()
        loss.backward(inputs=weights)  # as tesseral.train does
        optimizer.step()

    def step() -> None:
        energy_and_forces(model, graph)

    if mode == "md":
        model.requires_grad_(False)
    parameters = sum(p.numel() for p in model.parameters())
    serve(train if mode == "train" else step, {"nodes": graph.num_nodes, "edges": graph.num_edges, "parameters": parameters})
