"""The convolution away from its main problem: other channels, float64, edges in any order, few edges, two threads.

python -m benchmarks --only convolution_variants
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.convolution import MAIN, MODES, PROBLEMS, measure
from benchmarks.environment import Environment

TITLE = "Convolution: other channels, float64, edges in any order, two threads"
NOTE = "2,000 nodes of 25 edges; columns as above. *unsorted*: the order of the edges is worked out within the call."
PEERS = ("e3nn",)
QUICK = ("128x0e+64x1o+32x2e", "20, lmax 2", "32, lmax 2, unsorted", "32, lmax 2, float64")


def rows(environment: Environment) -> Iterator[dict]:
    """The rows of the suite; the last are with two threads, whatever the others have."""
    modes = MODES[1:2] if environment.quick else MODES
    for name in QUICK if environment.quick else [name for name in PROBLEMS if name not in MAIN]:
        for mode in modes:
            yield measure(name, mode, environment, cold=True, peers=PEERS)
    for mode in modes if environment.threads != 2 else ():
        row = measure(MAIN[0], mode, replace(environment, threads=2), cold=True, peers=PEERS)
        yield row | {"problem": f"{MAIN[0]}, 2 threads"}
