"""SE(3)-Transformer: the messages of a tensor field network, weighed by attention."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from tesseral.models.atomwise import AtomwiseModel, AtomwiseSettings, Edges, gather_sum
from tesseral.nn import MLP, Linear, NormActivation
from tesseral.o3 import Irreps
from tesseral.ops import scatter_softmax, spherical_harmonics, tensor_product, tensor_product_plan
from tesseral.ops.convolution import ConvolutionPlan


class SE3TransformerSettings(AtomwiseSettings):
    """Architecture of an SE(3)-Transformer."""

    name: Literal["se3_transformer"] = "se3_transformer"
    lmax: int = Field(1, ge=0, le=8, description="highest degree of features and of harmonics")
    heads: int = Field(4, ge=1, description="heads of the attention; they divide the channels")
    radial_channels: int = Field(32, ge=1, description="width of the radial network")


class SE3Transformer(AtomwiseModel):
    r"""The network of Fuchs et al.: :math:`x_i \leftarrow L x_i + \sum_j \alpha_{ij} v_{ij}`, in each of several heads.

    Keys and values of an edge are linear in :math:`x_j \otimes_{R(r_{ij})} Y(\hat r_{ij})`, queries in :math:`x_i`; attention α
    is the softmax over the neighbours of their invariant products. What the original lacks: attention and values vanish smoothly
    at the cutoff, and parity is kept (features of natural parity), so energies do not change under reflections. One radial
    network serves keys and values. Source: Fuchs, Worrall, Fischer, Welling, NeurIPS 2020.

    Raises ``ValueError`` when ``heads`` do not divide ``channels``.
    """

    def __init__(
        self,
        settings: SE3TransformerSettings,
        *,
        atomic_energies: dict[int, float] | None = None,
        scales: dict[int, float] | float = 1.0,
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(settings, atomic_energies, scales, dtype, device)
        if settings.channels % settings.heads:
            raise ValueError(f"heads={settings.heads} do not divide channels={settings.channels}: choose a divisor")
        factory: dict[str, Any] = {"dtype": dtype, "device": device}
        self.irreps_sh = Irreps.spherical_harmonics(settings.lmax)
        hidden = Irreps([(settings.channels, (l, (-1) ** l)) for l in range(settings.lmax + 1)])
        sizes = [Irreps([(settings.channels, (0, 1))]), *[hidden] * (settings.layers - 1)]
        self.layers = torch.nn.ModuleList(SE3TransformerLayer(irreps, hidden, settings, factory) for irreps in sizes)
        self.readout = MLP([settings.channels, settings.channels, 1], **factory)

    def outputs(self, x: Float[Tensor, "atoms channels"], edges: Edges) -> Float[Tensor, "atoms 1"]:
        harmonics = spherical_harmonics(self.irreps_sh, edges.vectors, normalize=True, normalization="component")
        for layer in self.layers:
            x = layer(x, harmonics, edges)
        return self.readout(x[:, : self.settings.channels])


class SE3TransformerLayer(torch.nn.Module):
    """Attention over the neighbours, self-interaction and nonlinearity."""

    def __init__(self, irreps_in: Irreps, hidden: Irreps, settings: SE3TransformerSettings, factory: dict[str, Any]) -> None:
        super().__init__()
        self.heads, self.channels = settings.heads, settings.channels
        harmonics = Irreps.spherical_harmonics(settings.lmax)
        paths = ConvolutionPlan(irreps_in, harmonics, hidden)
        instructions = [(i, j, k, "uvu", True) for i, j, k in paths.paths]
        self.plan = tensor_product_plan(irreps_in, harmonics, paths.irreps_out, instructions, shared_weights=False)
        self.radial = MLP([settings.num_basis, settings.radial_channels, self.plan.weight_numel], **factory)
        self.query = Linear(irreps_in, hidden, **factory)
        self.key = Linear(paths.irreps_out, hidden, **factory)
        self.value = Linear(paths.irreps_out, hidden, **factory)
        self.of_self = Linear(irreps_in, hidden, **factory)
        rest = Irreps(list(hidden)[1:])
        self.of_norms = NormActivation(rest, torch.sigmoid, normalize=False, bias=True, **factory) if rest.dim else None

    def forward(
        self, x: Float[Tensor, "atoms dim_in"], harmonics: Float[Tensor, "edges sh"], edges: Edges
    ) -> Float[Tensor, "atoms dim_out"]:
        messages = tensor_product(x[edges.source], harmonics, self.radial(edges.radial), self.plan)
        keys, values, queries = (self._by_head(t) for t in (self.key(messages), self.value(messages), self.query(x)))
        logits = (keys * queries[edges.destination]).sum((1, 3)) / math.sqrt(keys.shape[1] * keys.shape[3])
        attention = scatter_softmax(logits, edges.destination, x.shape[0], edges.envelope.expand_as(logits))
        y = gather_sum(values * attention[:, None, :, None], edges, x.shape[0]).flatten(1) + self.of_self(x)
        first = torch.nn.functional.silu(y[:, : self.channels])
        return first if self.of_norms is None else torch.cat([first, self.of_norms(y[:, self.channels :])], dim=1)

    def _by_head(self, x: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows components heads channels"]:
        return x.view(x.shape[0], x.shape[1] // self.channels, self.heads, self.channels // self.heads)
