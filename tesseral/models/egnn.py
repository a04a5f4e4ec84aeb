"""EGNN: messages of invariants, and positions that move along the edges: equivariance without harmonics."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from tesseral.models.atomwise import AtomwiseModel, AtomwiseSettings, Edges, gather_sum
from tesseral.nn import MLP


class EGNNSettings(AtomwiseSettings):
    """Architecture of an EGNN."""

    name: Literal["egnn"] = "egnn"
    moves: bool = Field(True, description="layers move the points that distances are taken between (false: invariants only)")


class EGNN(AtomwiseModel):
    r"""The network of Satorras et al., :math:`m_{ij} = \phi_e(h_i, h_j, |x_i - x_j|^2)`, with a smooth cutoff.

    .. math:: h_i \leftarrow h_i + \phi_h\big(h_i, \textstyle\sum_j m_{ij}/\sqrt{\bar n}\big), \qquad
              x_i \leftarrow x_i + \bar n^{-1} \textstyle\sum_j (x_j - x_i)\, \phi_x(m_{ij})

    The points x start as the atoms; edges stay those of the atoms, and messages know their Bessel functions, too. Vectors are
    the highest degree there is, one to an atom, and pseudovectors never occur. Source: Satorras, Hoogeboom, Welling, ICML 2021;
    the cutoff and the radial functions are ours.
    """

    def __init__(
        self,
        settings: EGNNSettings,
        *,
        atomic_energies: dict[int, float] | None = None,
        scales: dict[int, float] | float = 1.0,
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(settings, atomic_energies, scales, dtype, device)
        factory: dict[str, Any] = {"dtype": dtype, "device": device}
        self.layers = torch.nn.ModuleList(
            EGNNLayer(settings, settings.moves and index < settings.layers - 1, factory) for index in range(settings.layers)
        )
        self.readout = MLP([settings.channels, settings.channels, 1], **factory)

    def outputs(self, x: Float[Tensor, "atoms channels"], edges: Edges) -> Float[Tensor, "atoms 1"]:
        moved = x.new_zeros(x.shape[0], 3)
        for layer in self.layers:
            x, moved = layer(x, moved, edges)
        return self.readout(x)


class EGNNLayer(torch.nn.Module):
    """One exchange of messages; the last layer moves nothing, since nothing would notice."""

    def __init__(self, settings: EGNNSettings, moves: bool, factory: dict[str, Any]) -> None:
        super().__init__()
        width, self.num_neighbors, self.cutoff = settings.channels, settings.num_neighbors or 1.0, settings.cutoff
        self.message = MLP([2 * width + settings.num_basis + 1, width, width], out_act=True, **factory)
        self.update = MLP([2 * width, width, width], **factory)
        self.move = MLP([width, width, 1], **factory) if moves else None

    def forward(
        self, x: Float[Tensor, "atoms channels"], moved: Float[Tensor, "atoms 3"], edges: Edges
    ) -> tuple[Float[Tensor, "atoms channels"], Float[Tensor, "atoms 3"]]:
        vectors = edges.vectors + moved[edges.source] - moved[edges.destination]
        squares = vectors.square().sum(1, keepdim=True) / self.cutoff**2
        ends = torch.cat([x[edges.destination], x[edges.source], edges.radial, squares], dim=1)
        messages = self.message(ends) * edges.envelope
        total = gather_sum(messages, edges, x.shape[0]) / math.sqrt(self.num_neighbors)
        if self.move is not None:
            moved = moved + gather_sum(vectors * self.move(messages), edges, x.shape[0]) / self.num_neighbors
        return x + self.update(torch.cat([x, total], dim=1)), moved
