"""SO(2) convolutions and the activation on the sphere against the public EquiformerV2, and the two forms of the convolution.

python -m benchmarks.so2
python -m benchmarks.so2 --forms  # where the product with harmonics is the faster form of the same convolution
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator

from benchmarks.environment import Environment
from benchmarks.interleave import compare

TITLE = "SO(2) convolution and activation on the sphere"
NOTE = (
    "Column fairchem: how many times slower (fairchem-core 1.x, the files of its EquiformerV2). *frames*: Wigner matrices of "
    "all edges; *convolution*: gather, turn, mix, turn back, sum, in given frames; *activation*: separable, on equal grids. "
    "*backward* is the value and the gradients of features and weights; the peer has none of the frames."
)
PEERS = ("fairchem",)

# lmax, mmax, channels, nodes, neighbours
PROBLEMS: dict[str, tuple] = {
    "lmax 2, mmax 2, 32 channels": (2, 2, 32, 100, 20),
    "lmax 4, mmax 2, 32 channels": (4, 2, 32, 50, 20),
    "lmax 6, mmax 2, 128 channels": (6, 2, 128, 20, 20),
}
CASES = (
    "frames forward", "convolution forward", "convolution backward", "activation forward", "activation backward",
)  # fmt: skip


def rows(environment: Environment) -> Iterator[dict]:
    """The rows of the suite."""
    for name, words in list(PROBLEMS.items())[: 2 if environment.quick else None]:
        with environment.workers("so2.py", ("tesseral", *PEERS), *words) as sides:
            for case in CASES:
                operation, mode = case.split()
                table = compare(sides, environment.rounds, environment.seconds, case, close=False)
                yield {"problem": f"{operation}: {name}", "mode": mode, **table}


def forms(lmax: int, channels: int, parity: bool, nodes: int = 100, neighbours: int = 25, rounds: int = 7) -> dict:
    """CPU seconds of both forms of one convolution, value and all first gradients, in turns; wall-clock of their first calls."""
    import torch

    from tesseral.nn.so2 import SO2Convolution
    from tesseral.o3 import Irreps

    torch.manual_seed(0)
    irreps, edges = Irreps([(channels, (l, (-1) ** l)) for l in range(lmax + 1)]), nodes * neighbours
    edge_index = torch.stack([torch.randint(nodes, (edges,)), torch.arange(nodes).repeat_interleave(neighbours)])
    order, pointers = torch.argsort(edge_index[0], stable=True), torch.arange(0, edges + 1, neighbours)
    layers = {method: SO2Convolution(irreps, irreps, parity=parity, method=method) for method in ("so2", "product")}
    layers["product"].load_state_dict(layers["so2"].state_dict())
    inputs = [torch.randn(nodes, irreps.dim), torch.randn(edges, 3), torch.randn(edges, irreps.num_irreps)]
    x, vectors, scales = (t.requires_grad_() for t in inputs)
    g = torch.randn(nodes, irreps.dim)

    def seconds(layer: SO2Convolution, clock: Callable[[], float] = time.process_time) -> float:
        begun = clock()
        y = layer(x, layer.edges(vectors), edge_index, scales, order, pointers)
        torch.autograd.grad(y, (x, vectors, scales, layer.weight), g)
        return clock() - begun

    first = {method: seconds(layer, time.perf_counter) for method, layer in layers.items()}
    times = [{method: seconds(layer) for method, layer in layers.items()} for _ in range(rounds + 1)][1:]
    return {
        "lmax": lmax,
        "channels": channels,
        "group": "O(3)" if parity else "SO(3)",
        "product_over_so2": statistics.median(t["product"] / t["so2"] for t in times),
        "so2_ms": 1e3 * statistics.median(t["so2"] for t in times),
        "first_call_s": first,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", action="store_true", help="compare the two forms of the convolution, without peers")
    parser.add_argument("--lmax", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6, 7, 8])
    parser.add_argument("--channels", type=int, nargs="+", default=[32])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.forms:
        for row in rows(Environment(arguments.threads)):
            print(json.dumps(row), flush=True)
        return
    import torch

    torch.set_num_threads(arguments.threads)
    for channels in arguments.channels:
        for lmax in arguments.lmax:
            print(json.dumps(forms(lmax, channels, parity=True)), flush=True)


if __name__ == "__main__":
    main()
