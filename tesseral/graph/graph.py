"""The one data structure that models see: atoms, their cells and the directed edges between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.utils import _pytree as pytree


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    r"""One or several structures as a frozen dataclass of tensors, with lengths in Å.

    An edge carries a message from its source to its destination. Its vector is

    .. math:: \mathbf r_e = \mathbf r_{source} + \mathbf s_e\,C_{graph} - \mathbf r_{destination},

    where the integers :math:`\mathbf s_e` count the cell vectors (the rows of :math:`C`) to the periodic image of the source.
    Edges are sorted by destination, so that ``destination_pointers`` (CSR) delimits the edges that arrive at a node, and
    ``source_order`` (a stable argsort of the sources) is the order of the transposed graph.

    ``charge`` is the total charge in e, ``spin`` the number of unpaired electrons, ``field`` a homogeneous electric field in V/Å,
    ``weight`` the weight of a structure in the loss. ``labels`` holds what is known about the structures (energy, forces,
    ...), and ``masks``, under the same keys and along the first axis of the label, where it is known.

    The class is a pytree whose leaves are tensors, so a graph passes through ``torch.compile``, ``torch.export`` and
    ``torch.func``. Build it with :func:`tesseral.graph.build_graph` and :func:`tesseral.graph.collate`.

    >>> import ase
    >>> from tesseral.graph import build_graph
    >>> graph = build_graph(ase.Atoms("OH", positions=[(0, 0, 0), (0, 0, 1)]), cutoff=2.0)
    >>> graph
    Graph(nodes=2, edges=2, graphs=1)
    >>> graph.edge_vectors()  # seen from the destination: O looks up to H, H looks down to O
    tensor([[ 0.,  0.,  1.],
            [ 0.,  0., -1.]], dtype=torch.float64)
    """

    positions: Float[Tensor, "nodes 3"]
    species: Int64[Tensor, " nodes"]
    cell: Float[Tensor, "graphs 3 3"]
    pbc: Bool[Tensor, "graphs 3"]
    edge_index: Int64[Tensor, "2 edges"]
    shifts: Float[Tensor, "edges 3"]
    batch: Int64[Tensor, " nodes"]
    source_order: Int64[Tensor, " edges"]
    destination_pointers: Int64[Tensor, " nodes+1"]
    charge: Float[Tensor, " graphs"] | None = None
    spin: Float[Tensor, " graphs"] | None = None
    field: Float[Tensor, "graphs 3"] | None = None
    weight: Float[Tensor, " graphs"] | None = None
    labels: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    masks: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    @property
    def num_nodes(self) -> int:
        """The number of atoms."""
        return self.positions.shape[0]

    @property
    def num_edges(self) -> int:
        """The number of directed edges; a pair of neighbours counts twice."""
        return self.edge_index.shape[1]

    @property
    def num_graphs(self) -> int:
        """The number of structures."""
        return self.cell.shape[0]

    @property
    def source(self) -> Int64[Tensor, " edges"]:
        """The node each message comes from."""
        return self.edge_index[0]

    @property
    def destination(self) -> Int64[Tensor, " edges"]:
        """The node each message goes to, in ascending order."""
        return self.edge_index[1]

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.positions.device

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the positions."""
        return self.positions.dtype

    @property
    def volume(self) -> Float[Tensor, " graphs"]:
        """Volumes of the cells in Å³; zero for a structure without a cell."""
        a, b, c = self.cell.unbind(1)
        return torch.linalg.cross(a, b).mul(c).sum(-1).abs()

    def nodes_per_graph(self) -> Int64[Tensor, " graphs"]:
        """The number of atoms of each structure.

        >>> from tesseral.graph.graph import empty_graph
        >>> empty_graph().nodes_per_graph()
        tensor([0])
        """
        return self.batch.new_zeros(self.num_graphs).index_add(0, self.batch, torch.ones_like(self.batch))

    def edge_vectors(self) -> Float[Tensor, "edges 3"]:
        """Vectors in Å from the destination to the image of the source, differentiable in ``positions`` and ``cell``."""
        source, destination = self.edge_index.unbind(0)
        vectors = self.positions.index_select(0, source) - self.positions.index_select(0, destination)
        if self.num_graphs == 1:
            return vectors + self.shifts @ self.cell[0]
        cells = self.cell.index_select(0, self.batch.index_select(0, destination))
        return vectors + (self.shifts.unsqueeze(2) * cells).sum(1)

    def strained(self, strain: Float[Tensor, "graphs 3 3"]) -> Graph:
        r"""The same structures after a homogeneous deformation: positions and cells times :math:`1 + (ε + ε^T)/2`.

        The derivative of an energy with respect to ``strain`` at zero, over the volume, is the stress. Works without a cell too
        (the derivative is then the virial of the molecule).

        >>> from tesseral.graph.graph import empty_graph
        >>> empty_graph().strained(torch.zeros(1, 3, 3, dtype=torch.float64)).num_nodes
        0
        """
        symmetric = 0.5 * (strain + strain.transpose(1, 2))
        if self.num_graphs == 1:
            positions = self.positions + self.positions @ symmetric[0]
        else:
            positions = self.positions + (self.positions.unsqueeze(2) * symmetric.index_select(0, self.batch)).sum(1)
        return self.replace(positions=positions, cell=self.cell + self.cell @ symmetric)

    def replace(self, **changes: Any) -> Graph:
        """A copy with some fields exchanged; ``TypeError`` for a field that does not exist.

        >>> from tesseral.graph.graph import empty_graph
        >>> empty_graph().replace(charge=torch.ones(1)).charge
        tensor([1.])
        """
        return dataclasses.replace(self, **changes)

    def map(self, function: Callable[[Tensor], Tensor]) -> Graph:
        """The graph with ``function`` applied to every tensor in it."""
        values: dict[str, Any] = {}
        for name, value in self._fields():
            if isinstance(value, dict):
                values[name] = {key: function(tensor) for key, tensor in value.items()}
            elif value is not None:
                values[name] = function(value)
        return Graph(**values)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None, non_blocking: bool = False) -> Graph:
        """Move every tensor to ``device``; ``dtype`` changes floating-point tensors only, labels included.

        >>> from tesseral.graph.graph import empty_graph
        >>> empty_graph().to("cpu", torch.float32).positions.dtype
        torch.float32
        """
        return self.map(
            lambda x: x.to(device=device, dtype=dtype if x.is_floating_point() else None, non_blocking=non_blocking),
        )

    def pin_memory(self) -> Graph:
        """A copy in page-locked memory, which a ``DataLoader(pin_memory=True)`` asks for."""
        return self.map(lambda x: x.pin_memory())

    def check(self) -> Graph:
        """Return the graph itself, or raise ``ValueError`` with the first broken invariant.

        >>> from tesseral.graph.graph import empty_graph
        >>> empty_graph().check()
        Graph(nodes=0, edges=0, graphs=1)
        """
        nodes, edges = self.num_nodes, self.num_edges
        source, destination = self.edge_index
        problems = {
            "edge_index names a node that does not exist": edges
            and (int(self.edge_index.min()) < 0 or int(self.edge_index.max()) >= nodes),
            "edges are not sorted by destination": bool((destination.diff() < 0).any()),
            "batch is not sorted": bool((self.batch.diff() < 0).any()),
            "batch names a graph that does not exist": nodes
            and (int(self.batch[0]) < 0 or int(self.batch[-1]) >= self.num_graphs),
            "shifts are not whole numbers": bool((self.shifts != self.shifts.round()).any()),
            "a label has no mask, or a mask no label": self.labels.keys() != self.masks.keys(),
        }
        for sentence, broken in problems.items():
            if broken:
                raise ValueError(f"{sentence}: build graphs with build_graph and collate, which keep this order")
        if not torch.equal(self.source_order, torch.argsort(source, stable=True)):
            raise ValueError("source_order is not the stable argsort of the sources: build graphs with build_graph and collate")
        pointers = torch.searchsorted(destination.contiguous(), torch.arange(nodes + 1, device=self.device))
        if not torch.equal(self.destination_pointers, pointers):
            raise ValueError(
                "destination_pointers do not delimit the edges of each node: build graphs with build_graph and collate"
            )
        if edges and bool((self.batch[source] != self.batch[destination]).any()):
            raise ValueError("an edge joins two different structures: build graphs with build_graph and collate")
        return self

    def _fields(self) -> Iterator[tuple[str, Any]]:
        for name in FIELDS:
            yield name, getattr(self, name)

    def __repr__(self) -> str:
        labels = f", labels={sorted(self.labels)}" if self.labels else ""
        return f"Graph(nodes={self.num_nodes}, edges={self.num_edges}, graphs={self.num_graphs}{labels})"


