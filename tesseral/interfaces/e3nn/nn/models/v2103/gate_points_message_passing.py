"""Convolutions with gates between them."""

from typing import Any

from torch import Tensor, nn

from tesseral.interfaces.e3nn import o3
from tesseral.interfaces.e3nn.nn.models import _points
from tesseral.interfaces.e3nn.nn.models._points import Compose, tp_path_exists
from tesseral.interfaces.e3nn.nn.models.v2103.points_convolution import Convolution

__all__ = ["Compose", "MessagePassing", "tp_path_exists"]


class MessagePassing(nn.Module):
    """``layers`` convolutions with gates, each as wide as the hidden irreps that can be reached, and one without."""

    def __init__(
        self,
        irreps_node_input: Any,
        irreps_node_hidden: Any,
        irreps_node_output: Any,
        irreps_node_attr: Any,
        irreps_edge_attr: Any,
        layers: int,
        fc_neurons: list[int],
        num_neighbors: float | int,
    ) -> None:
        super().__init__()
        self.num_neighbors = num_neighbors
        self.irreps_node_input, self.irreps_node_output = o3.Irreps(irreps_node_input), o3.Irreps(irreps_node_output)
        self.irreps_node_hidden = o3.Irreps(irreps_node_hidden)
        self.irreps_node_attr, self.irreps_edge_attr = o3.Irreps(irreps_node_attr), o3.Irreps(irreps_edge_attr)
        irreps, rest = self.irreps_node_input, (fc_neurons, num_neighbors)
        self.layers = nn.ModuleList()
        for _ in range(layers):
            scalars, gated = _points.reachable(self.irreps_node_hidden, irreps, self.irreps_edge_attr)
            gates = o3.Irreps([(mul, _points.kind_of_gates(irreps, self.irreps_edge_attr)) for mul, _ in gated])
            gate = _points.gate_of(scalars.simplify(), gates.simplify(), gated)
            convolution = Convolution(irreps, self.irreps_node_attr, self.irreps_edge_attr, gate.irreps_in, *rest)
            self.layers.append(Compose(convolution, gate))
            irreps = gate.irreps_out
        self.layers.append(Convolution(irreps, self.irreps_node_attr, self.irreps_edge_attr, self.irreps_node_output, *rest))

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
