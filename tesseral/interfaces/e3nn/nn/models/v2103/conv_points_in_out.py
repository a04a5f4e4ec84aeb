"""A convolution from some points to others."""

from typing import Any

from torch import Tensor, nn

from tesseral.interfaces.e3nn import o3
from tesseral.interfaces.e3nn.nn import FullyConnectedNet
from tesseral.interfaces.e3nn.nn.models._points import edge_product, example_inputs, scatter
from tesseral.interfaces.e3nn.util.jit import compile_mode


@compile_mode("script")
class Convolution(nn.Module):
    """Messages from input nodes to output nodes, without self-interaction; products with the attributes of each before and after.

    ``irreps_node_output`` are those of the result.
    """

    def __init__(
        self,
        irreps_node_input: Any,
        irreps_node_output: Any,
        irreps_node_attr_input: Any,
        irreps_node_attr_output: Any,
        irreps_edge_attr: Any,
        num_edge_scalar_attr: int,
        radial_layers: int,
        radial_neurons: int,
        num_neighbors: float | int,
    ) -> None:
        super().__init__()
        self.irreps_node_input, self.irreps_node_output = o3.Irreps(irreps_node_input), o3.Irreps(irreps_node_output)
        self.irreps_node_attr_input = o3.Irreps(irreps_node_attr_input)
        self.irreps_node_attr_output = o3.Irreps(irreps_node_attr_output)
        self.irreps_edge_attr = o3.Irreps(irreps_edge_attr)
        self.num_neighbors = num_neighbors
        source = self.irreps_node_input
        self.lin1 = o3.FullyConnectedTensorProduct(source, self.irreps_node_attr_input, source)
        product = edge_product(source, self.irreps_edge_attr, self.irreps_node_output)
        widths = [num_edge_scalar_attr, *radial_layers * [radial_neurons], product.weight_numel]
        self.fc = FullyConnectedNet(widths, nn.functional.silu)
        self.tp = product
        self.lin2 = o3.FullyConnectedTensorProduct(product.irreps_out, self.irreps_node_attr_output, self.irreps_node_output)

    def forward(
        self,
        node_input: Tensor,
        node_attr_input: Tensor,
        node_attr_output: Tensor,
        edge_src: Tensor,
        edge_dst: Tensor,
        edge_attr: Tensor,
        edge_scalar_attr: Tensor,
    ) -> Tensor:
        messages = self.tp(self.lin1(node_input, node_attr_input)[edge_src], edge_attr, self.fc(edge_scalar_attr))
        x = scatter(messages, edge_dst, node_attr_output.shape[0]) / self.num_neighbors**0.5
        return self.lin2(x, node_attr_output)

    def _make_tracing_inputs(self, n: int) -> list[dict]:
        nodes = (self.irreps_node_input, self.irreps_node_attr_input, self.irreps_node_attr_output)
        return example_inputs(n, nodes, self.irreps_edge_attr, self.fc.hs[0])
