"""Do angular features help? L0Net and L1Net of matched width on QM9 molecules: five properties, learned at once.

    TESSERAL_DATA=folder python recipes/l1net_qm9.py --seconds 300 --seeds 3 --output l1net.json

Miller et al. (arXiv:2008.08461) find that angular features lower the errors by 23 % on average, most clearly on the dipole.
Here: 3000 molecules (every 40th of QM9); the dipole is a vector of which only the length is labelled. Both networks get the same
processor time of one thread. Nothing is selected: the weights are those at the end of a cosine schedule.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import torch

from tesseral.graph import Graph, build_graph, collate
from tesseral.models.l1net import L1Net, L1NetSettings

DEBYE = 0.20819433  # e·Å
HARTREE = 27.211386  # eV
SPECIES = (1, 6, 7, 8, 9)
CUTOFF, WIDTH, LAYERS = 5.0, 48, 3
UNITS = {"mu": ("D", 1.0), "alpha": ("bohr³", 1.0), "gap": ("eV", HARTREE), "u0": ("eV", HARTREE), "r2": ("bohr²", 1.0)}
HEADS = {"mu": "dipole", "alpha": "sum", "gap": "mean", "u0": "sum", "r2": "extent"}


def read(folder: Path, training: int) -> dict[str, list[Graph]]:
    """Graphs with labels in the units above, by the split of the data set."""
    frames = ase.io.read(folder / "qm9_3000.xyz", ":", format="extxyz")
    split = json.loads((folder / "split.json").read_text())
    found = {}
    for name, key in (("training", "train"), ("validation", "val"), ("test", "test")):
        graphs = []
        for index in split[key][: training if key == "train" else None]:
            atoms = frames[index]
            labels = {key: torch.tensor([float(atoms.info[key]) * unit], dtype=torch.float64) for key, (_, unit) in UNITS.items()}
            graphs.append(build_graph(atoms, CUTOFF).replace(labels=labels))
        found[name] = graphs
    return found


def model_of(lmax: int, seed: int, training: list[Graph]) -> tuple[L1Net, dict[str, float]]:
    """A new network whose references are those of the training data, and by how much each property then varies."""
    torch.manual_seed(seed)
    batch = collate(training)
    counts = torch.stack([torch.bincount(g.species, minlength=10)[list(SPECIES)] for g in training]).double()
    targets: dict[str, dict] = {}
    spread = {}
    for name, head in HEADS.items():
        label = batch.labels[name]
        targets[name] = {"head": head}
        if head == "sum":
            atoms = torch.linalg.lstsq(counts, label[:, None]).solution[:, 0]
            targets[name]["atoms"] = dict(zip(SPECIES, atoms.tolist(), strict=True))
            label = label - counts @ atoms
        elif head == "mean":
            targets[name]["shift"] = label.mean().item()
        spread[name] = label.std().item()
        targets[name]["scale"] = {"dipole": 0.3 * DEBYE, "extent": 10.0, "mean": spread[name], "sum": spread[name] / 4}[head]
    neighbors = batch.num_edges / batch.num_nodes
    settings = L1NetSettings(
        targets=targets, lmax=lmax, width=WIDTH, layers=LAYERS, cutoff=CUTOFF, num_basis=20, radial_channels=48,
        species=SPECIES, num_neighbors=neighbors,
    )  # fmt: skip
    return L1Net(settings), spread


def errors(model: L1Net, graph: Graph) -> dict[str, torch.Tensor]:
    """Absolute errors of each molecule."""
    found = model(graph)
    found["mu"] = (found["mu"].square().sum(1) + 1e-12).sqrt() / DEBYE
    return {name: (found[name] - graph.labels[name]).abs() for name in HEADS}


def train(model: L1Net, spread: dict[str, float], training: list[Graph], seconds: float, seed: int) -> int:
    """Adam down the mean absolute errors, in units of the spreads, for some seconds of CPU time; returns the number of steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    generator, used, steps, said = np.random.default_rng(seed), 0.0, 0, time.monotonic()
    while used < seconds:
        begun = time.process_time()
        batch = collate([training[i] for i in generator.choice(len(training), 16, replace=False)])
        for group in optimizer.param_groups:
            group["lr"] = 0.005 * 0.5 * (1 + math.cos(math.pi * used / seconds))
        found = errors(model, batch)
        loss = sum(error.mean() / spread[name] for name, error in found.items())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        used, steps = used + time.process_time() - begun, steps + 1
        if time.monotonic() - said > 10:
            said = time.monotonic()
            print(f"  {used:.0f} of {seconds:.0f} s, loss {loss.item():.3f}", file=sys.stderr, flush=True)
    return steps


def score(model: L1Net, graphs: list[Graph]) -> dict[str, float]:
    """Mean absolute errors."""
    with torch.no_grad():
        parts = [errors(model, collate(graphs[i : i + 50])) for i in range(0, len(graphs), 50)]
    return {key: torch.cat([part[key] for part in parts]).mean().item() for key in HEADS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="of CPU time for each network")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--training", type=int, default=2250, help="molecules to train on")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if "TESSERAL_DATA" not in os.environ:
        sys.exit("set TESSERAL_DATA to the folder that holds qm9_3000 (qm9_3000.xyz and split.json); see docs/data.md")

    torch.set_num_threads(1)
    data = read(Path(os.environ["TESSERAL_DATA"]) / "qm9_3000", arguments.training)
    rows = []
    units = " | ".join(f"{name}, {unit}" for name, (unit, _) in UNITS.items())
    print(f"mean absolute errors on {len(data['test'])} test molecules\n\n| network | seed | parameters | steps | {units} |")
    print("|---" * (4 + len(HEADS)) + "|")
    for seed in range(arguments.seeds):
        for lmax in (0, 1):
            model, spread = model_of(lmax, seed, data["training"])
            steps = train(model, spread, data["training"], arguments.seconds, seed)
            found = {name: score(model, data[name]) for name in ("validation", "test")}
            numel = sum(p.numel() for p in model.parameters())
            rows.append({"lmax": lmax, "seed": seed, "parameters": numel, "steps": steps, **found})
            figures = " | ".join(f"{found['test'][name]:.3f}" for name in HEADS)
            print(f"| L{lmax}Net | {seed} | {numel:,} | {steps} | {figures} |", flush=True)
    for name in HEADS:
        ratio = [np.mean([row["test"][name] for row in rows if row["lmax"] == lmax]) for lmax in (0, 1)]
        print(f"{name}: L1Net's error is {ratio[1] / ratio[0]:.2f} of L0Net's", flush=True)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(vars(arguments) | {"rows": rows, "output": str(arguments.output)}, indent=1))


if __name__ == "__main__":
    main()
