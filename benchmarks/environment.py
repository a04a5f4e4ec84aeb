"""Where a benchmark runs: the peers that are at hand, and how much time there is."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.interleave import Worker, WorkerError

WORKERS = Path(__file__).parent / "workers"

# peer: the environment variable with its interpreter, the module to import, the package that holds the version
PEERS = {
    "e3nn": ("TESSERAL_BENCH_E3NN", "e3nn", "e3nn"),
    "e3nn-compiled": ("TESSERAL_BENCH_E3NN", "e3nn", "e3nn"),
    "cuet": ("TESSERAL_BENCH_CUET", "cuequivariance_torch", "cuequivariance-torch"),
    "sphericart": ("TESSERAL_BENCH_CUET", "sphericart.torch", "sphericart-torch"),
    "nequip": ("TESSERAL_BENCH_NEQUIP", "nequip", "nequip"),
    "nequip-aot": ("TESSERAL_BENCH_NEQUIP", "nequip", "nequip"),
    "mace": ("TESSERAL_BENCH_MACE", "mace", "mace-torch"),
    "fairchem": ("TESSERAL_BENCH_FAIRCHEM", "fairchem", "fairchem-core"),
}


@dataclass(frozen=True)
class Environment:
    """``quick`` chooses fewer problems and ends the rounds of a row after ``seconds``."""

    threads: int = 2
    rounds: int = 9
    seconds: float = 60.0
    quick: bool = False

    @contextmanager
    def workers(self, script: str, sides: Sequence[str], *words: object, threads: int | None = None) -> Iterator[list[Worker]]:
        """One worker for each side that is at hand, ``tesseral`` (or the first) in front; a side that fails is left out."""
        count = threads or self.threads
        started: list[Worker] = []
        try:
            for side in sides:
                python = sys.executable if side in ("tesseral", "triad") else interpreter(side)
                if python is None:
                    continue
                try:
                    started.append(Worker(side, [python, WORKERS / script, side, *map(str, words)], count))
                except WorkerError as error:
                    if not started:
                        raise
                    print(f"  left out: {error}", file=sys.stderr, flush=True)
            yield started
        finally:
            for worker in started:
                worker.close()


@functools.cache
def version(peer: str) -> str | None:
    """The version of a peer at hand; None without it."""
    variable, module, package = PEERS[peer]
    python = os.environ.get(variable) or sys.executable
    code = f"import {module}, importlib.metadata as m; print('version', m.version({package!r}))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("version ")]
    return found[0] if found else None


def interpreter(peer: str) -> str | None:
    """The interpreter that has the peer; None without it."""
    return (os.environ.get(PEERS[peer][0]) or sys.executable) if version(peer) else None


def absent(peers: Sequence[str]) -> list[str]:
    """A sentence for each peer that is not at hand."""
    return [
        f"{PEERS[peer][2]} is not at hand: name an interpreter that has it in {PEERS[peer][0]}."
        for peer in peers
        if interpreter(peer) is None
    ]
