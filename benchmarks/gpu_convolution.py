"""The Triton convolution on a GPU: checked against the reference, measured against OpenEquivariance, cuEquivariance and e3nn.

python -m benchmarks.gpu_convolution --rounds 30            # check, then measure every problem, with the peers that are installed
python -m benchmarks.gpu_convolution --check                # only check
python -m benchmarks.gpu_convolution --sweep                # also try other tilings of the channels
TRITON_INTERPRET=1 python -m benchmarks.gpu_convolution --check   # without a GPU: the same check, tiny and interpreted

Times are medians of single runs between CUDA events, the sides in turns within one process; ratios are medians of the ratios
within a round. *backward* includes the forward run, *double* both. The roofline is the compulsory bytes (each operand and result
once) over the bandwidth of a large copy in the same rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tesseral.kernels import triton
from tesseral.kernels.triton_source import Tiling
from tesseral.nn import Convolution
from tesseral.ops.convolution import ConvolutionPlan


def equal(channels: int, lmax: int) -> str:
    return "+".join(f"{channels}x{l}{'eo'[l % 2]}" for l in range(lmax + 1))


# irreps of the features, lmax, nodes, neighbours, dtype, order of edges
PROBLEMS: dict[str, tuple[Any, ...]] = {
    "32, lmax 2": (equal(32, 2), 2, 2000, 25, "float32", "sorted"),
    "64, lmax 2": (equal(64, 2), 2, 2000, 25, "float32", "sorted"),
    "128, lmax 2, 50k edges": (equal(128, 2), 2, 2000, 25, "float32", "sorted"),
    "128, lmax 3": (equal(128, 3), 3, 2000, 25, "float32", "sorted"),
    "128x0e+64x1o+32x2e": ("128x0e+64x1o+32x2e", 2, 2000, 25, "float32", "sorted"),
    "20, lmax 2": (equal(20, 2), 2, 2000, 25, "float32", "sorted"),
    "32, lmax 2, float64": (equal(32, 2), 2, 2000, 25, "float64", "sorted"),
    "32, lmax 2, unsorted": (equal(32, 2), 2, 2000, 25, "float32", "unsorted"),
    "32, lmax 2, 640k edges": (equal(32, 2), 2, 10000, 64, "float32", "sorted"),
    "32, lmax 2, 20 nodes": (equal(32, 2), 2, 20, 20, "float32", "sorted"),
}
TINY: dict[str, tuple[Any, ...]] = {
    "8x0e+4x1o+2x2e": ("8x0e+4x1o+2x2e", 2, 3, 2, "float64", "unsorted"),
    "20, lmax 1, float32": (equal(20, 1), 1, 3, 2, "float32", "sorted"),
}
MODES = ("forward", "backward", "double")
TILINGS = [Tiling(lanes, warps, registers) for lanes in (32, 64, 128) for warps in (1, 2) for registers in (64, 96, 160)]
Side = Callable[[Tensor, Tensor, Tensor], Tensor]


class Problem:
    """A graph and random operands; ``sides`` map (x, y, w) to the features of the nodes."""

    def __init__(
        self, features: str, lmax: int, nodes: int, neighbours: int, dtype: str, edges: str, *, device: torch.device
    ) -> None:
        harmonics = "+".join(f"1x{l}{'eo'[l % 2]}" for l in range(lmax + 1))
        self.layer = Convolution(features, harmonics, equal(1, lmax), backend="triton")
        self.dtype, self.nodes = getattr(torch, dtype), nodes
        generator = torch.Generator().manual_seed(0)
        source = torch.randint(nodes, (nodes * neighbours,), generator=generator)
        destination = torch.arange(nodes).repeat_interleave(neighbours)
        self.order = self.pointers = None
        if edges == "unsorted":
            destination = destination[torch.randperm(destination.numel(), generator=generator)]
        else:
            self.order = torch.argsort(source, stable=True).to(device)
            self.pointers = (torch.arange(nodes + 1) * neighbours).to(device)
        self.edge_index = torch.stack([source, destination]).to(device)
        widths = (
            (nodes, self.layer.irreps_in.dim),
            (source.numel(), self.layer.irreps_sh.dim),
            (source.numel(), self.layer.weight_numel),
        )
        draw = [torch.randn(shape, dtype=torch.float64, generator=generator).to(device, self.dtype) for shape in widths]
        self.operands = [t.requires_grad_() for t in draw]
        shapes = [(nodes, self.layer.irreps_out.dim), *widths]
        self.cotangents = [torch.randn(s, dtype=torch.float64, generator=generator).to(device, self.dtype) for s in shapes]

    def tesseral(self, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return self.layer(x, y, w, self.edge_index, self.order, self.pointers)

    def reference(self, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        layer = Convolution(self.layer.irreps_in, self.layer.irreps_sh, self.layer.irreps_out, backend="reference")
        return layer(x, y, w, self.edge_index)

    def run(
        self, side: Side, mode: str, operands: list[Tensor] | None = None, cotangents: list[Tensor] | None = None
    ) -> list[Tensor]:
        """The output; or the gradients; or the gradients of the gradients with respect to operands and the output's cotangent."""
        operands, (first, *others) = operands or self.operands, cotangents or self.cotangents
        if mode == "forward":
            with torch.no_grad():
                return [side(*operands)]
        first = first.detach().requires_grad_(mode == "double")
        gradients = torch.autograd.grad(side(*operands), operands, first, create_graph=mode == "double")
        return list(gradients if mode == "backward" else torch.autograd.grad(gradients, [*operands, first], others))

    def error(self, mode: str) -> float:
        """The largest difference from the reference in float64, relative to the largest entry of each result."""
        double = [t.detach().double().requires_grad_() for t in self.operands]
        expected = self.run(self.reference, mode, double, [c.double() for c in self.cotangents])
        found = self.run(self.tesseral, mode)
        return max(((a.double() - b).abs().max() / b.abs().max()).item() for a, b in zip(found, expected, strict=True))

    def bytes(self, mode: str) -> int:
        """Each operand read and each result written once."""
        x, y, w = (t.numel() for t in self.operands)
        out = self.nodes * self.layer.irreps_out.dim
        count = {"forward": x + y + w + out, "backward": 3 * (x + y + w) + 2 * out, "double": 6 * (x + y + w) + 4 * out}[mode]
        return count * self.dtype.itemsize + 2 * 8 * self.edge_index.shape[1]


