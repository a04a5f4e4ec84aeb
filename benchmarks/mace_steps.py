"""MACE training step and force evaluation against mace-torch 0.3.16 with the same weights, imported, interleaved.

TESSERAL_DATA=folder TESSERAL_BENCH_MACE=python python -m benchmarks.mace_steps
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.environment import WORKERS, Environment, interpreter
from benchmarks.interleave import compare

TITLE = "MACE: one training step on energies and forces, one evaluation of forces"
NOTE = (
    "Acetylacetone (15 atoms), 2 layers, degree 3, correlation 3, cutoff 5 Å; column mace: how many times slower (eager, e3nn)."
)
PEERS = ("mace",)
SIZES = {"128x0e": "128x0e", "128x0e+128x1o": "128x0e+128x1o"}
STEPS = (("train", 5), ("md", 1), ("md", 7))
QUICK = (("train", 5), ("md", 1))


def rows(environment: Environment) -> Iterator[dict]:
    """The rows of the suite; none without the frames or without mace-torch, which makes the weights."""
    frames = Path(os.environ.get("TESSERAL_DATA", "")) / "acac" / "train_300K.xyz"
    python = interpreter("mace")
    if not frames.exists() or python is None:
        print("  left out: set TESSERAL_DATA to the folder of external data sets and TESSERAL_BENCH_MACE", flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        for size, hidden in list(SIZES.items())[-1:] if environment.quick else SIZES.items():
            file = Path(folder) / "mace.model"
            words = [python, WORKERS / "mace_peer.py", "write", frames, 5, hidden, file]
            subprocess.run([str(word) for word in words], check=True, capture_output=True)
            for mode, batch in QUICK if environment.quick else STEPS:
                with environment.workers("mace_steps.py", ("tesseral", *PEERS), mode, frames, batch, hidden, file) as sides:
                    table = compare(sides, environment.rounds, environment.seconds)
                problem = f"{size}, {'batch ' + str(batch) if mode == 'train' else str(15 * batch) + ' atoms'}"
                yield {"problem": problem, "mode": mode, **table}


def main() -> None:
    for row in rows(Environment()):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
