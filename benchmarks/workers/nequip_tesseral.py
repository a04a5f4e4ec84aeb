"""tesseral's NequIP for benchmarks/nequip_steps.py.

usage: nequip_tesseral.py train|md FRAMES.xyz BATCH LAYERS LMAX PARITY CHANNELS [KNOTS]
"""

import sys
from pathlib import Path

import ase.io
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.interleave import serve
from tesseral.graph import build_graph, collate
from tesseral.models.nequip import NequIP, NequIPSettings
from tesseral.physics.forces import energy_and_forces


def main() -> None:
    mode, file, batch, layers, lmax, parity, channels, *knots = sys.argv[1:]
    frames = ase.io.read(file, f":{batch}")
    graph = collate([build_graph(atoms, 5.0) for atoms in frames])
    species = tuple(sorted(set(graph.species.tolist())))
    settings = NequIPSettings(
        layers=int(layers), lmax=int(lmax), parity=parity == "1", channels=int(channels), species=species,
        num_neighbors=graph.num_edges / graph.num_nodes, radial_knots=int(knots[0]) if knots else 0,
    )  # fmt: skip
    model = NequIP(settings)
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


main()
