"""The architectures side by side on one molecule, each trained for the same processor time on the same frames.

    TESSERAL_DATA=folder python recipes/family.py --set acac --minutes 2 --seeds 0 1 2 --output family

450 training and 50 validation frames of the set's training file, drawn with the seed (for acac as in acac_comparison.py). The
loop's clock is replaced by the processor time of this process (one thread), so learning rates and the end of a run do not depend
on what else the machine does; compiling kernels is not counted. Rates were looked at with --trial on acac, half a minute on the
validation frames; a model sees the tests once, after training. Rows are kept in results.json; a row that is there already is not
computed again. EquiformerV2 comes plain, with DeNS, and with DeNS that is not told the forces.

Published, to convergence, energies (meV) / forces (meV/Å). acac, root mean squares: NequIP 0.81 / 5.9 at 300 K, 6.04 / 27.8 at
600 K; MACE 0.9 / 5.1 and 4.6 / 22.4 (Batatia et al., arXiv:2206.07697, table 3). ethanol: curves only (arXiv:2205.06643); mean
absolute errors on 1000 rMD17 frames after 950, of the same molecule and functional, are NequIP 0.4 / 2.8, Allegro 0.4 / 2.1,
MACE 0.4 / 2.1 (arXiv:2206.07697, table 1). The published experiments with DeNS are others (TMLR 2024).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from acac_comparison import TESTS

from tesseral.data import Graphs, compute_statistics, read_frames
from tesseral.data.statistics import AtomicEnergies
from tesseral.graph import Graph, collate
from tesseral.models import build, parse_settings
from tesseral.models.dens import Denoiser, DenoisingSettings
from tesseral.train import loop, process
from tesseral.train.denoising import denoised_prediction
from tesseral.train.energies import EnergyTask
from tesseral.train.prediction import evaluate
from tesseral.train.settings import FitSettings

SETS = {
    "acac": ("train_300K.xyz", TESTS),
    "ethanol": (
        "train.xyz",
        {
            "MD": "test_MD.xyz",
            "CC stretch": "test_norm_mode_874.xyz",
            "CH stretch": "test_norm_mode_3005.xyz",
            "H removal": "test_H_removal.xyz",
        },
    ),
}
"""The file that training and validation frames are drawn from, and the tests."""
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
    parser.add_argument("--set", choices=list(SETS), default="acac", help="folder of the frames in TESSERAL_DATA")
    parser.add_argument("--minutes", type=float, default=5.0, help="processor time of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--trial", action="store_true", help="report errors of the validation frames, leave the tests alone")
    parser.add_argument("--settings", default="{}", help="JSON: changes to the model's settings, for trials")
    parser.add_argument("--lr", type=float, help="learning rate, for trials")
    arguments = parser.parse_args()
    if "TESSERAL_DATA" not in os.environ:
        sys.exit("set TESSERAL_DATA to the folder that holds acac/ and ethanol/ (see docs/data.md)")
    data = Path(os.environ["TESSERAL_DATA"]).resolve() / arguments.set
    torch.set_num_threads(1)
    loop.time = process.time = SimpleNamespace(monotonic=time.process_time)  # type: ignore[assignment]
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / "results.json"
    rows = json.loads(file.read_text()) if file.exists() else []
    for seed in arguments.seeds:
        for name in arguments.models:
            if not arguments.trial and any(
                (row["set"], row["model"], row["seed"]) == (arguments.set, name, seed) for row in rows
            ):
                continue
            rows.append(run(name, seed, data, arguments))
            print(json.dumps(rows[-1]), flush=True)
            if not arguments.trial:
                file.write_text(json.dumps(rows, indent=1))
    print(table([row for row in rows if row["set"] == arguments.set]))


def table(rows: list[dict]) -> str:
    """Means and standard deviations over the seeds, as Markdown: energies in meV / forces in meV/Å."""
    tests = [test for test in rows[0]["errors"] if test != "validation"] or ["validation"]
    lines = [f"| model | parameters | seeds | epochs | {' | '.join(tests)} |", "|---" * (len(tests) + 4) + "|"]
    for name in dict.fromkeys(row["model"] for row in rows):
        of_model = [row for row in rows if row["model"] == name]
        cells = [f"{of_model[0]['parameters']:,}", str(len(of_model)), f"{np.mean([row['epochs'] for row in of_model]):.0f}"]
        for test in tests:
            found = {what: [row["errors"][test][what] for row in of_model] for what in of_model[0]["errors"][test]}
            cells.append(" / ".join(_mean(values) for values in found.values()))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.1f}" + (f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else "")


def run(name: str, seed: int, data: Path, arguments: argparse.Namespace) -> dict:
    """One training, and its errors."""
    file, tests = SETS[arguments.set]
    frames = read_frames([data / file])
    order = np.random.default_rng(seed).permutation(len(frames)).tolist()
    training, validation = frames.subset(order[:450]), frames.subset(order[450:500])
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
    fitting = FitSettings.model_validate({
        "loss": {"energy": {"weight": 100.0, "per_atom": True}, "forces": {"weight": 10.0}},
        "optimizer": {"name": "muon", "lr": rate},
        "schedule": {"name": "cosine", "driven_by": "time"},
        "batch_size": 5, "max_time": 60 * arguments.minutes, "seed": seed, "tensorboard": False,
    })  # fmt: skip
    place = arguments.output / f"{name}-{seed}".replace(", ", "-").replace(" ", "-")
    result = loop.fit(
        trained, list(Graphs(training, settings.cutoff)), list(Graphs(validation, settings.cutoff)),
        fitting, place, overwrite=True, show_progress=False, task=EnergyTask(fitting, denoised_prediction),
    )  # fmt: skip
    if result.stopped == "signal":
        sys.exit("stopped by a signal")
    row = {
        "set": arguments.set,
        "model": name,
        "seed": seed,
        "minutes": arguments.minutes,
        "epochs": result.steps / (len(training) / 5),
        "lr": rate,
    }
    row |= {"parameters": sum(p.numel() for p in model.parameters()), "settings": chosen}
    sets = {"validation": validation}
    if not arguments.trial:
        sets |= {test: read_frames([data / file]) for test, file in tests.items()}
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
