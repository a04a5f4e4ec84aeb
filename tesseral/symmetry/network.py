"""A small network on points, which finds out what breaks a symmetry: by its relaxed weights or by an extra input."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.graph import Graph
from tesseral.nn import MLP, BesselBasis, Convolution, Gate, Linear, PolynomialCutoff, RadialEmbedding
from tesseral.o3 import Irreps
from tesseral.ops import spherical_harmonics
from tesseral.symmetry.relaxed import Relaxation, RelaxedConvolution


class PointNetwork(nn.Module):
    r"""Tensors at points from tensors at points, by layers

    .. math:: x_i \leftarrow L(x_i) + L\Big(\sum_j x_j \otimes_{R(r_{ij})} Y(\hat r_{ij})\Big)/\sqrt{\bar n}.

    ``hidden`` lists the irreps of the layers between, each followed by a gate (silu and tanh); an empty list gives a single
    linear layer. ``irreps_in`` are the features of a point, whatever is known of it, ``ir_mul``. With ``relaxation``, irreps that
    contain 0e, the convolutions are relaxed (:class:`~tesseral.symmetry.RelaxedConvolution`), each with a relaxation of its own.
    ``cutoff`` in Å is that of the graph. The mean number of neighbours is a constant, ``num_neighbors``.

    >>> import ase
    >>> from tesseral.graph import build_graph
    >>> graph = build_graph(ase.Atoms("OH", positions=[(0, 0, 0), (0, 0, 1)]), cutoff=2.0, dtype=torch.float32)
    >>> network = PointNetwork("2x0e", ["4x0e+4x1o"], "1o", cutoff=2.0, lmax=1)
    >>> network(torch.eye(2), graph).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        irreps_in: object,
        hidden: list[Any],
        irreps_out: object,
        *,
        cutoff: float | int,
        lmax: int = 2,
        num_neighbors: float | int = 1.0,
        relaxation: object | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        self.irreps_sh = Irreps.spherical_harmonics(lmax)
        self.radial = RadialEmbedding(BesselBasis(float(cutoff), 6), PolynomialCutoff(float(cutoff), 6.0))
        layers: list[_Layer] = []
        irreps = self.irreps_in
        for target in [*hidden, None]:
            gate = None if target is None else _gate(Irreps(target))
            out = self.irreps_out if gate is None else gate.irreps_in
            convolution = _convolution(irreps, self.irreps_sh, out, relaxation, dtype)
            layers.append(_Layer(convolution, out, gate, float(num_neighbors), dtype))
            irreps = self.irreps_out if gate is None else gate.irreps_out
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Float[Tensor, "nodes dim_in"], graph: Graph) -> Float[Tensor, "nodes dim_out"]:
        """The tensors ``irreps_out`` at the points of the graph."""
        vectors = graph.edge_vectors().to(x.dtype)
        harmonics = spherical_harmonics(self.irreps_sh, vectors, normalize=True, normalization="component")
        radial = self.radial(vectors)
        for layer in self.layers:
            x = layer(x, harmonics, radial, graph)
        return x

    def relaxations(self) -> list[nn.Parameter]:
        """The relaxations of the layers, first to last; none without ``relaxation``."""
        return [module.theta for module in self.modules() if isinstance(module, Relaxation)]


class _Layer(nn.Module):
    def __init__(
        self,
        convolution: Convolution | RelaxedConvolution,
        out: Irreps,
        gate: Gate | None,
        num_neighbors: float,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.convolution, self.gate = convolution, gate
        self.weights = MLP([6, 16, convolution.weight_numel], dtype=dtype)
        self.linear = Linear(convolution.irreps_out, out, dtype=dtype)
        self.self_connection = Linear(convolution.irreps_in, out, dtype=dtype)
        self.scale = 1 / math.sqrt(num_neighbors)

    def forward(self, x: Tensor, harmonics: Tensor, radial: Tensor, graph: Graph) -> Tensor:
        edges = (graph.edge_index, graph.source_order, graph.destination_pointers)
        messages = self.convolution(x, harmonics, self.weights(radial), *edges)
        y = self.linear(messages) * self.scale + self.self_connection(x)
        return y if self.gate is None else self.gate(y)


def _convolution(irreps_in: Irreps, irreps_sh: Irreps, irreps_out: Irreps, relaxation: object | None, dtype: torch.dtype) -> Any:
    if relaxation is None:
        return Convolution(irreps_in, irreps_sh, irreps_out)
    return RelaxedConvolution(irreps_in, irreps_sh, irreps_out, relaxation, dtype=dtype)


def _gate(target: Irreps) -> Gate:
    scalars = Irreps([block for block in target if block.ir.l == 0])
    gated = Irreps([block for block in target if block.ir.l > 0])
    gates = Irreps([(mul, "0e") for mul, _ in gated])
    act: dict[int, Any] = {1: nn.functional.silu, -1: torch.tanh}
    return Gate(scalars, [act[ir.p] for _, ir in scalars], gates, [act[1] for _ in gates], gated)