FIELDS = tuple(field.name for field in dataclasses.fields(Graph))


def empty_graph(dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> Graph:
    """One structure without atoms, the neutral element in tests and shape calculations.

    >>> empty_graph()
    Graph(nodes=0, edges=0, graphs=1)
    """

    def real(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    def integer(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=device)

    return Graph(
        positions=real(0, 3),
        species=integer(0),
        cell=real(1, 3, 3),
        pbc=torch.zeros(1, 3, dtype=torch.bool, device=device),
        edge_index=integer(2, 0),
        shifts=real(0, 3),
        batch=integer(0),
        source_order=integer(0),
        destination_pointers=integer(1),
    )


# Absent optional fields are part of the structure, not leaves, so every leaf is a tensor (vmap and export insist on that).
def _flatten(graph: Graph) -> tuple[list[Any], list[str]]:
    present = [(name, value) for name, value in graph._fields() if value is not None]
    return [value for _, value in present], [name for name, _ in present]


def _flatten_with_keys(graph: Graph) -> tuple[list[tuple[Any, Any]], list[str]]:
    values, names = _flatten(graph)
    return [(pytree.GetAttrKey(name), value) for name, value in zip(names, values)], names


def _unflatten(values: Any, names: list[str]) -> Graph:
    # Transformations put placeholders where tensors belong, so this door stays open to anything.
    graph = object.__new__(Graph)
    filled = dict.fromkeys(FIELDS, None) | {"labels": {}, "masks": {}} | dict(zip(names, values))
    for name, value in filled.items():
        object.__setattr__(graph, name, value)
    return graph


pytree.register_pytree_node(
    Graph,
    _flatten,
    _unflatten,
    serialized_type_name="tesseral.graph.Graph",
    to_dumpable_context=list,
    from_dumpable_context=list,
    flatten_with_keys_fn=_flatten_with_keys,
)
# A graph holds tensors only, so files that contain one load with weights_only=True.
torch.serialization.add_safe_globals([Graph])