def openequivariance(problem: Problem) -> Side:
    """Its fused convolution, deterministic where the edges are sorted; raises where it is not installed."""
    import numpy
    import openequivariance as oeq

    plan: ConvolutionPlan = problem.layer.plan
    kind = numpy.float32 if problem.dtype == torch.float32 else numpy.float64
    description = oeq.TPProblem(
        oeq.Irreps(str(plan.irreps_in)),
        oeq.Irreps(str(plan.irreps_sh)),
        oeq.Irreps(str(plan.irreps_out)),
        [(p.i_in, p.i_sh, p.i_out, "uvu", True) for p in plan.paths],
        shared_weights=False,
        internal_weights=False,
        irrep_dtype=kind,
        weight_dtype=kind,
        layout="ir_mul",
    )
    source, destination = problem.edge_index
    module = oeq.TensorProductConv(description, deterministic=problem.order is not None)
    extra = () if problem.order is None else (problem.order,)
    return lambda x, y, w: module(x, y, w, destination, source, *extra)


def cuequivariance(problem: Problem) -> Side:
    """Its fused convolution by ``uniform_1d`` (equal multiplicities only); the same work, in its own order of paths."""
    import cuequivariance as cue
    import cuequivariance_torch as cuet

    plan: ConvolutionPlan = problem.layer.plan
    names = [cue.Irreps("O3", str(irreps)) for irreps in (plan.irreps_in, plan.irreps_sh, plan.irreps_out)]
    product = cue.descriptors.channelwise_tensor_product(*names).flatten_coefficient_modes().squeeze_modes().polynomial
    module = cuet.SegmentedPolynomial(product, method="uniform_1d", math_dtype=problem.dtype)
    source, destination = problem.edge_index
    module = module.to(source.device)

    def run(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return module([w, x, y], {1: source}, {0: x[:, :1]}, {0: destination})[0]

    return run


def e3nn(problem: Problem) -> Side:
    """Gather, tensor product, index_add: in e3nn's own layout, with no transposition charged."""
    from e3nn.o3 import Irreps, TensorProduct

    plan: ConvolutionPlan = problem.layer.plan
    irreps = [Irreps(str(i)) for i in (plan.irreps_in, plan.irreps_sh, plan.irreps_out)]
    paths = [(p.i_in, p.i_sh, p.i_out, "uvu", True) for p in plan.paths]
    product = TensorProduct(*irreps, paths, shared_weights=False, internal_weights=False)
    product = product.to(problem.edge_index.device, problem.dtype)
    source, destination = problem.edge_index

    def run(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return x.new_zeros(problem.nodes, plan.irreps_out.dim).index_add(0, destination, product(x[source], y, w))

    return run


PEERS = {"openequivariance": openequivariance, "cuequivariance": cuequivariance, "e3nn": e3nn}


def check(problems: dict[str, tuple], device: torch.device) -> bool:
    """Print the error of every problem and mode; whether all are small."""
    good = True
    for name, settings in problems.items():
        problem = Problem(*settings, device=device)
        limit = 1e-10 if problem.dtype == torch.float64 else 2e-5
        for mode in MODES:
            error = problem.error(mode)
            good &= error <= limit
            print(f"{name:28} {mode:9} error {error:.1e} {'' if error <= limit else f'ABOVE {limit:g}'}", flush=True)
    return good


def milliseconds(run: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def measure(name: str, mode: str, rounds: int, device: torch.device, sweep: bool) -> dict:
    """One row: milliseconds of each side, ratios to ours, the distance from the roofline; for each peer that cannot run, why."""
    problem = Problem(*PROBLEMS[name], device=device)
    row: dict = {"problem": name, "mode": mode, "device": torch.cuda.get_device_name(device)}
    large = torch.empty(1 << 28, dtype=torch.uint8, device=device)
    target = torch.empty_like(large)
    runs: dict[str, Callable[[], object]] = {
        "tesseral": lambda: problem.run(problem.tesseral, mode),
        "copy": lambda: target.copy_(large),
    }
    for peer, build in PEERS.items():
        try:
            side = build(problem)
            problem.run(side, mode)
        except Exception as error:  # a peer that is absent or fails on a problem is reported, not hidden
            row[peer] = {"failed": f"{type(error).__name__}: {str(error)[:200]}"}
        else:
            runs[peer] = lambda side=side: problem.run(side, mode)  # type: ignore[misc]
    for run in runs.values():
        for _ in range(5):
            run()
    times: dict[str, list[float]] = {label: [] for label in runs}
    for _ in range(rounds):
        for label, run in runs.items():
            times[label].append(milliseconds(run))
    for label, mine in times.items():
        ratio = statistics.median(t / ours for t, ours in zip(mine, times["tesseral"], strict=True))
        row[label] = {"ms": statistics.median(mine), "ratio": ratio}
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    results = problem.run(problem.tesseral, mode)
    row["peak_memory_bytes"] = torch.cuda.max_memory_allocated(device) - before
    row["results_bytes"] = sum(t.numel() * t.element_size() for t in results)
    bandwidth = 2 * large.numel() / (row["copy"]["ms"] * 1e-3)
    row["copy_GB_per_s"] = bandwidth / 1e9
    row["times_roofline"] = row["tesseral"]["ms"] * 1e-3 / (problem.bytes(mode) / bandwidth)
    if sweep and mode == "forward":
        row["tilings"] = sweep_forward(problem, rounds)
    return row


def sweep_forward(problem: Problem, rounds: int) -> dict[str, float]:
    """Milliseconds of the forward kernel alone for every tiling."""
    from tesseral.kernels.index_map import IndexMap

    maps = [IndexMap(problem.edge_index[0]), IndexMap(problem.edge_index[1], None, problem.pointers)]
    tensors = [t.detach() for t in problem.operands]
    found = {}
    for tiling in TILINGS:
        kernel = triton.kernel(problem.layer.plan.program, problem.dtype, tiling)

        def run(kernel=kernel) -> object:
            return kernel(tensors, maps, [problem.nodes] * 2)

        for _ in range(3):
            run()
        found[str(tiling)] = statistics.median(milliseconds(run) for _ in range(rounds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare with the reference")
    parser.add_argument("--sweep", action="store_true", help="also time the forward kernel with other tilings")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--problem", choices=PROBLEMS, action="append")
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/gpu_convolution.json"))
    arguments = parser.parse_args()
    here = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if here.type == "cpu" and not arguments.check:
        sys.exit("No CUDA device: nothing to measure. With --check and TRITON_INTERPRET=1 the kernels are checked on the CPU.")
    reason = triton.refusal(ConvolutionPlan("1x0e", "0e", "0e").program, here, torch.float32)
    if reason:
        sys.exit(f"The Triton kernels cannot run: {reason}.")
    chosen = {name: PROBLEMS[name] for name in arguments.problem or PROBLEMS}
    if not check(TINY if here.type == "cpu" else chosen, here):
        sys.exit("The kernels disagree with the reference; not measured.")
    if arguments.check:
        return
    rows = []
    for name in chosen:
        for mode in arguments.mode or MODES:
            rows.append(measure(name, mode, arguments.rounds, here, arguments.sweep))
            print(json.dumps(rows[-1]), flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
