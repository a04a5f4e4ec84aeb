"""The fused convolution against e3nn, each in a process of its own with the default malloc, interleaved; and the memory roofline.

python -m benchmarks.convolution --rounds 9 --threads 2
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.interleave import Worker, compare

WORKER = Path(__file__).parent / "workers" / "convolution.py"


def equal(channels: int, lmax: int) -> str:
    return "+".join(f"{channels}x{l}{'eo'[l % 2]}" for l in range(lmax + 1))


# irreps, lmax, nodes, neighbours, dtype, order of edges
PROBLEMS = {
    "32, lmax 2": (equal(32, 2), 2, 2000, 25, "float32", "sorted"),
    "64, lmax 2": (equal(64, 2), 2, 2000, 25, "float32", "sorted"),
    "32, lmax 2, unsorted": (equal(32, 2), 2, 2000, 25, "float32", "unsorted"),
    "32, lmax 2, float64": (equal(32, 2), 2, 2000, 25, "float64", "sorted"),
    "20, lmax 2": (equal(20, 2), 2, 2000, 25, "float32", "sorted"),
    "128x0e+64x1o+32x2e": ("128x0e+64x1o+32x2e", 2, 2000, 25, "float32", "sorted"),
    "128, lmax 3": (equal(128, 3), 3, 500, 25, "float32", "sorted"),
    "32, lmax 2, 20 nodes": (equal(32, 2), 2, 20, 20, "float32", "sorted"),
}
MODES = ("forward", "backward", "double")


def measure(problem: str, mode: str, rounds: int, threads: int, cold: bool = False) -> dict:
    """One row: milliseconds, ratio to e3nn, distance from the roofline of a triad in the same rounds, peak memory, first call."""
    words = [mode, *map(str, PROBLEMS[problem]), str(threads)]
    with tempfile.TemporaryDirectory() as folder:
        if cold:
            os.environ["TESSERAL_CACHE"] = folder
        sides = [Worker(side, [sys.executable, WORKER, side, *words], threads) for side in ("tesseral", "e3nn", "triad")]
        if cold:
            del os.environ["TESSERAL_CACHE"]
        ours, triad = sides[0].description, sides[2].description
        row = {"problem": problem, "mode": mode, **compare(sides, rounds)}
    bandwidth = triad["bytes"] / (row["triad"]["ms"] * 1e-3)
    row["triad_GB_per_s"] = bandwidth / 1e9
    row["times_roofline"] = row["tesseral"]["ms"] * 1e-3 / (ours["traffic_bytes"] / bandwidth)
    row["extra_memory"] = ours["peak_growth_bytes"] / (ours["operands_bytes"] + ours["results_bytes"])
    row["first_call_s"] = ours["first_call_s"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--problem", choices=PROBLEMS, action="append")
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--cold", action="store_true", help="compile everything afresh, to time the compiler")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/convolution.json"))
    arguments = parser.parse_args()
    rows = []
    for problem in arguments.problem or PROBLEMS:
        for mode in arguments.mode or MODES:
            rows.append(measure(problem, mode, arguments.rounds, arguments.threads, arguments.cold))
            print(json.dumps(rows[-1]), flush=True)
    print("median ratio to e3nn:", statistics.median(row["e3nn"]["ratio"] for row in rows))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
