"""The convolutions of March and June 2021: self-interaction and messages, mixed by what the messages say."""

from typing import Any

from torch import Tensor, nn

from tesseral.interfaces.e3nn import o3
from tesseral.interfaces.e3nn.nn import FullyConnectedNet
from tesseral.interfaces.e3nn.nn.models._points import edge_product, example_inputs, scatter


class PointsConvolution(nn.Module):
    """What both have; ``mixing`` names the product that gives the amount of the messages, one scalar a node."""

    mixing: str

    def __init__(
        self,
        irreps_node_input: Any,
        irreps_node_attr: Any,
        irreps_edge_attr: Any,
        irreps_node_output: Any,
        fc_neurons: list[int],
        num_neighbors: float | int,
    ) -> None:
        super().__init__()
        self.irreps_node_input, self.irreps_node_output = o3.Irreps(irreps_node_input), o3.Irreps(irreps_node_output)
        self.irreps_node_attr, self.irreps_edge_attr = o3.Irreps(irreps_node_attr), o3.Irreps(irreps_edge_attr)
        self.num_neighbors = num_neighbors
        attr = self.irreps_node_attr
        self.sc = o3.FullyConnectedTensorProduct(self.irreps_node_input, attr, self.irreps_node_output)
        self.lin1 = o3.FullyConnectedTensorProduct(self.irreps_node_input, attr, self.irreps_node_input)
        kept = {ir for _, ir in self.irreps_node_output} | {o3.Irrep("0e")}
        product = edge_product(self.irreps_node_input, self.irreps_edge_attr, kept)
        middle = product.irreps_out
        self.fc = FullyConnectedNet([*fc_neurons, product.weight_numel], nn.functional.silu)
        self.tp = product
        self.lin2 = o3.FullyConnectedTensorProduct(middle, attr, self.irreps_node_output)
        self.add_module(self.mixing, o3.FullyConnectedTensorProduct(middle, attr, "0e"))

    def parts(
        self, node_input: Tensor, node_attr: Tensor, edge_src: Tensor, edge_dst: Tensor, edge_attr: Tensor, edge_scalars: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Self-interaction, messages, and the scalar that mixes them."""
        messages = self.tp(self.lin1(node_input, node_attr)[edge_src], edge_attr, self.fc(edge_scalars))
        x = scatter(messages, edge_dst, node_input.shape[0]) / self.num_neighbors**0.5
        scalar = getattr(self, self.mixing)(x, node_attr)
        return self.sc(node_input, node_attr), self.lin2(x, node_attr), scalar

    def where_both(self, share: Tensor) -> Tensor:
        """The share of the messages: all, where self-interaction reaches nothing."""
        reached = self.sc.output_mask
        return 1 - reached + share * reached

    def _make_tracing_inputs(self, n: int) -> list[dict]:
        nodes = (self.irreps_node_input, self.irreps_node_attr)
        return example_inputs(n, nodes, self.irreps_edge_attr, self.fc.hs[0])
