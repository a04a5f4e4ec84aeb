r"""DeNS, denoising non-equilibrium structures: some atoms are displaced at random, and the network says by how much.

The task is well posed only if the network is told which structure to return to: the labelled forces of the displaced atoms, as
:math:`|F|/\sqrt 3\; Y(F)`, are added to their embedding. Energies and the forces on the other atoms stay those of the label.
:mod:`tesseral.train.denoising` trains a :class:`Denoiser`; its ``model`` is what remains afterwards.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tesseral.graph import Graph
from tesseral.nn import Gate, LayerNorm, Linear
from tesseral.o3 import Irreps
from tesseral.ops import spherical_harmonics


@runtime_checkable
class Denoisable(Protocol):
    """What a model offers so that it can learn by denoising: a door for an encoding of forces, and its features.

    ``irreps_encoding`` may be added to the embedding of an atom; ``irreps_features`` must hold vectors (1o) for the noise.
    """

    irreps_encoding: Irreps
    irreps_features: Irreps
    dtype: torch.dtype

    def describe(self, graph: Graph, encoding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Energies (graphs,) in eV and features of the atoms."""


class DenoisingSettings(BaseModel):
    """How structures are corrupted, and what the noise weighs in the loss; the defaults are those published for MD17.

    ``force_scale`` is filled in from the training data when left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    structures: float = Field(0.25, ge=0, le=1, description="probability that a structure is corrupted")
    atoms: float = Field(0.25, gt=0, le=1, description="probability that an atom of such a structure is displaced")
    sigma: float = Field(0.05, gt=0, description="standard deviation of each component of a displacement, in Å")
    noise_weight: float = Field(
        0.06, ge=0, description="weight of squared errors of noise/sigma, relative to squared errors of forces in (eV/Å)²"
    )
    decay_steps: int | None = Field(None, ge=1, description="steps over which the weight falls linearly to 0 (empty: it stays)")
    encode_forces: bool = Field(True, description="tell the network the forces on displaced atoms")
    force_scale: float | None = Field(
        None, gt=0, description="typical force component in eV/Å, by which the encoding is divided (empty: that of the data)"
    )
    hidden_channels: int = Field(16, ge=1, description="channels of the head that predicts the noise")


class Corruption(NamedTuple):
    """Displaced positions, the displacements over sigma (zero elsewhere), and which atoms are displaced."""

    positions: Float[Tensor, "nodes 3"]
    noise: Float[Tensor, "nodes 3"]
    displaced: Bool[Tensor, " nodes"]


class Denoiser(torch.nn.Module):
    """A model with a head that predicts displacements; called with a graph it is the model itself.

    Raises ``TypeError`` for a model without the door of :class:`Denoisable` and ``ValueError`` for one without vectors, or for
    settings without ``force_scale`` where forces are encoded.
    """

    steps: Tensor

    def __init__(self, model: torch.nn.Module, settings: DenoisingSettings) -> None:
        super().__init__()
        if not isinstance(model, Denoisable):
            raise TypeError(
                f"{type(model).__name__} cannot learn by denoising: it lacks describe(graph, encoding), irreps_encoding or "
                "irreps_features (see tesseral.models.dens.Denoisable); EquiformerV2 and NequIP have them"
            )
        vectors = Irreps("1x1o")[0].ir
        if all(ir != vectors for _, ir in model.irreps_features):
            raise ValueError(f"noise is a vector, but the features {model.irreps_features} of the model hold none (1o)")
        if settings.encode_forces and settings.force_scale is None:
            raise ValueError("the encoding of forces needs settings.force_scale; `tesseral train` takes it from the data")
        self.model, self.settings = model, settings
        irreps_forces = Irreps.spherical_harmonics(model.irreps_encoding.lmax)
        factory: dict = {"dtype": model.dtype, "device": next(model.parameters()).device}
        self.irreps_forces = irreps_forces
        self.encode = Linear(irreps_forces, model.irreps_encoding, **factory) if settings.encode_forces else None
        n = settings.hidden_channels
        gate = Gate(f"{n}x0e", [torch.nn.functional.silu], f"{n}x0e", [torch.sigmoid], f"{n}x1o")
        self.head = torch.nn.Sequential(
            LayerNorm(model.irreps_features, together=True, **factory),
            Linear(model.irreps_features, gate.irreps_in, biases=True, **factory),
            gate,
            Linear(gate.irreps_out, "1x1o", **factory),
        )
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device=factory["device"]))

    def forward(self, graph: Graph) -> Float[Tensor, " graphs"]:
        """Energies of the model, in eV, of the structures as they are."""
        return self.model(graph)

    def corrupt(self, graph: Graph) -> Corruption:
        """A new draw of displacements, from torch's generator; atoms without a labelled force stay where they are."""
        of_graph = torch.rand(graph.num_graphs, device=graph.device) < self.settings.structures
        displaced = (torch.rand(graph.num_nodes, device=graph.device) < self.settings.atoms) & of_graph[graph.batch]
        mask = graph.masks.get("forces")
        if mask is not None:
            displaced = displaced & mask.reshape(graph.num_nodes, -1).all(1)
        noise = torch.randn(graph.num_nodes, 3, dtype=graph.dtype, device=graph.device) * displaced[:, None]
        return Corruption(graph.positions + self.settings.sigma * noise, noise, displaced)

    def encoding(self, graph: Graph, displaced: Bool[Tensor, " nodes"]) -> Float[Tensor, "nodes encoding"] | None:
        r""":math:`W\,|F|/\sqrt 3\; Y(F)` of the labelled forces on displaced atoms, zero on the others; None without encoding."""
        if self.encode is None:
            return None
        forces = torch.where(displaced[:, None], graph.labels["forces"], 0.0).to(self.encode.weight.dtype)
        forces = forces / (self.settings.force_scale or 1.0)
        size = torch.linalg.vector_norm(forces, dim=1, keepdim=True)
        harmonics = spherical_harmonics(self.irreps_forces, forces, normalize=True, normalization="component")
        return self.encode(harmonics * size / math.sqrt(3))

    def denoise(self, features: Float[Tensor, "nodes features"]) -> Float[Tensor, "nodes 3"]:
        """The displacements over sigma that the features tell of."""
        return self.head(features).to(torch.float64)

    def noise_weight(self) -> float:
        """The weight of the noise at this step."""
        decay = self.settings.decay_steps
        left = 1.0 if decay is None else max(0.0, 1 - int(self.steps) / decay)
        return self.settings.noise_weight * left
