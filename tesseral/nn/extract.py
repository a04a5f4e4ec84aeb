"""Taking irreps out of a feature."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.o3 import Irrep, Irreps


class Extract(nn.Module):
    """Several features made of blocks of one; whole blocks move, so the layout (``ir_mul``) stays.

    ``instructions`` has, for each of the ``irreps_outs``, the blocks of ``irreps_in`` it consists of. Blocks that follow each
    other are taken without a copy. Raises ``ValueError`` for blocks that are not those of the output.

    >>> extract = Extract("2x1o+1x0e+3x0e", ["3x0e", "1x0e+2x1o"], [[2], [1, 0]])
    >>> extract
    Extract(2x1o+1x0e+3x0e -> 3x0e, 1x0e+2x1o; ir_mul)
    >>> [y.shape[-1] for y in extract(torch.randn(7, 10))]
    [3, 7]
    """

    def __init__(self, irreps_in: object, irreps_outs: Sequence[object], instructions: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps_in)
        self.irreps_outs = tuple(Irreps(irreps) for irreps in irreps_outs)
        if len(self.irreps_outs) != len(instructions):
            raise ValueError(f"{len(instructions)} instructions for {len(self.irreps_outs)} outputs: give the blocks of each")
        for irreps, blocks in zip(self.irreps_outs, instructions, strict=True):
            found = Irreps([self.irreps_in[i] for i in blocks if 0 <= i < len(self.irreps_in)])
            if found != irreps:
                raise ValueError(f"blocks {list(blocks)} of {self.irreps_in} are {found}, not {irreps}")
        slices = self.irreps_in.slices()
        self._runs = tuple(runs_of([(slices[i].start, slices[i].stop) for i in blocks]) for blocks in instructions)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> tuple[Float[Tensor, "..."], ...]:
        return tuple(taken(x, runs) for runs in self._runs)

    def __repr__(self) -> str:
        return f"Extract({self.irreps_in} -> {', '.join(map(str, self.irreps_outs))}; ir_mul)"


class ExtractIr(nn.Module):
    """All blocks of one irrep, in their order; layout ``ir_mul``.

    >>> ExtractIr("2x1o+1x0e+3x1o", "1o")
    ExtractIr(2x1o+1x0e+3x1o -> 2x1o+3x1o, ir_mul)
    """

    def __init__(self, irreps_in: object, ir: object) -> None:
        super().__init__()
        self.irreps_in, wanted = Irreps(irreps_in), Irrep(ir)
        self.irreps_out = Irreps([block for block in self.irreps_in if block.ir == wanted])
        places = [
            (s.start, s.stop) for s, block in zip(self.irreps_in.slices(), self.irreps_in, strict=True) if block.ir == wanted
        ]
        self._runs = runs_of(places)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim_out"]:
        return taken(x, self._runs)

    def __repr__(self) -> str:
        return f"ExtractIr({self.irreps_in} -> {self.irreps_out}, ir_mul)"


def runs_of(places: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Intervals (start, stop) with those that follow each other joined.

    >>> runs_of([(0, 3), (3, 5), (9, 10)])
    ((0, 5), (9, 10))
    """
    runs: list[tuple[int, int]] = []
    for start, stop in places:
        if runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], stop)
        else:
            runs.append((start, stop))
    return tuple(runs)


def taken(x: Tensor, runs: tuple[tuple[int, int], ...]) -> Tensor:
    """The columns of ``x`` in these intervals: a view of one, a copy of several."""
    pieces = [x[..., a:b] for a, b in runs]
    return torch.cat(pieces, dim=-1) if len(pieces) > 1 else pieces[0] if pieces else x[..., :0]
