"""Second derivatives of an energy with respect to positions: products with vectors, the dense matrix, its sum rule."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.graph import Graph, collate
from tesseral.physics.forces import EnergyFunction, _dimer, _springs, energy_and_forces  # noqa: F401 (examples)


def hessian_vector_products(
    model: EnergyFunction,
    graph: Graph,
    vectors: Float[Tensor, "probes nodes 3"],
    create_graph: bool = False,
    chunk: int | None = None,
) -> Float[Tensor, "probes nodes 3"]:
    r"""Products :math:`H v` in eV/Å² times the unit of ``vectors``, without the matrix: a second pass backwards for each vector.

    ``create_graph`` keeps them differentiable, to train on random probes of reference Hessians. ``chunk`` vectors share one
    pass over as many copies of the structures (a number that suits the device when left out), and take as many times the memory.
    For a batch of structures the matrix is block-diagonal.

    >>> v = torch.tensor([[[0.0, 0, 1], [0, 0, 0]]], dtype=torch.float64)
    >>> hessian_vector_products(_springs, _dimer(), v).tolist()
    [[[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]]
    """
    if len(vectors) == 0:
        return torch.zeros_like(vectors)
    chunk = min(_copies(graph) if chunk is None else max(chunk, 1), len(vectors))
    products = _Products(model, graph, chunk)
    parts = [products(part, create_graph) for part in vectors.split(chunk)]
    return torch.cat(parts)


def hessian(model: EnergyFunction, graph: Graph, chunk: int | None = None) -> Float[Tensor, "nodes 3 nodes 3"]:
    r"""The Hessian :math:`H_{i\alpha j\beta} = \partial^2 E/\partial r_{i\alpha}\partial r_{j\beta}` of one structure, in eV/Å².

    In a crystal, atoms move with all their images (the Γ point). Not symmetrised: its asymmetry measures the error of the
    derivatives. Costs 3 × nodes backward passes; ``chunk`` of them are taken together, with as many times the memory (a
    number that suits the device when left out).
    Raises ``ValueError`` for a batch of several structures, which :func:`hessians` serves.

    >>> hessian(_springs, _dimer())[0, 2, :, 2].tolist()
    [1.0, -1.0]
    """
    if graph.num_graphs != 1:
        raise ValueError(f"hessian takes one structure, got a batch of {graph.num_graphs}: use hessians")
    return hessians(model, graph, chunk)[0]


def hessians(model: EnergyFunction, graph: Graph, chunk: int | None = None) -> list[Tensor]:
    """The Hessian (nodes, 3, nodes, 3) of each structure of a batch, in eV/Å²; one pass probes all structures at once.

    >>> from tesseral.graph import collate
    >>> [tuple(h.shape) for h in hessians(_springs, collate([_dimer(), _dimer()]))]
    [(2, 3, 2, 3), (2, 3, 2, 3)]
    """
    counts = graph.nodes_per_graph().tolist()
    starts = [sum(counts[:k]) for k in range(len(counts))]
    result = [graph.positions.new_zeros(3 * n, 3 * n, dtype=torch.float64) for n in counts]
    if graph.num_nodes == 0:
        return [block.reshape(0, 3, 0, 3) for block in result]
    chunk = min(_copies(graph) if chunk is None else max(chunk, 1), 3 * max(counts))
    products = _Products(model, graph, chunk)
    for columns in torch.arange(3 * max(counts)).split(chunk):
        probes = graph.positions.new_zeros(len(columns), graph.num_nodes, 3)
        for row, column in enumerate(columns.tolist()):
            for n, start in zip(counts, starts):
                if column < 3 * n:
                    probes[row, start + column // 3, column % 3] = 1
        rows = products(probes, create_graph=False).to(torch.float64)
        for block, n, start in zip(result, counts, starts):
            inside = columns[columns < 3 * n].to(block.device)
            block[inside] = rows[: len(inside), start : start + n].reshape(len(inside), 3 * n)
    return [block.reshape(n, 3, n, 3) for block, n in zip(result, counts)]


def asymmetry(hessian: Float[Tensor, "nodes 3 nodes 3"]) -> float:
    """Largest difference between the matrix and its transpose, in eV/Å²; zero up to rounding for an exact derivative.

    >>> asymmetry(hessian(_springs, _dimer()))
    0.0
    """
    return _largest(hessian - hessian.permute(2, 3, 0, 1))


def sum_rule_error(hessian: Float[Tensor, "nodes 3 nodes 3"]) -> float:
    r"""Largest violation of :math:`\sum_j H_{i\alpha j\beta} = 0` in eV/Å²: moving everything together costs nothing.

    >>> sum_rule_error(hessian(_springs, _dimer()))
    0.0
    """
    return _largest(hessian.sum(2))


def rotation_rule_error(
    hessian: Float[Tensor, "nodes 3 nodes 3"], positions: Float[Tensor, "nodes 3"], forces: Float[Tensor, "nodes 3"]
) -> float:
    r"""Largest violation in eV/Å of :math:`\sum_j H_{ij}\,(t\times r_j) + t\times F_i = 0`: turning a molecule turns its forces.

    Distances are taken from the centre of the molecule. Crystals obey no such rule at Γ.

    >>> rotation_rule_error(hessian(_springs, _dimer()), _dimer().positions, energy_and_forces(_springs, _dimer()).forces)
    0.0
    """
    axes = torch.eye(3, dtype=hessian.dtype, device=hessian.device)[:, None]
    turned = torch.linalg.cross(axes, (positions - positions.mean(0)).detach().to(hessian)[None])
    return _largest(torch.einsum("iajb,tjb->tia", hessian, turned) + torch.linalg.cross(axes, forces.to(hessian)[None]))


def impose_sum_rule(hessian: Float[Tensor, "nodes 3 nodes 3"]) -> Float[Tensor, "nodes 3 nodes 3"]:
    """The nearest symmetric matrix that obeys the sum rule, for Hessians from rounded or numerical derivatives.

    >>> noisy = hessian(_springs, _dimer()) + 0.01 * torch.eye(6).reshape(2, 3, 2, 3)
    >>> sum_rule_error(noisy) > 0.009, sum_rule_error(impose_sum_rule(noisy)) < 1e-15
    (True, True)
    """
    symmetric = 0.5 * (hessian + hessian.permute(2, 3, 0, 1))
    # P H P with P = 1 - (translations): both projections commute with symmetrisation.
    left = symmetric - symmetric.mean(0, keepdim=True)
    return left - left.mean(2, keepdim=True)


class _Products:
    """Forces with their graph, kept for any number of second passes backwards, each of which serves ``copies`` vectors.

    Several vectors at a time go through as many copies of the structures: faster where structures are small, and possible
    for every model, which vectorised derivatives are not.
    """

    def __init__(self, model: EnergyFunction, graph: Graph, copies: int = 1) -> None:
        positions = graph.positions
        # Where the caller differentiates through the positions their graph must stay; otherwise a fresh leaf will do.
        single = positions if positions.requires_grad else positions.detach()
        many = collate([graph.replace(positions=positions.detach(), labels={}, masks={})] * copies)
        with torch.enable_grad():
            self.positions = single.repeat(copies, 1)
            if not self.positions.requires_grad:
                self.positions.requires_grad_()
            self.forces = energy_and_forces(model, many.replace(positions=self.positions), create_graph=True).forces
        self.copies = copies

    def __call__(self, vectors: Tensor, create_graph: bool) -> Tensor:
        """Products with (up to ``copies``) vectors (probes, nodes, 3)."""
        if not self.forces.requires_grad:
            return torch.zeros_like(vectors)
        padding = vectors.new_zeros(self.copies - len(vectors), *vectors.shape[1:])
        (products,) = torch.autograd.grad(
            self.forces,
            self.positions,
            -torch.cat([vectors, padding]).reshape(-1, 3).to(self.forces.dtype),
            retain_graph=True,
            create_graph=create_graph,
            allow_unused=True,
            materialize_grads=True,
        )
        return products.reshape(self.copies, -1, 3)[: len(vectors)]


def _copies(graph: Graph) -> int:
    """As many copies of a graph as keep the device busy; measured on ethanol, 8 copies are 3 times as fast as one."""
    edges = 20000 if graph.device.type == "cuda" else 600
    return max(1, edges // max(graph.num_edges, 1))


def _largest(x: Tensor) -> float:
    return float(x.abs().max()) if x.numel() else 0.0
