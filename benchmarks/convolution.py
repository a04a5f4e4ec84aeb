"""The fused convolution against its peers, each in a process of its own with the default malloc, interleaved; and the roofline.

python -m benchmarks.convolution --rounds 9 --threads 2
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator

from benchmarks.environment import Environment
from benchmarks.interleave import compare

TITLE = "Convolution: gather, channelwise product, sum at the destination"
NOTE = (
    "Columns e3nn (eager, and with torch.compile, which has no double backward) and cuet: how many times slower. "
    "*backward* includes forward, *double* (double backward) both. "
    "*roofline* is the distance from the compulsory bytes over the triad bandwidth of the same rounds; *memory* the growth of "
    "the peak during the first call over operands and results; *first call* includes the compiler (with an empty cache). "
    "With a *radial layer* the peers multiply (edges, 64) by a matrix; tesseral does so at 256 knots of splines, "
    "which the convolution evaluates."
)
PEERS = ("e3nn", "e3nn-compiled", "cuet")
RADIAL = (64, 256)


def equal(channels: int, lmax: int) -> str:
    return "+".join(f"{channels}x{l}{'eo'[l % 2]}" for l in range(lmax + 1))


# irreps, lmax, nodes, neighbours, dtype, order of edges, and for a radial network whose last layer is included its width and
# the number of knots at which tesseral evaluates it
PROBLEMS: dict[str, tuple] = {
    "32, lmax 2": (equal(32, 2), 2, 2000, 25, "float32", "sorted"),
    "64, lmax 2": (equal(64, 2), 2, 2000, 25, "float32", "sorted"),
    "32, lmax 2, radial layer": (equal(32, 2), 2, 2000, 25, "float32", "sorted", *RADIAL),
    "64, lmax 2, radial layer": (equal(64, 2), 2, 2000, 25, "float32", "sorted", *RADIAL),
    "32, lmax 2, unsorted": (equal(32, 2), 2, 2000, 25, "float32", "unsorted"),
    "32, lmax 2, float64": (equal(32, 2), 2, 2000, 25, "float64", "sorted"),
    "20, lmax 2": (equal(20, 2), 2, 2000, 25, "float32", "sorted"),
    "128x0e+64x1o+32x2e": ("128x0e+64x1o+32x2e", 2, 2000, 25, "float32", "sorted"),
    "128, lmax 3": (equal(128, 3), 3, 500, 25, "float32", "sorted"),
    "32, lmax 2, 20 nodes": (equal(32, 2), 2, 20, 20, "float32", "sorted"),
}
MAIN = ("32, lmax 2", "64, lmax 2", "32, lmax 2, radial layer", "64, lmax 2, radial layer", "128, lmax 3")
MODES = ("forward", "backward", "double")
SMALLER = (equal(128, 3), 3, 100, 25, "float32", "sorted")
QUICK = (  # problem, mode, its words, peers: in the quick run the slowest peers stand back where they cost minutes
    ("32, lmax 2", "forward", PROBLEMS["32, lmax 2"], PEERS),
    ("32, lmax 2", "backward", PROBLEMS["32, lmax 2"], PEERS),
    ("32, lmax 2", "double", PROBLEMS["32, lmax 2"], PEERS),
    ("32, lmax 2, radial layer", "forward", PROBLEMS["32, lmax 2, radial layer"], ("e3nn",)),
    ("32, lmax 2, radial layer", "backward", PROBLEMS["32, lmax 2, radial layer"], ("e3nn",)),
    ("32, lmax 2, radial layer", "double", PROBLEMS["32, lmax 2, radial layer"], ("e3nn",)),
    ("64, lmax 2", "forward", PROBLEMS["64, lmax 2"], ("e3nn",)),
    ("64, lmax 2", "backward", PROBLEMS["64, lmax 2"], ("e3nn",)),
    ("128, lmax 3, 100 nodes", "forward", SMALLER, ("e3nn",)),
    ("128, lmax 3, 100 nodes", "backward", SMALLER, ("e3nn",)),
    ("128, lmax 3, 100 nodes", "double", SMALLER, ("e3nn",)),
)


def rows(environment: Environment) -> Iterator[dict]:
    """The rows of the suite, compiled afresh."""
    full = [(name, mode, PROBLEMS[name], PEERS) for name in MAIN for mode in MODES]
    for name, mode, words, peers in QUICK if environment.quick else full:
        yield measure(name, mode, environment, words, cold=True, peers=peers)


def measure(
    name: str,
    mode: str,
    environment: Environment,
    words: tuple | None = None,
    cold: bool = False,
    peers: tuple[str, ...] = PEERS,
) -> dict:
    """One row: milliseconds, ratios, distance from the roofline of a triad in the same rounds, peak memory, first call."""
    arguments, radial = (words or PROBLEMS[name])[:6], (words or PROBLEMS[name])[6:]
    kept = os.environ.get("TESSERAL_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        if cold:
            os.environ["TESSERAL_CACHE"] = folder
        try:
            known = [peer for peer in peers if mode != "double" or peer != "e3nn-compiled"]
            with environment.workers(
                "convolution.py", ("tesseral", "triad", *known), mode, *arguments, environment.threads, *radial
            ) as sides:
                ours, triad = sides[0].description, sides[1].description
                row = {"problem": name, "mode": mode, **compare(sides, environment.rounds, environment.seconds)}
        finally:
            if cold:
                os.environ.pop("TESSERAL_CACHE")
                if kept is not None:
                    os.environ["TESSERAL_CACHE"] = kept
    bandwidth = triad["triad_bytes"] / (row["triad"]["ms"] * 1e-3)
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
    arguments = parser.parse_args()
    environment = Environment(arguments.threads, arguments.rounds)
    for problem in arguments.problem or PROBLEMS:
        for mode in arguments.mode or MODES:
            print(json.dumps(measure(problem, mode, environment, cold=arguments.cold)), flush=True)


if __name__ == "__main__":
    main()
