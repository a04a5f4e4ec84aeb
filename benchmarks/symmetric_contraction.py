"""MACE's symmetric contraction, order 3, against mace-torch.

python -m benchmarks.symmetric_contraction
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmarks.environment import Environment
from benchmarks.interleave import compare

TITLE = "Symmetric contraction, order 3"
NOTE = "Column mace: how many times slower. 10 species; *backward* and *double* include what comes before them."
PEERS = ("mace",)
MODES = ("forward", "backward", "double")

# channels, input degrees, output degrees, nodes, dtype
PROBLEMS: dict[str, tuple] = {
    "128 channels, 0e..3o -> 0e+1o": (128, "0e+1o+2e+3o", "0e+1o", 200, "float32"),
    "128 channels, 0e..3o -> 0e": (128, "0e+1o+2e+3o", "0e", 200, "float32"),
    "128 channels, 0e..2e -> 0e+1o": (128, "0e+1o+2e", "0e+1o", 1000, "float32"),
    "128 channels, 0e..3o -> 0e+1o, float64": (128, "0e+1o+2e+3o", "0e+1o", 200, "float64"),
}


def rows(environment: Environment) -> Iterator[dict]:
    """The rows of the suite."""
    for name, words in list(PROBLEMS.items())[: 1 if environment.quick else None]:
        with environment.workers("symmetric_contraction.py", ("tesseral", *PEERS), *words) as sides:
            for mode in MODES:
                table = compare(sides, environment.rounds, environment.seconds, mode, close=False)
                yield {"problem": name, "mode": mode, **table, "first_call_s": table["tesseral"]["first_call_s"]}


def main() -> None:
    for row in rows(Environment()):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
