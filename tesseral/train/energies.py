"""Learning energies and their derivatives: forces, stresses, and Hessians where there are some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tesseral.graph import Graph
from tesseral.physics.electric import Responses
from tesseral.physics.forces import EnergyFunction, Prediction, energy_and_forces
from tesseral.train.admission import TrainingError, check_labels
from tesseral.train.hessians import HessianFrame, drawn, hessian_loss
from tesseral.train.losses import EnergyOnly, combine, label_counts, loss_sums
from tesseral.train.metrics import ROWS, error_sums, summarise
from tesseral.train.prediction import Graphs
from tesseral.train.settings import FitSettings
from tesseral.train.task import Sums

ForceFunction = Callable[..., Prediction]
"""``(model, graph, stress=, create_graph=) -> Prediction``, as :func:`tesseral.physics.forces.energy_and_forces`."""


class EnergyTask:
    """The loss of ``settings.loss``; ``function`` differentiates the energy, ``hessians`` are for ``loss.hessian``.

    ``energy`` makes the energy function of the model where that is not the model itself, as
    :class:`~tesseral.physics.precision.BFloat16Products` does.
    """

    def __init__(
        self,
        settings: FitSettings,
        function: ForceFunction = energy_and_forces,
        hessians: Sequence[HessianFrame] = (),
        energy: Callable[[torch.nn.Module], EnergyFunction] | None = None,
    ) -> None:
        if settings.loss.hessian.weight > 0 and not hessians:
            raise TrainingError(
                f"loss.hessian.weight is {settings.loss.hessian.weight}, but no frame comes with a Hessian; "
                "set loss.hessian.weight=0, or name files in data.hessians"
            )
        self.settings, self.loss, self.function, self.hessians = settings, settings.loss, function, tuple(hessians)
        self.energy = energy
        self.compiled: dict[bool, Any] = {}

    def check(self, frames: Graphs) -> None:
        check_labels(frames, self.settings)

    def predict(self, model: torch.nn.Module, graph: Graph, *, create_graph: bool) -> Prediction | EnergyOnly:
        stress = "stress" in graph.labels and (self.loss.stress.weight > 0 or not create_graph)
        forces = "forces" in graph.labels and (self.loss.forces.weight > 0 or not create_graph)
        if not (forces or stress):
            return EnergyOnly(self.energy_of(model)(graph))
        if create_graph and self.settings.compile:
            from tesseral.train.compiled import CompiledPrediction  # brings the tracers, which take long to import

            if stress not in self.compiled:
                self.compiled[stress] = CompiledPrediction(model, stress)
            return self.compiled[stress](graph)
        return self.function(self.energy_of(model), graph, stress=stress, create_graph=create_graph)

    def energy_of(self, model: torch.nn.Module) -> EnergyFunction:
        """The function whose derivatives are learned."""
        return model if self.energy is None else self.energy(model)

    def loss_sums(self, prediction: Prediction | EnergyOnly | Responses, graph: Graph) -> Sums:
        return loss_sums(prediction, graph, self.loss)

    def label_counts(self, graph: Graph | None, device: torch.device) -> Tensor:
        return label_counts(graph, self.loss, device)

    def combine(self, sums: Sums, counts: Tensor) -> Tensor:
        return combine(sums, counts, self.loss)

    def aside(self, model: torch.nn.Module, progress: float, device: torch.device) -> Tensor | None:
        """The term of the Hessian, once energies and forces have had their share of the run."""
        term = self.loss.hessian
        if term.weight == 0 or progress < term.start:
            return None
        frame = drawn(self.hessians)
        frame = HessianFrame(frame.graph.to(device), frame.hessian.to(device))
        return term.weight * hessian_loss(self.energy_of(model), frame, term)

    def error_sums(self, prediction: Prediction | EnergyOnly, graph: Graph) -> Tensor:
        return error_sums(prediction, graph)

    def no_errors(self, device: torch.device) -> Tensor:
        return torch.zeros(len(ROWS), 3, dtype=torch.float64, device=device)

    def summarise(self, sums: Tensor) -> dict[str, float]:
        return summarise(sums)
