r"""One process's share of a large structure: its own atoms, those of its neighbours that matter, and forces sent home.

A process that owns some atoms computes :math:`E_p = \sum_{i\ \mathrm{owned}} E_i`. A model of L layers sees L neighbourhoods far,
so :math:`E_p` depends on a *halo* of atoms at most L edges away. Its gradient on the halo belongs to other processes:
:class:`Exchange` sends it home, where it is added, so that the forces are the exact derivative of :math:`\sum_p E_p`.
Images of one atom are one node of a periodic graph: a direction that is not divided costs no halo.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tesseral.graph import Graph, find_neighbors, prune
from tesseral.graph.neighbors import complete_cell
from tesseral.nn.pair import Sum
from tesseral.physics.forces import energy_and_forces

LONGEST = 16  # layers that the probe of a model can tell apart


class DomainError(RuntimeError):
    """A domain that cannot be computed correctly; the message says what to change."""


def layers_of(model: Any) -> int:
    """How many edges away an atom can be and still matter to the energy of another, found by differentiating along a chain.

    Works for any architecture. Raises ``ValueError`` for a model that sees more than 15 edges far, as one with long-range
    electrostatics does.

    >>> from tesseral.nn.pair import ZBL
    >>> layers_of(ZBL(4.0, (29,)))
    1
    """
    if isinstance(model, Sum):
        return max(layers_of(term) for term in model.terms)
    count, step = LONGEST + 1, 0.6 * float(model.cutoff)
    positions = np.zeros((count, 3))
    # A chain that bends, so that no symmetry makes a derivative vanish; only successive atoms are neighbours.
    positions[:, 0] = step * np.arange(count)
    positions[:, 1:] = 0.05 * step * np.random.default_rng(0).normal(size=(count, 2))
    edge_index, shifts = find_neighbors(positions, np.zeros((3, 3)), np.zeros(3, dtype=bool), float(model.cutoff))
    species = np.resize(np.array(model.species), count)
    graph = make_graph(positions, species, np.zeros((3, 3)), np.zeros(3, dtype=bool), edge_index, shifts).to(_device(model))
    forces = energy_and_forces(lambda g: model.node_energies(g)[:1], graph).forces
    felt = torch.nonzero(forces.abs().sum(1)).flatten().tolist()
    layers = max([1, *felt])
    if layers >= LONGEST:
        raise ValueError(f"{type(model).__name__} sees more than {LONGEST - 1} cutoffs far, so it cannot be divided in space")
    return layers


def make_graph(
    positions: Float[np.ndarray, "nodes 3"],
    species: Int[np.ndarray, " nodes"],
    cell: Float[np.ndarray, "3 3"],
    pbc: Any,
    edge_index: Int[np.ndarray, "2 edges"],
    shifts: Any,
) -> Graph:
    """A graph from edges that are known already, sorted by destination."""
    pointers = np.searchsorted(edge_index[1], np.arange(len(positions) + 1))
    return Graph(
        positions=torch.from_numpy(np.array(positions, dtype=np.float64)),
        species=torch.from_numpy(np.array(species, dtype=np.int64)),
        cell=torch.from_numpy(np.array(cell, dtype=np.float64)[None]),
        pbc=torch.from_numpy(np.array(pbc, dtype=bool)[None]),
        edge_index=torch.from_numpy(np.ascontiguousarray(edge_index, dtype=np.int64)),
        shifts=torch.from_numpy(np.array(shifts, dtype=np.float64)),
        batch=torch.zeros(len(positions), dtype=torch.int64),
        source_order=torch.from_numpy(np.argsort(edge_index[0], kind="stable")),
        destination_pointers=torch.from_numpy(pointers.astype(np.int64)),
    )


class Domain:
    """The part of a structure that one process needs, built when neighbours are searched and moved at every step.

    ``tags`` number the atoms of the whole structure: the first ``owned`` rows are the process's own, the others images within
    ``layers * (cutoff + skin)`` (Å) of them. ``nodes`` are the rows that became nodes of the graph: owned ones, then the halo.

    >>> from tesseral.nn.pair import ZBL
    >>> at = np.array([[0.0, 0, 0], [1, 0, 0], [2.4, 0, 0], [5, 0, 0]])
    >>> cell, pbc = np.diag([9.0, 9, 9]), np.ones(3, dtype=bool)
    >>> domain = Domain(ZBL(1.5, (29,)), np.arange(4), np.full(4, 29), at, cell, pbc, owned=1, skin=0.1)
    >>> domain.nodes.tolist()
    [0, 1]
    """

    def __init__(
        self,
        model: Any,
        tags: Int[np.ndarray, " rows"],
        species: Int[np.ndarray, " rows"],
        positions: Float[np.ndarray, "rows 3"],
        cell: Float[np.ndarray, "3 3"],
        pbc: Any,
        *,
        owned: int,
        skin: float,
        layers: int | None = None,
    ) -> None:
        self.model, self.owned, self.skin = model, owned, skin
        self.layers = layers_of(model) if layers is None else layers
        _, first = np.unique(tags, return_index=True)
        rows = np.sort(first)  # the first row of a tag is the owned one where there is one
        self._start, self._cell, self._pbc = positions[:].copy(), cell.copy(), np.asarray(pbc, dtype=bool)
        edge_index, shifts = find_neighbors(positions[rows], cell, self._pbc, float(model.cutoff) + skin)
        near, kept = (x.numpy() for x in surroundings(torch.from_numpy(edge_index), len(rows), owned, self.layers))
        number = np.cumsum(near) - 1
        self.nodes = rows[near]
        self.graph = make_graph(
            positions[self.nodes], species[self.nodes], cell, self._pbc, number[edge_index[:, kept]], shifts[kept]
        ).to(_device(model))

    @property
    def halo(self) -> Int[np.ndarray, " halo"]:
        """Rows of the atoms of other processes that matter here."""
        return self.nodes[self.owned :]

    def evaluate(
        self, positions: Float[np.ndarray, "rows 3"], cell: Float[np.ndarray, "3 3"]
    ) -> tuple[float, Float[np.ndarray, "nodes 3"], Float[np.ndarray, "3 3"]]:
        """Energy of the owned atoms (eV), minus its gradient on every node (eV/Å), and its virial -dE/dε (eV).

        Raises :class:`DomainError` when an atom has moved so far since the neighbours were searched that some could be missing.
        """
        self._check(positions, cell)
        place = torch.from_numpy(np.ascontiguousarray(positions[self.nodes]))
        graph = self.graph.replace(
            positions=place.to(self.graph.device), cell=torch.from_numpy(np.array(cell)[None]).to(self.graph.device)
        )
        near = torch.ones(graph.num_nodes, dtype=torch.bool, device=graph.device)
        whole = graph
        if self.skin > 0:  # what is in the skin costs nothing at this step
            graph = prune(graph, float(self.model.cutoff))
            if self.owned < graph.num_nodes:
                graph, near = _shrink(graph, self.owned, self.layers)
        # The strain is made here and not asked for as stress, because a cluster has a virial and no stress.
        with torch.enable_grad():
            place, strain = graph.positions.requires_grad_(), torch.zeros_like(graph.cell).requires_grad_()
            energies = self.model.node_energies(graph.replace(positions=place).strained(strain))
            energy = energies[: self.owned].sum()
            slope, tension = torch.autograd.grad(energy, (place, strain), allow_unused=True, materialize_grads=True)
        forces = torch.zeros_like(whole.positions)
        forces[near] = -slope
        return float(energy.detach()), forces.cpu().numpy(), -tension[0].cpu().numpy()

    def _check(self, positions: Float[np.ndarray, "rows 3"], cell: Float[np.ndarray, "3 3"]) -> None:
        stretch, displacement = 1.0, positions - self._start
        if not np.array_equal(cell, self._cell) and self._pbc.any():
            deformation = np.linalg.solve(complete_cell(self._cell, self._pbc), complete_cell(cell, self._pbc))
            stretch = float(np.linalg.svd(deformation, compute_uv=False)[-1])
            displacement = positions - self._start @ deformation
        moved = float(np.sqrt((displacement**2).sum(1).max(initial=0.0)))
        cutoff = float(self.model.cutoff)
        if not (cutoff + self.skin) * stretch - 2 * moved >= cutoff:  # also when a position is not finite
            raise DomainError(
                f"an atom has moved by {moved:.2f} Å since the neighbours were searched, too far for a skin of "
                f"{self.skin:.2f} Å: search in time (`neigh_modify delay 0 every 1 check yes`), or look for an explosion"
            )


class Exchange:
    """Where the forces on halo atoms go: a plan made when neighbours are searched, carried out at every step.

    ``comm`` is an mpi4py communicator. Raises :class:`DomainError` when an atom of the halo is owned by nobody.
    """

    def __init__(self, comm: Any, owned_tags: Int[np.ndarray, " owned"], halo_tags: Int[np.ndarray, " halo"]) -> None:
        self.comm = comm
        if comm.size == 1:
            return
        everyone = comm.allgather(np.asarray(owned_tags, dtype=np.int64))
        tags = np.concatenate(everyone)
        owner = np.repeat(np.arange(comm.size), [len(part) for part in everyone])
        order = np.argsort(tags, kind="stable")
        place = np.minimum(np.searchsorted(tags[order], halo_tags), len(tags) - 1)
        if not np.array_equal(tags[order][place], halo_tags):
            raise DomainError("an atom of the halo is owned by no process: atoms were lost")
        home = owner[order][place]
        self.sending = np.argsort(home, kind="stable")
        self.sent = np.bincount(home, minlength=comm.size)
        wanted = np.split(np.asarray(halo_tags, dtype=np.int64)[self.sending], np.cumsum(self.sent)[:-1])
        arriving = comm.alltoall(wanted)
        mine = np.argsort(owned_tags, kind="stable")
        sorted_tags = np.asarray(owned_tags)[mine]
        self.rows = [mine[np.searchsorted(sorted_tags, part)] if len(part) else np.zeros(0, dtype=np.int64) for part in arriving]
        self.received = np.array([len(part) for part in arriving])

    def add_home(self, forces: Float[np.ndarray, "owned 3"], halo: Float[np.ndarray, "halo 3"]) -> None:
        """Send the rows of ``halo`` to the owners of their atoms and add what arrives here to ``forces``, in place."""
        if self.comm.size == 1:
            return
        outgoing = np.ascontiguousarray(halo[self.sending])
        incoming = np.empty((int(self.received.sum()), 3))
        self.comm.Alltoallv([outgoing, 3 * self.sent], [incoming, 3 * self.received])
        start = 0
        for rows in self.rows:
            forces[rows] += incoming[start : start + len(rows)]
            start += len(rows)


def surroundings(edge_index: Tensor, nodes: int, owned: int, layers: int) -> tuple[Tensor, Tensor]:
    """Which nodes the first ``owned`` ones see through ``layers`` edges, and which edges carry what they see (boolean).

    >>> surroundings(torch.tensor([[1, 0, 2, 1, 3, 2], [0, 1, 1, 2, 2, 3]]), nodes=4, owned=1, layers=2)
    (tensor([ True,  True,  True, False]), tensor([ True,  True,  True, False, False, False]))
    """
    source, destination = edge_index
    near = torch.arange(nodes, device=edge_index.device) < owned
    kept = torch.zeros_like(source, dtype=torch.bool)
    for _ in range(layers):
        kept = near[destination]
        near = near.clone()
        near[source[kept]] = True
    return near, kept


def _shrink(graph: Graph, owned: int, layers: int) -> tuple[Graph, Tensor]:
    """The part of a graph that matters to its first nodes, and which nodes those are."""
    near, kept = surroundings(graph.edge_index, graph.num_nodes, owned, layers)
    number = torch.cumsum(near, 0) - 1
    position = torch.cumsum(kept, 0)
    before = torch.cat([position.new_zeros(1), position])
    order = graph.source_order[kept[graph.source_order]]  # numbers stay in order, so nothing is sorted again
    smaller = graph.replace(
        positions=graph.positions[near],
        species=graph.species[near],
        batch=graph.batch[near],
        edge_index=number[graph.edge_index[:, kept]],
        shifts=graph.shifts[kept],
        source_order=position[order] - 1,
        destination_pointers=torch.cat([before[graph.destination_pointers[:-1][near]], before[-1:]]),
    )
    return smaller, near


def _device(model: Any) -> torch.device:
    tensors = (*model.parameters(), *model.buffers()) if isinstance(model, torch.nn.Module) else ()
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
