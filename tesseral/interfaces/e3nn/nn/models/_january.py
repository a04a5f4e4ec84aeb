"""The networks of January and February 2021: self-interaction and convolution mixed by a fixed angle, and gates."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn import o3
from tesseral.interfaces.e3nn.math import soft_one_hot_linspace
from tesseral.interfaces.e3nn.nn import ExtractIr, FullyConnectedNet
from tesseral.interfaces.e3nn.nn.models import _points
from tesseral.interfaces.e3nn.nn.models._points import edge_product, example_inputs, radius_graph, scatter


class Convolution(nn.Module):
    """Features to features: self-interaction sin(pi/8), convolution cos(pi/8); products with node attributes before and after."""

    def __init__(
        self,
        irreps_in: Any,
        irreps_node_attr: Any,
        irreps_edge_attr: Any,
        irreps_out: Any,
        number_of_edge_features: int,
        radial_layers: int,
        radial_neurons: int,
        num_neighbors: float | int,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = o3.Irreps(irreps_in), o3.Irreps(irreps_out)
        self.irreps_node_attr, self.irreps_edge_attr = o3.Irreps(irreps_node_attr), o3.Irreps(irreps_edge_attr)
        self.num_neighbors = num_neighbors
        self.sc = o3.FullyConnectedTensorProduct(self.irreps_in, self.irreps_node_attr, self.irreps_out)
        self.lin1 = o3.FullyConnectedTensorProduct(self.irreps_in, self.irreps_node_attr, self.irreps_in)
        product = edge_product(self.irreps_in, self.irreps_edge_attr, self.irreps_out)
        widths = [number_of_edge_features, *radial_layers * [radial_neurons], product.weight_numel]
        self.fc = FullyConnectedNet(widths, nn.functional.silu)
        self.tp = product
        self.lin2 = o3.FullyConnectedTensorProduct(product.irreps_out, self.irreps_node_attr, self.irreps_out)

    def forward(
        self, node_input: Tensor, node_attr: Tensor, edge_src: Tensor, edge_dst: Tensor, edge_attr: Tensor, edge_features: Tensor
    ) -> Tensor:
        messages = self.tp(self.lin1(node_input, node_attr)[edge_src], edge_attr, self.fc(edge_features))
        x = scatter(messages, edge_dst, node_input.shape[0]) / self.num_neighbors**0.5
        reached = self.sc.output_mask  # what self-interaction cannot reach is the convolution's alone
        share = 1 - reached + math.cos(math.pi / 8) * reached
        return math.sin(math.pi / 8) * self.sc(node_input, node_attr) + share * self.lin2(x, node_attr)

    def _make_tracing_inputs(self, n: int) -> list[dict]:
        nodes = (self.irreps_in, self.irreps_node_attr)
        return example_inputs(n, nodes, self.irreps_edge_attr, self.fc.hs[0])


def smooth_cutoff(x: Tensor) -> Tensor:
    """One up to 1/2, zero from 1 on, half a period of a cosine between.

    >>> smooth_cutoff(torch.tensor([0.2, 0.75, 1.1]))
    tensor([1.0000, 0.5000, 0.0000])
    """
    return (1 - (2 * math.pi * (x.clamp(0.5, 1) - 1)).cos()) / 2


class Compose(_points.Compose):
    """One module after the other, with the irreps of the ends."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__(first, second)
        self.irreps_in, self.irreps_out = first.irreps_in, second.irreps_out


class Network(nn.Module):
    """``layers`` convolutions with gates, a last one without, and the sum over each graph by the root of ``num_nodes``.

    ``edge_scalars``: whether the radial networks see the scalar attributes of both ends, too.
    """

    convolution: type[Convolution]
    edge_scalars: bool

    def __init__(
        self,
        irreps_in: Any,
        irreps_hidden: Any,
        irreps_out: Any,
        irreps_node_attr: Any,
        irreps_edge_attr: Any,
        layers: int,
        max_radius: float | int,
        number_of_basis: int,
        radial_layers: int,
        radial_neurons: int,
        num_neighbors: float | int,
        num_nodes: float | int,
        reduce_output: bool = True,
    ) -> None:
        super().__init__()
        self.max_radius, self.number_of_basis = max_radius, number_of_basis
        self.num_neighbors, self.num_nodes, self.reduce_output = num_neighbors, num_nodes, reduce_output
        self.irreps_in = None if irreps_in is None else o3.Irreps(irreps_in)
        self.irreps_hidden, self.irreps_out = o3.Irreps(irreps_hidden), o3.Irreps(irreps_out)
        self.irreps_node_attr = o3.Irreps("0e" if irreps_node_attr is None else irreps_node_attr)
        self.irreps_edge_attr = o3.Irreps(irreps_edge_attr)
        self.input_has_node_in, self.input_has_node_attr = irreps_in is not None, irreps_node_attr is not None

        features = number_of_basis
        if self.edge_scalars:
            self.ext_z = ExtractIr(self.irreps_node_attr, "0e")
            features += 2 * self.irreps_node_attr.count("0e")
        rest = (features, radial_layers, radial_neurons, num_neighbors)
        irreps = o3.Irreps("0e") if self.irreps_in is None else self.irreps_in
        self.layers = nn.ModuleList()
        for _ in range(layers):
            scalars, gated = _points.reachable(self.irreps_hidden, irreps, self.irreps_edge_attr)
            kind = _points.kind_of_gates(irreps, self.irreps_edge_attr)
            gate = _points.gate_of(scalars, o3.Irreps([(mul, kind) for mul, _ in gated]), gated)
            first = self.convolution(irreps, self.irreps_node_attr, self.irreps_edge_attr, gate.irreps_in, *rest)
            self.layers.append(Compose(first, gate))
            irreps = gate.irreps_out
        self.layers.append(self.convolution(irreps, self.irreps_node_attr, self.irreps_edge_attr, self.irreps_out, *rest))

    def forward(self, data: dict[str, Tensor]) -> Tensor:
        """Of ``pos``, and where the network was told so features ``x`` and attributes ``z``, and ``batch`` for several graphs."""
        batch, pos = _points.batch_of(data), data["pos"]
        source, target = radius_graph(pos, self.max_radius, batch)
        vectors = pos[source] - pos[target]
        lengths = vectors.norm(dim=1)
        harmonics = o3.spherical_harmonics(self.irreps_edge_attr, vectors, True, normalization="component")
        edge_attr = smooth_cutoff(lengths / self.max_radius)[:, None] * harmonics
        features = soft_one_hot_linspace(lengths, 0.0, self.max_radius, self.number_of_basis, basis="gaussian", cutoff=False)
        features = features * self.number_of_basis**0.5

        one = pos.new_ones(pos.shape[0], 1)
        has_x, has_z = self.input_has_node_in and "x" in data, self.input_has_node_attr and "z" in data
        assert has_x or self.irreps_in is None, f"the network takes node features {self.irreps_in}: give them as 'x'"
        assert has_z or self.irreps_node_attr == o3.Irreps("0e"), (
            f"the network takes node attributes {self.irreps_node_attr}: give them as 'z'"
        )
        x, z = data["x"] if has_x else one, data["z"] if has_z else one
        if self.edge_scalars:
            scalars = self.ext_z(z)
            features = torch.cat([features, scalars[source], scalars[target]], dim=1)
        for layer in self.layers:
            x = layer(x, z, source, target, edge_attr, features)
        return scatter(x, batch, int(batch.max()) + 1) / self.num_nodes**0.5 if self.reduce_output else x
