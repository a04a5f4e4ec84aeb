"""The message passing of March and June 2021: convolutions with gates between them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tesseral.interfaces.e3nn import o3
from tesseral.interfaces.e3nn.nn.models import _points
from tesseral.interfaces.e3nn.nn.models._convolution import PointsConvolution


class GatedConvolutions(nn.Module):
    """From the first irreps of a sequence to the last, with gates after all convolutions but the last.

    ``irreps_node_sequence`` keeps of the hidden irreps those that can be reached.
    """

    convolution: type[PointsConvolution]

    def __init__(
        self,
        irreps_node_sequence: Sequence[Any],
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
            kind = self.kind_of_gates(irreps, self.irreps_edge_attr, gated)
            gate = _points.gate_of(scalars.simplify(), o3.Irreps([(mul, kind) for mul, _ in gated]).simplify(), gated)
            convolution = self.convolution(irreps, self.irreps_node_attr, self.irreps_edge_attr, gate.irreps_in, *rest)
            self.layers.append(_points.Compose(convolution, gate))
            irreps = gate.irreps_out
            self.irreps_node_sequence.append(irreps)
        self.layers.append(self.convolution(irreps, self.irreps_node_attr, self.irreps_edge_attr, last, *rest))
        self.irreps_node_sequence.append(last)
        self.irreps_node_input, self.irreps_node_output = self.irreps_node_sequence[0], last

    @staticmethod
    def kind_of_gates(irreps_node: o3.Irreps, irreps_edge: o3.Irreps, gated: o3.Irreps) -> str:
        """The irrep of the gates of what is ``gated``."""
        raise NotImplementedError

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
