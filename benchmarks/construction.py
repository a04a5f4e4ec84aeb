"""What it costs to begin: imports, building products, reducing tensors, against e3nn, in turns in one process (imports: in a
process each).

python -m benchmarks.construction
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

ROUNDS = 5
PRODUCTS = {
    "NequIP": ("32x0e+32x1o+32x2e", "0e+1o+2e", "0e+1o+2e"),
    "MACE": ("128x0e+128x1o", "0e+1o+2e+3o", "0e+1o+2e+3o"),
}


def paths(Irreps: type, features: str, harmonics: str, kept: str) -> tuple:
    """Irreps and instructions of the channelwise product of a convolution."""
    first, second = Irreps(features), Irreps(harmonics)
    found = [
        (mul, i, j, ir)
        for i, (mul, a) in enumerate(first)
        for j, (_, b) in enumerate(second)
        for ir in a * b
        if ir in Irreps(kept)
    ]
    out, places, _ = Irreps([(mul, ir) for mul, _, _, ir in found]).sort()
    return first, second, out, [(i, j, places[n], "uvu", True) for n, (_, i, j, _) in enumerate(found)]


def imports(module: str) -> float:
    """Seconds of an import in a fresh process, after torch."""
    code = f"import time, torch; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def seconds(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def report(problem: str, ours: Callable[[], float], theirs: Callable[[], float], rounds: int = ROUNDS) -> None:
    """Print median milliseconds of both sides, and the median ratio within a round."""
    taken = [(ours(), theirs()) for _ in range(rounds)]
    a, b = (1e3 * statistics.median(side) for side in zip(*taken, strict=True))
    faster = statistics.median(y / x for x, y in taken)
    row = {"problem": problem, "tesseral_ms": round(a, 3), "e3nn_ms": round(b, 3), "times_faster": round(faster, 1)}
    print(json.dumps({**row, "rounds": rounds}), flush=True)


def main() -> None:
    """A JSON line for each problem."""
    warnings.simplefilter("ignore")
    import e3nn.io
    import e3nn.o3
    import torch

    from tesseral import nn, o3

    for name, irreps in PRODUCTS.items():

        def build(layer: type, Irreps: type, irreps: tuple = irreps) -> Callable[[], float]:
            arguments = paths(Irreps, *irreps)
            return lambda: seconds(lambda: layer(*arguments, shared_weights=False))

        sides = build(nn.TensorProduct, o3.Irreps), build(e3nn.o3.TensorProduct, e3nn.o3.Irreps)
        report(f"{name} product, first build", *sides, rounds=1)
        report(f"{name} product, further builds", *sides)
    formula, irreps = "ijk=jik=ikj", "0e+1o+2e+3o"
    report(
        "symmetric cube of 0e+1o+2e+3o",
        lambda: seconds(lambda: o3.reduce_tensor(formula, i=irreps)),
        lambda: seconds(lambda: e3nn.o3.ReducedTensorProducts(formula, i=irreps)),
        rounds=1,
    )
    stress, tensor, t = o3.CartesianTensor("ij=ji"), e3nn.io.CartesianTensor("ij=ji"), torch.eye(3).expand(16, 3, 3)
    report(
        "stress to irreps and back",
        lambda: seconds(lambda: stress.to_cartesian(stress.from_cartesian(t))),
        lambda: seconds(lambda: tensor.to_cartesian(tensor.from_cartesian(t))),
        rounds=10,
    )
    report("import o3, beyond torch", lambda: imports("tesseral.o3"), lambda: imports("e3nn.o3"), rounds=3)


if __name__ == "__main__":
    main()
