"""What do Hessians of some molecules teach about others? Isomers with and without them, judged on isomers left out.

    TESSERAL_DATA=folder python recipes/molecule_hessians.py --output hessians [--molecules H8C4N2O H10C5N2O] [--epochs 300]

Energies, forces and full Hessians of eleven isomers of H8C4N2O and nine of H10C5N2O away from their minima, from the examples of
DeePMD-kit. Two NequIP models with the same weights to begin with learn from the same isomers in the same order and number of
steps, one of them from products of their Hessians with random vectors, too, after a third of the run; both keep the weights of
the lowest training error. The last three isomers are tests, seen once.
"""

import argparse
import json
import os
import pathlib
import sys
import time

import numpy as np
import torch

from tesseral.data import Graphs, Keys, compute_statistics, read_frames
from tesseral.data.statistics import AtomicEnergies
from tesseral.models import NequIPSettings, build, cast
from tesseral.physics.forces import energy_and_forces
from tesseral.physics.hessian import hessian
from tesseral.physics.normal_modes import normal_modes, symmetry_of
from tesseral.train.energies import EnergyTask
from tesseral.train.hessians import HessianFrame
from tesseral.train.loop import fit
from tesseral.train.settings import FitSettings

CUTOFF = 4.0


def frequencies(matrix: np.ndarray, graph) -> np.ndarray:
    numbers = graph.species.numpy()
    return normal_modes(matrix, numbers, symmetry_of(numbers, graph.positions.numpy())).frequencies


def reference(graph) -> np.ndarray:
    atoms = graph.num_nodes
    return graph.labels["hessian"].reshape(atoms, 3, atoms, 3).numpy()


def judge(model: torch.nn.Module, tests: list) -> dict[str, float]:
    """Mean absolute errors on the isomers left out: forces (meV/Å), entries of Hessians (eV/Å²), frequencies (1/cm)."""
    exact, found = cast(model, torch.float64), {"forces": [], "hessian": [], "frequencies": []}
    for graph in tests:
        ours, theirs = hessian(exact, graph).numpy(), reference(graph)
        found["forces"].append(1000 * (energy_and_forces(exact, graph).forces - graph.labels["forces"]).abs().mean().item())
        found["hessian"].append(float(np.abs(ours - theirs).mean()))
        found["frequencies"].append(float(np.abs(frequencies(ours, graph) - frequencies(theirs, graph)).mean()))
    return {name: float(np.mean(values)) for name, values in found.items()}


def run(name: str, arguments: argparse.Namespace) -> dict:
    file = pathlib.Path(os.environ["TESSERAL_DATA"]) / "deepmd_hessian" / f"{name}.npz"
    frames = read_frames(file, Keys(extra={"hessian": "hessian"}))
    training, tests = frames[:-3], frames[-3:]
    statistics = compute_statistics(training, CUTOFF, AtomicEnergies(source="least_squares"))
    settings = NequIPSettings(
        cutoff=CUTOFF, layers=2, lmax=2, channels=24, radial_channels=32, parity=False, species=tuple(statistics.species),
        num_neighbors=float(statistics.num_neighbors),
    )  # fmt: skip
    known, others = list(Graphs(training, CUTOFF)), list(Graphs(tests, CUTOFF))
    hessians = [HessianFrame(graph, torch.from_numpy(reference(graph)).double()) for graph in known]
    result: dict = {"isomers": len(known)}
    for kind, weight in (("without", 0.0), ("with", arguments.weight)):
        fitting = FitSettings.model_validate({
            "loss": {"hessian": {"weight": weight, "probes": 4, "start": 0.3}}, "batch_size": 2, "max_epochs": arguments.epochs,
            "validate_every": 10, "tensorboard": False, "accelerator": "cpu", "seed": arguments.seed,
        })  # fmt: skip
        torch.manual_seed(arguments.seed)
        model = build(settings, atomic_energies=statistics.atomic_energies, scales=statistics.force_rms)
        begun = time.process_time()
        fit(
            model, known, known, fitting, arguments.output / f"{name}-{kind}", overwrite=True, show_progress=False,
            task=EnergyTask(fitting, hessians=hessians),
        )  # fmt: skip
        seconds = time.process_time() - begun
        result[kind] = {"cpu_seconds": seconds, **judge(model.eval().requires_grad_(False), others)}
        print(name, kind, json.dumps(result[kind]), flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--molecules", nargs="+", default=["H8C4N2O", "H10C5N2O"])
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--weight", type=float, default=1.0, help="of the Hessians in the loss")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if "TESSERAL_DATA" not in os.environ:
        sys.exit("set TESSERAL_DATA to the folder that holds deepmd_hessian (see docs/data.md)")
    arguments.output.mkdir(parents=True, exist_ok=True)
    result = {name: run(name, arguments) for name in arguments.molecules}
    (arguments.output / "result.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
