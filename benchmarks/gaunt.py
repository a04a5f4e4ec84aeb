"""Gaunt products against Clebsch-Gordan products: what they cost and how many ways of joining features they have.

python -m benchmarks.gaunt

Both join features channel by channel, degrees 0 to L in and out, natural parity. *Clebsch-Gordan* has a weight for each path and
channel and runs on the library's kernels; *even* leaves out the paths that a Gaunt product cannot have. Processor seconds of
value and all first gradients in turns, medians of ratios. The last columns count the weights that one channel has: a Gaunt
product has 3(L + 1) weights of degrees, of which two only scale the whole.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.environment import Environment
from tesseral.nn.gaunt import GauntTensorProduct
from tesseral.o3 import Irreps
from tesseral.ops import tensor_product, tensor_product_plan

TITLE = "Gaunt products against Clebsch-Gordan products, channel by channel"
NOTE = (
    "200 rows, 32 channels, degrees 0 to L, value and first gradients; the Gaunt product on the grid, and how many times slower "
    "the others are. *even* are the paths that a Gaunt product has too, *all* has the odd ones besides (`docs/gaunt.md`)."
)
PEERS: tuple[str, ...] = ()
VARIANTS = {"fourier": "Gaunt, Fourier", "even": "Clebsch-Gordan, even", "all": "Clebsch-Gordan, all"}


def rows(environment: Environment) -> Iterator[dict]:
    """The rows of the suite, one for each L."""
    torch.set_num_threads(environment.threads)
    for lmax in (2, 3) if environment.quick else range(1, 6):
        found = compare(lmax, 32, 200, environment.rounds)
        others = {name: {"ratio": found[name], "ms": found[name] * found["ms"]} for name in VARIANTS}
        yield {"problem": f"L = {lmax}", "mode": "backward", "tesseral": {"ms": found["ms"], "ratio": 1.0}, **others}


def clebsch_gordan(lmax: int, channels: int, odd: bool) -> tuple[Callable[[Tensor, Tensor], Tensor], int]:
    """The product with a weight for each path and channel, and its number of paths. Odd paths give pseudovectors and the like."""
    features = Irreps([(channels, (l, (-1) ** l)) for l in range(lmax + 1)])
    other = Irreps([(channels, (l, -((-1) ** l))) for l in range(1, lmax + 1)])
    target = features + other if odd else features
    paths = [
        (i, j, k, "uuu", True)
        for i, (_, a) in enumerate(features)
        for j, (_, b) in enumerate(features)
        for k, (_, c) in enumerate(target)
        if c in a * b
    ]
    plan = tensor_product_plan(features, features, target, paths)
    weight = torch.randn(plan.weight_numel, requires_grad=True)
    return lambda x, y: tensor_product(x, y, weight, plan), len(paths)


def seconds(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """Processor seconds of value and first gradients, the second time, when caches are what this function makes them."""
    function(x, y).square().sum().backward()
    begun = time.process_time()
    function(x, y).square().sum().backward()
    return time.process_time() - begun


def compare(lmax: int, channels: int, rows: int, rounds: int) -> dict[str, float]:
    """Ratios of processor seconds to those of the Gaunt product on the grid, and counts."""
    torch.manual_seed(0)
    (even, paths), (whole, more) = (clebsch_gordan(lmax, channels, odd) for odd in (False, True))
    functions: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "grid": GauntTensorProduct(lmax, lmax, lmax, channels),
        "fourier": GauntTensorProduct(lmax, lmax, lmax, channels, method="fourier"),
        "even": even,
        "all": whole,
    }
    dim = channels * (lmax + 1) ** 2
    x, y = (torch.randn(rows, dim, requires_grad=True) for _ in range(2))
    for function in functions.values():
        seconds(function, x, y)
    times = [{name: seconds(function, x, y) for name, function in functions.items()} for _ in range(rounds)]
    ratios = {name: statistics.median(t[name] / t["grid"] for t in times) for name in functions}
    milliseconds = 1e3 * statistics.median(t["grid"] for t in times)
    return ratios | {"ms": milliseconds, "even paths": paths, "all paths": more, "gaunt weights": 3 * (lmax + 1) - 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lmax", type=int, default=5)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| L | Gaunt, grid | Gaunt, Fourier | CG, even paths | CG, all paths | weights: Gaunt | CG, even | CG, all |")
    print("|---" * 8 + "|")
    for lmax in range(1, arguments.lmax + 1):
        found = compare(lmax, arguments.channels, arguments.rows, arguments.rounds)
        ratios = " | ".join(f"{found[name]:.2f}" for name in ("grid", "fourier", "even", "all"))
        print(f"| {lmax} | {ratios} | {found['gaunt weights']} | {found['even paths']} | {found['all paths']} |", flush=True)


if __name__ == "__main__":
    main()
