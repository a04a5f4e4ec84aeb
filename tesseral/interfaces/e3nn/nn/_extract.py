"""Blocks taken out of a feature."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn._pickles import take_over
from tesseral.interfaces.e3nn.o3._irreps import Irrep, Irreps
from tesseral.interfaces.e3nn.util.codegen._mixin import from_bytes
from tesseral.interfaces.e3nn.util.jit import compile_mode
from tesseral.nn.extract import runs_of, taken


@compile_mode("script")
class Extract(nn.Module):
    """Several features made of blocks of one.

    >>> import torch
    >>> extract = Extract("1e + 0e + 0e", ["0e", "0e"], [(1,), (2,)])
    >>> [y.shape for y in extract(torch.zeros(5))]
    [torch.Size([1]), torch.Size([1])]
    """

    def __init__(
        self, irreps_in: Any, irreps_outs: Sequence, instructions: Sequence[tuple[int, ...]], squeeze_out: bool = False
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_outs = Irreps(irreps_in), tuple(Irreps(irreps) for irreps in irreps_outs)
        self.instructions = instructions
        assert len(self.irreps_outs) == len(instructions), "give the blocks of each output"
        slices = self.irreps_in.slices()
        for irreps, blocks in zip(self.irreps_outs, instructions, strict=True):
            assert len(irreps) == len(blocks), f"blocks {blocks} for {irreps}"
        self._places = tuple(runs_of([(slices[i].start, slices[i].stop) for i in blocks]) for blocks in instructions)
        self._squeeze = squeeze_out and len(self._places) == 1

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        assert x.shape[-1] == self.irreps_in.dim, f"features of {self.irreps_in} end in {self.irreps_in.dim}, got {x.shape}"
        pieces = tuple(taken(x, places) for places in self._places)
        return pieces[0] if self._squeeze else pieces

    def __setstate__(self, state: dict) -> None:
        if "_places" in state:
            return super().__setstate__(state)
        # a pickle of e3nn's own layer: whether it squeezes is known to its generated code alone
        ends = (state["irreps_in"], state["irreps_outs"])
        out = from_bytes(state["__codegen__"]["_compiled_forward"])(torch.zeros(ends[0].dim))
        Extract.__init__(self, *ends, state["instructions"], squeeze_out=isinstance(out, Tensor))
        take_over(self, state)


@compile_mode("script")
class ExtractIr(Extract):
    """All blocks of one irrep."""

    def __init__(self, irreps_in: Any, ir: Any) -> None:
        irreps, wanted = Irreps(irreps_in), Irrep(ir)
        chosen = tuple(i for i, block in enumerate(irreps) if block.ir == wanted)
        out = Irreps([irreps[i] for i in chosen])
        super().__init__(irreps, [out], [chosen], squeeze_out=True)
        self.irreps_out = out
