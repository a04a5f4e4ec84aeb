"""The exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class ExponentialMovingAverage:
    r"""Averaged weights: at update n, :math:`\bar w \leftarrow d\,\bar w + (1-d)\,w` with :math:`d = \min(d_0, (1+n)/(10+n))`.

    The warm-up of the decay lets the average forget the random start within a few tens of updates.
    A decay of 0 follows the weights exactly. Raises ``ValueError`` for a decay outside [0, 1).

    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> average = ExponentialMovingAverage([weight], decay=0.5)
    >>> _ = weight.data.fill_(1.0)
    >>> average.update()  # n = 1: d = 2/11
    >>> with average.swapped():
    ...     print(round(weight.item(), 4))
    0.8182
    >>> weight.item()
    1.0
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of the moving average must lie in [0, 1), got {decay}")
        self.decay = decay
        self.updates = 0
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.average = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Takes the present weights into the average."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        if self.parameters:
            torch._foreach_lerp_(self.average, [parameter.detach() for parameter in self.parameters], 1 - decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Inside the context the model carries the averaged weights; afterwards its own, bit for bit."""
        own = [parameter.detach().clone() for parameter in self.parameters]
        self._assign(self.average)
        try:
            yield
        finally:
            self._assign(own)

    @torch.no_grad()
    def _assign(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

    def state_dict(self) -> dict:
        """The number of updates and the averaged weights."""
        return {"updates": self.updates, "average": [value.clone() for value in self.average]}

    def load_state_dict(self, state: dict) -> None:
        """Continues from :meth:`state_dict`; raises ``ValueError`` when the number of weights differs."""
        if len(state["average"]) != len(self.average):
            raise ValueError(
                f"the moving average was saved for {len(state['average'])} parameters, the model has {len(self.average)}"
            )
        self.updates = state["updates"]
        with torch.no_grad():
            for mine, saved in zip(self.average, state["average"], strict=True):
                mine.copy_(saved)
