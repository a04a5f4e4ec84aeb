"""Does denoising help? EquiformerV2 on acetylacetone at equal CPU time: plain, DeNS, and DeNS without encoded forces.

TESSERAL_DATA=... python recipes/acac_dens.py --seconds 150 --output runs/dens

Each arm gets the same CPU seconds of one thread (an epoch is timed first); errors are those of the averaged weights on frames of
the test set at 300 K. The table is printed and written to dens.json, whichever way it falls.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from tesseral.data import Graphs, compute_statistics, read_frames
from tesseral.data.statistics import AtomicEnergies
from tesseral.graph import Graph, collate
from tesseral.models.dens import Denoiser, DenoisingSettings
from tesseral.models.equiformer_v2 import EquiformerV2, EquiformerV2Settings
from tesseral.train.denoising import denoised_prediction
from tesseral.train.loop import fit
from tesseral.train.prediction import evaluate
from tesseral.train.settings import FitSettings

ARMS = {"plain": None, "DeNS": True, "DeNS, forces not encoded": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=150.0, help="CPU seconds of each arm")
    parser.add_argument("--frames", type=int, default=100, help="training frames")
    parser.add_argument("--test", type=int, default=100, help="test frames")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    folder = Path(os.environ.get("TESSERAL_DATA", "")) / "acac"
    if not folder.is_dir():
        sys.exit("the frames of acetylacetone are not at hand: name the folder that holds acac/ in TESSERAL_DATA")
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(arguments.seeds):
        for arm in ARMS:
            rows.append(run(arm, seed, folder, arguments))
            print(json.dumps(rows[-1]), flush=True)
            (arguments.output / "dens.json").write_text(json.dumps(rows, indent=1))


def run(arm: str, seed: int, folder: Path, arguments: argparse.Namespace) -> dict:
    """One training of one arm, and its errors."""
    settings = EquiformerV2Settings(
        cutoff=4.0, layers=2, lmax=2, mmax=1, channels=16, hidden_channels=16, radial_channels=32, activation="gate"
    )
    frames = read_frames([folder / "train_300K.xyz"])
    order = np.random.default_rng(seed).permutation(len(frames))
    training = frames.subset(sorted(order[: arguments.frames].tolist()))
    validation = frames.subset(sorted(order[arguments.frames : arguments.frames + 20].tolist()))
    statistics = compute_statistics(training, settings.cutoff, AtomicEnergies(), read_frames([folder / "isolated_atoms.xyz"]))
    settings = settings.model_copy(
        update={"species": tuple(statistics.species), "num_neighbors": float(statistics.num_neighbors)}
    )

    def made() -> torch.nn.Module:
        torch.manual_seed(seed)
        model = EquiformerV2(settings, atomic_energies=statistics.atomic_energies, scales=statistics.force_rms or 1.0)
        if ARMS[arm] is None:
            return model
        torch.manual_seed(seed + 1000)
        return Denoiser(model, DenoisingSettings(encode_forces=bool(ARMS[arm]), force_scale=statistics.force_rms or 1.0))

    graphs, held = list(Graphs(training, settings.cutoff)), list(Graphs(validation, settings.cutoff))

    def trained(epochs: int, name: str) -> tuple[torch.nn.Module, float]:
        model = made()
        chosen = FitSettings.model_validate(
            {
                "loss": {"energy": {"weight": 100.0}, "forces": {"weight": 10.0}},
                "optimizer": {"name": "adamw", "lr": 0.002, "weight_decay": 1e-6},
                "max_epochs": epochs,
                "validate_every": max(1, epochs // 4),
                "seed": seed,
                "tensorboard": False,
            }
        )
        place = arguments.output / f"{name}-{seed}".replace(" ", "-").replace(",", "")
        begun = time.process_time()
        fit(model, graphs, held, chosen, place, overwrite=True, show_progress=False, predict=denoised_prediction)
        return model, time.process_time() - begun

    trained(1, f"{arm} warm-up")  # compiles
    _, one = trained(2, f"{arm} warm-up")
    epochs = max(4, round(arguments.seconds / (one / 2)))
    model, seconds = trained(epochs, arm)
    test = read_frames([folder / "test_MD_300K.xyz"])
    chosen = test.subset(list(range(0, len(test), max(1, len(test) // arguments.test))))
    predicted = evaluate(model, Graphs(chosen, settings.cutoff))
    row: dict = {"arm": arm, "seed": seed, "epochs": epochs, "cpu_s": round(seconds, 1)}
    row["E_meV"] = round(1e3 * float(np.sqrt(np.mean((predicted.energy - predicted.energy_label) ** 2))), 2)
    row["F_meV_A"] = round(1e3 * float(np.sqrt(np.mean((predicted.forces - predicted.forces_label) ** 2))), 2)
    if isinstance(model, Denoiser):
        row["noise"] = round(noise_error(model, collate(list(Graphs(chosen, settings.cutoff)))), 3)
    return row


def noise_error(model: Denoiser, graph: Graph) -> float:
    """Root mean square error of the noise over sigma; 1 for a model that always says zero."""
    torch.manual_seed(0)
    drawn = model.corrupt(graph)
    with torch.no_grad():
        features = model.model.describe(graph.replace(positions=drawn.positions), model.encoding(graph, drawn.displaced))[1]
        error = model.denoise(features) - drawn.noise
    return float(error[drawn.displaced].square().mean().sqrt())


if __name__ == "__main__":
    main()
