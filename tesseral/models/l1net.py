r"""L1Net: features of atoms for properties of molecules, of degree 0, 1 or 2.

Five residual layers of convolution and gate with a long cutoff; the width of the features (components, not channels) is the same
whatever the highest degree, so that networks with and without angular features compare. What is read off them, each property by
a head that knows how it transforms, is a :class:`~tesseral.models.tensor.TensorModel`.

Source: Miller, Geiger, Smidt, Noé, Relevance of rotationally equivariant convolutions for predicting molecular properties,
arXiv:2008.08461.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tesseral.graph import Graph
from tesseral.models.atomwise import AtomicNumber
from tesseral.nn import MLP, Convolution, CosineCutoff, Gate, GaussianBasis, Linear, SpeciesEmbedding
from tesseral.o3 import Irreps
from tesseral.ops import spherical_harmonics


class L1NetSettings(BaseModel):
    """Architecture of an L1Net, the published one by default; ``species`` and ``num_neighbors`` are those of the data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["l1net"] = "l1net"
    lmax: int = Field(1, ge=0, le=2, description="highest degree of the features: L0Net, L1Net, L2Net")
    width: int = Field(128, ge=12, description="components of the features of an atom; half are scalars when lmax > 0")
    layers: int = Field(5, ge=1, description="residual layers")
    cutoff: float = Field(10.0, gt=0, description="radius of the neighbourhood of an atom, in Å")
    num_basis: int = Field(50, ge=2, description="Gaussians of the distance")
    radial_channels: int = Field(128, ge=1, description="width of the two hidden layers of the radial networks")
    species: tuple[AtomicNumber, ...] = Field((), description="atomic numbers that the model knows (empty: those of the data)")
    num_neighbors: float | None = Field(None, gt=0, description="mean number of neighbours (empty: that of the data)")

    def hidden(self) -> Irreps:
        """Features of the same width for every lmax: half scalars, the rest shared equally by the degrees above.

        >>> [str(L1NetSettings(lmax=l).hidden()) for l in range(3)]
        ['128x0e', '64x0e+21x1o', '64x0e+10x1o+6x2e']
        """
        if not self.lmax:
            return Irreps([(self.width, (0, 1))])
        higher = [(self.width // (2 * self.lmax * (2 * l + 1)), (l, (-1) ** l)) for l in range(1, self.lmax + 1)]
        return Irreps([(self.width // 2, (0, 1)), *higher])


class L1Net(torch.nn.Module):
    """Maps a graph to equivariant features of its atoms (nodes, ``irreps_out.dim``), in ``ir_mul``; runs in ``dtype``.

    Raises ``ValueError`` for settings without ``species`` or ``num_neighbors``.
    """

    def __init__(
        self,
        settings: L1NetSettings,
        *,
        backend: str = "auto",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if not settings.species or settings.num_neighbors is None:
            raise ValueError("a model needs settings.species and settings.num_neighbors; take both from the data")
        self.settings, self.dtype = settings, dtype
        factory: dict[str, Any] = {"dtype": dtype, "device": device}
        self.irreps_out = hidden = settings.hidden()
        self.irreps_sh = Irreps.spherical_harmonics(settings.lmax)
        self.embedding = SpeciesEmbedding(settings.species, hidden[0].mul, **factory)
        self.basis, self.envelope = GaussianBasis(settings.cutoff, settings.num_basis), CosineCutoff(settings.cutoff)
        sizes = [Irreps([(hidden[0].mul, (0, 1))]), *[hidden] * (settings.layers - 1)]
        self.layers = torch.nn.ModuleList(
            L1NetLayer(irreps, hidden, settings, settings.num_neighbors, backend, factory) for irreps in sizes
        )

    def forward(self, graph: Graph) -> Float[Tensor, "nodes dim"]:
        """Features of the atoms."""
        vectors = graph.edge_vectors().to(self.dtype)
        lengths = torch.linalg.vector_norm(vectors, dim=1)
        harmonics = spherical_harmonics(self.irreps_sh, vectors, normalize=True, normalization="component")
        radial = self.basis(lengths) * self.envelope(lengths)[:, None]
        x = self.embedding(graph.species)
        for layer in self.layers:
            x = layer(x, harmonics, radial, graph)
        return x


class L1NetLayer(torch.nn.Module):
    """Convolution, gate, and the features of before."""

    def __init__(
        self,
        irreps_in: Irreps,
        hidden: Irreps,
        settings: L1NetSettings,
        num_neighbors: float,
        backend: str,
        factory: dict[str, Any],
    ) -> None:
        super().__init__()
        scalars, gated = hidden[:1], hidden[1:]
        gates = Irreps([(gated.num_irreps, (0, 1))]) if gated.dim else Irreps([])
        acts = [torch.sigmoid] if gated.dim else []
        self.gate = Gate(scalars, [_shifted_softplus], gates, acts, gated)
        self.convolution = Convolution(irreps_in, Irreps.spherical_harmonics(settings.lmax), hidden, backend=backend)
        widths = [settings.num_basis, settings.radial_channels, settings.radial_channels, self.convolution.weight_numel]
        self.radial = MLP(widths, **factory)
        self.mix = Linear(self.convolution.irreps_out, self.gate.irreps_in, **factory)
        self.mix.plan = self.mix.plan.scaled(num_neighbors**-0.5)
        self.of_self = Linear(irreps_in, hidden, **factory)

    def forward(
        self, x: Float[Tensor, "nodes dim_in"], harmonics: Float[Tensor, "edges sh"], radial: Float[Tensor, "edges basis"],
        graph: Graph,
    ) -> Float[Tensor, "nodes dim_out"]:  # fmt: skip
        edges = (graph.edge_index, graph.source_order, graph.destination_pointers)
        messages = self.convolution(x, harmonics, self.radial(radial), *edges)
        return (self.of_self(x) + self.gate(self.mix(messages))) * 0.5**0.5


def _shifted_softplus(x: Tensor) -> Tensor:
    return torch.nn.functional.softplus(x) - math.log(2)
