"""Training by denoising: a ``predict`` for :func:`tesseral.train.loop.fit` and any model that has learned to be corrupted.

The noise enters the loss as forces do: the prediction for a displaced atom is its labelled force plus the error of its noise,
times the square root of the weight of the noise. So every kind of loss, mask and process count works as for forces.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from tesseral.graph import Graph
from tesseral.physics.forces import EnergyFunction, Prediction, energy_and_forces


@runtime_checkable
class Denoising(Protocol):
    """What training needs of a denoiser; :class:`tesseral.models.dens.Denoiser` is one."""

    model: Any
    training: bool
    steps: Tensor

    def corrupt(self, graph: Graph) -> Any:
        """Displaced ``positions``, ``noise`` over sigma, and which atoms are ``displaced``."""

    def encoding(self, graph: Graph, displaced: Tensor) -> Tensor | None:
        """What the model is told of the displaced atoms."""

    def denoise(self, features: Tensor) -> Tensor:
        """The predicted noise over sigma."""

    def noise_weight(self) -> float:
        """Its weight relative to squared errors of forces in (eV/Å)²."""


def denoised_prediction(
    model: Denoising | EnergyFunction, graph: Graph, stress: bool = False, create_graph: bool = False
) -> Prediction:
    """Energy and forces while evaluating; while a denoiser trains, those of structures with displaced atoms.

    Energies are held against the labels of the original structure; forces on displaced atoms become errors of the noise. The
    edges are those of the original structure: a displaced atom may miss a neighbour at the very edge of its sphere, where
    messages vanish. Stress is that of the displaced structure. A call in training counts as one step.
    """
    if not (create_graph and isinstance(model, Denoising) and model.training and "forces" in graph.labels):
        return energy_and_forces(model, graph, stress=stress, create_graph=create_graph)  # type: ignore[arg-type]
    denoiser: Denoising = model
    corruption = denoiser.corrupt(graph)
    encoding = denoiser.encoding(graph, corruption.displaced)
    kept: list[Tensor] = []

    def energies(displaced: Graph) -> Tensor:
        energy, features = denoiser.model.describe(displaced, encoding)
        kept.append(features)
        return energy

    placed = graph.replace(positions=corruption.positions)
    prediction = energy_and_forces(energies, placed, stress=stress, create_graph=True)
    error = denoiser.denoise(kept[0]) - corruption.noise
    weight = math.sqrt(denoiser.noise_weight())
    noisy = torch.where(corruption.displaced[:, None], graph.labels["forces"].to(error.dtype), 0.0) + weight * error
    denoiser.steps += 1
    return prediction._replace(forces=torch.where(corruption.displaced[:, None], noisy, prediction.forces))
