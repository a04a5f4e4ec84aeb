"""Does one Hessian help? Few frames of ethanol with and without the Hessian of trans, judged on the frequencies of gauche+.

    python recipes/ethanol_hessian.py --output hessian [--frames 16] [--epochs 400] [--seed 0]

Two NequIP models with the same weights to begin with, the same frames, order and number of steps; one of them sees products of
trans's DFT Hessian with random vectors after three tenths of the run. gauche+ is relaxed with each model; its DFT Hessian was
never trained on. Forces are judged on the test trajectories. Two minutes of processor time.
"""

import argparse
import json
import pathlib
import time

import ase
import numpy as np
import torch

from tesseral.data import embedded
from tesseral.graph import build_graph
from tesseral.interfaces.ase import Calculator
from tesseral.models import NequIPSettings, build, cast
from tesseral.physics.forces import energy_and_forces
from tesseral.physics.hessian import hessian
from tesseral.physics.normal_modes import normal_modes, symmetry_of
from tesseral.physics.relaxation import relax
from tesseral.train.energies import EnergyTask
from tesseral.train.hessians import HessianFrame
from tesseral.train.loop import fit
from tesseral.train.settings import FitSettings

CUTOFF = 4.0
MODEL = NequIPSettings(
    cutoff=CUTOFF, layers=2, lmax=2, channels=(24, 16, 12), radial_channels=32, parity=False, species=(1, 6, 8), num_neighbors=7.5
)
WEIGHT = 1.0


def graphs(split: str, kinds: tuple[str, ...]) -> list:
    return [
        build_graph(atoms, CUTOFF, labels={"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()})
        for atoms in embedded.load(split=split)
        if atoms.info["config_type"] in kinds
    ]


def frequencies(matrix: np.ndarray, atoms: ase.Atoms) -> np.ndarray:
    return normal_modes(matrix, atoms.numbers, symmetry_of(atoms.numbers, atoms.positions)).frequencies


def judge(model: torch.nn.Module, test: dict) -> dict:
    """Force RMSE of each test set in meV/Å, and errors of the frequencies of both minima in 1/cm."""
    result = {}
    for kind, frames in test.items():
        errors = [energy_and_forces(model, g).forces - g.labels["forces"] for g in frames]
        result[f"forces_rmse_{kind}"] = 1000 * float(torch.cat(errors).square().mean().sqrt())
    exact = cast(model, torch.float64)
    for name, minimum in embedded.hessians().items():
        atoms = ase.Atoms(minimum.atoms.numbers, minimum.atoms.positions, calculator=Calculator(exact))
        relaxed = relax(atoms, fmax=1e-3, optimizer="bfgs", steps=300)
        matrix = hessian(exact, build_graph(atoms, CUTOFF)).numpy()
        error = np.abs(frequencies(matrix, atoms) - frequencies(minimum.hessian, minimum.atoms))
        at_rest = hessian(exact, build_graph(minimum.atoms, CUTOFF)).numpy()
        result[name] = {
            "mae": float(error.mean()), "max": float(error.max()), "relaxed": relaxed.converged,
            "hessian_mae_eV_A2": float(np.abs(at_rest - minimum.hessian).mean()),
        }  # fmt: skip
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    training = graphs("train", ("300K", "500K"))
    chosen = np.random.default_rng(arguments.seed).choice(len(training), arguments.frames, replace=False)
    training = [training[i] for i in chosen]
    validation = graphs("valid", ("300K", "500K"))
    test = {kind: graphs("test", (kind,)) for kind in ("300K", "500K", "700K")}
    isolated = {int(a.numbers[0]): a.get_potential_energy() for a in embedded.load() if len(a) == 1}
    trans = embedded.hessians()["trans"]
    frame = HessianFrame(build_graph(trans.atoms, CUTOFF), torch.tensor(trans.hessian))
    scale = float(torch.cat([g.labels["forces"] for g in training]).square().mean().sqrt())

    result: dict = {"frames": arguments.frames, "epochs": arguments.epochs, "seed": arguments.seed}
    for name, weight in (("without", 0.0), ("with", WEIGHT)):
        settings = FitSettings.model_validate({
            "loss": {"hessian": {"weight": weight, "probes": 2, "start": 0.3}},
            "max_epochs": arguments.epochs, "validate_every": 10, "tensorboard": False, "accelerator": "cpu",
            "seed": arguments.seed,
        })  # fmt: skip
        torch.manual_seed(arguments.seed)
        model = build(MODEL, atomic_energies=isolated, scales=scale)
        begun = time.process_time()
        fit(
            model, training, validation, settings, arguments.output / name, overwrite=True, show_progress=False,
            task=EnergyTask(settings, hessians=[frame]),
        )  # fmt: skip
        seconds = time.process_time() - begun
        result[name] = {"cpu_seconds": seconds, **judge(model.eval().requires_grad_(False), test)}
        print(name, json.dumps(result[name], indent=1), flush=True)
    (arguments.output / "result.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
