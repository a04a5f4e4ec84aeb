"""Molecular dynamics through ASE, ns a day: silicon with NequIP and MACE, each beside the program its weights come from.

    TESSERAL_BENCH_NEQUIP=python TESSERAL_BENCH_MACE=python python -m benchmarks.molecular_dynamics [--atoms 1000 10000]

Velocity Verlet at 1 fs and 300 K, float32, one thread, neighbour lists included as each program's calculator makes them. Programs
are processes of their own that take turns; counted is processor time, so that other work on the machine does not show: ns a day
are those of a core without it. Peak memory is that of the process.
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
from benchmarks.interleave import Worker, WorkerError

SCRIPT = WORKERS / "molecular_dynamics.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, nargs="+", default=[1000, 10000], choices=(1000, 10000))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="steps in a turn")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for peer in ("nequip", "mace"):
            python = interpreter(peer)
            if python is None:
                print(f"left out: no interpreter with {peer}", flush=True)
                continue
            weights = Path(folder) / f"{peer}.weights"
            subprocess.run([python, SCRIPT, "write", peer, weights], check=True, capture_output=True)
            for atoms in arguments.atoms:
                for row in compare(peer, python, weights, atoms, arguments.rounds, arguments.steps):
                    print(json.dumps(row), flush=True)


def compare(peer: str, python: str, weights: Path, atoms: int, rounds: int, steps: int) -> list[dict]:
    """One row for tesseral and one for the peer, which may run out of memory."""
    workers = {}
    for side, program in (("tesseral", sys.executable), (peer, python)):
        try:
            workers[side] = Worker(side, [program, SCRIPT, side, peer, weights, str(atoms), str(steps)], threads=1)
        except WorkerError as error:
            print(f"left out: {error}", flush=True)
    times: dict[str, list[float]] = {side: [] for side in workers}
    for _ in range(rounds):
        for side, worker in workers.items():
            times[side].append(worker.run() / steps)
    rows = []
    for side, worker in workers.items():
        worker.close()
        seconds = statistics.median(times[side])
        rows.append(
            {
                "model": peer,
                "atoms": atoms,
                "program": side,
                "s_per_step": seconds,
                "ns_per_day": 86400e-6 / seconds,
                "times_slower": statistics.median(a / b for a, b in zip(times[side], times["tesseral"], strict=True)),
                **worker.description,
            }
        )
    return rows


if __name__ == "__main__":
    main()
