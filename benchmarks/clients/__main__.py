"""``python -m benchmarks.clients``: numbers, then times, of every client at hand."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.clients.table import CLIENTS, interpreter
from benchmarks.interleave import Worker, WorkerError, compare

WORKER = Path(__file__).with_name("worker.py")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clients", description=__doc__)
    parser.add_argument("--only", choices=CLIENTS, action="append", help="these clients only")
    parser.add_argument("--quick", action="store_true", help="small models, few rounds")
    parser.add_argument("--size", default="full", help="full, or for mace the published off23 and mp0, off23-64 and mp0-64")
    parser.add_argument("--numbers", action="store_true", help="no times")
    parser.add_argument("--fused", action="store_true", help="with the client's switch for OpenEquivariance (nequip, mace)")
    parser.add_argument("--together", action="store_true", help="mace (0.4) and nequip (0.6) in one process, only numbers")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    if options.together:
        return together()
    failed = False
    for name in options.only or CLIENTS:
        try:
            python = interpreter(name)
        except FileNotFoundError as missing:
            print(f"{name}: left out. {missing}", flush=True)
            continue
        ours = "fused" if options.fused else "tesseral"
        worst = differences(name, python, "small" if options.size == "full" else options.size.removesuffix("-64"), ours)
        print(f"{name}: " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items()), flush=True)
        failed |= not within(worst)
        if not options.numbers:
            size, rounds = ("small", 3) if options.quick else (options.size, options.rounds)
            for case, row in times(name, python, size, options.threads, rounds, ours).items():
                print(json.dumps({"client": name, "case": case, **row}), flush=True)
    return int(failed)


def differences(name: str, python: str, size: str = "small", ours: str = "tesseral") -> dict[str, float]:
    """The largest difference of each number between e3nn and ``ours``, relative to its largest value."""
    with tempfile.TemporaryDirectory() as folder:
        for side in ("e3nn", ours, "e3nn"):  # e3nn once more: now it finds tesseral's weights
            _run(python, name, side, CLIENTS[name].convention, folder, size)
        first, second = (dict(np.load(Path(folder) / f"numbers_of_{side}.npz")) for side in ("e3nn", ours))
    found = {}
    for key, reference in first.items():
        against = first[key.replace("loaded", "random")] if key.startswith("loaded") else reference
        scale = max(float(np.abs(against).max()), 1e-300)
        found[key] = float(np.abs(second[key] - against).max()) / scale
        if key.startswith("loaded"):  # tesseral's weights loaded by e3nn
            found[key + "_by_e3nn"] = float(np.abs(reference - second[key.replace("loaded", "random")]).max()) / scale
    return found


def together(mace: str = "0.4", nequip: str = "0.6") -> int:
    """Numbers of mace and nequip in one process on tesseral, against each alone on the e3nn that it pins: how many disagree.

    The conventions are those that tesseral is told, so that a test can tell it wrong ones.
    """
    try:
        both, alone = os.environ["TESSERAL_CLIENT_TOGETHER"], {name: interpreter(name) for name in ("mace", "nequip")}
    except (KeyError, FileNotFoundError) as missing:
        print(f"left out: {missing}; TESSERAL_CLIENT_TOGETHER is a python that has mace-torch (--no-deps) and nequip")
        return 0
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        _run(both, "mace,nequip", "tesseral", f"mace={mace},nequip={nequip}", folder)
        for name, python in alone.items():
            _run(python, name, "e3nn", CLIENTS[name].convention, f"{folder}/{name}")
            ours, theirs = (dict(np.load(f"{folder}/{name}/numbers_of_{side}.npz")) for side in ("tesseral", "e3nn"))
            worst = {k: float(np.abs(ours[k] - theirs[k]).max() / np.abs(theirs[k]).max()) for k in ours}
            print(f"{name}, together: " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items()), flush=True)
            failed += not within(worst)
    return failed


def _run(python: str, name: str, side: str, convention: str, folder: str, size: str = "small") -> None:
    command = [python, WORKER, name, side, "numbers", size, convention, folder]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=_environment(1), check=False)
    if done.returncode:
        raise RuntimeError(f"{name} on {side} failed:\n{done.stderr[-3000:]}")


def within(worst: dict[str, float]) -> bool:
    """Whether everything agrees: to 1e-10, and the weights after a step to 1e-8."""
    return all(value <= (1e-8 if key == "step_weights" else 1e-10) for key, value in worst.items())


def times(name: str, python: str, size: str, threads: int, rounds: int, ours: str = "tesseral") -> dict[str, dict]:
    """Milliseconds a case on e3nn, on tesseral, and with e3nn's calls nearly free; speed-up, ceiling, and the share reached."""
    workers: list[Worker] = []
    os.environ.update(_environment(threads))
    try:
        for side in (ours, "e3nn", "free"):
            workers.append(Worker(side, [python, WORKER, name, side, "time", size, CLIENTS[name].convention, "."], threads))
        table = {}
        for case in ("train", "evaluate"):
            row = compare(workers, rounds, 120.0, case, close=False)
            speedup, ceiling = row["e3nn"]["ratio"], row["e3nn"]["ratio"] / row["free"]["ratio"]
            table[case] = {
                **{f"{side}_ms": round(row[side]["ms"], 2) for side in row},
                "build_s": {side: round(row[side]["build_s"], 2) for side in row},
                "speedup": round(speedup, 2),
                "ceiling": round(ceiling, 2),
                "share": round(speedup / ceiling, 2),
                "threads": threads,
                "rounds": row["e3nn"]["rounds"],
                **{k: v for k, v in workers[0].description.items() if k != "build_s"},
            }
        return table
    except WorkerError as error:
        print(f"  {name}: no times: {error}", file=sys.stderr, flush=True)
        return {}
    finally:
        for worker in workers:
            worker.close()


def _environment(threads: int) -> dict[str, str]:
    count = str(threads)
    # e3nn 0.4 keeps its constants in a pickle
    return {**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}


if __name__ == "__main__":
    sys.exit(main())
