"""The family of models side by side on one tiny task: forces of ethanol from 100 frames, the same CPU time for each.

    python recipes/gallery.py --seconds 60 --output gallery.json

The embedded data serve: 100 training frames, errors on 100 frames of the trajectories kept for validation, by which nothing is
chosen. The energy of an atom weighs 100 and a force 10: with a weight of 1 the sum of the energies, which learning the forces
moves by electron volts, takes the slower models long to bring back. One seed, settings of similar size that nobody tuned, one
optimizer and schedule for all: the table shows what the architectures cost and that they learn, not which is best. Models take
steps in turns, so costs compare on a busy machine, too.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from tesseral.data import embedded
from tesseral.graph import Graph, build_graph, collate
from tesseral.groups.equivariance import Positions, equivariance_error
from tesseral.models import build, cast, parse_settings
from tesseral.physics.forces import energy_and_forces
from tesseral.train.loop import build_optimizer
from tesseral.train.settings import OptimizerSettings

COMMON = {"cutoff": 4.0, "species": [1, 6, 8]}
MODELS = {
    "egnn": {"layers": 3, "channels": 32},
    "painn": {"layers": 3, "channels": 32},
    "tensor_field": {"layers": 3, "channels": 16, "lmax": 1},
    "se3_transformer": {"layers": 3, "channels": 16, "lmax": 1},
    "nequip": {"layers": 3, "channels": 16, "lmax": 1, "radial_channels": 32},
    "allegro": {"layers": 2, "lmax": 1, "scalar_channels": 32, "tensor_channels": 8, "latent_widths": [32]},
    "mace": {"layers": 2, "hidden": "16x0e+16x1o", "lmax": 2, "correlation": 3, "radial_widths": [32, 32]},
    "equiformer_v2": {"layers": 2, "lmax": 2, "mmax": 2, "channels": 16, "hidden_channels": 16},
}


@dataclass
class Runner:
    """A model, its optimizer, and the CPU time that it has used."""

    name: str
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    used: float = 0.0
    costs: list[float] = field(default_factory=list)

    def step(self, graph: Graph, seconds: float) -> None:
        begun = time.process_time()
        for group in self.optimizer.param_groups:
            group["lr"] = 0.01 * 0.5 * (1 + math.cos(math.pi * min(1.0, self.used / seconds)))
        prediction = energy_and_forces(self.model, graph, create_graph=True)
        of_energy = ((prediction.energy - graph.labels["energy"]) / graph.nodes_per_graph()).square().mean()
        loss = 100 * of_energy + 10 * (prediction.forces - graph.labels["forces"]).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimizer.step()
        self.costs.append(time.process_time() - begun)
        self.used += self.costs[-1]


def frames(split: str, count: int) -> list[Graph]:
    """Labelled graphs, drawn at random from a split."""
    chosen = [atoms for atoms in embedded.load("ethanol", split=split) if len(atoms) > 1]
    picked = np.random.default_rng(0).permutation(len(chosen))[:count]
    graphs = []
    for atoms in (chosen[i] for i in picked):
        graph = build_graph(atoms, COMMON["cutoff"])
        labels = {
            "energy": torch.tensor([atoms.get_potential_energy()], dtype=torch.float64),
            "forces": torch.from_numpy(np.array(atoms.get_forces())),
        }
        graphs.append(graph.replace(labels=labels))
    return graphs


def runner(name: str, training: list[Graph]) -> Runner:
    """A new model whose energies and scales are those of the training frames."""
    torch.manual_seed(0)
    batch = collate(training)
    counts = np.array([int((training[0].species == z).sum()) for z in COMMON["species"]])
    energies = batch.labels["energy"].mean().item() * counts / np.sum(counts**2)
    scale = batch.labels["forces"].square().mean().sqrt().item()
    neighbors = batch.num_edges / batch.num_nodes
    settings = parse_settings({"name": name, "num_neighbors": neighbors} | COMMON | MODELS[name])
    model = build(settings, atomic_energies=dict(zip(COMMON["species"], energies.tolist(), strict=True)), scales=scale)
    return Runner(name, model, build_optimizer(model, OptimizerSettings()))


def row(run: Runner, test: Graph, example: Graph) -> dict[str, float]:
    """What the table says of a trained model."""
    model = cast(run.model.eval(), torch.float64)
    model.atomic_energies.zero_()  # thousands of eV, whose rounding would hide the error
    error = equivariance_error(
        lambda r: model(example.replace(positions=r)), Positions(), None, "E(3)", inputs=[example.positions]
    )
    found = energy_and_forces(run.model, test)
    return {
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "milliseconds": 1000 * statistics.median(run.costs[3:] or run.costs),
        "steps": len(run.costs),
        "equivariance_eV": error.absolute,
        "forces_mae_meV": 1000 * (found.forces - test.labels["forces"]).abs().mean().item(),
        "energy_mae_meV": 1000 * (found.energy - test.labels["energy"]).abs().mean().item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of CPU time for each model")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    training, test = frames("train", 100), frames("valid", 100)
    runs = [runner(name, training) for name in arguments.models]
    generator, said = np.random.default_rng(1), time.monotonic()
    while active := [run for run in runs if run.used < arguments.seconds]:
        batch = collate([training[i] for i in generator.choice(len(training), 5, replace=False)])
        for run in active:
            run.step(batch, arguments.seconds)
        if time.monotonic() - said > 10:
            said = time.monotonic()
            print(", ".join(f"{run.name} {run.used:.0f} s" for run in runs), flush=True)

    table = {run.name: row(run, collate(test), test[0]) for run in runs}
    reference = table.get("nequip", next(iter(table.values())))["milliseconds"]
    print(
        "| model | parameters | cost of a step | steps | equivariance error, eV | forces, meV/Å | energy, meV |\n"
        + "|---" * 7
        + "|"
    )
    for name, values in table.items():
        print(
            f"| `{name}` | {values['parameters']:,} | {values['milliseconds'] / reference:.2f} | {values['steps']} "
            f"| {values['equivariance_eV']:.0e} | {values['forces_mae_meV']:.1f} | {values['energy_mae_meV']:.1f} |"
        )
    if arguments.output is not None:
        arguments.output.write_text(json.dumps({"seconds": arguments.seconds, "table": table}, indent=1))


if __name__ == "__main__":
    main()
