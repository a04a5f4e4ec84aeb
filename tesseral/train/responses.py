"""Learning an energy in an electric field: what an energy gives, and dipoles, polarizabilities and Born charges, in one loss."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from tesseral.graph import Graph, collate, split
from tesseral.physics.electric import RESPONSES, Responses, energy_and_responses
from tesseral.physics.forces import EnergyFunction, Prediction
from tesseral.train.admission import TrainingError
from tesseral.train.energies import EnergyTask
from tesseral.train.losses import EnergyOnly
from tesseral.train.metrics import FIELD_ROWS, error_sums, summarise
from tesseral.train.prediction import Graphs
from tesseral.train.task import Sums


class ResponseTask:
    """The loss of ``energies``, its terms of dipole, polarizability and Born charges included, each masked by what is labelled.

    Polarizabilities and Born charges cost three further backward passes, which only the frames that carry them pay.
    """

    def __init__(self, energies: EnergyTask) -> None:
        self.energies, self.loss = energies, energies.loss

    def check(self, frames: Graphs) -> None:
        """Raises ``TrainingError`` also for the dipole of a crystal."""
        self.energies.check(frames)
        if self.loss.dipole.weight > 0 and isinstance(frames, list):
            for index, frame in enumerate(frames):
                if _has_impossible_dipole(frame):
                    raise TrainingError(
                        f"training frame {index} repeats and has a dipole, which has no meaning there; set pbc to false for a "
                        "molecule in a box, or data.keys.dipole=null and loss.dipole.weight=0"
                    )

    def predict(self, model: torch.nn.Module, graph: Graph, *, create_graph: bool) -> Responses | Prediction | EnergyOnly:
        wanted = {
            name for name in RESPONSES if name in graph.labels and (getattr(self.loss, name).weight > 0 or not create_graph)
        }
        if self.loss.dipole.weight == 0 and _has_impossible_dipole(graph):
            wanted.discard("dipole")
        if not wanted:
            return self.energies.predict(model, graph, create_graph=create_graph)
        stress = "stress" in graph.labels and (self.loss.stress.weight > 0 or not create_graph)
        return labelled_responses(self.energies.energy_of(model), graph, wanted, stress=stress, create_graph=create_graph)

    def loss_sums(self, prediction: Responses | Prediction | EnergyOnly, graph: Graph) -> Sums:
        return self.energies.loss_sums(prediction, graph)

    def label_counts(self, graph: Graph | None, device: torch.device) -> Tensor:
        return self.energies.label_counts(graph, device)

    def combine(self, sums: Sums, counts: Tensor) -> Tensor:
        return self.energies.combine(sums, counts)

    def aside(self, model: torch.nn.Module, progress: float, device: torch.device) -> Tensor | None:
        return self.energies.aside(model, progress, device)

    def error_sums(self, prediction: Responses | Prediction | EnergyOnly, graph: Graph) -> Tensor:
        return error_sums(prediction, graph, FIELD_ROWS)

    def no_errors(self, device: torch.device) -> Tensor:
        return torch.zeros(len(FIELD_ROWS), 3, dtype=torch.float64, device=device)

    def summarise(self, sums: Tensor) -> dict[str, float]:
        return summarise(sums, FIELD_ROWS)


def _has_impossible_dipole(graph: Graph) -> bool:
    return "dipole" in graph.labels and bool((graph.pbc.any(1) & graph.masks["dipole"]).any())


def labelled_responses(
    model: EnergyFunction, graph: Graph, wanted: Collection[str], *, stress: bool = False, create_graph: bool = False
) -> Responses:
    """:func:`~tesseral.physics.electric.energy_and_responses` of a batch; second derivatives only where a frame has the label.

    Elsewhere the polarizability and the Born charges are zero.
    """
    first = [name for name in wanted if name == "dipole"]
    second = [name for name in ("polarizability", "born_charges") if name in wanted]
    labelled = torch.zeros(graph.num_graphs, dtype=torch.bool, device=graph.device)
    for name in second:
        mask = graph.masks.get(name)
        rows = graph.batch if name == "born_charges" else torch.arange(graph.num_graphs, device=graph.device)
        labelled[rows if mask is None else rows[mask]] = True
    chosen = labelled.nonzero().flatten().tolist()
    if len(chosen) == graph.num_graphs:
        return energy_and_responses(model, graph, wanted, stress=stress, create_graph=create_graph)
    found = energy_and_responses(model, graph, first, stress=stress, create_graph=create_graph)
    if not chosen:
        return found._replace(**{name: _nothing(name, graph) for name in second})
    parts = split(graph)
    part = energy_and_responses(model, collate([parts[i] for i in chosen]), second, create_graph=create_graph)
    filled: dict[str, Any] = {}
    for name in second:
        rows = labelled[graph.batch] if name == "born_charges" else labelled
        filled[name] = _nothing(name, graph).index_put((rows.nonzero().flatten(),), getattr(part, name))
    return found._replace(**filled)


def _nothing(name: str, graph: Graph) -> Tensor:
    rows = graph.num_nodes if name == "born_charges" else graph.num_graphs
    return torch.zeros(rows, 3, 3, dtype=torch.float64, device=graph.device)
