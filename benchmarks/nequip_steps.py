"""NequIP training step and force evaluation against nequip 0.19.1, same architecture, interleaved.

TESSERAL_DATA=folder TESSERAL_BENCH_NEQUIP=python python -m benchmarks.nequip_steps
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.environment import Environment
from benchmarks.interleave import compare

TITLE = "NequIP: one training step on energies and forces, one evaluation of forces"
NOTE = (
    "Acetylacetone (15 atoms), batches of frames; columns: how many times slower nequip is, eager, and compiled with AOTInductor "
    "as for its ASE calculator. *md* is energy and forces. "
    "*splines*: tesseral's radial networks are evaluated at 128 knots (`radial_knots`)."
)
PEERS = ("nequip", "nequip-aot")
KNOTS = 128
SIZES = {
    "4 layers, lmax 1, 32": (4, 1, 1, 32),
    "4 layers, lmax 2, 32": (4, 2, 1, 32),
    "4 layers, lmax 1, 32, splines": (4, 1, 1, 32, KNOTS),
    "4 layers, lmax 2, 32, splines": (4, 2, 1, 32, KNOTS),
}
STEPS = (("train", 5), ("train", 32), ("md", 1), ("md", 7), ("md", 67))
QUICK = (  # the size, mode and number of frames
    ("4 layers, lmax 2, 32", "train", 5),
    ("4 layers, lmax 2, 32", "train", 32),
    ("4 layers, lmax 2, 32", "md", 7),
    ("4 layers, lmax 2, 32", "md", 67),
    ("4 layers, lmax 2, 32, splines", "train", 5),
    ("4 layers, lmax 2, 32, splines", "train", 32),
    ("4 layers, lmax 2, 32, splines", "md", 7),
)


def rows(environment: Environment) -> Iterator[dict]:
    """The rows of the suite; none without the frames."""
    frames = Path(os.environ.get("TESSERAL_DATA", "")) / "acac" / "train_300K.xyz"
    if not frames.exists():
        print("  left out: set TESSERAL_DATA to the folder of external data sets (acac/train_300K.xyz)", flush=True)
        return
    full = [(size, mode, batch) for size in SIZES for mode, batch in STEPS]
    for size, mode, batch in QUICK if environment.quick else full:
        peers = PEERS if mode == "md" else PEERS[:1]  # compiling takes minutes, once
        with environment.workers("nequip_steps.py", ("tesseral", *peers), mode, frames, batch, *SIZES[size]) as sides:
            table = compare(sides, environment.rounds, environment.seconds)
        problem = f"{size}, {'batch ' + str(batch) if mode == 'train' else str(15 * batch) + ' atoms'}"
        yield {"problem": problem, "mode": mode, **table}


def main() -> None:
    for row in rows(Environment()):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
