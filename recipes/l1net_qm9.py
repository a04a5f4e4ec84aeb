"""Do angular features help? L0Net and L1Net of matched width on QM9 molecules: five properties, learned at once.

    TESSERAL_DATA=folder python recipes/l1net_qm9.py --epochs 15 --seeds 0 1 2 --output l1net

Miller et al. (arXiv:2008.08461) find that angular features lower the errors by 23 % on average, most clearly on the dipole.
Here: 3000 molecules (every 40th of QM9) with their published split; the dipole is a vector of which only the length is labelled.
Both networks get the same number of epochs of a cosine schedule; nothing is selected, the weights are averages at its end. One
training by hand is ``tesseral tensors`` with the settings that each run keeps.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch

from tesseral.data import Units, read_frames
from tesseral.data.keys import Keys
from tesseral.interfaces import tensors
from tesseral.interfaces.tensors import TensorTrainingSettings, learn_tensors
from tesseral.interfaces.training_data import Data

UNITS = {"mu": "D", "alpha": "bohr³", "gap": "eV", "u0": "eV", "r2": "bohr²"}
HARTREE, DEBYE = 27.211386, 0.20819433  # eV, e·Å
KEYS = Keys(energy=None, forces=None, dipole=None, extra={name: name for name in UNITS})
FACTORS = Units(extra={"mu": DEBYE, "gap": HARTREE, "u0": HARTREE})
TARGETS = {
    "mu": {"irreps": "1o", "charges": True, "length": True},
    "alpha": {"irreps": "0e"},
    "gap": {"irreps": "0e", "pool": "mean"},
    "u0": {"irreps": "0e"},
    "r2": {"irreps": "0e", "pool": "extent"},
}


def read(folder: Path) -> Data:
    """Training, validation and test molecules."""
    frames = read_frames([folder / "qm9_3000.xyz"], KEYS, FACTORS)
    split = json.loads((folder / "split.json").read_text())
    return Data(frames.subset(split["train"]), frames.subset(split["val"]), {"test": frames.subset(split["test"])}, None, None)


def settings_of(file: Path, lmax: int, seed: int, epochs: int, loss: str) -> TensorTrainingSettings:
    body = {
        "name": "l1net", "lmax": lmax, "width": 48, "layers": 3, "cutoff": 5.0, "num_basis": 20, "radial_channels": 48,
    }  # fmt: skip
    return TensorTrainingSettings.model_validate({
        "data": {"train": str(file), "examine": False, "keys": KEYS, "units": FACTORS},
        "targets": {name: {**target, "loss": loss} for name, target in TARGETS.items()},
        "model": body, "seed": seed, "batch_size": 16, "max_epochs": epochs, "tensorboard": False,
        "optimizer": {"name": "adam", "lr": 0.005}, "schedule": {"name": "cosine"},
    })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--loss", choices=["squared", "norm"], default="norm", help="of errors: squares or absolute values")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, required=True, help="folder for a run each")
    arguments = parser.parse_args()
    if "TESSERAL_DATA" not in os.environ:
        sys.exit("set TESSERAL_DATA to the folder that holds qm9_3000 (qm9_3000.xyz and split.json); see docs/data.md")
    torch.set_num_threads(1)

    folder = Path(os.environ["TESSERAL_DATA"]).resolve() / "qm9_3000"
    data, errors = read(folder), {0: [], 1: []}
    for seed in arguments.seeds:
        for lmax, rows in errors.items():
            place = arguments.output / f"L{lmax}Net-{seed}"
            learn_tensors(settings_of(folder / "qm9_3000.xyz", lmax, seed, arguments.epochs, arguments.loss), place, data=data)
            metrics = json.loads((place / tensors.METRICS).read_text())
            rows.append({name: row["mae"] for name, row in metrics["errors"]["test"].items()})
    print(table(errors))


def table(errors: dict[int, list[dict[str, float]]]) -> str:
    """Mean absolute errors, mean and range over the seeds, as Markdown."""
    lines = [f"| test molecules, {len(errors[0])} seeds | L0Net | L1Net | ratio |", "|---|---|---|---|"]
    for name, unit in UNITS.items():
        factor = DEBYE if name == "mu" else 1.0
        values = [np.array([row[name] for row in rows]) / factor for rows in errors.values()]
        cells = [f"{v.mean():.3g} ({v.min():.3g}–{v.max():.3g})" for v in values]
        lines.append(f"| {name}, {unit} | {cells[0]} | {cells[1]} | {values[1].mean() / values[0].mean():.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
