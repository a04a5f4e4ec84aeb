"""Convolutions with gates between them, whose hidden irreps may differ from layer to layer."""

from typing import Any

from torch import Tensor, nn

from tesseral.interfaces.e3nn import o3
from tesseral.interfaces.e3nn.nn.models import _points
from tesseral.interfaces.e3nn.nn.models._points import Compose, radius_graph, tp_path_exists
from tesseral.interfaces.e3nn.nn.models.v2106.points_convolution import Convolution

__all__ = ["Compose", "MessagePassing", "radius_graph", "tp_path_exists"]


class MessagePassing(nn.Module):
    """From the first irreps of a sequence to the last, with gates after all convolutions but the last.

    Raises ``ValueError`` where no gates can be made.
    """

    def __init__(
        self,
        irreps_node_sequence: list,
        irreps_node_attr: Any,
        irreps_edge_attr: Any,
        fc_neurons: list[int],
        num_neighbors: float | int,
    ) -> None:
        super().__init__()
        self.num_neighbors = num_neighbors
        self.irreps_node_attr, self.irreps_edge_attr = o3.Irreps(irreps_node_attr), o3.Irreps(irreps_edge_attr)
        irreps, *hidden, last = map(o3.Irreps, irreps_node_sequence)
        self.irreps_node_sequence, rest = [irreps], (fc_neurons, num_neighbors)
        self.layers = nn.ModuleList()
        for each in hidden:
            scalars, gated = _points.reachable(each, irreps, self.irreps_edge_attr)
            kind = _points.kind_of_gates(irreps, self.irreps_edge_attr)
            if gated.dim and not tp_path_exists(irreps, self.irreps_edge_attr, kind):
                raise ValueError(f"{irreps} times {self.irreps_edge_attr} has no scalars, which {gated} needs for its gates")
            gate = _points.gate_of(scalars.simplify(), o3.Irreps([(mul, kind) for mul, _ in gated]).simplify(), gated)
            convolution = Convolution(irreps, self.irreps_node_attr, self.irreps_edge_attr, gate.irreps_in, *rest)
            self.layers.append(Compose(convolution, gate))
            irreps = gate.irreps_out
            self.irreps_node_sequence.append(irreps)
        self.layers.append(Convolution(irreps, self.irreps_node_attr, self.irreps_edge_attr, last, *rest))
        self.irreps_node_sequence.append(last)
        self.irreps_node_input, self.irreps_node_output = self.irreps_node_sequence[0], last

    def forward(
        self,
        node_features: Tensor,
        node_attr: Tensor,
        edge_src: Tensor,
        edge_dst: Tensor,
        edge_attr: Tensor,
        edge_scalars: Tensor,
    ) -> Tensor:
        for layer in self.layers:
            node_features = layer(node_features, node_attr, edge_src, edge_dst, edge_attr, edge_scalars)
        return node_features
