"""Many graphs as one, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tesseral.graph.graph import Graph
from tesseral.graph.neighbors import NODE_LABELS


def collate(graphs: Sequence[Graph]) -> Graph:
    """One graph that holds all ``graphs``, without edges between them.

    Labels are the union of all labels: where a graph lacks one, the label is zero and its mask False. A missing ``charge``,
    ``spin`` or ``field`` becomes zero and a missing ``weight`` one, when another graph has it. Graphs may themselves be
    batches. Raises ``ValueError`` for an empty list, and for labels whose shapes disagree.

    >>> import ase
    >>> from tesseral.graph import build_graph
    >>> water = build_graph(ase.Atoms("OH2", positions=[(0, 0, 0), (0.8, 0.6, 0), (-0.8, 0.6, 0)]), 2.0, labels={"energy": -14.2})
    >>> helium = build_graph(ase.Atoms("He"), 2.0)
    >>> batch = collate([water, helium])
    >>> batch
    Graph(nodes=4, edges=6, graphs=2, labels=['energy'])
    >>> batch.labels["energy"].tolist(), batch.masks["energy"].tolist()
    ([-14.2, 0.0], [True, False])
    """
    if len(graphs) == 0:
        raise ValueError("collate got an empty list: a batch needs at least one graph")
    if len(graphs) == 1:
        return graphs[0]
    device = graphs[0].device
    nodes = torch.tensor([graph.num_nodes for graph in graphs], device=device)
    edges = torch.tensor([graph.num_edges for graph in graphs], device=device)
    structures = torch.tensor([graph.num_graphs for graph in graphs], device=device)
    node_offsets, edge_offsets, graph_offsets = (counts.cumsum(0) - counts for counts in (nodes, edges, structures))
    num_nodes = sum(graph.num_nodes for graph in graphs)
    num_edges = sum(graph.num_edges for graph in graphs)
    by_edge = torch.repeat_interleave(torch.stack([node_offsets, edge_offsets]), edges, dim=1, output_size=num_edges)
    by_node = torch.repeat_interleave(torch.stack([graph_offsets, edge_offsets]), nodes, dim=1, output_size=num_nodes)
    pointers = torch.empty(num_nodes + 1, dtype=torch.int64, device=device)
    torch.add(torch.cat([graph.destination_pointers[:-1] for graph in graphs]), by_node[1], out=pointers[:-1])
    pointers[-1] = num_edges
    labels, masks = _merge_labels(graphs)
    return Graph(
        positions=torch.cat([graph.positions for graph in graphs]),
        species=torch.cat([graph.species for graph in graphs]),
        cell=torch.cat([graph.cell for graph in graphs]),
        pbc=torch.cat([graph.pbc for graph in graphs]),
        edge_index=torch.cat([graph.edge_index for graph in graphs], dim=1).add_(by_edge[0]),
        shifts=torch.cat([graph.shifts for graph in graphs]),
        batch=torch.cat([graph.batch for graph in graphs]).add_(by_node[0]),
        # Edges are sorted by destination graph by graph, so the stable order of the whole is the orders in a row.
        source_order=torch.cat([graph.source_order for graph in graphs]).add_(by_edge[1]),
        destination_pointers=pointers,
        charge=_merge(graphs, "charge", 0.0),
        spin=_merge(graphs, "spin", 0.0),
        field=_merge(graphs, "field", 0.0),
        weight=_merge(graphs, "weight", 1.0),
        labels=labels,
        masks=masks,
    )


def _merge(graphs: Sequence[Graph], name: str, default: float) -> Tensor | None:
    values = [getattr(graph, name) for graph in graphs]
    known = next((value for value in values if value is not None), None)
    if known is None:
        return None
    return torch.cat(
        [
            known.new_full((graph.num_graphs, *known.shape[1:]), default) if value is None else value
            for graph, value in zip(graphs, values)
        ]
    )


def _merge_labels(graphs: Sequence[Graph]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    labels: dict[str, Tensor] = {}
    masks: dict[str, Tensor] = {}
    for key in dict.fromkeys(key for graph in graphs for key in graph.labels):
        example = next(graph.labels[key] for graph in graphs if key in graph.labels)
        values, known = [], []
        for graph in graphs:
            value = graph.labels.get(key)
            if value is None:
                length = graph.num_nodes if key in NODE_LABELS else graph.num_graphs
                values.append(example.new_zeros(length, *example.shape[1:]))
                known.append(torch.zeros(length, dtype=torch.bool, device=example.device))
                continue
            if value.shape[1:] != example.shape[1:]:
                raise ValueError(
                    f"the label {key!r} has shape {tuple(value.shape)} in one graph and {tuple(example.shape)} in another; "
                    "all axes but the first must agree"
                )
            mask = graph.masks.get(key)
            values.append(value)
            known.append(torch.ones(len(value), dtype=torch.bool, device=value.device) if mask is None else mask)
        labels[key] = torch.cat(values)
        masks[key] = torch.cat(known)
    return labels, masks


def split(graph: Graph) -> list[Graph]:
    """The structures of a batch as graphs of their own: the inverse of :func:`collate`.

    >>> import ase
    >>> from tesseral.graph import build_graph
    >>> pair = [build_graph(ase.Atoms("He"), 2.0), build_graph(ase.Atoms("Ne"), 2.0)]
    >>> [part.species.tolist() for part in split(collate(pair))]
    [[2], [10]]
    """
    counts = graph.nodes_per_graph()
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    edges = graph.destination_pointers[starts]
    source = graph.source[graph.source_order]
    ends = torch.searchsorted(source.contiguous(), starts)
    parts = []
    for index in range(graph.num_graphs):
        node = slice(int(starts[index]), int(starts[index + 1]))
        edge = slice(int(edges[index]), int(edges[index + 1]))
        order = slice(int(ends[index]), int(ends[index + 1]))
        one = slice(index, index + 1)

        def own(name: str, value: Tensor, node: slice = node, one: slice = one) -> Tensor:
            return value[node] if name in NODE_LABELS else value[one]

        parts.append(
            Graph(
                positions=graph.positions[node],
                species=graph.species[node],
                cell=graph.cell[one],
                pbc=graph.pbc[one],
                edge_index=graph.edge_index[:, edge] - node.start,
                shifts=graph.shifts[edge],
                batch=torch.zeros_like(graph.batch[node]),
                source_order=graph.source_order[order] - edge.start,
                destination_pointers=graph.destination_pointers[node.start : node.stop + 1] - edge.start,
                charge=None if graph.charge is None else graph.charge[one],
                spin=None if graph.spin is None else graph.spin[one],
                field=None if graph.field is None else graph.field[one],
                weight=None if graph.weight is None else graph.weight[one],
                labels={key: own(key, value) for key, value in graph.labels.items()},
                masks={key: own(key, value) for key, value in graph.masks.items()},
            )
        )
    return parts
