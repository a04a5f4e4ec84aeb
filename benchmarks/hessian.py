"""The Hessian of 99 atoms with the same MACE weights: tesseral's, mace-torch's get_hessian, and rows one by one.

    python benchmarks/hessian.py ours MODEL.safetensors          # a model file of `tesseral import mace FILE.model`
    python benchmarks/hessian.py mace FILE.model                 # in an environment with mace-torch

Each call prints the CPU seconds of one thread per row of the matrix (a full Hessian has 297), the memory that the Hessian adds
to the process, and a checksum of two products that both must agree on. Only some rows are computed, so that a slow program
can be measured, too.
"""

import json
import os
import resource
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase
import ase.build
import numpy as np
import torch

torch.set_num_threads(1)


def liquid() -> ase.Atoms:
    """Eleven ethanol molecules on a lattice of 4.6 Å, turned at random: 99 atoms."""
    random = np.random.default_rng(0)
    whole = ase.Atoms()
    for number in range(11):
        one = ase.build.molecule("CH3CH2OH")
        one.positions -= one.positions.mean(0)
        one.rotate(random.uniform(0, 360), random.standard_normal(3))
        one.positions += 4.6 * np.array([number % 3, number // 3 % 2, number // 6])
        whole += one
    whole.positions += 0.01 * random.standard_normal(whole.positions.shape)
    return whole


def probes(atoms: ase.Atoms, count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal((count, len(atoms), 3)))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(work, repeat: int) -> float:
    times = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return float(np.median(times))


def ours(path: str) -> None:
    from tesseral.graph import build_graph
    from tesseral.models import files
    from tesseral.physics.hessian import _copies, _Products

    model, _ = files.load(path, dtype=torch.float64)
    graph = build_graph(liquid(), model.cutoff)
    vectors = probes(liquid(), 16)
    before = peak()
    result = {"program": "tesseral", "edges": graph.num_edges, "rows_together": _copies(graph)}
    one = _Products(model, graph, 1)
    one(vectors[:1], create_graph=False)  # compiles the kernels
    result["row_by_row_s"] = timed(lambda: one(vectors[:1], create_graph=False), 7)
    result["checksum"] = one(vectors[:1], create_graph=False).abs().sum().item()
    result["memory_MB"] = peak() - before
    several = _Products(model, graph, 4)
    result["four_copies_per_row_s"] = timed(lambda: several(vectors[:4], create_graph=False), 3) / 4
    print(json.dumps(result))


def mace(path: str) -> None:
    from mace.calculators import MACECalculator

    calculator = MACECalculator(model_paths=path, device="cpu", default_dtype="float64")
    atoms = liquid()
    vectors = probes(atoms, 16)
    batch = calculator._atoms_to_batch(atoms).to_dict()
    batch["positions"].requires_grad_(True)
    before = peak()
    output = calculator.models[0](batch, compute_stress=False, training=True)
    forces = output["forces"].reshape(-1)

    def product(v):
        return torch.autograd.grad(-forces, batch["positions"], v, retain_graph=True)[0]

    flat = vectors.reshape(16, -1)
    result = {"program": "mace-torch", "edges": batch["edge_index"].shape[1]}
    result["checksum"] = product(flat[0]).abs().sum().item()
    result["row_by_row_s"] = timed(lambda: product(flat[0]), 3)
    result["memory_row_by_row_MB"] = peak() - before
    # What get_hessian does: chunks of 16 rows under vmap.
    result["get_hessian_per_row_s"] = timed(lambda: torch.vmap(product, chunk_size=16)(flat), 1) / 16
    result["memory_get_hessian_MB"] = peak() - before
    print(json.dumps(result))


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("ours", "mace"):
        sys.exit(__doc__)
    {"ours": ours, "mace": mace}[sys.argv[1]](sys.argv[2])
