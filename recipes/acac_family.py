"""Acetylacetone: the architectures side by side, each trained for the same processor time on the same frames.

    TESSERAL_DATA=folder python recipes/acac_family.py --minutes 5 --seeds 0 1 2 --output family

450 training and 50 validation frames of train_300K.xyz, drawn with the seed as in acac_comparison.py. The loop's clock is
replaced by the processor time of this process (one thread), so learning rates and the end of a run do not depend on what else the
machine does; compiling kernels is not counted. Rates were looked at with --trial, half a minute on the validation frames; a model
sees the tests once, after training. Rows are kept in results.json; a row that is there already is not computed again.
Published, to convergence, in energies (meV) and forces (meV/Å): NequIP 0.81 / 5.9 at 300 K, 6.04 / 27.8 at 600 K; MACE 0.9 / 5.1
and 4.6 / 22.4 (Batatia et al., arXiv:2206.07697, table 3). The published experiments with DeNS are others (TMLR 2024).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from acac_comparison import TESTS, split

from tesseral.data import Graphs, compute_statistics, read_frames
from tesseral.data.statistics import AtomicEnergies
from tesseral.graph import Graph, collate
from tesseral.models import build, parse_settings
from tesseral.models.dens import Denoiser, DenoisingSettings
from tesseral.train import loop, process
from tesseral.train.denoising import denoised_prediction
from tesseral.train.prediction import evaluate
from tesseral.train.settings import FitSettings

EQUIFORMER = {
    "name": "equiformer_v2", "layers": 2, "lmax": 2, "mmax": 2, "channels": 16, "hidden_channels": 16, "activation": "gate",
}  # fmt: skip
MODELS = {
    "NequIP": {"name": "nequip", "layers": 3, "lmax": 2, "channels": 32, "parity": False, "radial_knots": 128},
    "MACE": {
        "name": "mace", "layers": 2, "hidden": "32x0e+32x1o", "lmax": 3, "correlation": 3, "first_interaction": "plain",
    },
    "Allegro": {"name": "allegro", "layers": 2, "lmax": 2, "parity": False, "scalar_channels": 64, "tensor_channels": 16},
    "EquiformerV2": EQUIFORMER,
    "EquiformerV2, DeNS": EQUIFORMER,
    "EquiformerV2, DeNS, forces not encoded": EQUIFORMER,
}  # fmt: skip
RATES = {"NequIP": 0.02, "MACE": 0.02, "Allegro": 0.01, "EquiformerV2": 0.01}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="processor time of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--trial", action="store_true", help="report errors of the validation frames, leave the tests alone")
    parser.add_argument("--settings", default="{}", help="JSON: changes to the model's settings, for trials")
    parser.add_argument("--lr", type=float, help="learning rate, for trials")
    arguments = parser.parse_args()
    if "TESSERAL_DATA" not in os.environ:
        sys.exit("set TESSERAL_DATA to the folder that holds acac/ (see docs/data.md)")
    data = Path(os.environ["TESSERAL_DATA"]).resolve() / "acac"
    torch.set_num_threads(1)
    loop.time = process.time = SimpleNamespace(monotonic=time.process_time)  # type: ignore[assignment]
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / "results.json"
    rows = json.loads(file.read_text()) if file.exists() else []
    for seed in arguments.seeds:
        for name in arguments.models:
            if not arguments.trial and any((row["model"], row["seed"]) == (name, seed) for row in rows):
                continue
            rows.append(run(name, seed, data, arguments))
            print(json.dumps(rows[-1]), flush=True)
            if not arguments.trial:
                file.write_text(json.dumps(rows, indent=1))


def run(name: str, seed: int, data: Path, arguments: argparse.Namespace) -> dict:
    """One training, and its errors."""
    with tempfile.TemporaryDirectory() as folder:
        split(data, Path(folder), seed)
        training, validation = (read_frames([Path(folder) / f"{part}.xyz"]) for part in ("train", "valid"))
    chosen = MODELS[name] | {"cutoff": 5.0} | json.loads(arguments.settings)
    settings = parse_settings(chosen)
    statistics = compute_statistics(training, settings.cutoff, AtomicEnergies(), read_frames([data / "isolated_atoms.xyz"]))
    settings = settings.model_copy(
        update={"species": tuple(statistics.species), "num_neighbors": float(statistics.num_neighbors)}
    )
    scale = statistics.force_rms or 1.0
    torch.manual_seed(seed)
    model = build(settings, atomic_energies=statistics.atomic_energies, scales=scale)
    trained: torch.nn.Module = model
    if "DeNS" in name:
        trained = Denoiser(model, DenoisingSettings(encode_forces="not encoded" not in name, force_scale=scale))
    rate = arguments.lr or RATES[name.partition(",")[0]]
    fitting = {
        "loss": {"energy": {"weight": 100.0, "per_atom": True}, "forces": {"weight": 10.0}},
        "optimizer": {"name": "muon", "lr": rate},
        "schedule": {"name": "cosine", "driven_by": "time"},
        "batch_size": 5, "max_time": 60 * arguments.minutes, "seed": seed, "tensorboard": False,
    }  # fmt: skip
    place = arguments.output / f"{name}-{seed}".replace(", ", "-").replace(" ", "-")
    result = loop.fit(
        trained, list(Graphs(training, settings.cutoff)), list(Graphs(validation, settings.cutoff)),
        FitSettings.model_validate(fitting), place, overwrite=True, show_progress=False, predict=denoised_prediction,
    )  # fmt: skip
    if result.stopped == "signal":
        sys.exit("stopped by a signal")
    row = {"model": name, "seed": seed, "minutes": arguments.minutes, "epochs": result.steps / 90, "lr": rate}
    row |= {"parameters": sum(p.numel() for p in model.parameters()), "settings": chosen}
    sets = {"validation": validation}
    if not arguments.trial:
        sets |= {test: read_frames([data / file]) for test, file in TESTS.items()}
    row["errors"] = {test: errors(model, Graphs(frames, settings.cutoff)) for test, frames in sets.items()}
    if isinstance(trained, Denoiser):
        row["noise"] = noise_error(trained, collate(list(Graphs(validation, settings.cutoff))))
    return row


def errors(model: torch.nn.Module, graphs: Graphs) -> dict[str, float]:
    """RMSE of energies (meV) and of force components (meV/Å), where there are labels."""
    predicted = evaluate(model, graphs)
    pairs = {"energy": predicted.energy - predicted.energy_label, "forces": predicted.forces - predicted.forces_label}
    return {what: 1e3 * float(np.sqrt(np.mean(d**2))) for what, d in pairs.items() if not np.isnan(d).any()}


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
