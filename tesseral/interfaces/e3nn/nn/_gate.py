"""The gated nonlinearity."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn.nn._activation import Activation
from tesseral.interfaces.e3nn.nn._extract import Extract
from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.o3._tensor_product._sub import ElementwiseTensorProduct
from tesseral.interfaces.e3nn.util.jit import compile_mode


@compile_mode("script")
class _Sortcut(nn.Module):
    """Several features out of one of the sorted and simplified irreps of all."""

    def __init__(self, *irreps_outs: Any) -> None:
        super().__init__()
        self.irreps_outs = tuple(Irreps(irreps).simplify() for irreps in irreps_outs)
        together, places, _ = sum(self.irreps_outs, Irreps()).sort()
        rest = iter(places)
        self.cut = Extract(together, self.irreps_outs, [tuple(next(rest) for _ in irreps) for irreps in self.irreps_outs])
        self.irreps_in = together.simplify()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.cut(x)


@compile_mode("script")
class Gate(nn.Module):
    """Scalars through functions, other irreps times scalars through functions.

    >>> Gate("16x0o", [torch.tanh], "32x0o", [torch.tanh], "16x1e+16x1o").irreps_out
    16x0o+16x1o+16x1e
    """

    def __init__(
        self,
        irreps_scalars: Any,
        act_scalars: Sequence[Callable | None],
        irreps_gates: Any,
        act_gates: Sequence[Callable | None],
        irreps_gated: Any,
    ) -> None:
        super().__init__()
        scalars, gates, gated = Irreps(irreps_scalars), Irreps(irreps_gates), Irreps(irreps_gated)
        for name, irreps in (("Gate scalars", gates), ("Scalars", scalars)):
            if any(ir.l > 0 for _, ir in irreps):
                raise ValueError(f"{name} must be scalars, instead got {irreps}")
        if gates.num_irreps != gated.num_irreps:
            raise ValueError(f"there are {gated.num_irreps} irreps in irreps_gated, but {gates.num_irreps} in irreps_gates")
        self.sc = _Sortcut(scalars, gates, gated)
        self.irreps_scalars, self.irreps_gates, self.irreps_gated = self.sc.irreps_outs
        self.act_scalars, self.act_gates = Activation(scalars, act_scalars), Activation(gates, act_gates)
        self.mul = ElementwiseTensorProduct(gated, self.act_gates.irreps_out)
        self.irreps_in, self.irreps_out = self.sc.irreps_in, self.act_scalars.irreps_out + self.mul.irreps_out
        self._set_blocks()

    def _set_blocks(self) -> None:
        blocks = zip(self.mul.irreps_in1, self.mul.irreps_in1.slices(), self.mul.irreps_in2.slices(), strict=True)
        self._blocks = tuple((a.start, a.stop, b.start, b.stop, ir.dim) for (_, ir), a, b in blocks)

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if "_blocks" not in state:  # a pickle of e3nn's own layer
            self.irreps_in, self.irreps_out = state["_irreps_in"], state["_irreps_out"]
            self._set_blocks()

    def forward(self, features: Tensor) -> Tensor:
        """Features (..., irreps_out.dim) of features (..., irreps_in.dim)."""
        scalars, gates, gated = self.sc(features)
        pieces = [self.act_scalars(scalars)]
        if gates.shape[-1]:
            gates = self.act_gates(gates)
            for start, stop, first, last, dim in self._blocks:  # what self.mul computes
                block = gated[..., start:stop]
                gate = gates[..., first:last]
                pieces.append(block * gate if dim == 1 else (block.unflatten(-1, (-1, dim)) * gate.unsqueeze(-1)).flatten(-2))
        return torch.cat(pieces, dim=-1) if len(pieces) > 1 else pieces[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self.irreps_in} -> {self.irreps_out})"
