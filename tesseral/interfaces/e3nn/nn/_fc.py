"""Perceptrons of invariants."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn.math._normalize_activation import normalize2mom
from tesseral.interfaces.e3nn.util.jit import compile_mode


@compile_mode("script")
class _Layer(nn.Module):
    """One layer: ``act(x W / sqrt(h_in var_in)) sqrt(var_out)``."""

    def __init__(self, h_in: Any, h_out: Any, act: Callable | None, var_in: Any, var_out: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(h_in, h_out))
        self.act, self.h_in, self.h_out, self.var_in, self.var_out = act, h_in, h_out, var_in, var_out

    def forward(self, x: Tensor) -> Tensor:
        y = x @ (self.weight / (self.h_in * self.var_in) ** 0.5)
        if self.act is not None:
            y = self.act(y)
        return y if self.var_out == 1 else y * self.var_out**0.5

    def __repr__(self) -> str:
        name = getattr(self.act, "__name__", self.act if self.act is None else type(self.act).__name__)
        return f"Layer({self.h_in}->{self.h_out}, act={name})"


@compile_mode("script")
class FullyConnectedNet(nn.Sequential):
    """Layers of widths ``hs`` without biases; the activation is normalised by e3nn's constant, the last layer has none.

    >>> FullyConnectedNet([8, 64, 4], torch.tanh)
    FullyConnectedNet[8, 64, 4]
    """

    def __init__(
        self,
        hs: Sequence[int],
        act: Callable | None = None,
        variance_in: Any = 1,
        variance_out: Any = 1,
        out_act: bool = False,
    ) -> None:
        super().__init__()
        self.hs = list(hs)
        act = None if act is None else normalize2mom(act)
        last = len(self.hs) - 2
        for i, (a, b) in enumerate(zip(self.hs, self.hs[1:], strict=False)):
            variances = (variance_in if i == 0 else 1, variance_out if i == last else 1)
            setattr(self, f"layer{i}", _Layer(a, b, act if i < last or out_act else None, *variances))

    def _make_tracing_inputs(self, n: int) -> list[dict]:
        return [{"forward": (torch.randn(5, self.hs[0]),)} for _ in range(n)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.hs}"
