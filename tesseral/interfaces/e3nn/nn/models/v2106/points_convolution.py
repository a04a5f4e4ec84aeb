"""A convolution on points: self-interaction, plus messages times a factor that they give, which is zero before training.

Source of the factor: De and Smith, arXiv:2002.10444.
"""

from typing import Any

import torch
from torch import Tensor

from tesseral.interfaces.e3nn import o3
from tesseral.interfaces.e3nn.nn.models._convolution import PointsConvolution
from tesseral.interfaces.e3nn.nn.models._points import scatter
from tesseral.interfaces.e3nn.util.jit import compile_mode

__all__ = ["Convolution", "scatter"]


@compile_mode("script")
class Convolution(PointsConvolution):
    """Self-interaction + alpha messages. Raises ``AssertionError`` where there are no messages, or no scalars for alpha."""

    mixing = "alpha"
    alpha: o3.FullyConnectedTensorProduct

    def __init__(
        self,
        irreps_node_input: Any,
        irreps_node_attr: Any,
        irreps_edge_attr: Any,
        irreps_node_output: Any,
        fc_neurons: list[int],
        num_neighbors: float | int,
    ) -> None:
        super().__init__(irreps_node_input, irreps_node_attr, irreps_edge_attr, irreps_node_output, fc_neurons, num_neighbors)
        assert self.tp.irreps_out.dim > 0, (
            f"{self.irreps_node_input} times {self.irreps_edge_attr} has nothing of {self.irreps_node_output}"
        )
        with torch.no_grad():
            self.alpha.weight.zero_()
        assert self.alpha.output_mask[0] == 1.0, (
            f"{self.tp.irreps_out} times the node attributes {self.irreps_node_attr} has no scalars"
        )

    def forward(
        self, node_input: Tensor, node_attr: Tensor, edge_src: Tensor, edge_dst: Tensor, edge_attr: Tensor, edge_scalars: Tensor
    ) -> Tensor:
        alone, messages, alpha = self.parts(node_input, node_attr, edge_src, edge_dst, edge_attr, edge_scalars)
        return alone + self.where_both(alpha) * messages
