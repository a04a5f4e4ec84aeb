"""Tensor products as layers: any instructions, and the ready-made sets of e3nn."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.nn.product_diagram import draw_product
from tesseral.o3 import Irreps
from tesseral.ops.product_plans import ReadyProduct, elementwise_product, full_product, square, wanted
from tesseral.ops.tensor_product import TensorProductPlan, right, tensor_product, tensor_product_plan
from tesseral.ops.weight_views import weight_view, weight_views


class _Product(nn.Module):
    """What products with weights do, given ``plan``, ``weight_numel`` and ``weight``."""

    plan: TensorProductPlan
    weight: nn.Parameter | None

    def forward(
        self, x: Float[Tensor, "*batch1 dim1"], y: Float[Tensor, "*batch2 dim2"], weight: Float[Tensor, "..."] | None = None
    ) -> Float[Tensor, "*out dim_out"]:
        return tensor_product(x, y, self.weight if weight is None else weight, self.plan)

    def right(
        self, y: Float[Tensor, "*batch2 dim2"], weight: Float[Tensor, "..."] | None = None
    ) -> Float[Tensor, "*out dim1 dim_out"]:
        """The matrix M with ``layer(x, y) == x @ M``."""
        return right(y, self.weight if weight is None else weight, self.plan)

    def weight_view(self, number: int, weight: Float[Tensor, "..."] | None = None) -> Float[Tensor, "..."]:
        """The weights of one path, (*path_shape): a view, for initialisation. Raises ``ValueError`` for a path without."""
        return weight_view(_shapes(self.plan), _given(self.weight, weight), number)

    def weight_views(self, weight: Float[Tensor, "..."] | None = None) -> Iterator[tuple[int, Tensor]]:
        """The number and the weights of each path that has some."""
        return weight_views(_shapes(self.plan), _given(self.weight, weight))

    def visualize(self, weight: Float[Tensor, "..."] | None = None, axes: object = None) -> object:
        """A picture of the paths, see :func:`~tesseral.nn.product_diagram.draw_product`; returns the matplotlib axes."""
        return draw_product(self.plan, self.weight if weight is None else weight, axes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.plan}, ir_mul)"


class TensorProduct(_Product):
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


class FullyConnectedTensorProduct(_Product):
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
        self.instructions, self.weight_numel = self.plan.instructions, self.plan.weight_numel
        self.weight = _weight(self.weight_numel, shared_weights, dtype, device)


class _ReadyMadeProduct(nn.Module):
    """A product of two features without weights, made by ``make``."""

    make: Callable[..., ReadyProduct]

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
        self.product = self.make(self.irreps_in1, self.irreps_in2, wanted(filter_ir_out), irrep_normalization, convention)
        self.plan = self.product.plan
        self.irreps_out = self.plan.irreps_out

    def forward(self, x: Float[Tensor, "*batch1 dim1"], y: Float[Tensor, "*batch2 dim2"]) -> Float[Tensor, "*out dim_out"]:
        return self.product(x, y)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.irreps_in1} x {self.irreps_in2} -> {self.irreps_out}, ir_mul)"


class FullTensorProduct(_ReadyMadeProduct):
    """The whole product of two features, all pairs of channels and all irreps (of ``filter_ir_out``); layout ``ir_mul``, no
    weights.

    As in e3nn, neighbouring blocks of one irrep are merged first, and the output is sorted.

    >>> FullTensorProduct("2x0e+1o", "1o")
    FullTensorProduct(2x0e+1x1o x 1x1o -> 1x0e+2x1o+1x1e+1x2e, ir_mul)
    """

    make = staticmethod(full_product)


class ElementwiseTensorProduct(_ReadyMadeProduct):
    """Channel i of the first feature times channel i of the second, all irreps (of ``filter_ir_out``); layout ``ir_mul``, no
    weights.

    Both features must have as many irreps. Raises ``ValueError`` otherwise.

    >>> ElementwiseTensorProduct("5x1o+5x1e", "10x1e", ["0e", "0o"])
    ElementwiseTensorProduct(5x1o+5x1e x 10x1e -> 5x0o+5x0e, ir_mul)
    """

    make = staticmethod(elementwise_product)


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
        into = None if irreps_out is None else Irreps(irreps_out)
        self.product = square(self.irreps_in, into, wanted(filter_ir_out), irrep_normalization, convention)
        self.plan = self.product.plan
        self.irreps_out, self.weight_numel = self.plan.irreps_out, self.plan.weight_numel
        self.weight = _weight(self.weight_numel, True, dtype, device)

    def forward(self, x: Float[Tensor, "*batch dim_in"]) -> Float[Tensor, "*batch dim_out"]:
        return self.product(x, x, self.weight)

    def __repr__(self) -> str:
        return f"TensorSquare({self.irreps_in} -> {self.irreps_out}, {self.weight_numel} weights, ir_mul)"


def _shapes(plan: TensorProductPlan) -> list[tuple[int, ...] | None]:
    return [i.path_shape if i.has_weight else None for i in plan.instructions]


def _given(own: Tensor | None, weight: Tensor | None) -> Tensor:
    weight = own if weight is None else weight
    if weight is None:
        raise ValueError("this product has no weights of its own: give those of the call")
    return weight


def _weight(numel: int, shared: bool, dtype: torch.dtype, device: torch.device | str | None) -> nn.Parameter | None:
    return nn.Parameter(torch.randn(numel, dtype=dtype, device=device)) if shared and numel else None
