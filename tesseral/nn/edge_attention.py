"""The layers of an equivariant graph transformer in the frames of edges: attention, edge degrees, feed-forward on the sphere.

Features have all degrees up to ``lmax`` with natural parity and the same channels, layout ``ir_mul``. The layers take the numbers
that describe them together, as a :class:`Shape`.
Source: Liao et al., EquiformerV2: Improved Equivariant Transformer for Scaling to Higher-Degree Representations, ICLR 2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import silu

from tesseral.nn.gate import Gate
from tesseral.nn.linear import Linear
from tesseral.o3 import Irreps
from tesseral.ops.scatter import scatter_softmax
from tesseral.ops.so2 import MixingPlan, RotationPlan, mix_orders, rotate_from_edges, rotate_to_edges
from tesseral.ops.sphere_activation import SphereActivationPlan, sphere_activation


@dataclass(frozen=True)
class Shape:
    """The widths of the layers; ``meridians`` of the grid of the sphere, or None for gates in its place."""

    lmax: int
    mmax: int
    channels: int
    hidden_channels: int
    heads: int
    attention_channels: int
    value_channels: int
    radial_channels: int
    num_basis: int
    num_species: int
    meridians: int | None
    parity: bool

    def irreps(self, channels: int) -> Irreps:
        """All degrees with natural parity.

        >>> Shape(1, 1, 8, 8, 1, 4, 4, 8, 8, 3, None, True).irreps(8)
        8x0e+8x1o
        """
        return Irreps([(channels, (l, (-1) ** l)) for l in range(self.lmax + 1)])

    def grid(self, mmax: int, layout: str) -> SphereActivationPlan | None:
        """The grid for orders up to ``mmax``: rings are half the meridians, of which fewer orders need proportionally fewer."""
        if self.meridians is None:
            return None
        meridians = 2 * max(mmax + 1, math.ceil(self.meridians * (mmax + 1) / (self.lmax + 1) / 2))
        return SphereActivationPlan(
            self.lmax, mmax, max(self.lmax + 1, self.meridians // 2), min(meridians, self.meridians), layout
        )


class Edges(NamedTuple):
    """What all layers need to know of the edges of a graph: ``frames`` of lmax and mmax, ``harmonics`` normalised to 1 ("norm").

    ``species`` are numbered from 0, one for each node; ``pointers`` delimit the edges that arrive at a node.
    """

    frames: Float[Tensor, "edges entries"]
    harmonics: Float[Tensor, "edges harmonics"]
    radial: Float[Tensor, "edges basis"]
    envelope: Float[Tensor, " edges"]
    source: Int[Tensor, " edges"]
    destination: Int[Tensor, " edges"]
    source_order: Int[Tensor, " edges"]
    pointers: Int[Tensor, " pointers"]
    species: Int[Tensor, " nodes"]


class EdgeAttention(torch.nn.Module):
    r"""Messages :math:`\sum_{e \to n} f_e\, \alpha_e D_e^T v_e` of all neighbours, with an attention :math:`\alpha` per head.

    Features of both ends, times radial weights, are mixed in the frame of the edge to hidden features, activated and mixed again
    to values. :math:`\alpha` is a softmax over the neighbours, weighted with the envelope f: a neighbour that leaves is forgotten
    before it is gone, also the last one, since f enters the message once more.
    """

    def __init__(self, shape: Shape, irreps_out: Irreps, backend: str, factory: dict[str, Any]) -> None:
        super().__init__()
        self.backend, self.heads, self.value_channels = backend, shape.heads, shape.value_channels
        frames = shape.mmax, shape.lmax, shape.parity
        values = Irreps([(shape.heads * shape.value_channels, ir) for _, ir in irreps_out])
        self.plan_in = RotationPlan(shape.irreps(shape.channels), *frames)
        hidden, self.plan_out = RotationPlan(shape.irreps(shape.hidden_channels), *frames), RotationPlan(values, *frames)
        self.activation = EdgeActivation(shape, hidden)
        self.hidden = MixingPlan(self.plan_in, hidden, extra=self.activation.extra)
        self.values = MixingPlan(hidden, self.plan_out)
        self.hidden_weights = torch.nn.Parameter(torch.randn(2, self.hidden.weight_numel, **factory))
        self.value_weights = torch.nn.Parameter(torch.randn(self.values.weight_numel, **factory))
        self.invariants = self.plan_in.orders[0].channels
        width = shape.heads * shape.attention_channels
        self.logit_weights = torch.nn.Parameter(torch.randn(2, self.invariants, width, **factory))
        self.logit_norm = torch.nn.LayerNorm(shape.attention_channels, **factory)
        self.logit_vectors = torch.nn.Parameter(torch.randn(shape.heads, shape.attention_channels, **factory))
        self.radial = RadialNetwork(shape, 2 * self.plan_in.scales, factory)
        self.project = Linear(values, irreps_out, **factory)
        lost = [math.sqrt(max(1.0, ir.dim / (2 * shape.mmax + 1))) for _, ir in values]  # with the orders that are left out
        paths = self.project.plan.paths
        with torch.no_grad():
            for path, end in zip(paths, [p.start for p in paths[1:]] + [self.project.weight.numel()], strict=True):
                self.project.weight[path.start : end] *= lost[path.i_in]

    def forward(self, x: Float[Tensor, "nodes features"], edges: Edges) -> Float[Tensor, "nodes messages"]:
        """Messages from the neighbours of each node."""
        frames, backend = edges.frames, self.backend
        to_source, to_target = (s.contiguous() for s in self.radial(edges).chunk(2, 1))
        sides = (
            rotate_to_edges(self.plan_in, x, frames, edges.source, to_source, edges.source_order, None, backend),
            rotate_to_edges(self.plan_in, x, frames, edges.destination, to_target, None, edges.pointers, backend),
        )
        hidden = mix_orders(self.hidden, sides[0], self.hidden_weights[0]) + mix_orders(
            self.hidden, sides[1], self.hidden_weights[1]
        )
        values = mix_orders(self.values, self.activation(hidden * math.sqrt(0.5)), self.value_weights)
        share = self._attention(sides, edges, x.shape[0])
        values = (values.unflatten(1, (-1, self.heads, self.value_channels)) * share[:, None, :, None]).flatten(1)
        return self.project(
            rotate_from_edges(self.plan_out, values, frames, edges.destination, x.shape[0], edges.pointers, backend)
        )

    def matrices(self) -> list[Tensor]:
        """The matrices of the mixings and of the attention, as views of the parameters."""
        mixed = [matrix for weights in self.hidden_weights for matrix in mixing_matrices(self.hidden, weights)]
        return [*mixed, *mixing_matrices(self.values, self.value_weights), self.logit_weights]

    def _attention(self, sides: tuple[Tensor, Tensor], edges: Edges, nodes: int) -> Float[Tensor, "edges heads"]:
        scale = 1 / math.sqrt(2 * self.invariants)
        logits = sum((side[:, : self.invariants] @ (w * scale) for side, w in zip(sides, self.logit_weights, strict=True)), 0.0)
        normed = self.logit_norm(logits.unflatten(1, (self.heads, -1)))  # type: ignore[union-attr]
        # a leaky rectifier of slope 0.2, smooth at zero: 0.6 x + 0.4 x tanh(x / 2)
        activated = 0.6 * normed + 0.4 * normed * torch.tanh(normed / 2)
        scores = (activated * self.logit_vectors).sum(-1) / math.sqrt(normed.shape[-1])
        envelope = edges.envelope[:, None]
        return scatter_softmax(scores, edges.destination, nodes, envelope.expand_as(scores)) * envelope


class EdgeActivation(torch.nn.Module):
    """The nonlinearity between two mixings in the frame of an edge: on the sphere, or by gates.

    ``extra`` is the number of invariants it needs besides the packed features.
    """

    def __init__(self, shape: Shape, packed: RotationPlan) -> None:
        super().__init__()
        self.grid, self.channels = shape.grid(shape.mmax, "orders"), shape.hidden_channels
        self.extra = shape.hidden_channels * (1 if self.grid else shape.lmax)
        degrees = [packed.irreps[i].ir.l for order in packed.orders for _ in range(order.components) for i in order.blocks]
        self.degrees: Tensor
        self.register_buffer("degrees", torch.tensor(degrees[1:]) - 1, persistent=False)

    def forward(self, x: Float[Tensor, "edges mixed"]) -> Float[Tensor, "edges packed"]:
        if self.grid is not None:
            return sphere_activation(self.grid, x)
        n = self.channels
        gates = torch.sigmoid(x[:, x.shape[1] - self.extra :]).unflatten(1, (-1, n)).index_select(1, self.degrees)
        return torch.cat([silu(x[:, :n]), (x[:, n : x.shape[1] - self.extra].unflatten(1, (-1, n)) * gates).flatten(1)], 1)


class RadialNetwork(torch.nn.Module):
    """Weights of an edge from its length and the species at its ends: linear, norm, silu, twice, and linear."""

    def __init__(self, shape: Shape, outputs: int, factory: dict[str, Any]) -> None:
        super().__init__()
        width = shape.radial_channels
        # What the norm sees comes from the species no less than from the length, which says nothing near the cutoff: a norm of
        # something small would be a steep function of it, and the forces rough there.
        self.basis = torch.nn.Parameter(torch.randn(shape.num_basis, width, **factory) / math.sqrt(shape.num_basis))
        self.ends = torch.nn.Parameter(torch.randn(2, shape.num_species, width, **factory) / math.sqrt(2))
        self.norms = torch.nn.ModuleList([torch.nn.LayerNorm(width, **factory) for _ in range(2)])
        self.middle = torch.nn.Parameter(torch.randn(width, width, **factory) / math.sqrt(width))
        self.last = torch.nn.Parameter(torch.randn(width, outputs, **factory) / math.sqrt(0.36 * width))  # 0.36: mean of silu²

    def forward(self, edges: Edges) -> Float[Tensor, "edges outputs"]:
        source, target = self.ends
        h = edges.radial @ self.basis
        h = h + source[edges.species[edges.source]] + target[edges.species[edges.destination]]
        h = silu(self.norms[0](h)) @ self.middle
        return silu(self.norms[1](h)) @ self.last

    def matrices(self) -> list[Tensor]:
        """The matrices of the layers."""
        return [self.basis, self.middle, self.last]


class EdgeDegree(torch.nn.Module):
    r"""What an atom sees at once: :math:`\sum_e f_e\, w_e^l\, Y^l(\hat r_e) / \sqrt{\bar n}`, with radial weights w."""

    def __init__(self, shape: Shape, num_neighbors: float, backend: str, factory: dict[str, Any]) -> None:
        super().__init__()
        self.plan = RotationPlan(shape.irreps(shape.channels), 0, shape.lmax, shape.parity)
        self.radial = RadialNetwork(shape, self.plan.dim, factory)
        self.scale, self.backend = 1 / math.sqrt(num_neighbors), backend

    def forward(self, edges: Edges, nodes: int) -> Float[Tensor, "nodes features"]:
        """Features of all nodes."""
        weights = self.radial(edges) * (edges.envelope * self.scale)[:, None]
        return rotate_from_edges(self.plan, weights, edges.harmonics, edges.destination, nodes, edges.pointers, self.backend)


class SphereFeedForward(torch.nn.Module):
    """The feed-forward network of a node: linear, a perceptron at each point of the sphere (or gates), linear.

    The scalars of the perceptron are replaced by activated ones of their own.
    """

    def __init__(self, shape: Shape, factory: dict[str, Any]) -> None:
        super().__init__()
        irreps, width = shape.irreps(shape.channels), shape.hidden_channels
        hidden, self.width = shape.irreps(width), width
        self.grid, self.gate = shape.grid(shape.lmax, "degrees"), None
        if self.grid is None:
            gates = Irreps([(width * shape.lmax, (0, 1))])
            self.gate = Gate(hidden[:1], [silu], gates, [torch.sigmoid], hidden[1:])
            self.first = Linear(irreps, self.gate.irreps_in, biases=True, **factory)
        else:
            self.first = Linear(irreps, Irreps([(width, (0, 1))]) + hidden, biases=True, **factory)
            self.layers = torch.nn.Parameter(torch.randn(3, width, width, **factory) / math.sqrt(width))
        self.second = Linear(hidden, irreps, biases=True, **factory)

    def forward(self, x: Float[Tensor, "nodes features"]) -> Float[Tensor, "nodes features"]:
        x = self.first(x)
        return self.second(self._on_sphere(x) if self.gate is None else self.gate(x))

    def matrices(self) -> list[Tensor]:
        """The matrices of the perceptron on the sphere, if there is one; those of the linear maps are theirs."""
        return [self.layers] if self.grid is not None else []

    def _on_sphere(self, x: Tensor) -> Tensor:
        assert self.grid is not None
        to_grid, from_grid = (t.to(x.device, x.dtype) for t in (self.grid.to_grid, self.grid.from_grid))
        scalars, coefficients = silu(x[:, : self.width]), x[:, self.width :].unflatten(1, (-1, self.width))
        points = silu((to_grid @ coefficients) @ self.layers[0])
        points = silu(points @ self.layers[1]) @ self.layers[2]
        return torch.cat([scalars, (from_grid[1:] @ points).flatten(1)], 1)


def mixing_matrices(plan: MixingPlan, weight: Float[Tensor, " weights"]) -> list[Float[Tensor, "n m"]]:
    """Views of the weights of a mixing, a matrix (channels in, channels out) for each pair of orders; real and imaginary apart.

    >>> plan = MixingPlan(*(RotationPlan(irreps, 1, 1, True) for irreps in ("2x0e+1x1o", "3x1o")))
    >>> [tuple(matrix.shape) for matrix in mixing_matrices(plan, torch.zeros(12))]
    [(3, 3), (1, 3)]
    """
    found, at = [], 0
    for n, m, is_complex in plan.sizes:
        for _ in range(2 if is_complex else 1):
            found.append(weight[at : at + n * m].view(n, m))
            at += n * m
    return found
