"""LAMMPS on one and on two processes: a bar whose halo is thin, and a cube; and how much the machine itself could gain.

    python -m benchmarks.lammps_ranks [--steps 40] [--rounds 3] [--shapes bar cube]       # three minutes

Needs the extra `lammps`. Each process has a core of its own; a step lasts from one answer of the model to the next, with
everything that LAMMPS and MPI do between. Beside the speed-up stands its ceiling: two processes that know nothing of each other
and compute the whole structure at the same time, compared with one alone, since cores share caches, memory and clock, and
hardware threads the core itself. Processor times are those of the evaluation of each part, on the busiest process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import ase.build
import ase.io
import torch

from tesseral.models import NequIPSettings, build, files

SHAPES = {"bar": (80, 4, 4), "cube": (10, 10, 10)}  # cubic cells of aluminium
WORKER = """
import json, os, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from tesseral.interfaces import lammps
comm = lammps.load_mpi().COMM_WORLD
cores = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cores[(comm.rank + int(sys.argv[1])) % len(cores)]})
spent, halo, ends = [], [], []
evaluate, call = lammps.Domain.evaluate, lammps.Driver.__call__
def timed(self, *arguments):
    begun = time.thread_time()
    result = evaluate(self, *arguments)
    spent.append(time.thread_time() - begun)
    halo.append(len(self.halo) / max(self.owned, 1))
    return result
def whole(self, forces):
    call(self, forces)
    ends.append(time.perf_counter())
lammps.Domain.evaluate, lammps.Driver.__call__ = timed, whole
lammps.run_script(Path("in.lammps"))
steps = [after - before for before, after in zip(ends[1:], ends[2:])]
Path(f"times.{comm.rank}").write_text(json.dumps({"cpu": spent[2:], "halo": halo[-1], "step": steps}))
"""
SCRIPT = """units metal
atom_style atomic
processors * 1 1
read_data start.data
velocity all create 300 1
pair_style tesseral model.safetensors
pair_coeff * * Al
neighbor 0.3 bin
fix 1 all nve
timestep 0.001
run {steps}
"""


def prepare(repeat: tuple[int, int, int], steps: int, folder: Path) -> int:
    """The files of a run; returns the number of atoms."""
    torch.manual_seed(0)
    settings = NequIPSettings(species=(13,), num_neighbors=12.0, layers=2, channels=16, lmax=1, cutoff=3.5)
    files.save(build(settings), folder / "model.safetensors")
    atoms = ase.build.bulk("Al", cubic=True) * repeat
    atoms.rattle(0.05, seed=0)
    ase.io.write(folder / "start.data", atoms, format="lammps-data", atom_style="atomic", units="metal", masses=True)
    (folder / "in.lammps").write_text(SCRIPT.format(steps=steps))
    (folder / "worker.py").write_text(WORKER)
    return len(atoms)


def start(ranks: int, folder: Path, first_core: int = 0) -> subprocess.Popen:
    mpiexec = Path(sys.executable).with_name("mpiexec")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    line = [str(mpiexec), "-n", str(ranks), sys.executable, "worker.py", str(first_core)]
    return subprocess.Popen(line, cwd=folder, env=environment, stdout=subprocess.DEVNULL)


def finish(process: subprocess.Popen, ranks: int, folder: Path) -> dict[str, float]:
    """Medians over the steps of the slowest process: seconds of a step, processor seconds of an evaluation, and the halo."""
    if process.wait():
        raise SystemExit(f"LAMMPS ended with code {process.returncode}; is the extra lammps installed?")
    found = [json.loads((folder / f"times.{rank}").read_text()) for rank in range(ranks)]
    medians = {name: max(statistics.median(one[name]) for one in found) for name in ("step", "cpu")}
    return medians | {"halo": max(one["halo"] for one in found)}


def measure(repeat: tuple[int, int, int], steps: int, rounds: int) -> dict[str, float]:
    """One process, two processes, and two times one process, in turns; medians over the rounds."""
    rows: dict[str, list[dict[str, float]]] = {"one": [], "two": [], "apart": []}
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as other:
        atoms = prepare(repeat, steps, Path(place))
        prepare(repeat, steps, Path(other))
        for _ in range(rounds):
            rows["one"].append(finish(start(1, Path(place)), 1, Path(place)))
            rows["two"].append(finish(start(2, Path(place)), 2, Path(place)))
            pair = [(start(1, Path(folder), core), Path(folder)) for core, folder in enumerate((place, other))]
            rows["apart"].append(max((finish(process, 1, folder) for process, folder in pair), key=lambda row: row["step"]))
    middle = {name: {key: statistics.median(row[key] for row in part) for key in part[0]} for name, part in rows.items()}
    return {
        "atoms": atoms,
        "halo": middle["two"]["halo"],
        "s_per_step_1": middle["one"]["step"],
        "s_per_step_2": middle["two"]["step"],
        "ns_per_day_2": 86400e-6 / middle["two"]["step"],
        "speed_up": middle["one"]["step"] / middle["two"]["step"],
        "ceiling": 2 * middle["one"]["step"] / middle["apart"]["step"],
        "processor_time": middle["one"]["cpu"] / middle["two"]["cpu"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", nargs="+", choices=tuple(SHAPES), default=tuple(SHAPES))
    options = parser.parse_args()
    for name in options.shapes:
        found = measure(SHAPES[name], options.steps, options.rounds)
        before, after = (1000 * found[f"s_per_step_{ranks}"] for ranks in (1, 2))
        print(
            f"{name}: {found['atoms']} atoms, halo {100 * found['halo']:.0f} % of a part; a step {before:.0f} -> {after:.0f} ms: "
            f"{found['speed_up']:.2f}x, where two that share nothing gain {found['ceiling']:.2f}x; processor time of the busiest "
            f"{found['processor_time']:.2f}x; {found['ns_per_day_2']:.3f} ns a day at 1 fs on two",
            flush=True,
        )


if __name__ == "__main__":
    main()
