"""What each precision costs and how far it is from float64: the convolution and a model's forces.

python -m benchmarks.precision

*bfloat16 products* is ``precision: bf16-products``: matrix products in bfloat16 with sums in float32, convolutions in float32,
geometry and sums of energies in float64.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import ase.build
import torch
from torch import Tensor

from benchmarks.environment import Environment
from tesseral.graph import build_graph
from tesseral.models.nequip import NequIP, NequIPSettings
from tesseral.nn import Convolution
from tesseral.ops.spline import Knots, SplineWeights
from tesseral.physics.forces import EnergyFunction, energy_and_forces
from tesseral.physics.precision import BFloat16Products

TITLE = "Precision: milliseconds, and the error against float64"
NOTE = (
    "Column float32: how many times slower than float32 (below one: faster). *error* is the relative error of the results, root "
    "mean square, with the same weights: messages and all gradients of the convolution (32 channels, lmax 2, 2,000 nodes of "
    "25 edges), forces of NequIP (4 layers, lmax 2, 32 channels, 64 atoms of silicon). *bfloat16 products*: "
    "`precision: bf16-products`, which does without the fused kernels but for the convolution."
)
PEERS: tuple[str, ...] = ()
VARIANTS = {"float32": "float32"}

Case = Callable[[], tuple[Tensor, ...]]


def rows(environment: Environment) -> Iterator[dict]:
    """The rows of the suite."""
    torch.set_num_threads(environment.threads)
    for problem, mode, cases in (
        ("convolution", "backward", convolutions()),
        ("convolution with splines", "backward", splines()),
        ("NequIP", "md", models()),
    ):
        yield from measure(problem, mode, cases, environment.rounds)


def measure(problem: str, mode: str, cases: Mapping[str, Case], rounds: int) -> Iterator[dict]:
    """One row for each precision, float64 first; in turns."""
    results = {name: case() for name, case in cases.items()}
    times = [{name: seconds(case) for name, case in cases.items()} for _ in range(rounds)]
    for name, found in results.items():
        ratio = statistics.median(t[name] / t["float32"] for t in times)
        milliseconds = 1e3 * statistics.median(t[name] for t in times)
        yield {
            "problem": f"{problem}, {name}",
            "mode": mode,
            "tesseral": {"ms": milliseconds, "ratio": 1.0},
            "float32": {"ratio": ratio},
            "error": max(error(a, b) for a, b in zip(found, results["float64"], strict=True)),
        }


def seconds(case: Case) -> float:
    """One call's."""
    begun = time.perf_counter()
    case()
    return time.perf_counter() - begun


def error(found: Tensor, exact: Tensor) -> float:
    """The relative error, in the root mean square."""
    return float((found.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt())


def convolutions() -> dict[str, Case]:
    """The convolution with its gradients, weights in memory."""
    conv, x, y, g, edges, _ = problem()
    w = torch.randn(len(y), conv.weight_numel, dtype=torch.float64)
    return {str(dtype)[6:]: gradients(conv, (x, y, w), g, edges, dtype) for dtype in (torch.float64, torch.float32)}


def splines() -> dict[str, Case]:
    """The convolution with its gradients, weights from splines of 256 knots."""
    conv, x, y, g, edges, lengths = problem()
    knots = Knots(256, 5.0)
    table = torch.randn(8, conv.weight_numel, dtype=torch.float64)
    points = torch.linspace(0, 3, knots.rows, dtype=torch.float64)[:, None] * torch.arange(8, dtype=torch.float64)
    tensors = (x, y, lengths, torch.cos(points) @ table / 2)

    def run(x: Tensor, y: Tensor, r: Tensor, c: Tensor, edges: Tensor) -> Tensor:
        return conv(x, y, SplineWeights(r, c, knots), edges)

    return {str(dtype)[6:]: gradients(run, tensors, g, edges, dtype) for dtype in (torch.float64, torch.float32)}


def problem() -> tuple[Convolution, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Features, harmonics, a cotangent, edges and lengths."""
    torch.manual_seed(0)
    irreps = "32x0e+32x1o+32x2e"
    conv = Convolution(irreps, "0e+1o+2e", irreps)
    nodes, neighbours = 2000, 25
    edges = torch.stack([torch.randint(nodes, (nodes * neighbours,)), torch.arange(nodes).repeat_interleave(neighbours)])
    x, y = torch.randn(nodes, 288, dtype=torch.float64), torch.randn(edges.shape[1], 9, dtype=torch.float64)
    g = torch.randn(nodes, conv.irreps_out.dim, dtype=torch.float64)
    return conv, x, y, g, edges, torch.rand(edges.shape[1], dtype=torch.float64) * 4 + 1


def gradients(conv: Callable[..., Tensor], tensors: tuple[Tensor, ...], g: Tensor, edges: Tensor, dtype: torch.dtype) -> Case:
    """The messages and their gradients by all tensors."""
    own, g = [t.to(dtype).requires_grad_() for t in tensors], g.to(dtype)

    def run() -> tuple[Tensor, ...]:
        messages = conv(*own, edges)
        return messages.detach(), *torch.autograd.grad(messages, own, g)

    return run


def models() -> dict[str, Case]:
    """The forces of NequIP."""
    atoms = ase.build.bulk("Si", cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=0)
    graph = build_graph(atoms, 5.0)
    neighbours = graph.num_edges / graph.num_nodes
    torch.manual_seed(0)
    settings = NequIPSettings(layers=4, lmax=2, channels=32, species=(14,), num_neighbors=neighbours, radial_knots=128)
    double = NequIP(settings, dtype=torch.float64).requires_grad_(False)
    single = NequIP(settings).requires_grad_(False)
    single.load_state_dict(double.state_dict())

    def forces(energy: EnergyFunction) -> Case:
        return lambda: (energy_and_forces(energy, graph).forces,)

    return {"float64": forces(double), "float32": forces(single), "bfloat16 products": forces(BFloat16Products(single))}


def main() -> None:
    for row in rows(Environment(threads=1, rounds=5)):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
