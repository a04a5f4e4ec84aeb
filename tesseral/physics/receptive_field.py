"""How far information travels in a model, in steps along the edges of its graph: measured, not declared."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import ase
import numpy as np
import torch
from jaxtyping import Int
from scipy.sparse import coo_array
from torch import Tensor

from tesseral.graph import Graph, build_graph


@runtime_checkable
class LocalModel(Protocol):
    """A model whose energy is a sum over atoms, each of which sees its neighbours within ``cutoff`` (Å), and theirs."""

    @property
    def cutoff(self) -> Any:
        """Length of the edges, in Å."""

    @property
    def species(self) -> Any:
        """Atomic numbers that the model knows."""

    def node_energies(self, graph: Graph) -> Tensor:
        """Energy of each atom, in eV."""

    def __call__(self, graph: Graph) -> Tensor:
        """Energy of each structure, in eV."""


def receptive_hops(model: LocalModel, limit: int = 8) -> int:
    """The number of edges between an atom and the farthest atom on which its energy depends: 1 for a pair potential, the number
    of layers for message passing.

    Measured on a crooked chain in which each atom touches only the next: the gradient of an atom's energy is exactly zero
    beyond its receptive field. ``model`` has a ``cutoff`` (Å), ``species`` and ``node_energies``. Raises ``ValueError`` for a
    model that reaches beyond ``limit`` edges, as global attention and long-range electrostatics do.

    >>> from tesseral.nn.pair import ZBL
    >>> receptive_hops(ZBL(4.0, (14,)))
    1
    """
    cutoff, species = float(model.cutoff), tuple(model.species)
    length = 2 * limit + 3
    random = np.random.default_rng(0)
    positions = 0.05 * cutoff * random.standard_normal((length, 3)).clip(-1, 1)
    positions[:, 0] += 0.62 * cutoff * np.arange(length)
    chain = build_graph(ase.Atoms([species[k % len(species)] for k in range(length)], positions), cutoff)
    chain = chain.to(device_of(model, torch.device("cpu")))
    chain.positions.requires_grad_()
    middle = length // 2
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(model.node_energies(chain)[middle], chain.positions, allow_unused=True)
    if slope is None:
        return 0
    touched = torch.nonzero(slope.abs().sum(1)).flatten()
    hops = int((touched - middle).abs().max()) if len(touched) else 0
    if hops > limit:
        raise ValueError(
            f"the energy of an atom depends on atoms more than {limit} neighbours away; such a model cannot be unrolled. Take "
            "the Hessian of a large supercell instead, or leave its long-range term out"
        )
    return hops


def device_of(model: Any, otherwise: torch.device) -> torch.device:
    """Where a model computes; ``otherwise`` for one without tensors."""
    tensors = model.state_dict().values() if isinstance(model, torch.nn.Module) else ()
    return next((tensor.device for tensor in tensors), otherwise)


def hop_neighbors(graph: Graph, hops: int) -> Int[Tensor, "2 pairs"]:
    """All pairs of atoms (i, j) that at most ``hops`` edges separate, an atom and itself included, sorted by i and then j.

    >>> import ase
    >>> chain = build_graph(ase.Atoms("H4", positions=[(x, 0, 0) for x in range(4)]), 1.5)
    >>> hop_neighbors(chain, 2)[1, :3].tolist()
    [0, 1, 2]
    """
    nodes = graph.num_nodes
    here = np.arange(nodes)
    source, destination = graph.edge_index.cpu().numpy()
    ones = np.ones(graph.num_edges + nodes, dtype=np.int8)
    step = coo_array((ones, (np.concatenate([destination, here]), np.concatenate([source, here]))), shape=(nodes, nodes)).tocsr()
    reached = coo_array((np.ones(nodes, dtype=np.int8), (here, here)), shape=(nodes, nodes)).tocsr()
    for _ in range(hops):
        reached = reached @ step
        reached.data[:] = 1  # counts of walks would overflow
    reached.sort_indices()
    i, j = reached.nonzero()
    order = np.lexsort((j, i))
    return torch.from_numpy(np.stack([i[order], j[order]]).astype(np.int64))
