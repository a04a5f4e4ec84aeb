"""A crystal unrolled: the atoms of one cell, and all of their images that matter, as the atoms of a cluster."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from tesseral.graph import Graph


@dataclasses.dataclass(frozen=True, eq=False)
class Unrolled:
    r"""A cluster whose node a is the image of atom ``atoms[a]`` in the cell ``shifts[a]``, ``hops[a]`` edges away from the cell.

    Nodes are sorted by hops, so the first ``len(home)`` are the atoms of the cell itself. Nodes of the last hop receive no
    messages: they are only there to be seen by those before them.
    """

    graph: Graph
    home: Graph
    atoms: Int64[Tensor, " nodes"]
    shifts: Int64[Tensor, "nodes 3"]
    hops: Int64[Tensor, " nodes"]

    def count(self, hops: int) -> int:
        """How many nodes lie within ``hops`` edges of the cell; they come first."""
        return int((self.hops <= hops).sum())


def unroll(crystal: Graph, hops: int) -> Unrolled:
    """Images of the atoms of a periodic graph up to ``hops`` edges away from the cell, with explicit positions and no cell.

    In a model whose atoms see ``hops`` edges far, the energies of the cell's atoms in the cluster equal those in the
    crystal exactly. Raises ``ValueError`` for a batch of structures.

    >>> import ase
    >>> from tesseral.graph import build_graph
    >>> chain = build_graph(ase.Atoms("H", cell=[1, 0, 0], pbc=(True, False, False)), cutoff=1.5)
    >>> unroll(chain, 2).shifts[:, 0].tolist()
    [0, -1, 1, -2, 2]
    """
    if crystal.num_graphs != 1:
        raise ValueError(f"unroll takes one structure, got a batch of {crystal.num_graphs}: unroll its parts (graph.split)")
    device = crystal.device
    source = crystal.source.cpu().numpy()
    steps = crystal.shifts.round().to(torch.int64).cpu().numpy()
    pointers = crystal.destination_pointers.cpu().numpy()
    n = crystal.num_nodes
    reach = 1 + hops * int(np.abs(steps).max(initial=0))
    key = _Key(n, reach)

    atoms, shifts = np.arange(n), np.zeros((n, 3), dtype=np.int64)
    known = [key(atoms, shifts)]
    depth, frontier = [np.zeros(n, dtype=np.int64)], known[0]
    edges = []  # (key of the source, key of the destination)
    for hop in range(1, hops + 1):
        atoms, shifts = key.inverse(frontier)
        counts = pointers[atoms + 1] - pointers[atoms]
        edge = np.repeat(pointers[atoms] - np.concatenate([[0], counts.cumsum()[:-1]]), counts) + np.arange(counts.sum())
        arriving = key(source[edge], np.repeat(shifts, counts, axis=0) + steps[edge])
        edges.append((arriving, np.repeat(frontier, counts)))
        frontier = np.setdiff1d(arriving, np.concatenate(known))
        known.append(frontier)
        depth.append(np.full(len(frontier), hop))
    nodes = np.concatenate(known)
    atoms, shifts = key.inverse(nodes)
    numbers = np.argsort(nodes)
    ends = [np.concatenate([pair[end] for pair in edges]) if edges else np.zeros(0, dtype=np.int64) for end in (0, 1)]
    edge_index = torch.from_numpy(np.stack([numbers[np.searchsorted(nodes[numbers], end)] for end in ends]).astype(np.int64))
    atom, shift = torch.from_numpy(atoms).to(device), torch.from_numpy(shifts).to(device)
    edge_index = edge_index.to(device)
    graph = crystal.replace(
        positions=crystal.positions.detach()[atom] + shift.to(crystal.dtype) @ crystal.cell[0],
        species=crystal.species[atom],
        cell=torch.zeros_like(crystal.cell),
        pbc=torch.zeros_like(crystal.pbc),
        edge_index=edge_index,
        shifts=crystal.positions.new_zeros(edge_index.shape[1], 3),
        batch=torch.zeros_like(atom),
        source_order=torch.argsort(edge_index[0], stable=True),
        destination_pointers=torch.searchsorted(edge_index[1].contiguous(), torch.arange(len(atom) + 1, device=device)),
        labels={},
        masks={},
    )
    return Unrolled(graph, crystal, atom, shift, torch.from_numpy(np.concatenate(depth)).to(device))


class _Key:
    """One integer for an atom and the cell it lies in, so that sets of images are sets of integers."""

    def __init__(self, atoms: int, reach: int) -> None:
        self.atoms, self.span, self.reach = max(atoms, 1), 2 * reach + 1, reach

    def __call__(self, atoms: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        x, y, z = (shifts + self.reach).T
        return ((x * self.span + y) * self.span + z) * self.atoms + atoms

    def inverse(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cells, atoms = np.divmod(keys, self.atoms)
        rest, z = np.divmod(cells, self.span)
        x, y = np.divmod(rest, self.span)
        return atoms, np.stack([x, y, z], 1) - self.reach
