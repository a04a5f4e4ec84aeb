"""Convolutions with gates between them, whose hidden irreps may differ from layer to layer."""

from tesseral.interfaces.e3nn import o3
from tesseral.interfaces.e3nn.nn.models import _points
from tesseral.interfaces.e3nn.nn.models._message_passing import GatedConvolutions
from tesseral.interfaces.e3nn.nn.models._points import Compose, radius_graph, tp_path_exists
from tesseral.interfaces.e3nn.nn.models.v2106.points_convolution import Convolution

__all__ = ["Compose", "MessagePassing", "radius_graph", "tp_path_exists"]


class MessagePassing(GatedConvolutions):
    """From the first irreps of a sequence to the last, with gates after all convolutions but the last.

    Raises ``ValueError`` where no gates can be made.
    """

    convolution = Convolution

    @staticmethod
    def kind_of_gates(irreps_node: o3.Irreps, irreps_edge: o3.Irreps, gated: o3.Irreps) -> str:
        kind = _points.kind_of_gates(irreps_node, irreps_edge)
        if gated.dim and not tp_path_exists(irreps_node, irreps_edge, kind):
            raise ValueError(f"{irreps_node} times {irreps_edge} has no scalars, which {gated} needs for its gates")
        return kind
