"""PaiNN: scalars and vectors that talk to each other through gates and scalar products."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.models.atomwise import AtomwiseModel, AtomwiseSettings, Edges, gather_sum
from tesseral.nn import MLP, Linear


class PaiNNSettings(AtomwiseSettings):
    """Architecture of a PaiNN."""

    name: Literal["painn"] = "painn"


class PaiNN(AtomwiseModel):
    r"""The network of Schütt et al.: scalars s and vectors v, a message and an update in each layer.

    .. math:: \Delta s_i = \sum_j a_{ij}, \quad \Delta v_i = \sum_j \left(b_{ij}\, v_j + c_{ij}\, \hat r_{ij}\right), \quad
              (a, b, c)_{ij} = \phi(s_j) \circ W(r_{ij})

    .. math:: \Delta s_i = A + B\, \langle U v_i, V v_i\rangle, \quad \Delta v_i = C\, U v_i, \quad
              (A, B, C) = \psi(s_i, |V v_i|)

    Messages are divided by :math:`\sqrt{\bar n}`, norms are :math:`\sqrt{|v|^2 + 10^{-8}}`, so that forces are smooth where
    vectors vanish. No cross product occurs: features are E(3)-equivariant with natural parity.
    Source: Schütt, Unke, Gastegger, ICML 2021.
    """

    def __init__(
        self,
        settings: PaiNNSettings,
        *,
        atomic_energies: dict[int, float] | None = None,
        scales: dict[int, float] | float = 1.0,
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(settings, atomic_energies, scales, dtype, device)
        factory: dict[str, Any] = {"dtype": dtype, "device": device}
        self.layers = torch.nn.ModuleList(PaiNNLayer(settings, factory) for _ in range(settings.layers))
        self.readout = MLP([settings.channels, settings.channels, 1], **factory)

    def outputs(self, x: Float[Tensor, "atoms channels"], edges: Edges) -> Float[Tensor, "atoms 1"]:
        vectors = x.new_zeros(x.shape[0], 3, x.shape[1])
        for layer in self.layers:
            x, vectors = layer(x, vectors, edges)
        return self.readout(x)


class PaiNNLayer(torch.nn.Module):
    """A message and an update; vectors are (atoms, 3, channels)."""

    def __init__(self, settings: PaiNNSettings, factory: dict[str, Any]) -> None:
        super().__init__()
        width, self.scale = settings.channels, (settings.num_neighbors or 1.0) ** -0.5
        self.width = width
        self.source = MLP([width, width, 3 * width], **factory)
        self.radial = MLP([settings.num_basis, 3 * width], **factory)
        self.mix = Linear(f"{width}x1o", f"{2 * width}x1o", **factory)
        self.update = MLP([2 * width, width, 3 * width], **factory)

    def forward(
        self, x: Float[Tensor, "atoms channels"], vectors: Float[Tensor, "atoms 3 channels"], edges: Edges
    ) -> tuple[Float[Tensor, "atoms channels"], Float[Tensor, "atoms 3 channels"]]:
        a, b, c = (self.source(x)[edges.source] * self.radial(edges.radial) * self.scale).split(self.width, dim=1)
        directions = (edges.vectors / edges.lengths[:, None]).unsqueeze(2)
        messages = vectors[edges.source] * b[:, None] + directions * c[:, None]
        x = x + gather_sum(a, edges, x.shape[0])
        vectors = vectors + gather_sum(messages, edges, x.shape[0])

        u, v = self.mix(vectors.flatten(1)).unflatten(1, (3, -1)).split(self.width, dim=2)
        norms = (v.square().sum(1) + 1e-8).sqrt()
        of_scalars, of_products, of_vectors = self.update(torch.cat([x, norms], dim=1)).split(self.width, dim=1)
        products = (u * v).sum(1) / math.sqrt(3)
        return x + of_scalars + of_products * products, vectors + u * of_vectors[:, None]
