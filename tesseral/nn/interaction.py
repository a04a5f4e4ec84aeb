"""NequIP's interaction: messages by a convolution, a gate, and a connection of each atom to itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tesseral.graph import Graph
from tesseral.nn.convolution import Convolution
from tesseral.nn.gate import Gate
from tesseral.nn.linear import Linear
from tesseral.nn.mlp import MLP
from tesseral.nn.radial_embedding import RadialFunctions
from tesseral.nn.species_linear import SpeciesLinear
from tesseral.o3 import Irrep, Irreps


class NequIPLayer(torch.nn.Module):
    r"""One interaction: linear, convolution, linear, plus the self-connection, then the gate.

    .. math:: x_i' = \mathrm{gate}\Big(L_2 \sum_j (L_1 x_j) \otimes_{R(r_{ij})} Y(\hat r_{ij}) / \sqrt{\bar n} + S_{z_i} x_i\Big)

    ``widths`` are those of the radial network before its last layer, the number of radial functions first; ``irreps_target`` is
    what is kept of what messages can reach. The self-connection S depends on the species through ``attributes`` of them
    (0: there is none). Source: Batzner et al., Nat. Commun. 13, 2453 (2022).
    """

    def __init__(
        self,
        irreps_in: Irreps,
        irreps_sh: Irreps,
        irreps_target: Irreps,
        widths: Sequence[int],
        num_neighbors: float,
        *,
        attributes: int,
        backend: str,
        factory: dict[str, Any],
    ) -> None:
        super().__init__()
        reachable = {ir for _, a in irreps_in for _, b in irreps_sh for ir in a * b}
        scalars = Irreps([(mul, ir) for mul, ir in irreps_target if ir.l == 0 and ir in reachable])
        gated = Irreps([(mul, ir) for mul, ir in irreps_target if ir.l > 0 and ir in reachable])
        gate_irrep = Irrep("0e") if Irrep("0e") in reachable else Irrep("0o")
        gates = Irreps([(mul, gate_irrep) for mul, _ in gated])
        act: dict[int, Any] = {1: torch.nn.functional.silu, -1: torch.tanh}
        self.gate = Gate(scalars, [act[ir.p] for _, ir in scalars], gates, [act[ir.p] for _, ir in gates], gated, "e3nn")
        self.linear_in = Linear(irreps_in, irreps_in, **factory)
        self.convolution = Convolution(irreps_in, irreps_sh, self.gate.irreps_in, backend=backend)
        dims = [*widths, self.convolution.weight_numel]
        self.radial = MLP(dims, normalization=math.sqrt(2), initialization="uniform", **factory)
        self.linear_out = Linear(self.convolution.irreps_out, self.gate.irreps_in, **factory)
        self.self_connection = SpeciesLinear(irreps_in, self.gate.irreps_in, attributes, **factory) if attributes else None
        self.linear_in.plan = self.linear_in.plan.scaled(1 / math.sqrt(num_neighbors))
        self.irreps_in, self.irreps_out = irreps_in, self.gate.irreps_out

    def forward(
        self,
        x: Float[Tensor, "nodes dim_in"],
        harmonics: Float[Tensor, "edges sh"],
        radial: RadialFunctions,
        species: Int[Tensor, " nodes"],
        attributes: Float[Tensor, "species attributes"],
        graph: Graph,
    ) -> Float[Tensor, "nodes dim_out"]:
        """New features of the nodes from those of their neighbours."""
        weights = radial.weights(self.radial)
        edges = (graph.edge_index, graph.source_order, graph.destination_pointers)
        messages = self.convolution(self.linear_in(x), harmonics, weights, *edges)
        y = self.linear_out(messages)
        if self.self_connection is not None:
            y = y + self.self_connection(x, species, attributes)
        return self.gate(y)
