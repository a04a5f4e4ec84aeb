"""The network of January 2021."""

from typing import Any

from torch import Tensor

from tesseral.interfaces.e3nn.nn.models import _january
from tesseral.interfaces.e3nn.nn.models._january import Compose, smooth_cutoff
from tesseral.interfaces.e3nn.nn.models._points import radius_graph, scatter, tp_path_exists
from tesseral.interfaces.e3nn.util.jit import compile_mode

__all__ = ["Compose", "Convolution", "Network", "radius_graph", "scatter", "smooth_cutoff", "tp_path_exists"]


@compile_mode("script")
class Convolution(_january.Convolution):
    """Its convolution."""

    def __init__(
        self,
        irreps_in: Any,
        irreps_node_attr: Any,
        irreps_edge_attr: Any,
        irreps_out: Any,
        number_of_basis: int,
        radial_layers: int,
        radial_neurons: int,
        num_neighbors: float | int,
    ) -> None:
        ends = (irreps_in, irreps_node_attr, irreps_edge_attr, irreps_out)
        super().__init__(*ends, number_of_basis, radial_layers, radial_neurons, num_neighbors)

    def forward(
        self,
        node_input: Tensor,
        node_attr: Tensor,
        edge_src: Tensor,
        edge_dst: Tensor,
        edge_attr: Tensor,
        edge_length_embedded: Tensor,
    ) -> Tensor:
        return super().forward(node_input, node_attr, edge_src, edge_dst, edge_attr, edge_length_embedded)


class Network(_january.Network):
    """Energies or other features of points.

    >>> import torch
    >>> net = Network("0e", "4x0e+4x1o", "1o", "2x0e", "0e+1o", 1, 2.0, 4, 1, 8, 3.0, 5.0)
    >>> net({"pos": torch.randn(5, 3), "x": torch.ones(5, 1), "z": torch.ones(5, 2)}).shape
    torch.Size([1, 3])
    """

    convolution, edge_scalars = Convolution, False
