"""What the networks on points have in common."""

from collections.abc import Callable, Container, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn import o3
from tesseral.interfaces.e3nn.nn import Gate

SCALAR_FUNCTIONS: dict[int, Callable] = {1: nn.functional.silu, -1: torch.tanh}
GATE_FUNCTIONS: dict[int, Callable] = {1: torch.sigmoid, -1: torch.tanh}


def scatter(src: Tensor, index: Tensor, dim_size: int) -> Tensor:
    """Rows added up by their index.

    >>> scatter(torch.eye(3), torch.tensor([1, 0, 1]), 2)
    tensor([[0., 1., 0.],
            [1., 0., 1.]])
    """
    return src.new_zeros(dim_size, src.shape[1]).index_add(0, index, src)


def radius_graph(pos: Tensor, r_max: float | int, batch: Tensor | None = None) -> Tensor:
    """All pairs (2, edges) of different points within a radius, in the same graph; without periods.

    >>> radius_graph(torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, 0, 3]]), 1.5)
    tensor([[0, 1],
            [1, 0]])
    """
    distance = torch.cdist(pos, pos)
    near = (distance < r_max) & (distance > 0)
    if batch is not None:
        near &= batch[:, None] == batch
    return near.nonzero().T


def tp_path_exists(irreps_in1: Any, irreps_in2: Any, ir_out: Any) -> bool:
    """Whether the product of some blocks contains an irrep.

    >>> tp_path_exists("2x1o", "1x1o+1x2e", "0o")
    False
    """
    wanted = o3.Irrep(ir_out)
    return any(wanted in a * b for _, a in o3.Irreps(irreps_in1) for _, b in o3.Irreps(irreps_in2))


class Compose(nn.Module):
    """One module after the other."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.second(self.first(*inputs))


def edge_product(irreps_in: o3.Irreps, irreps_edge: o3.Irreps, kept: Container) -> o3.TensorProduct:
    """The product of features with edge attributes, channel by channel, into the irreps that are kept, sorted."""
    paths = [
        (i, j, mul, ir)
        for i, (mul, ir_in) in enumerate(irreps_in)
        for j, (_, ir_edge) in enumerate(irreps_edge)
        for ir in ir_in * ir_edge
        if ir in kept
    ]
    middle, places, _ = o3.Irreps([(mul, ir) for _, _, mul, ir in paths]).sort()
    instructions: list[tuple] = [(i, j, place, "uvu", True) for (i, j, _, _), place in zip(paths, places, strict=True)]
    return o3.TensorProduct(irreps_in, irreps_edge, middle, instructions, internal_weights=False, shared_weights=False)


def reachable(hidden: o3.Irreps, irreps_node: o3.Irreps, irreps_edge: o3.Irreps) -> tuple[o3.Irreps, o3.Irreps]:
    """The hidden scalars, and the other hidden irreps, that a convolution can reach."""
    found = [(mul, ir) for mul, ir in hidden if tp_path_exists(irreps_node, irreps_edge, ir)]
    return o3.Irreps([b for b in found if b[1].l == 0]), o3.Irreps([b for b in found if b[1].l > 0])


def gate_of(scalars: o3.Irreps, gates: o3.Irreps, gated: o3.Irreps) -> Gate:
    """The gate of all these networks: silu and tanh for scalars, sigmoid and tanh for gates, by parity."""
    return Gate(scalars, [SCALAR_FUNCTIONS[ir.p] for _, ir in scalars], gates, [GATE_FUNCTIONS[ir.p] for _, ir in gates], gated)


def kind_of_gates(irreps_node: o3.Irreps, irreps_edge: o3.Irreps) -> str:
    """``0e`` where the convolution can make some, else ``0o``."""
    return "0e" if tp_path_exists(irreps_node, irreps_edge, "0e") else "0o"


def batch_of(data: Any) -> Tensor:
    """The graph of each point, the first for all where the data do not say."""
    return data["batch"] if "batch" in data else data["pos"].new_zeros(data["pos"].shape[0], dtype=torch.long)


def example_inputs(n: int, irreps_nodes: Sequence[o3.Irreps], irreps_edge: o3.Irreps, scalars: int) -> list[dict]:
    """Random inputs by method for tracing a convolution: features of nodes, ends of edges, attributes and scalars of these."""
    nodes, edges = 5, 8

    def inputs() -> tuple[Tensor, ...]:
        features = [irreps.randn(nodes, -1) for irreps in irreps_nodes]
        return *features, *torch.randint(nodes, (2, edges)), irreps_edge.randn(edges, -1), torch.randn(edges, scalars)

    return [{"forward": inputs()} for _ in range(n)]
