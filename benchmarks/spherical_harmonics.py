"""Spherical harmonics with their first and second derivatives against sphericart-torch and e3nn, one thread and several.

python -m benchmarks.spherical_harmonics
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmarks.environment import Environment
from benchmarks.interleave import compare

TITLE = "Spherical harmonics, all degrees up to lmax"
NOTE = "Columns: how many times slower. 20,000 directions, float32; *backward* is the value and the gradient for a cotangent."
PEERS = ("sphericart", "e3nn")
MODES = ("forward", "backward", "double")
COUNT = 20_000


def rows(environment: Environment) -> Iterator[dict]:
    """The rows of the suite: (lmax, mode, threads)."""
    degrees, modes = ((1, 2, 3, 4, 6, 8), ("backward",)) if environment.quick else (range(1, 9), MODES)
    seconds = min(environment.seconds, 1.0)
    for threads in dict.fromkeys((1, environment.threads)):
        with environment.workers("spherical_harmonics.py", ("tesseral", *PEERS), COUNT, threads=threads) as sides:
            for lmax in degrees:
                for mode in modes:
                    table = compare(sides, environment.rounds, seconds, f"{lmax} {mode}", close=False)
                    yield {
                        "problem": f"lmax {lmax}, {threads} threads" if threads > 1 else f"lmax {lmax}, 1 thread",
                        "mode": mode,
                        **table,
                    }


def main() -> None:
    for row in rows(Environment()):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
