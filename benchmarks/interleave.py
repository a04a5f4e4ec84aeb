"""Workers in processes and environments of their own, timed in turns, so that a noisy machine is noisy for all alike.

A worker prepares its problem, prints a JSON line about it, then for each line on its standard input runs the problem once
and prints the seconds it took; `serve` is that loop. Ratios are medians over rounds of the ratio within a round.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


class Worker:
    """A benchmark worker: ``Worker("e3nn", [python, "worker.py", ...], threads=2)``."""

    def __init__(self, name: str, command: list[str | Path], threads: int = 2) -> None:
        self.name = name
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        words = [str(word) for word in command]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.description = self._read()

    def run(self) -> float:
        """Run the problem once; seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._read()["seconds"])

    def close(self) -> None:
        """End the worker's process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> dict:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"worker {self.name} ended with status {self.process.wait()}; its error output is above")


def serve(run: Callable[[], object], description: dict | None = None, warm_up: int = 3) -> None:
    """The worker's side."""
    for _ in range(warm_up):
        run()
    print(json.dumps(description or {}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


def compare(workers: list[Worker], rounds: int) -> dict[str, dict]:
    """Median milliseconds of each worker, and its median ratio to the first: how many times slower it is."""
    times: dict[str, list[float]] = {worker.name: [] for worker in workers}
    for _ in range(rounds):
        for worker in workers:
            times[worker.name].append(worker.run())
    first = times[workers[0].name]
    table = {}
    for worker in workers:
        mine = times[worker.name]
        ratio = statistics.median(t / f for t, f in zip(mine, first, strict=True))
        table[worker.name] = {"ms": 1e3 * statistics.median(mine), "ratio": ratio, **worker.description}
        worker.close()
    return table
