"""Workers in processes and environments of their own, timed in turns, so that a noisy machine is noisy for all alike.

A worker prepares its problem, prints a JSON line about it, then for each line on its standard input runs the case named there
and prints the seconds it took; `serve` is that loop. Ratios are medians over rounds of the ratio within a round.
"""

from __future__ import annotations

import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SHORTEST = 0.005  # seconds: quicker cases are repeated within one measurement


class WorkerError(RuntimeError):
    """A worker ended before its time; the message holds the last line of its error output."""


class Worker:
    """A benchmark worker: ``Worker("e3nn", [python, "worker.py", ...], threads=2)``."""

    def __init__(self, name: str, command: Sequence[str | Path], threads: int = 2) -> None:
        self.name = name
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  lives as long as the worker
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )
        self.description = self._read()

    def run(self, case: str = "") -> float:
        """Run the case once; seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        return float(self._read()["seconds"])

    def close(self) -> None:
        """End the worker's process."""
        assert self.process.stdin is not None
        if not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.wait()

    def _read(self) -> dict:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        status = self.process.wait()
        self.errors.seek(0)
        words = [line.strip() for line in self.errors if line.strip()]
        raise WorkerError(f"{self.name} ended with status {status}: {words[-1] if words else 'it said nothing'}")


def serve(
    run: Callable[[], object] | Callable[[str], Callable[[], object]] | dict[str, Callable[[], object]],
    description: dict | None = None,
    warm_up: int = 3,
    lazy: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """The worker's side: one problem, several by name, or with ``lazy`` a function that makes the problem of a name.

    A problem that takes more than a second is warmed up once. With ``time.process_time`` as the ``clock`` it does not count what
    others make one thread wait; of several threads it would add up the times.
    """
    loops: dict[str, int] = {}
    cases: dict[str, Callable[[], object]] = {}

    def prepare(name: str) -> None:
        cases[name] = run(name) if lazy else run[name] if isinstance(run, dict) else run  # type: ignore[operator, call-arg, assignment]
        fastest = math.inf
        for _ in range(warm_up):
            fastest = min(fastest, _seconds(cases[name], 1, clock))
            if fastest > 1:
                break
        loops[name] = max(1, math.ceil(SHORTEST / fastest)) if warm_up else 1

    if not lazy:
        for name in run if isinstance(run, dict) else [""]:
            prepare(name)
    print(json.dumps(description or {}), flush=True)
    for line in sys.stdin:
        name = line.rstrip("\n")
        if name not in cases:
            prepare(name)
        print(json.dumps({"seconds": _seconds(cases[name], loops[name], clock) / loops[name]}), flush=True)


def first_call(run: Callable[[], object]) -> dict:
    """What the first call costs: seconds (compilers included) and growth of the peak resident memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = _seconds(run, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"first_call_s": seconds, "peak_growth_bytes": (peak - before) * 1024}


def _seconds(run: Callable[[], object], loops: int, clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    for _ in range(loops):
        run()
    return clock() - start


def compare(workers: list[Worker], rounds: int, seconds: float = math.inf, case: str = "", close: bool = True) -> dict[str, dict]:
    """Median milliseconds of each worker, and its median ratio to the first: how many times slower it is.

    Rounds end after ``seconds``, but not before the third.
    """
    times: dict[str, list[float]] = {worker.name: [] for worker in workers}
    start = time.perf_counter()
    for number in range(rounds):
        if number >= 3 and time.perf_counter() - start > seconds:
            break
        for worker in workers:
            time.sleep(0.005)  # the threads of the one before stop spinning
            times[worker.name].append(worker.run(case))
    first = times[workers[0].name]
    table = {}
    for worker in workers:
        mine = times[worker.name]
        ratio = statistics.median(t / f for t, f in zip(mine, first, strict=True))
        table[worker.name] = {"ms": 1e3 * statistics.median(mine), "ratio": ratio, "rounds": len(mine), **worker.description}
        if close:
            worker.close()
    return table
