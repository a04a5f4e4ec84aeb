"""Functions of scalars."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn.math._normalize_activation import normalize2mom
from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.util.jit import compile_mode
from tesseral.nn.activation import parity_of


@compile_mode("trace")
class Activation(nn.Module):
    """A function, normalised by e3nn's constant, for each block of scalars; ``None`` leaves a block as it is.

    >>> Activation("256x0o+16x1e", [torch.abs, None]).irreps_out
    256x0e+16x1e
    """

    def __init__(self, irreps_in: Any, acts: Sequence[Callable | None]) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps_in)
        if len(self.irreps_in) != len(acts):
            raise ValueError(f"{len(acts)} activation functions for the {len(self.irreps_in)} blocks of {self.irreps_in}")
        normalized = [None if act is None else normalize2mom(act) for act in acts]
        out = [(mul, ir if act is None else _after(act, ir)) for (mul, ir), act in zip(self.irreps_in, normalized, strict=True)]
        self.irreps_out = Irreps(out)
        self.acts = nn.ModuleList(normalized)  # type: ignore[arg-type]  # None marks the identity
        self._set_paths()

    def _set_paths(self) -> None:
        self.paths = [(mul, (ir.l, ir.p), act) for (mul, ir), act in zip(self.irreps_in, self.acts, strict=True)]

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if "paths" not in state:  # a pickle of e3nn 0.4
            self._set_paths()

    def forward(self, features: Tensor, dim: int = -1) -> Tensor:
        pieces = features.split([mul * (2 * l + 1) for mul, (l, _), _ in self.paths], dim)
        pieces = [piece if act is None else act(piece) for piece, (_, _, act) in zip(pieces, self.paths, strict=True)]
        if not pieces:
            return torch.zeros_like(features)
        return torch.cat(pieces, dim) if len(pieces) > 1 else pieces[0]

    def __repr__(self) -> str:
        marks = "".join(" " if act is None else "x" for act in self.acts)
        return f"{type(self).__name__} [{marks}] ({self.irreps_in} -> {self.irreps_out})"


def _after(act: Callable, ir: Any) -> tuple[int, int]:
    if ir.l != 0:
        raise ValueError(f"Activation: cannot apply an activation function to {ir}, which is no scalar")
    parity = 1 if ir.p == 1 else parity_of(act)
    if parity == 0:
        raise ValueError("Activation: the parity is violated! An odd scalar needs an activation that is even or odd")
    return (0, parity)
