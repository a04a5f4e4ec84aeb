"""What a run minimises and reports, apart from how it goes about it: the seam between the loop and what is learned.

:class:`~tesseral.train.energies.EnergyTask` learns energies, forces, stresses and Hessians,
:class:`~tesseral.train.responses.ResponseTask` responses to a field along with them,
:class:`~tesseral.train.tensors.TensorTask` tensors of any irreps. A loss is made of sums of errors and counts of labels, which
processes exchange, never of means.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from tesseral.graph import Graph


class Sums(NamedTuple):
    """Error sums and label counts of each term of a loss: two float64 tensors of shape (terms,)."""

    errors: Tensor
    counts: Tensor


@runtime_checkable
class Task(Protocol):
    """What :func:`tesseral.train.loop.fit` learns."""

    def check(self, frames: Any) -> None:
        """Raises ``TrainingError`` where the training frames lack what the loss needs."""

    def predict(self, model: torch.nn.Module, graph: Graph, *, create_graph: bool) -> Any:
        """The model's answer for a batch, differentiable by its weights with ``create_graph``."""

    def loss_sums(self, prediction: Any, graph: Graph) -> Sums:
        """What the answer costs."""

    def label_counts(self, graph: Graph | None, device: torch.device) -> Tensor:
        """The counts of :meth:`loss_sums` without a prediction; zeros without a graph."""

    def combine(self, sums: Sums, counts: Tensor) -> Tensor:
        """The loss, from sums of one process and counts of all."""

    def aside(self, model: torch.nn.Module, progress: float, device: torch.device) -> Tensor | None:
        """A further loss of a step, on data of its own, in the first process; ``progress`` goes from 0 to 1."""

    def error_sums(self, prediction: Any, graph: Graph) -> Tensor:
        """Errors to report, (rows, 3): sum of sizes, sum of squares, number; sums over batches add up."""

    def no_errors(self, device: torch.device) -> Tensor:
        """The sums of no batch at all."""

    def summarise(self, sums: Tensor) -> dict[str, float]:
        """Named errors from their sums; ``monitor`` names one of them."""
