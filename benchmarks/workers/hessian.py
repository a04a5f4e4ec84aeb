"""One side of benchmarks/hessian.py: `hessian.py "tesseral"|"mace row by row"|"mace get_hessian" FILE ROWS`.

Prints what its first turn cost, then the processor seconds of a turn for each line that it reads. `hessian.py write FILE HIDDEN`
makes the weights, in an environment that has mace-torch.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ase
import ase.build
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
CUTOFF = 5.0


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


def write(file: str, hidden: str) -> None:
    from mace import modules
    from mace.calculators import MACECalculator  # noqa: F401  before e3nn, whose constants it allows torch to load

    from e3nn import o3  # isort: skip

    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    block = modules.blocks.RealAgnosticResidualInteractionBlock
    model = modules.ScaleShiftMACE(
        r_max=CUTOFF, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, interaction_cls=block, interaction_cls_first=block,
        num_interactions=2, num_elements=3, hidden_irreps=o3.Irreps(hidden), MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros((1, 3)), avg_num_neighbors=24.4, atomic_numbers=[1, 6, 8],
        correlation=3, gate=torch.nn.functional.silu, use_reduced_cg=False, atomic_inter_scale=1.0, atomic_inter_shift=0.0,
    )  # fmt: skip
    torch.save(model, file)


def ours(file: str, count: int) -> tuple[Callable[[], tuple[torch.Tensor, float]], int]:
    from tesseral.graph import build_graph
    from tesseral.interfaces.import_mace import read_mace
    from tesseral.physics.hessian import hessian_vector_products

    model = read_mace(Path(file)).to(torch.float64).requires_grad_(False)
    graph = build_graph(liquid(), CUTOFF)
    rows = torch.eye(3 * graph.num_nodes, dtype=torch.float64)[:count].reshape(count, -1, 3)

    def run() -> tuple[torch.Tensor, float]:
        start = time.process_time()
        return hessian_vector_products(model, graph, rows), time.process_time() - start

    return run, graph.num_edges


def mace(file: str, count: int, vectorised: bool) -> tuple[Callable[[], tuple[torch.Tensor, float]], int]:
    from mace.calculators import MACECalculator

    calculator = MACECalculator(model_paths=file, device="cpu", default_dtype="float64")
    batch = calculator._atoms_to_batch(liquid())
    rows = torch.eye(3 * len(batch.positions), dtype=torch.float64)[:count]

    def run() -> tuple[torch.Tensor, float]:
        # As mace-torch does it: vmap over chunks of 16 rows in get_hessian, a loop over rows where that fails.
        inputs = calculator._clone_batch(batch).to_dict()
        forces = calculator.models[0](inputs, compute_stress=False, training=True)["forces"].view(-1)
        start = time.process_time()  # not counting the forces, which are made once for all rows

        def row(v: torch.Tensor) -> torch.Tensor:
            return torch.autograd.grad(-forces, inputs["positions"], v, retain_graph=True)[0]

        found = torch.vmap(row, chunk_size=16)(rows) if vectorised else torch.stack([row(v) for v in rows])
        return found, time.process_time() - start

    return run, batch.edge_index.shape[1]


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    side, file, last = sys.argv[1:4]
    torch.set_num_threads(1)
    if side == "write":
        write(file, last)
        return
    run, edges = ours(file, int(last)) if side == "tesseral" else mace(file, int(last), side.endswith("get_hessian"))
    before = peak()
    result, seconds = run()
    memory = peak() - before
    if side == "tesseral":
        _, seconds = run()  # the first turn compiled
    print(
        json.dumps({"edges": edges, "first_s": seconds, "memory_MB": memory, "row_0": result[0].flatten().tolist()}), flush=True
    )
    for _ in sys.stdin:
        print(json.dumps({"seconds": run()[1]}), flush=True)


main()
