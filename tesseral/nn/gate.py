"""The gated nonlinearity."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.kernels import fused
from tesseral.nn.activation import Normalized, ScalarFunction, _parity_out
from tesseral.o3 import Irreps
from tesseral.ops.fused import UnaryRule, apply


class Gate(nn.Module):
    r"""Scalars through functions, other irreps times scalars through functions: :math:`f(s) \oplus g(t)\, x`; layout ``ir_mul``.

    ``irreps_in`` is e3nn's: the scalars, gates and gated irreps together, sorted and simplified; ``irreps_out`` is the activated
    scalars, then the gated irreps. One function for each block of scalars and of gates (``None`` is the identity), each
    normalised as in :class:`~tesseral.nn.Activation`. There are as many gates as gated irreps, and gate i belongs to gated irrep
    i; an odd gate changes the parity. Raises ``ValueError`` if the numbers do not agree, for a gate or scalar of l > 0, or an
    odd scalar through a function that is neither even nor odd.

    >>> gate = Gate("4x0e", [torch.nn.functional.silu], "5x0e", [torch.sigmoid], "3x1o+2x2e")
    >>> gate
    Gate(9x0e+3x1o+2x2e -> 4x0e+3x1o+2x2e, ir_mul)
    >>> gate(torch.randn(7, gate.irreps_in.dim)).shape
    torch.Size([7, 23])
    """

    def __init__(
        self,
        irreps_scalars: object,
        act_scalars: Sequence[ScalarFunction | None],
        irreps_gates: object,
        act_gates: Sequence[ScalarFunction | None],
        irreps_gated: object,
        normalization: str = "integral",
    ) -> None:
        super().__init__()
        scalars, gates, gated = Irreps(irreps_scalars), Irreps(irreps_gates), Irreps(irreps_gated)
        for name, irreps, acts in (("scalars", scalars, act_scalars), ("gates", gates, act_gates)):
            if len(acts) != len(irreps):
                raise ValueError(
                    f"{len(acts)} functions for the {len(irreps)} blocks of {name} {irreps}: give one for each block"
                )
            if any(ir.l > 0 for _, ir in irreps):
                raise ValueError(f"{name} must be scalars (l = 0), got {irreps}")
        if gates.num_irreps != gated.num_irreps:
            raise ValueError(
                f"{gates.num_irreps} gates ({gates}) for {gated.num_irreps} gated irreps ({gated}): give one for each"
            )

        self.irreps_in = (scalars + gates + gated).sort().irreps.simplify()
        places = _Places(self.irreps_in)
        self.acts_scalars = nn.ModuleList(_normalized(act, normalization) for act in act_scalars)
        self.acts_gates = nn.ModuleList(_normalized(act, normalization) for act in act_gates)
        out: list = [(mul, _irrep_after(act, ir)) for (mul, ir), act in zip(scalars, act_scalars, strict=True)]
        self._scalars = tuple(places.take(mul, ir) for mul, ir in scalars)
        self._gates = tuple(places.take(mul, ir) for mul, ir in gates)

        # Pieces of gated blocks that have gates of one parity after the function; usually whole blocks.
        parities = [_irrep_after(act, ir)[1] for (_, ir), act in zip(gates, act_gates, strict=True)]
        steps, gate, used = [], 0, 0  # (block of irreps_in, first gate, number)
        runs = [(mul, p) for (mul, _), p in zip(gates, parities, strict=True) if mul]
        first = 0
        for mul, ir in gated:
            while mul:
                run = 0
                for k in range(gate, len(runs)):  # the gates from here on that have the parity of the next
                    if runs[k][1] != runs[gate][1]:
                        break
                    run += runs[k][0] - (used if k == gate else 0)
                number, parity = min(mul, run), runs[gate][1]
                steps.append((places.take(number, ir), first, number))
                out.append((number, (ir.l, ir.p * parity)))
                first, mul, left = first + number, mul - number, number
                while left:
                    part = min(left, runs[gate][0] - used)
                    left, used = left - part, used + part
                    if used == runs[gate][0]:
                        gate, used = gate + 1, 0
        self._gated = tuple(steps)
        self.irreps_out = Irreps(out)
        self._table = self._compiled_table()

    def forward(self, x: Float[Tensor, "*batch dim_in"]) -> Float[Tensor, "*batch dim_out"]:
        if self._table is None:
            return self.definition(x)
        return apply(_rule(self, self._table), x)

    def definition(self, x: Float[Tensor, "*batch dim_in"]) -> Float[Tensor, "*batch dim_out"]:
        """The gate in torch operations, for any functions."""
        pieces = [act(_channels(x, place)) for act, place in zip(self.acts_scalars, self._scalars, strict=True)]
        if self._gated:
            activated = [act(_channels(x, place)) for act, place in zip(self.acts_gates, self._gates, strict=True)]
            gates = torch.cat(activated, dim=-1) if len(activated) > 1 else activated[0]
            for (offset, components, width, start, number), first, _ in self._gated:
                block = x[..., offset : offset + components * width].unflatten(-1, (components, width))
                gate = gates[..., None, first : first + number]
                pieces.append((block[..., start : start + number] * gate).flatten(-2))
        return torch.cat(pieces, dim=-1) if pieces else x

    def _compiled_table(self) -> fused.GateTable | None:
        """The gate in the terms of compiled code; None for functions that it does not know."""
        known = [*map(_compiled, self.acts_scalars), *map(_compiled, self.acts_gates)]
        if any(act is None for act in known) or not self.irreps_out.dim:
            return None
        acts = [act for act in known if act is not None]
        scalars, column = [], 0
        for (offset, _, _, start, number), act in zip(self._scalars, acts, strict=False):
            scalars.append((offset + start, column, number, *act))
            column += number
        gates = [(p[0] + p[3], p[4], *act) for p, act in zip(self._gates, acts[len(scalars) :], strict=True)]
        gated = []
        for (offset, components, width, start, number), first, _ in self._gated:
            gated.append((offset + start, width, components, first, number, column))
            column += components * number
        return fused.GateTable(self.irreps_in.dim, self.irreps_out.dim, tuple(scalars), tuple(gates), tuple(gated))

    def __repr__(self) -> str:
        return f"Gate({self.irreps_in} -> {self.irreps_out}, ir_mul)"


def _rule(gate: Gate, table: fused.GateTable) -> UnaryRule:
    return UnaryRule(
        gate.definition,
        lambda x: fused.gate(x, table),
        lambda g, x: fused.gate_gradient(g, x, table),
        lambda u, g, x: fused.gate_second_gradient(u, g, x, table),
    )


_COMPILED = {nn.functional.silu: "silu", torch.tanh: "tanh", nn.functional.tanh: "tanh"}


def _compiled(act: nn.Module) -> tuple[str, float] | None:
    if isinstance(act, nn.Identity):
        return "identity", 1.0
    name = _COMPILED.get(act.act) if isinstance(act, Normalized) else None
    return None if name is None else (name, act.scale)  # type: ignore[return-value]


Place = tuple[int, int, int, int, int]  # offset, components and channels of a block of the input; first channel and number taken


class _Places:
    """Where the channels of sorted and simplified irreps are, handed out in order."""

    def __init__(self, irreps: Irreps) -> None:
        self.irreps = irreps
        self.taken = [0] * len(irreps)

    def take(self, mul: int, ir: tuple[int, int]) -> Place:
        if mul == 0:
            return (0, 1, 0, 0, 0)
        i = self.irreps.index(ir)
        width, start = self.irreps[i].mul, self.taken[i]
        self.taken[i] += mul
        return (self.irreps.slices()[i].start, self.irreps[i].ir.dim, width, start, mul)


def _channels(x: Tensor, place: Place) -> Tensor:
    offset, _, _, start, number = place
    return x[..., offset + start : offset + start + number]


def _normalized(act: ScalarFunction | None, normalization: str) -> nn.Module:
    return nn.Identity() if act is None else Normalized(act, normalization)


def _irrep_after(act: ScalarFunction | None, ir: tuple[int, int]) -> tuple[int, int]:
    return (0, ir[1]) if act is None else (0, _parity_out(act, ir))
