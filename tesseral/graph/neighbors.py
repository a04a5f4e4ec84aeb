"""Neighbour lists: which atoms, in which periodic images, lie within the cutoff of each atom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from vesin import NeighborList

from tesseral.graph.graph import Graph


@runtime_checkable
class Structure(Protocol):
    """Anything with atoms in a cell: ``ase.Atoms``, ``tesseral.data.Frame``, or an object of your own."""

    @property
    def positions(self) -> Any:
        """Positions (nodes, 3) in Å."""

    @property
    def numbers(self) -> Any:
        """Atomic numbers (nodes,)."""

    @property
    def cell(self) -> Any:
        """Cell vectors in the rows of a (3, 3) array, in Å."""

    @property
    def pbc(self) -> Any:
        """Which of the three cell vectors repeat."""


def complete_cell(cell: Float[np.ndarray, "3 3"], pbc: Bool[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """A cell of full rank: vectors that do not repeat become unit vectors normal to those that do.

    Raises ``ValueError`` when the vectors that repeat are linearly dependent.

    >>> complete_cell(np.diag([0.0, 2.0, 3.0]), np.array([False, True, True]))
    array([[1., 0., 0.],
           [0., 2., 0.],
           [0., 0., 3.]])
    """
    completed = np.where(pbc[:, None], cell, 0.0)
    periodic = completed[pbc]
    lengths = np.linalg.norm(periodic, axis=1)
    if len(periodic) and (np.any(lengths < 1e-6) or np.linalg.svd(periodic / lengths[:, None], compute_uv=False)[-1] < 1e-6):
        raise ValueError(
            f"pbc is {pbc.tolist()} but the cell {cell.tolist()} spans no volume along those directions: "
            "set the cell, or set pbc to False along the directions that do not repeat"
        )
    missing = np.flatnonzero(~pbc)
    if len(periodic) < 3:
        normals = np.linalg.svd(periodic)[2][len(periodic) :] if len(periodic) else np.eye(3)
        completed[missing] = normals * np.where(normals.sum(1) < 0, -1.0, 1.0)[:, None]
    return completed


def find_neighbors(
    positions: Float[np.ndarray, "nodes 3"],
    cell: Float[np.ndarray, "3 3"],
    pbc: Bool[np.ndarray, "3"],
    cutoff: float | int,
) -> tuple[Int64[np.ndarray, "2 edges"], Int64[np.ndarray, "edges 3"]]:
    """All directed pairs (source, destination) closer than ``cutoff`` in Å, and the cell shifts of the source.

    The list is full (each pair in both directions), contains an atom's own images, and its order depends on nothing but the
    structure: by destination, then source, then shift. Positions need not lie inside the cell. Raises ``ValueError``
    for a cutoff that is not positive, positions that are not finite, and periodic directions without a cell vector.

    >>> edge_index, shifts = find_neighbors(np.zeros((1, 3)), np.diag([2.0, 9, 9]), np.array([True] * 3), cutoff=3.0)
    >>> edge_index.tolist(), shifts.tolist()
    ([[0, 0], [0, 0]], [[-1, 0, 0], [1, 0, 0]])
    """
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise ValueError(f"the cutoff is {cutoff}, expected a positive length in Å")
    if not np.isfinite(positions).all() or not np.isfinite(cell).all():
        raise ValueError("positions or cell hold NaN or inf: remove the structure, or find where it was written")
    box = complete_cell(cell, pbc)
    if len(positions) == 0:
        return np.zeros((2, 0), dtype=np.int64), np.zeros((0, 3), dtype=np.int64)
    search = NeighborList(cutoff=cutoff, full_list=True)
    destination, source, shifts = search.compute(np.ascontiguousarray(positions, dtype=np.float64), box, pbc, "ijS")
    edge_index = np.stack([source, destination]).astype(np.int64)
    order = _canonical_order(edge_index, shifts.astype(np.int64), len(positions))
    return edge_index[:, order], shifts[order].astype(np.int64)


def _canonical_order(
    edge_index: Int64[np.ndarray, "2 edges"], shifts: Int64[np.ndarray, "edges 3"], nodes: int
) -> Int64[np.ndarray, " edges"]:
    if edge_index.shape[1] == 0:
        return np.zeros(0, dtype=np.int64)
    low = shifts.min(0)
    spans = shifts.max(0) - low + 1
    columns = [edge_index[1], edge_index[0], *(shifts - low).T]
    sizes = [nodes, nodes, *spans.tolist()]
    if float(np.prod([float(size) for size in sizes])) > 2.0**62:
        return np.lexsort(columns[::-1])
    key = np.zeros(edge_index.shape[1], dtype=np.int64)
    for column, size in zip(columns, sizes):
        key = key * size + column
    return np.argsort(key, kind="stable")


def build_graph(
    structure: Structure,
    cutoff: float | int,
    *,
    labels: Mapping[str, Any] | None = None,
    charge: float | int | None = None,
    spin: float | int | None = None,
    field: Any = None,
    weight: float | int | None = None,
    dtype: torch.dtype = torch.float64,
) -> Graph:
    """The graph of one structure, every atom connected to all images within ``cutoff`` (Å).

    ``labels`` are known properties without a leading graph axis (energy (), forces (nodes, 3), stress (3, 3), ...), in
    eV and Å. NaN marks what is unknown: it becomes a zero whose mask is False. ``charge`` in e, ``spin`` as the number
    of unpaired electrons, ``field`` in V/Å. Raises ``ValueError`` as :func:`find_neighbors` does.

    >>> import ase.build
    >>> build_graph(ase.build.bulk("Cu"), cutoff=3.0, labels={"energy": -3.7})
    Graph(nodes=1, edges=12, graphs=1, labels=['energy'])
    """
    positions = np.array(structure.positions, dtype=np.float64).reshape(-1, 3)
    species = np.array(structure.numbers, dtype=np.int64).reshape(-1)
    cell = np.array(structure.cell, dtype=np.float64).reshape(3, 3)
    pbc = np.array(structure.pbc, dtype=bool).reshape(-1) & np.ones(3, dtype=bool)
    nodes = len(positions)
    if len(species) != nodes:
        raise ValueError(f"{len(species)} atomic numbers for {nodes} positions")
    edge_index, shifts = find_neighbors(positions, cell, pbc, cutoff)

    def scalar(value: float | int | None) -> Tensor | None:
        return None if value is None else torch.tensor([float(value)], dtype=dtype)

    label_tensors, masks = {}, {}
    for key, value in (labels or {}).items():
        label_tensors[key], masks[key] = _label(key, value, nodes, dtype)
    return Graph(
        positions=torch.from_numpy(positions).to(dtype),
        species=torch.from_numpy(species),
        cell=torch.from_numpy(cell[None]).to(dtype),
        pbc=torch.from_numpy(pbc[None]),
        shifts=torch.from_numpy(shifts).to(dtype),
        batch=torch.zeros(nodes, dtype=torch.int64),
        **_orders(edge_index, nodes),
        charge=scalar(charge),
        spin=scalar(spin),
        field=None if field is None else torch.tensor(np.asarray(field), dtype=dtype).reshape(1, 3),
        weight=scalar(weight),
        labels=label_tensors,
        masks=masks,
    )


def _orders(edge_index: Int64[np.ndarray, "2 edges"], nodes: int) -> dict[str, Tensor]:
    pointers = np.zeros(nodes + 1, dtype=np.int64)
    np.cumsum(np.bincount(edge_index[1], minlength=nodes), out=pointers[1:])
    return {
        "edge_index": torch.from_numpy(np.ascontiguousarray(edge_index)),
        "source_order": torch.from_numpy(np.argsort(edge_index[0], kind="stable")),
        "destination_pointers": torch.from_numpy(pointers),
    }


# The labels that belong to atoms; any other label belongs to the structure.
NODE_LABELS = frozenset({"forces", "charges", "magmoms", "atomic_energies", "atomic_dipoles", "born_charges", "displacements"})


def _label(key: str, value: Any, nodes: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    array = np.array(value, dtype=np.float64)
    if key in NODE_LABELS:
        if array.shape[:1] != (nodes,):
            raise ValueError(f"the label {key!r} has shape {array.shape}, expected one row for each of the {nodes} atoms")
    else:
        array = array[None]
    unknown = np.isnan(array)
    known = ~unknown.reshape(len(array), -1).any(1) if array.size else np.ones(len(array), dtype=bool)
    array[~known] = 0.0
    return torch.from_numpy(array).to(dtype), torch.from_numpy(known)


def prune(graph: Graph, cutoff: float | int) -> Graph:
    """The graph without the edges of ``cutoff`` (Å) or longer; all orders stay valid.

    >>> import ase
    >>> chain = build_graph(ase.Atoms("H3", positions=[(0, 0, 0), (0, 0, 1), (0, 0, 2)]), cutoff=2.5)
    >>> chain.num_edges, prune(chain, 1.5).num_edges
    (6, 4)
    """
    with torch.no_grad():
        vectors = graph.edge_vectors()
        keep = (vectors * vectors).sum(1) < cutoff * cutoff
        position = torch.cumsum(keep, 0)
        before = torch.cat([position.new_zeros(1), position])
        order = graph.source_order[keep[graph.source_order]]
    return graph.replace(
        edge_index=graph.edge_index[:, keep],
        shifts=graph.shifts[keep],
        source_order=position[order] - 1,
        destination_pointers=before[graph.destination_pointers],
    )


class SkinNeighborList:
    r"""A neighbour list for molecular dynamics and relaxation, searched anew only when an atom could have crossed the skin.

    The search uses ``cutoff + skin`` (Å). Let the cell deform by :math:`F` (``cell_now = cell_then F``) and :math:`δ_i` be
    the displacement of atom i beyond that deformation. No pair outside the list can have come closer than the cutoff while

    .. math:: (cutoff + skin)\,σ_{min}(F) - 2\max_i|δ_i| \ge cutoff,

    which for a constant cell is the usual "no atom moved more than skin/2". With ``exact`` (the default) edges longer
    than the cutoff are left out of the graph; without it they stay, for models whose smooth cutoff removes them anyway.

    >>> import ase
    >>> neighbors = SkinNeighborList(cutoff=2.0, skin=1.0)
    >>> atoms = ase.Atoms("H2", positions=[(0, 0, 0), (0, 0, 2.5)])
    >>> neighbors(atoms).num_edges
    0
    >>> atoms.positions[1, 2] = 1.9
    >>> neighbors(atoms).num_edges, neighbors.searches
    (2, 2)
    >>> atoms.positions[1, 2] = 2.1
    >>> neighbors(atoms).num_edges, neighbors.searches
    (0, 2)
    """

    def __init__(self, cutoff: float | int, skin: float | int = 0.5, exact: bool = True) -> None:
        if not skin >= 0:
            raise ValueError(f"the skin is {skin}, expected a length in Å that is not negative")
        self.cutoff = cutoff
        self.skin = skin
        self.exact = exact
        self.searches = 0
        self._reference: Graph | None = None

    def __call__(self, structure: Structure, **extra: Any) -> Graph:
        """The graph of ``structure`` now; ``extra`` goes to :func:`build_graph` when the list is searched anew."""
        positions = np.array(structure.positions, dtype=np.float64).reshape(-1, 3)
        cell = np.array(structure.cell, dtype=np.float64).reshape(3, 3)
        if self._reference is None or not self._covers(self._reference, structure, positions, cell):
            self._reference = build_graph(structure, self.cutoff + self.skin, **extra)
            self.searches += 1
        graph = self._reference.replace(
            positions=torch.from_numpy(positions).to(self._reference.dtype),
            cell=torch.from_numpy(cell[None]).to(self._reference.dtype),
        )
        return prune(graph, self.cutoff) if self.exact and self.skin > 0 else graph

    def _covers(
        self, reference: Graph, structure: Structure, positions: Float[np.ndarray, "nodes 3"], cell: Float[np.ndarray, "3 3"]
    ) -> bool:
        numbers = np.asarray(structure.numbers)
        pbc = np.array(structure.pbc, dtype=bool).reshape(-1) & np.ones(3, dtype=bool)
        if not np.array_equal(numbers, reference.species.numpy()) or not np.array_equal(pbc, reference.pbc[0].numpy()):
            return False
        then = reference.cell[0].numpy()
        before = reference.positions.numpy()
        if np.array_equal(then, cell) or not pbc.any():
            stretch, displacement = 1.0, positions - before
        else:
            deformation = np.linalg.solve(complete_cell(then, pbc), complete_cell(cell, pbc))
            stretch = np.linalg.svd(deformation, compute_uv=False)[-1]
            displacement = positions - before @ deformation
        moved = np.sqrt((displacement**2).sum(1).max(initial=0.0))
        return bool((self.cutoff + self.skin) * stretch - 2 * moved >= self.cutoff)
