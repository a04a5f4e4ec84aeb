"""How the convolution does on few edges, where overheads rule: 1 to 1000 atoms.

python -m benchmarks.small_sizes
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmarks.environment import Environment
from benchmarks.interleave import compare

TITLE = "Small sizes: the convolution 32x0e+32x1o+32x2e with 20 neighbours"
NOTE = "Columns: how many times slower."
PEERS = ("e3nn", "cuet")


def rows(environment: Environment) -> Iterator[dict]:
    """The rows of the suite."""
    seconds = min(environment.seconds, 2.0)
    with environment.workers("small_sizes.py", ("tesseral", *PEERS)) as sides:
        for atoms in (1, 10, 100) if environment.quick else (1, 3, 10, 30, 100, 300, 1000):
            for mode in ("forward", "backward") if environment.quick else ("forward", "backward", "double"):
                table = compare(sides, environment.rounds, seconds, f"{atoms} {mode}", close=False)
                yield {"problem": f"{atoms} atoms", "mode": mode, **table}


def main() -> None:
    for row in rows(Environment()):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
