"""The Hessian of 99 atoms with the same MACE weights: ours, mace-torch's get_hessian, and mace-torch row by row.

    TESSERAL_BENCH_MACE=python python -m benchmarks.hessian [--hidden 128x0e+128x1o] [--rounds 2]

Each program is a process of its own with one thread; they take turns. Printed are the processor seconds of a row of the matrix
(which has 297; a peer is measured on its first rows), and the memory that the Hessian adds to a process that has loaded the
model and made its graph: growth of the largest resident size. The first rows are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.environment import WORKERS, interpreter
from benchmarks.interleave import Worker

ROWS = {"tesseral": 16, "mace row by row": 4, "mace get_hessian": 16}
SCRIPT = WORKERS / "hessian.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", default="128x0e+128x1o", help="features of the MACE, which has two layers of degree 3")
    parser.add_argument("--rounds", type=int, default=2, help="turns, the first of which also measures memory")
    arguments = parser.parse_args()
    python = interpreter("mace")
    if python is None:
        sys.exit("name an interpreter that has mace-torch in TESSERAL_BENCH_MACE")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "mace.model"
        subprocess.run([python, SCRIPT, "write", weights, arguments.hidden], check=True, capture_output=True)
        workers = {
            name: Worker(name, [sys.executable if name == "tesseral" else python, SCRIPT, name, weights, str(rows)], threads=1)
            for name, rows in ROWS.items()
        }
        # A worker's first turn is over when it says what it is: its memory is then at its peak.
        times = {name: [worker.description["first_s"]] for name, worker in workers.items()}
        for _ in range(arguments.rounds - 1):
            for name, worker in workers.items():
                times[name].append(worker.run())
    reference = workers["tesseral"].description
    for name, worker in workers.items():
        worker.close()
        found = worker.description
        turns = times[name], times["tesseral"]
        per_row = [seconds / ROWS[name] for seconds in times[name]]
        row = {
            "program": name,
            "edges": found["edges"],
            "s_per_row": statistics.median(per_row),
            "times_slower": statistics.median(a * ROWS["tesseral"] / (b * ROWS[name]) for a, b in zip(*turns)),
            "memory_MB": found["memory_MB"],
            "times_memory": found["memory_MB"] / reference["memory_MB"],
            "largest_difference_of_row_0": max(abs(a - b) for a, b in zip(found["row_0"], reference["row_0"])),
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
