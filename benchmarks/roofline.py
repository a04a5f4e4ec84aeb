"""What this machine can do: bandwidth of a triad a = b + 2c, and multiply-adds per second of a matrix product.

python -m benchmarks.roofline --threads 2
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

from benchmarks.environment import WORKERS
from benchmarks.interleave import Worker


def measure(threads: int, rounds: int = 7) -> dict:
    """Best of several rounds; the triad counts three arrays of 64 MiB, the product 2 n³ operations."""
    worker = Worker("roofline", [sys.executable, WORKERS / "roofline.py"], threads)
    best = {case: min(worker.run(case) for _ in range(rounds)) for case in ("triad", "float32", "float64")}
    worker.close()
    return {
        "threads": threads,
        "processor": processor(),
        "triad_GB_per_s": worker.description["triad_bytes"] / best["triad"] / 1e9,
        "float32_GFLOP_per_s": worker.description["operations"] / best["float32"] / 1e9,
        "float64_GFLOP_per_s": worker.description["operations"] / best["float64"] / 1e9,
    }


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} logical cores" if names else platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    print(json.dumps(measure(parser.parse_args().threads), indent=1))


if __name__ == "__main__":
    main()
