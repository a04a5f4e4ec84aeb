"""The gated nonlinearity."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tesseral import nn as ours
from tesseral.interfaces.e3nn.nn._activation import Activation
from tesseral.interfaces.e3nn.nn._extract import Extract
from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.o3._tensor_product._sub import ElementwiseTensorProduct
from tesseral.interfaces.e3nn.util.jit import compile_mode
from tesseral.kernels import fused
from tesseral.kernels.layout import Transposition, transpose
from tesseral.ops.fused import UnaryRule, apply
from tesseral.ops.layout import transposition


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


class _Compiled(NamedTuple):
    """The gate in layout ``ir_mul`` as a table for compiled code, and the ways into that layout and out of it."""

    table: fused.GateTable
    into: Transposition | None
    out_of: Transposition | None

    def rule(self, definition: Callable[[Tensor], Tensor]) -> UnaryRule:
        """The rule of the gate in layout ``mul_ir``."""
        table, into, out_of = self

        def second(u: Tensor, g: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            of_g, of_x = fused.gate_second_gradient(_moved(u, into), _back(g, out_of), _moved(x, into), table)
            return _moved(of_g, out_of), _back(of_x, into)

        return UnaryRule(
            definition,
            lambda x: _moved(fused.gate(_moved(x, into), table), out_of),
            lambda g, x: _back(fused.gate_gradient(_back(g, out_of), _moved(x, into), table), into),
            second,
        )


def _moved(x: Tensor, way: Transposition | None) -> Tensor:
    return x if way is None else transpose(x, way)


def _back(x: Tensor, way: Transposition | None) -> Tensor:
    return x if way is None else transpose(x, way.inverse)


def _compiled(scalars: Irreps, act_scalars: Activation, gates: Irreps, act_gates: Activation, gated: Irreps) -> _Compiled | None:
    """The gate as compiled code knows it; None for other functions."""
    acts = [*act_scalars.acts, *act_gates.acts]
    functions = [None if act is None else act.f for act in acts]
    inner = ours.Gate(scalars, functions[: len(scalars)], gates, functions[len(scalars) :], gated, normalization="none")
    table = inner._table
    if table is None:
        return None
    factors = [1.0 if act is None or act._is_id else act.cst for act in acts]
    table = replace(
        table,
        scalars=tuple((*row[:-1], c) for row, c in zip(table.scalars, factors, strict=False)),
        gates=tuple((*row[:-1], c) for row, c in zip(table.gates, factors[len(scalars) :], strict=True)),
    )
    into, out_of = transposition(inner.irreps_in, "mul_ir", "ir_mul"), transposition(inner.irreps_out, "ir_mul", "mul_ir")
    return _Compiled(table, into, out_of)


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
        self._table = _compiled(scalars, self.act_scalars, gates, self.act_gates, gated)

    def _set_blocks(self) -> None:
        blocks = zip(self.mul.irreps_in1, self.mul.irreps_in1.slices(), self.mul.irreps_in2.slices(), strict=True)
        self._blocks = tuple((a.start, a.stop, b.start, b.stop, ir.dim) for (_, ir), a, b in blocks)
        self._table = None

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if "_table" not in state:  # of an earlier tesseral
            self._table = None
        if "_blocks" not in state:  # a pickle of e3nn's own layer
            self.irreps_in, self.irreps_out = state["_irreps_in"], state["_irreps_out"]
            self._set_blocks()

    def forward(self, features: Tensor) -> Tensor:
        """Features (..., irreps_out.dim) of features (..., irreps_in.dim)."""
        if self._table is None:
            return self._by_definition(features)
        y = apply(self._table.rule(self._by_definition), features.reshape(-1, features.shape[-1]))
        return y if features.ndim == 2 else y.reshape(*features.shape[:-1], -1)

    def _by_definition(self, features: Tensor) -> Tensor:
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
