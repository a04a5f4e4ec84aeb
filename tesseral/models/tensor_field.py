"""Tensor field network: convolutions with harmonics, maps between channels, functions of norms. Where the family begins."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from tesseral.models.atomwise import AtomwiseModel, AtomwiseSettings, Edges
from tesseral.nn import MLP, Convolution, Linear, NormActivation
from tesseral.o3 import Irreps
from tesseral.ops import spherical_harmonics


class TensorFieldSettings(AtomwiseSettings):
    """Architecture of a tensor field network."""

    name: Literal["tensor_field"] = "tensor_field"
    lmax: int = Field(1, ge=0, le=8, description="highest degree of features and of harmonics")
    parity: bool = Field(False, description="keep both parities of each degree (false: the natural parity (-1)^l only)")
    radial_channels: int = Field(32, ge=1, description="width of the radial network")

    def hidden(self) -> Irreps:
        """Features between the layers."""
        parities = (1, -1) if self.parity else (1,)
        return Irreps([(self.channels, (l, (-1) ** l * p)) for l in range(self.lmax + 1) for p in parities])


class TensorField(AtomwiseModel):
    r"""Layers of Thomas et al.: :math:`x_i \leftarrow \eta\big(L x_i + L' \sum_j x_j \otimes_{R(r_{ij})} Y(\hat r_{ij})\big)`.

    η is silu for even scalars and :math:`\sigma(|x| + b)\, x` for everything else. The original lets the parity of features go;
    here it is kept, so energies do not change under reflections. Source: Thomas et al., arXiv:1802.08219.
    """

    def __init__(
        self,
        settings: TensorFieldSettings,
        *,
        atomic_energies: dict[int, float] | None = None,
        scales: dict[int, float] | float = 1.0,
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(settings, atomic_energies, scales, dtype, device)
        factory: dict[str, Any] = {"dtype": dtype, "device": device}
        self.irreps_sh = Irreps.spherical_harmonics(settings.lmax)
        irreps, scalars = Irreps([(settings.channels, (0, 1))]), Irreps([(settings.channels, (0, 1))])
        layers = []
        for index in range(settings.layers):
            target = scalars if index == settings.layers - 1 else settings.hidden()
            layers.append(TensorFieldLayer(irreps, self.irreps_sh, target, settings, backend, factory))
            irreps = layers[-1].irreps_out
        self.layers = torch.nn.ModuleList(layers)
        self.readout = Linear(scalars, "1x0e", **factory)

    def outputs(self, x: Float[Tensor, "atoms channels"], edges: Edges) -> Float[Tensor, "atoms 1"]:
        harmonics = spherical_harmonics(self.irreps_sh, edges.vectors, normalize=True, normalization="component")
        for layer in self.layers:
            x = layer(x, harmonics, edges)
        return self.readout(x)


class TensorFieldLayer(torch.nn.Module):
    """Convolution, self-interaction and nonlinearity."""

    def __init__(
        self, irreps_in: Irreps, irreps_sh: Irreps, target: Irreps, settings: TensorFieldSettings, backend: str, factory: Any
    ) -> None:
        super().__init__()
        self.convolution = Convolution(irreps_in, irreps_sh, target, backend=backend)
        reached = {ir for _, ir in self.convolution.irreps_out}
        self.irreps_out = Irreps([(mul, ir) for mul, ir in target if ir in reached])
        self.radial = MLP([settings.num_basis, settings.radial_channels, self.convolution.weight_numel], **factory)
        self.of_neighbors = Linear(self.convolution.irreps_out, self.irreps_out, **factory)
        self.of_self = Linear(irreps_in, self.irreps_out, **factory)
        self.of_neighbors.plan = self.of_neighbors.plan.scaled((settings.num_neighbors or 1.0) ** -0.5)
        self.activation = NonLinearity(self.irreps_out, factory)

    def forward(
        self, x: Float[Tensor, "atoms dim_in"], harmonics: Float[Tensor, "edges sh"], edges: Edges
    ) -> Float[Tensor, "atoms dim_out"]:
        edge_index = torch.stack([edges.source, edges.destination])
        messages = self.convolution(x, harmonics, self.radial(edges.radial), edge_index)
        return self.activation(self.of_neighbors(messages) + self.of_self(x))


class NonLinearity(torch.nn.Module):
    """silu of even scalars, which come first, and functions of the norms of the rest."""

    def __init__(self, irreps: Irreps, factory: Any) -> None:
        super().__init__()
        self.scalars = irreps[0].mul if len(irreps) and irreps[0].ir.is_scalar() else 0
        rest = Irreps(list(irreps)[1:] if self.scalars else list(irreps))
        self.of_norms = NormActivation(rest, torch.sigmoid, normalize=False, bias=True, **factory) if rest.dim else None

    def forward(self, x: Float[Tensor, "atoms dim"]) -> Float[Tensor, "atoms dim"]:
        first = torch.nn.functional.silu(x[:, : self.scalars])
        return first if self.of_norms is None else torch.cat([first, self.of_norms(x[:, self.scalars :])], dim=1)
