"""Products of irreps without a graph: channelwise (uvu, weights per row) and fully connected (uvw, weights shared or per row).

python -m benchmarks.tensor_product
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmarks.environment import Environment
from benchmarks.interleave import compare

TITLE = "Tensor products, row by row"
NOTE = "Columns e3nn and cuet: how many times slower. Every side in its own layout. *double* includes forward and backward."
PEERS = ("e3nn", "cuet")
MODES = ("forward", "backward", "double")

# kind, irreps_in1, irreps_in2, irreps_out, rows, dtype
PROBLEMS: dict[str, tuple] = {
    "uvu, 64 channels, lmax 2": ("uvu", "64x0e+64x1o+64x2e", "1x0e+1x1o+1x2e", "64x0e+64x1o+64x2e", 20000, "float32"),
    "uvu, MACE-large": ("uvu", "128x0e+128x1o+128x2e", "1x0e+1x1o+1x2e+1x3o", "128x0e+128x1o+128x2e+128x3o", 4000, "float32"),
    "uvw, 32 channels": ("uvw", "32x0e+32x1o", "1x0e+1x1o+1x2e", "32x0e+32x1o", 4000, "float32"),
    "uvw, 16 channels, lmax 2": ("uvw", "16x0e+16x1o+16x2e", "1x0e+1x1o+1x2e", "16x0e+16x1o+16x2e", 4000, "float32"),
    "uvw, 16 channels, float64": ("uvw", "16x0e+16x1o+16x2e", "1x0e+1x1o+1x2e", "16x0e+16x1o+16x2e", 4000, "float64"),
    "uvw, 16 channels, weights per row": (
        "uvw by row",
        "16x0e+16x1o+16x2e",
        "1x0e+1x1o+1x2e",
        "16x0e+16x1o+16x2e",
        4000,
        "float32",
    ),
    "uvw, 32 channels, weights per row": ("uvw by row", "32x0e+32x1o", "1x0e+1x1o+1x2e", "32x0e+32x1o", 4000, "float32"),
}
QUICK = ("uvu, MACE-large", "uvw, 16 channels, lmax 2", "uvw, 16 channels, weights per row")


def rows(environment: Environment) -> Iterator[dict]:
    """The rows of the suite."""
    for name, words in PROBLEMS.items():
        if environment.quick and name not in QUICK:
            continue
        with environment.workers("tensor_product.py", ("tesseral", *PEERS), *words) as sides:
            for mode in MODES[:2] if environment.quick else MODES:
                table = compare(sides, environment.rounds, environment.seconds, mode, close=False)
                yield {"problem": name, "mode": mode, **table, "extra_memory": None}


def main() -> None:
    for row in rows(Environment()):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
