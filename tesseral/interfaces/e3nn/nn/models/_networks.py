"""The networks of March and June 2021, which differ in their message passing and their radial functions."""

from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn import o3
from tesseral.interfaces.e3nn.math import soft_one_hot_linspace
from tesseral.interfaces.e3nn.nn.models._points import batch_of, radius_graph, scatter

NUMBER_OF_BASIS, RADIAL_WIDTH = 10, 100


class _Network(nn.Module):
    basis: str
    mp: nn.Module

    def __init__(self, max_radius: float | int, num_nodes: float | int, lmax: int, pool_nodes: bool) -> None:
        super().__init__()
        self.lmax, self.max_radius, self.number_of_basis = lmax, max_radius, NUMBER_OF_BASIS
        self.num_nodes, self.pool_nodes = num_nodes, pool_nodes

    @staticmethod
    def message_passing(first: Any, hidden: o3.Irreps, last: Any, layers: int, **rest: Any) -> nn.Module:
        raise NotImplementedError

    def hidden(self, mul: int) -> o3.Irreps:
        return o3.Irreps([(mul, (l, p)) for l in range(self.lmax + 1) for p in (-1, 1)])

    def harmonics(self, edge_vec: Tensor) -> Tensor:
        return o3.spherical_harmonics(range(self.lmax + 1), edge_vec, True, normalization="component")

    def radial(self, edge_vec: Tensor) -> Tensor:
        ends = (0.0, self.max_radius, self.number_of_basis)
        return soft_one_hot_linspace(edge_vec.norm(dim=1), *ends, basis=self.basis, cutoff=True) * self.number_of_basis**0.5

    def pooled(self, x: Tensor, batch: Tensor) -> Tensor:
        return scatter(x, batch, int(batch.max()) + 1) / self.num_nodes**0.5 if self.pool_nodes else x


class SimpleNetwork(_Network):
    """Features of points to features of points, or their sum over each graph by the root of ``num_nodes``."""

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any,
        max_radius: float | int,
        num_neighbors: float | int,
        num_nodes: float | int,
        mul: int = 50,
        layers: int = 3,
        lmax: int = 2,
        pool_nodes: bool = True,
    ) -> None:
        super().__init__(max_radius, num_nodes, lmax, pool_nodes)
        edges = {"irreps_node_attr": "0e", "irreps_edge_attr": o3.Irreps.spherical_harmonics(lmax)}
        radial = {"fc_neurons": [NUMBER_OF_BASIS, RADIAL_WIDTH], "num_neighbors": num_neighbors}
        self.mp = self.message_passing(irreps_in, self.hidden(mul), irreps_out, layers, **edges, **radial)
        self.irreps_in, self.irreps_out = self.mp.irreps_node_input, self.mp.irreps_node_output

    def preprocess(self, data: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Graphs of the points, features, sources and targets of the edges, and their vectors."""
        batch, pos = batch_of(data), data["pos"]
        source, target = radius_graph(pos, self.max_radius, batch)
        return batch, data["x"], source, target, pos[source] - pos[target]

    def forward(self, data: dict[str, Tensor]) -> Tensor:
        """Of positions ``pos``, features ``x``, and ``batch`` for several graphs."""
        batch, x, source, target, vectors = self.preprocess(data)
        one = x.new_ones(x.shape[0], 1)  # in place of node attributes
        return self.pooled(self.mp(x, one, source, target, self.harmonics(vectors), self.radial(vectors)), batch)


class NetworkForAGraphWithAttributes(_Network):
    """The same with attributes of nodes and edges, and with edges that may be given."""

    def __init__(
        self,
        irreps_node_input: Any,
        irreps_node_attr: Any,
        irreps_edge_attr: Any,
        irreps_node_output: Any,
        max_radius: float | int,
        num_neighbors: float | int,
        num_nodes: float | int,
        mul: int = 50,
        layers: int = 3,
        lmax: int = 2,
        pool_nodes: bool = True,
    ) -> None:
        super().__init__(max_radius, num_nodes, lmax, pool_nodes)
        self.irreps_edge_attr = o3.Irreps(irreps_edge_attr)
        edges = {"irreps_node_attr": irreps_node_attr}
        edges["irreps_edge_attr"] = self.irreps_edge_attr + o3.Irreps.spherical_harmonics(lmax)
        radial = {"fc_neurons": [NUMBER_OF_BASIS, RADIAL_WIDTH], "num_neighbors": num_neighbors}
        self.mp = self.message_passing(irreps_node_input, self.hidden(mul), irreps_node_output, layers, **edges, **radial)
        self.irreps_node_input, self.irreps_node_output = self.mp.irreps_node_input, self.mp.irreps_node_output
        self.irreps_node_attr = self.mp.irreps_node_attr

    def preprocess(self, data: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Graphs of the points, features and attributes of nodes and edges, sources and targets of the edges, their vectors."""
        batch, pos = batch_of(data), data["pos"]
        source, target = data["edge_index"] if "edge_index" in data else radius_graph(pos, self.max_radius, batch)
        x = data["x"] if "x" in data else data["node_input"]
        return batch, x, data["node_attr"], data["edge_attr"], source, target, pos[source] - pos[target]

    def forward(self, data: dict[str, Tensor]) -> Tensor:
        """Of ``pos``, ``node_input`` (or ``x``), ``node_attr``, ``edge_attr``, and ``edge_index`` and ``batch`` where given."""
        batch, x, node_attr, edge_attr, source, target, vectors = self.preprocess(data)
        edge_attr = torch.cat([edge_attr, self.harmonics(vectors)], dim=1)
        return self.pooled(self.mp(x, node_attr, source, target, edge_attr, self.radial(vectors)), batch)
