"""Convolutions with gates between them."""

from typing import Any

from tesseral.interfaces.e3nn import o3
from tesseral.interfaces.e3nn.nn.models import _points
from tesseral.interfaces.e3nn.nn.models._message_passing import GatedConvolutions
from tesseral.interfaces.e3nn.nn.models._points import Compose, tp_path_exists
from tesseral.interfaces.e3nn.nn.models.v2103.points_convolution import Convolution

__all__ = ["Compose", "MessagePassing", "tp_path_exists"]


class MessagePassing(GatedConvolutions):
    """``layers`` convolutions with gates, each as wide as the hidden irreps that can be reached, and one without."""

    convolution = Convolution

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
        sequence = [irreps_node_input, *layers * [irreps_node_hidden], irreps_node_output]
        super().__init__(sequence, irreps_node_attr, irreps_edge_attr, fc_neurons, num_neighbors)
        self.irreps_node_hidden = o3.Irreps(irreps_node_hidden)

    @staticmethod
    def kind_of_gates(irreps_node: o3.Irreps, irreps_edge: o3.Irreps, gated: o3.Irreps) -> str:
        return _points.kind_of_gates(irreps_node, irreps_edge)
