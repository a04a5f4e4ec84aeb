"""The Hessian of a large structure as a sparse matrix: probes that share a pass because their atoms never meet."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Int64
from torch import Tensor

from tesseral.graph import Graph
from tesseral.physics.forces import EnergyFunction
from tesseral.physics.hessian import hessian_vector_products
from tesseral.physics.receptive_field import hop_neighbors, receptive_hops


def sparse_hessian(
    model: EnergyFunction, graph: Graph, hops: int | None = None, progress: Callable[[int, int], None] | None = None
) -> Tensor:
    r"""The Hessian of one structure, in eV/Å², as a sparse (3 nodes, 3 nodes) matrix, in a number of passes that stops growing.

    Two atoms interact only when at most twice ``hops`` (measured when left out) edges separate them. Atoms of which no
    third atom feels two are probed together: the products tell which entry is whose. Memory and passes follow the receptive
    field, not the size. Raises ``ValueError`` for a batch. Source: Curtis, Powell, Reid, J. Inst. Math. Appl. 13, 117 (1974).

    >>> import ase.build
    >>> from tesseral.graph import build_graph
    >>> from tesseral.nn.pair import ZBL
    >>> from tesseral.physics.hessian import hessian
    >>> chain = build_graph(ase.Atoms("He20", positions=[(x, 0.1 * x % 0.3, 0) for x in range(20)]), 1.5)
    >>> sparse = sparse_hessian(ZBL(1.5, (2,)), chain)
    >>> (sparse.to_dense() - hessian(ZBL(1.5, (2,)), chain).reshape(60, 60)).abs().max().item() < 1e-10
    True
    """
    if graph.num_graphs != 1:
        raise ValueError(f"sparse_hessian takes one structure, got a batch of {graph.num_graphs}")
    nodes = graph.num_nodes
    # A pair potential couples neighbours only; with hops = L, energies of L edges couple atoms 2L apart.
    reach = 2 * (receptive_hops(model) if hops is None else hops)  # type: ignore[arg-type]
    pairs = hop_neighbors(graph, reach)
    colors = color(graph, 2 * reach)
    count = int(colors.max()) + 1 if nodes else 0
    indices, values = [], []
    rows, columns = pairs.to(graph.device)
    of_pair = colors.to(graph.device)[columns]
    for number in range(count):
        chosen = of_pair == number
        probes = graph.positions.new_zeros(3, nodes, 3)
        for axis in range(3):
            probes[axis, colors == number, axis] = 1
        products = hessian_vector_products(model, graph, probes)
        i, j = rows[chosen], columns[chosen]
        block = products[:, i]  # (axis of j, pair, axis of i)
        place = torch.arange(3, device=graph.device)
        at = [
            (3 * i[None, :, None] + place).expand(block.shape),
            (3 * j[None, :, None] + place[:, None, None]).expand(block.shape),
        ]
        indices.append(torch.stack([x.reshape(-1) for x in at]))
        values.append(block.reshape(-1).to(torch.float64))
        if progress is not None:
            progress(number + 1, count)
    if not indices:
        return torch.sparse_coo_tensor(
            torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, dtype=torch.float64), (0, 0), check_invariants=False
        )
    return torch.sparse_coo_tensor(
        torch.cat(indices, 1), torch.cat(values), (3 * nodes, 3 * nodes), check_invariants=False
    ).coalesce()


def color(graph: Graph, hops: int) -> Int64[Tensor, " nodes"]:
    """A number for each atom such that atoms with the same number are more than ``hops`` edges apart.

    >>> import ase
    >>> from tesseral.graph import build_graph
    >>> color(build_graph(ase.Atoms("H5", positions=[(x, 0, 0) for x in range(5)]), 1.5), 2).tolist()
    [0, 1, 2, 0, 1]
    """
    near = hop_neighbors(graph, hops)
    starts = torch.searchsorted(near[0].contiguous(), torch.arange(graph.num_nodes + 1)).tolist()
    others = near[1].tolist()
    colors = [-1] * graph.num_nodes
    for node in range(graph.num_nodes):
        taken = {colors[other] for other in others[starts[node] : starts[node + 1]]}
        colors[node] = next(number for number in range(graph.num_nodes + 1) if number not in taken)
    return torch.tensor(colors, dtype=torch.int64)
