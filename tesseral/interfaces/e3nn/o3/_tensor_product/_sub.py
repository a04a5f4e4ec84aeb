"""Products with ready-made paths."""

import math
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from tesseral.interfaces.e3nn.o3._irreps import Irrep, Irreps
from tesseral.interfaces.e3nn.o3._tensor_product._tensor_product import TensorProduct
from tesseral.ops.product_plans import in_step, square_into_paths, square_paths


class FullyConnectedTensorProduct(TensorProduct):
    """All paths from every pair of blocks to every block of the output, all channels joined (*uvw*)."""

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        irreps_out: Any,
        irrep_normalization: str | None = None,
        path_normalization: str | None = None,
        **kwargs: Any,
    ) -> None:
        first, second, last = Irreps(irreps_in1), Irreps(irreps_in2), Irreps(irreps_out)
        paths = [
            (i, j, k, "uvw", True, 1.0)
            for i, (_, a) in enumerate(first)
            for j, (_, b) in enumerate(second)
            for k, (_, c) in enumerate(last)
            if c in a * b
        ]
        super().__init__(
            first,
            second,
            last,
            paths,
            irrep_normalization=irrep_normalization,
            path_normalization=path_normalization,
            **kwargs,
        )


class ElementwiseTensorProduct(TensorProduct):
    """Irrep i of the first input times irrep i of the second; no weights."""

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        filter_ir_out: Iterable | None = None,
        irrep_normalization: str | None = None,
        **kwargs: Any,
    ) -> None:
        wanted = _wanted(filter_ir_out)
        first, second = Irreps(irreps_in1).simplify(), Irreps(irreps_in2).simplify()
        assert first.num_irreps == second.num_irreps, f"{first} and {second} have different numbers of irreps"
        first, second = in_step(first, second)
        found = [
            (i, mul, ir)
            for i, ((mul, a), (_, b)) in enumerate(zip(first, second, strict=True))
            for ir in a * b
            if wanted is None or ir in wanted
        ]
        paths = [(i, i, k, "uuu", False) for k, (i, _, _) in enumerate(found)]
        out = [(mul, ir) for _, mul, ir in found]
        super().__init__(first, second, out, paths, irrep_normalization=irrep_normalization, **kwargs)


class FullTensorProduct(TensorProduct):
    """All pairs of channels and all irreps (*uvuv*); no weights. The output is sorted."""

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        filter_ir_out: Iterable | None = None,
        irrep_normalization: str | None = None,
        **kwargs: Any,
    ) -> None:
        first, second, wanted = Irreps(irreps_in1).simplify(), Irreps(irreps_in2).simplify(), _wanted(filter_ir_out)
        found = [
            (i, j, m * n, ir)
            for i, (m, a) in enumerate(first)
            for j, (n, b) in enumerate(second)
            for ir in a * b
            if wanted is None or ir in wanted
        ]
        out, places, _ = Irreps([(mul, ir) for _, _, mul, ir in found]).sort()
        paths = [(i, j, places[k], "uvuv", False) for k, (i, j, _, _) in enumerate(found)]
        super().__init__(first, second, out, paths, irrep_normalization=irrep_normalization, **kwargs)


class TensorSquare(TensorProduct):
    """The product of a feature with itself, each pair of channels once; fully connected to ``irreps_out`` if given."""

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any = None,
        filter_ir_out: Iterable | None = None,
        irrep_normalization: str | None = None,
        **kwargs: Any,
    ) -> None:
        source, normalization, wanted = Irreps(irreps_in).simplify(), irrep_normalization or "component", _wanted(filter_ir_out)
        if irreps_out is None:
            out, paths = _square_instructions_full(source, wanted, normalization)
        elif wanted is not None:
            raise ValueError("give TensorSquare either irreps_out or filter_ir_out: both say which irreps to compute")
        else:
            out = Irreps(irreps_out).simplify()
            paths = _square_instructions_fully_connected(source, out, normalization)
        super().__init__(source, source, out, paths, irrep_normalization="none", **kwargs)
        self.irreps_in = source

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return super().forward(x, x, weight)

    def _make_tracing_inputs(self, n: int) -> list[dict]:
        given = [inputs["forward"] for inputs in super()._make_tracing_inputs(n)]
        return [{"forward": (x, *weights)} for x, _, *weights in given]

    def __repr__(self) -> str:
        paths = sum(math.prod(i.path_shape) for i in self.instructions)
        ends = f"{self.irreps_in} -> {self.irreps_out.simplify()}"
        return f"{type(self).__name__}({ends} | {paths} paths | {self.weight_numel} weights)"


def _square_instructions_full(irreps_in, filter_ir_out=None, irrep_normalization=None) -> tuple[Irreps, list[tuple]]:
    return square_paths(Irreps(irreps_in), _wanted(filter_ir_out), irrep_normalization or "component")


def _square_instructions_fully_connected(irreps_in, irreps_out, irrep_normalization=None) -> list[tuple]:
    return square_into_paths(Irreps(irreps_in), Irreps(irreps_out), irrep_normalization or "component")


def _wanted(irreps: Iterable | None) -> frozenset[Irrep] | None:
    if irreps is None:
        return None
    try:
        return frozenset(Irrep(ir) for ir in irreps)
    except ValueError as mistake:
        raise ValueError(f"filter_ir_out (={irreps}) must be an iterable of irreps: {mistake}") from mistake
