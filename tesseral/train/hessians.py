"""Training on reference Hessians by products with vectors, so that the model's own matrix is never built.

A frame with a Hessian has 3n columns; a product of the model's Hessian with one vector costs about as much as the gradient of a
force loss. Energies and forces come first: second derivatives of a model that has not learned them are noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.graph import Graph
from tesseral.physics.forces import EnergyFunction
from tesseral.physics.hessian import hessian_vector_products
from tesseral.train.settings import HessianTermSettings


@dataclass(frozen=True, eq=False)
class HessianFrame:
    """One structure and its reference Hessian in eV/Å²; raises ``ValueError`` where they do not fit, or are not finite."""

    graph: Graph
    hessian: Float[Tensor, "nodes 3 nodes 3"]

    def __post_init__(self) -> None:
        n = self.graph.num_nodes
        if self.graph.num_graphs != 1 or tuple(self.hessian.shape) != (n, 3, n, 3):
            raise ValueError(
                f"a Hessian of shape {tuple(self.hessian.shape)} does not belong to {self.graph}: expected {(n, 3, n, 3)}"
            )
        if not bool(torch.isfinite(self.hessian).all()):
            raise ValueError(f"the Hessian of {self.graph} holds numbers that are not finite; leave the frame out")


def probes(nodes: int, settings: HessianTermSettings, like: Tensor) -> Float[Tensor, "probes nodes 3"]:
    r"""Vectors to multiply with, drawn from torch's default generator.

    "random": signs :math:`\pm 1`, for which :math:`\langle\|(H - H')v\|^2\rangle` is the squared Frobenius norm (Hutchinson);
    "rows": coordinates of single atoms without repetition, for which the product is a row of the matrix.
    """
    if settings.kind == "random":
        return (torch.randint(0, 2, (settings.probes, nodes, 3), device=like.device) * 2 - 1).to(like.dtype)
    chosen = torch.randperm(3 * nodes, device=like.device)[: settings.probes]
    return torch.nn.functional.one_hot(chosen, 3 * nodes).to(like.dtype).reshape(-1, nodes, 3)


def hessian_loss(model: EnergyFunction, frame: HessianFrame, settings: HessianTermSettings) -> Float[Tensor, ""]:
    r"""Mean squared error of an entry of the Hessian, (eV/Å²)², estimated without bias from a few products.

    For random signs :math:`\frac{1}{p (3n)^2} \sum_p \|(H - H^{ref}) v_p\|^2`, for rows :math:`\frac{1}{p\,3n} \sum_p`.
    Differentiable in the parameters of the model: three passes through it. Source: for rows Fang et al., arXiv:2403.11347.
    """
    frame_graph = frame.graph
    vectors = probes(frame_graph.num_nodes, settings, frame_graph.positions)
    found = hessian_vector_products(model, frame_graph, vectors, create_graph=True, chunk=len(vectors))
    wanted = torch.einsum("iajb,pjb->pia", frame.hessian.to(vectors), vectors)
    size = 3 * frame_graph.num_nodes
    entries = len(vectors) * size * (size if settings.kind == "random" else 1)
    return (found - wanted).to(torch.float64).square().sum() / max(entries, 1)


def drawn(frames: Sequence[HessianFrame]) -> HessianFrame:
    """One of the frames at random, from torch's default generator, which training seeds at every step."""
    return frames[int(torch.randint(len(frames), ()))]
