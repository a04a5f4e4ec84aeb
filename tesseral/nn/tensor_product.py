"""Tensor products as layers: any instructions, and the ready-made sets of e3nn."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.o3 import Irrep, Irreps
from tesseral.ops.tensor_product import regrouping, right, tensor_product, tensor_product_plan


class TensorProduct(nn.Module):
    """A product of two features along the paths of ``instructions``; layout ``ir_mul``.

    Instructions are ``(i_in1, i_in2, i_out, mode, has_weight[, path_weight])``; modes, weights and coefficients are those of
    :func:`~tesseral.ops.tensor_product.tensor_product_plan`, which takes the ``options`` ``variances``, ``irrep_normalization``,
    ``path_normalization`` and ``convention``. With ``shared_weights`` the layer has a flat parameter ``weight``, standard normal
    at the start; without, the weights are the third argument of a call, ``(..., weight_numel)``.

    >>> product = TensorProduct("4x1o", "1x1o", "4x0e+4x1e", [(0, 0, 0, "uvu", True), (0, 0, 1, "uvu", True)])
    >>> product
    TensorProduct(4x1o x 1x1o -> 4x0e+4x1e | 8 paths | 8 weights, ir_mul)
    >>> product(torch.randn(7, 12), torch.randn(7, 3)).shape
    torch.Size([7, 16])
    """

    def __init__(
        self,
        irreps_in1: object,
        irreps_in2: object,
        irreps_out: object,
        instructions: Sequence[tuple],
        *,
        shared_weights: bool = True,
        options: dict | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.plan = tensor_product_plan(
            irreps_in1, irreps_in2, irreps_out, instructions, shared_weights=shared_weights, **(options or {})
        )
        self.irreps_in1, self.irreps_in2, self.irreps_out = self.plan.irreps_in1, self.plan.irreps_in2, self.plan.irreps_out
        self.instructions, self.weight_numel = self.plan.instructions, self.plan.weight_numel
        self.weight = _weight(self.weight_numel, shared_weights, dtype, device)

    def forward(
        self, x: Float[Tensor, "*batch1 dim1"], y: Float[Tensor, "*batch2 dim2"], weight: Float[Tensor, "..."] | None = None
    ) -> Float[Tensor, "*out dim_out"]:
        return tensor_product(x, y, self.weight if weight is None else weight, self.plan)

    def right(
        self, y: Float[Tensor, "*batch2 dim2"], weight: Float[Tensor, "..."] | None = None
    ) -> Float[Tensor, "*out dim1 dim_out"]:
        """The matrix M with ``layer(x, y) == x @ M``."""
        return right(y, self.weight if weight is None else weight, self.plan)

    def __repr__(self) -> str:
        return f"TensorProduct({self.plan}, ir_mul)"


class FullyConnectedTensorProduct(nn.Module):
    """All paths from every pair of blocks into every block of ``irreps_out``, all channels joined (*uvw*); layout ``ir_mul``.

    Paths are in order of (block of the first input, of the second, of the output).

    >>> FullyConnectedTensorProduct("4x0e+2x1o", "0e+1o", "3x0e+2x1o")
    FullyConnectedTensorProduct(4x0e+2x1o x 1x0e+1x1o -> 3x0e+2x1o | 30 paths | 30 weights, ir_mul)
    """

    def __init__(
        self,
        irreps_in1: object,
        irreps_in2: object,
        irreps_out: object,
        *,
        shared_weights: bool = True,
        options: dict | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        first, second, last = Irreps(irreps_in1), Irreps(irreps_in2), Irreps(irreps_out)
        instructions = [
            (i, j, k, "uvw", True)
            for i, (_, a) in enumerate(first)
            for j, (_, b) in enumerate(second)
            for k, (_, c) in enumerate(last)
            if c in a * b
        ]
        self.plan = tensor_product_plan(first, second, last, instructions, shared_weights=shared_weights, **(options or {}))
        self.irreps_in1, self.irreps_in2, self.irreps_out = first, second, last
        self.weight_numel = self.plan.weight_numel
        self.weight = _weight(self.weight_numel, shared_weights, dtype, device)

    def forward(
        self, x: Float[Tensor, "*batch1 dim1"], y: Float[Tensor, "*batch2 dim2"], weight: Float[Tensor, "..."] | None = None
    ) -> Float[Tensor, "*out dim_out"]:
        return tensor_product(x, y, self.weight if weight is None else weight, self.plan)

    def __repr__(self) -> str:
        return f"FullyConnectedTensorProduct({self.plan}, ir_mul)"


class FullTensorProduct(nn.Module):
    """The whole product of two features, all pairs of channels and all irreps (of ``filter_ir_out``); layout ``ir_mul``, no
    weights.

    As in e3nn, neighbouring blocks of one irrep are merged first, and the output is sorted.

    >>> FullTensorProduct("2x0e+1o", "1o")
    FullTensorProduct(2x0e+1x1o x 1x1o -> 1x0e+2x1o+1x1e+1x2e, ir_mul)
    """

    def __init__(
        self,
        irreps_in1: object,
        irreps_in2: object,
        filter_ir_out: Iterable[object] | None = None,
        irrep_normalization: str = "component",
        convention: str = "0.6",
    ) -> None:
        super().__init__()
        self.irreps_in1, self.irreps_in2 = Irreps(irreps_in1), Irreps(irreps_in2)
        first, second, wanted = self.irreps_in1.simplify(), self.irreps_in2.simplify(), _wanted(filter_ir_out)
        found = [
            (i, j, m * n, ir)
            for i, (m, a) in enumerate(first)
            for j, (n, b) in enumerate(second)
            for ir in a * b
            if wanted is None or ir in wanted
        ]
        self.irreps_out, places, _ = Irreps([(mul, ir) for *_, mul, ir in found]).sort()
        instructions = [(i, j, places[k], "uvuv", False) for k, (i, j, *_) in enumerate(found)]
        self.plan = tensor_product_plan(
            first, second, self.irreps_out, instructions, irrep_normalization=irrep_normalization, convention=convention
        )
        self._columns1, self._columns2 = regrouping(self.irreps_in1, first), regrouping(self.irreps_in2, second)

    def forward(self, x: Float[Tensor, "*batch1 dim1"], y: Float[Tensor, "*batch2 dim2"]) -> Float[Tensor, "*out dim_out"]:
        return tensor_product(_taken(x, self._columns1), _taken(y, self._columns2), None, self.plan)

    def __repr__(self) -> str:
        return f"FullTensorProduct({self.irreps_in1} x {self.irreps_in2} -> {self.irreps_out}, ir_mul)"


class ElementwiseTensorProduct(nn.Module):
    """Channel i of the first feature times channel i of the second, all irreps (of ``filter_ir_out``); layout ``ir_mul``, no
    weights.

    Both features must have as many irreps. Raises ``ValueError`` otherwise.

    >>> ElementwiseTensorProduct("5x1o+5x1e", "10x1e", ["0e", "0o"])
    ElementwiseTensorProduct(5x1o+5x1e x 10x1e -> 5x0o+5x0e, ir_mul)
    """

    def __init__(
        self,
        irreps_in1: object,
        irreps_in2: object,
        filter_ir_out: Iterable[object] | None = None,
        irrep_normalization: str = "component",
        convention: str = "0.6",
    ) -> None:
        super().__init__()
        self.irreps_in1, self.irreps_in2 = Irreps(irreps_in1), Irreps(irreps_in2)
        first, second = _in_step(self.irreps_in1.simplify(), self.irreps_in2.simplify())
        wanted = _wanted(filter_ir_out)
        found = [
            (i, mul, ir)
            for i, ((mul, a), (_, b)) in enumerate(zip(first, second, strict=True))
            for ir in a * b
            if wanted is None or ir in wanted
        ]
        self.irreps_out = Irreps([(mul, ir) for _, mul, ir in found])
        instructions = [(i, i, k, "uuu", False) for k, (i, _, _) in enumerate(found)]
        self.plan = tensor_product_plan(
            first, second, self.irreps_out, instructions, irrep_normalization=irrep_normalization, convention=convention
        )
        self._columns1, self._columns2 = regrouping(self.irreps_in1, first), regrouping(self.irreps_in2, second)

    def forward(self, x: Float[Tensor, "*batch1 dim1"], y: Float[Tensor, "*batch2 dim2"]) -> Float[Tensor, "*out dim_out"]:
        return tensor_product(_taken(x, self._columns1), _taken(y, self._columns2), None, self.plan)

    def __repr__(self) -> str:
        return f"ElementwiseTensorProduct({self.irreps_in1} x {self.irreps_in2} -> {self.irreps_out}, ir_mul)"


class TensorSquare(nn.Module):
    r"""The product of a feature with itself, each pair of channels once; layout ``ir_mul``.

    Without ``irreps_out`` it is complete (or has the irreps of ``filter_ir_out``), sorted, and has no weights; with
    ``irreps_out`` it is fully connected. The coefficients of the paths that square one channel account for its dependence on
    itself, as in e3nn. Raises ``ValueError`` if both are given.

    >>> TensorSquare("2x1o")
    TensorSquare(2x1o -> 1x0e+2x0e+1x1e+1x2e+2x2e, 0 weights, ir_mul)
    >>> TensorSquare("2x1o", "3x0e")(torch.randn(7, 6)).shape
    torch.Size([7, 3])
    """

    def __init__(
        self,
        irreps_in: object,
        irreps_out: object | None = None,
        filter_ir_out: Iterable[object] | None = None,
        irrep_normalization: str = "component",
        convention: str = "0.6",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if irreps_out is not None and filter_ir_out is not None:
            raise ValueError("give TensorSquare either irreps_out or filter_ir_out: both say which irreps to compute")
        self.irreps_in = Irreps(irreps_in)
        source = self.irreps_in.simplify()
        if irreps_out is None:
            self.irreps_out, instructions = _square(source, _wanted(filter_ir_out), irrep_normalization)
        else:
            self.irreps_out = Irreps(irreps_out)
            instructions = _square_into(source, self.irreps_out, irrep_normalization)
        self.plan = tensor_product_plan(
            source, source, self.irreps_out, instructions, irrep_normalization="none", convention=convention
        )
        self.weight_numel = self.plan.weight_numel
        self.weight = _weight(self.weight_numel, True, dtype, device)
        self._columns = regrouping(self.irreps_in, source)

    def forward(self, x: Float[Tensor, "*batch dim_in"]) -> Float[Tensor, "*batch dim_out"]:
        x = _taken(x, self._columns)
        return tensor_product(x, x, self.weight, self.plan)

    def __repr__(self) -> str:
        return f"TensorSquare({self.irreps_in} -> {self.irreps_out}, {self.weight_numel} weights, ir_mul)"


def _weight(numel: int, shared: bool, dtype: torch.dtype, device: torch.device | str | None) -> nn.Parameter | None:
    return nn.Parameter(torch.randn(numel, dtype=dtype, device=device)) if shared and numel else None


def _wanted(irreps: Iterable[object] | None) -> set[Irrep] | None:
    return None if irreps is None else {Irrep(ir) for ir in irreps}


def _taken(x: Tensor, columns: tuple[int, ...] | None) -> Tensor:
    return x if columns is None else x.index_select(-1, torch.tensor(columns, device=x.device))


def _in_step(first: Irreps, second: Irreps) -> tuple[Irreps, Irreps]:
    """Both irreps cut into blocks of equal multiplicities."""
    if first.num_irreps != second.num_irreps:
        raise ValueError(f"{first} has {first.num_irreps} irreps and {second} has {second.num_irreps}: they must be as many")
    left, right_ = [list(block) for block in first if block.mul], [list(block) for block in second if block.mul]
    a: list[tuple[int, Irrep]] = []
    b: list[tuple[int, Irrep]] = []
    while left:
        mul = min(left[0][0], right_[0][0])
        for rest, blocks in ((left, a), (right_, b)):
            blocks.append((mul, rest[0][1]))
            rest[0][0] -= mul
            if not rest[0][0]:
                rest.pop(0)
    return Irreps(a), Irreps(b)


def _pair_weight(ir1: Irrep, ir2: Irrep, out: Irrep, normalization: str) -> float:
    return {"component": float(out.dim), "norm": float(ir1.dim * ir2.dim), "none": 1.0}[normalization]


def _self_weight(ir: Irrep, out: Irrep, normalization: str) -> float:
    """The same for a channel times itself, whose components are not independent."""
    if normalization == "component":
        return out.dim / (ir.dim + 2) if out.l == 0 else out.dim / 2
    if normalization == "norm":
        return float(out.dim * ir.dim) if out.l == 0 else ir.dim * (ir.dim + 2) / 2
    return 1.0


def _square(irreps: Irreps, wanted: set[Irrep] | None, normalization: str) -> tuple[Irreps, list[tuple]]:
    _check_normalization(normalization)
    out: list[tuple[int, Irrep]] = []
    instructions: list[tuple] = []
    for i, (m, a) in enumerate(irreps):
        for j, (n, b) in list(enumerate(irreps))[i:]:
            for ir in a * b:
                if wanted is not None and ir not in wanted:
                    continue
                weight = _pair_weight(a, b, ir, normalization)
                if i < j:
                    instructions.append((i, j, len(out), "uvuv", False, weight))
                    out.append((m * n, ir))
                    continue
                if m > 1:
                    instructions.append((i, i, len(out), "uvu<v", False, weight))
                    out.append((m * (m - 1) // 2, ir))
                if ir.l % 2 == 0:
                    instructions.append((i, i, len(out), "uuu", False, _self_weight(a, ir, normalization)))
                    out.append((m, ir))
    sorted_out, places, _ = Irreps(out).sort()
    return sorted_out, [(i, j, places[k], *rest) for i, j, k, *rest in instructions]


def _square_into(irreps: Irreps, irreps_out: Irreps, normalization: str) -> list[tuple]:
    _check_normalization(normalization)
    instructions: list[tuple] = []
    for i, (m, a) in enumerate(irreps):
        for j, (_, b) in list(enumerate(irreps))[i:]:
            for k, (_, ir) in enumerate(irreps_out):
                if ir not in a * b:
                    continue
                weight = _pair_weight(a, b, ir, normalization)
                if i < j:
                    instructions.append((i, j, k, "uvw", True, weight))
                    continue
                if m > 1:
                    instructions.append((i, i, k, "u<vw", True, weight))
                if ir.l % 2 == 0:
                    instructions.append((i, i, k, "uuw", True, _self_weight(a, ir, normalization)))
    return instructions


def _check_normalization(normalization: str) -> None:
    if normalization not in ("component", "norm", "none"):
        raise ValueError(f"unknown irrep_normalization {normalization!r}: expected 'component', 'norm' or 'none'")
