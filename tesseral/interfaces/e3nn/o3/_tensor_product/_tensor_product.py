"""The tensor product with e3nn's signature, layout and state dict, on tesseral's kernels."""

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn._convention import convention, using
from tesseral.interfaces.e3nn._optimization import get_optimization_defaults
from tesseral.interfaces.e3nn._pickles import take_over
from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.o3._tensor_product._coefficients import Constants, convention_of, detect
from tesseral.interfaces.e3nn.o3._tensor_product._instruction import Instruction
from tesseral.interfaces.e3nn.o3._tensor_product._rows import RowProduct, row_program
from tesseral.interfaces.e3nn.o3._tensor_product._scalars import scalar_product
from tesseral.interfaces.e3nn.o3._tensor_product._visualize import visualize
from tesseral.interfaces.e3nn.util.jit import compile_mode
from tesseral.o3.clebsch_gordan import Convention
from tesseral.ops.layout import to_layout
from tesseral.ops.tensor_product import right, tensor_product, tensor_product_plan


@compile_mode("script")
class TensorProduct(nn.Module):
    """:func:`tesseral.ops.tensor_product` in layout ``mul_ir``; arguments, weights and state dict are e3nn's.

    ``convention`` is that of the Clebsch-Gordan coefficients: of the builder (see :mod:`tesseral.interfaces.e3nn._convention`),
    then of the last state dict that was loaded. ``right`` needs no ``compile_right``; the arguments about code generation have
    no effect but the buffers ``_w3j_*`` of the state dict.

    >>> product = TensorProduct("4x1o", "1x1o", "4x0e+4x1e", [(0, 0, 0, "uvu", True), (0, 0, 1, "uvu", True)])
    >>> product
    TensorProduct(4x1o x 1x1o -> 4x0e+4x1e | 8 paths | 8 weights)
    >>> product(torch.randn(7, 12), torch.randn(7, 3)).shape
    torch.Size([7, 16])
    """

    weight: Tensor
    output_mask: Tensor

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        irreps_out: Any,
        instructions: list[tuple],
        in1_var: Sequence[float] | Tensor | None = None,
        in2_var: Sequence[float] | Tensor | None = None,
        out_var: Sequence[float] | Tensor | None = None,
        irrep_normalization: str | None = None,
        path_normalization: str | None = None,
        internal_weights: bool | None = None,
        shared_weights: bool | None = None,
        compile_left_right: bool = True,
        compile_right: bool = False,
        normalization: str | None = None,
        _specialized_code: bool | None = None,
        _optimize_einsums: bool | None = None,
    ) -> None:
        super().__init__()
        if normalization is not None:
            warnings.warn("`normalization` is deprecated. Use `irrep_normalization` instead.", DeprecationWarning, stacklevel=2)
            irrep_normalization = normalization
        if shared_weights is None:
            shared_weights = True
        elif not shared_weights:
            assert not internal_weights, "internal weights are shared: shared_weights=False needs internal_weights=False"
            internal_weights = False
        self.irreps_in1, self.irreps_in2, self.irreps_out = Irreps(irreps_in1), Irreps(irreps_in2), Irreps(irreps_out)
        self._arguments: dict[str, Any] = {
            "instructions": [tuple(i) for i in instructions],
            "variances": tuple(None if v is None else [float(a) for a in v] for v in (in1_var, in2_var, out_var)),
            "irrep_normalization": irrep_normalization or "component",
            "path_normalization": path_normalization or "element",
            "shared_weights": shared_weights,
        }
        self._set_convention(convention())
        self.instructions = [Instruction(*i) for i in self._plan.instructions]
        self.shared_weights, self.weight_numel = shared_weights, self._plan.weight_numel
        self.internal_weights = any(i.has_weight for i in self.instructions) if internal_weights is None else internal_weights
        self._in1_dim, self._in2_dim = self.irreps_in1.dim, self.irreps_in2.dim

        defaults = get_optimization_defaults()
        self._specialized_code = defaults["specialized_code"] if _specialized_code is None else _specialized_code
        self._optimize_einsums = defaults["optimize_einsums"] if _optimize_einsums is None else _optimize_einsums
        self._did_compile_right = compile_right
        degrees = tuple([ir.l for _, ir in irreps] for irreps in (self.irreps_in1, self.irreps_in2, self.irreps_out))
        paths, specialized = self.instructions, self._specialized_code
        for name, wanted in (("_compiled_main_left_right", compile_left_right), ("_compiled_main_right", compile_right)):
            right = name == "_compiled_main_right"
            self.add_module(name, Constants(paths if wanted else (), degrees, self.convention, specialized, right))

        if self.internal_weights and self.weight_numel > 0:
            self.weight = nn.Parameter(torch.randn(self.weight_numel))
        else:
            self.register_buffer("weight", torch.empty(0))
        reached = {i.i_out for i in self.instructions if i.path_weight != 0 and 0 not in i.path_shape}
        masks = [torch.full((block.dim,), float(k in reached)) for k, block in enumerate(self.irreps_out)]
        self.register_buffer("output_mask", torch.cat(masks) if masks else torch.ones(0))

    def _set_convention(self, convention: Convention) -> None:
        self.convention = convention
        ends = (self.irreps_in1, self.irreps_in2, self.irreps_out)
        try:
            self._plan = tensor_product_plan(*ends, layout="ir_mul", convention=convention, **self._arguments)
        except ValueError as mistake:  # e3nn's own kind, which code that tries out paths catches
            raise AssertionError(str(mistake)) from mistake
        self._by_rows = row_program(self._plan)
        self._by_scalars = scalar_product(*ends, self._plan.instructions, self._arguments["shared_weights"])

    def forward(self, x: Tensor, y: Tensor, weight: Tensor | list[Tensor] | None = None) -> Tensor:
        """The product (..., irreps_out.dim) of features; ``weight`` where the product has none of its own, flat or as a list."""
        weight = self._get_weights(weight)
        if not self._in1_dim or not self._in2_dim:  # nothing to multiply
            rows = () if self.shared_weights or not self.weight_numel else weight.shape[:-1]
            return x.new_zeros(*torch.broadcast_shapes(x.shape[:-1], y.shape[:-1], rows), self.irreps_out.dim)
        if self._by_rows is not None:
            z = RowProduct(self._by_rows, self._of_features)(x, y, weight)
            if z is not None:
                return z
        return self._of_features(x, y, weight)

    def _of_features(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        x = to_layout(x, self.irreps_in1, "mul_ir", "ir_mul")
        y = to_layout(y, self.irreps_in2, "mul_ir", "ir_mul")
        z = tensor_product(x, y, weight, self._plan) if self._by_scalars is None else self._by_scalars(x, y, weight)
        return to_layout(z, self.irreps_out, "ir_mul", "mul_ir")

    def right(self, y: Tensor, weight: Tensor | list[Tensor] | None = None) -> Tensor:
        """The matrix (..., irreps_in1.dim, irreps_out.dim) that maps the first input to the product."""
        y = to_layout(y, self.irreps_in2, "mul_ir", "ir_mul")
        matrix = to_layout(right(y, self._get_weights(weight), self._plan), self.irreps_out, "ir_mul", "mul_ir")
        return to_layout(matrix.mT, self.irreps_in1, "ir_mul", "mul_ir").mT

    def _get_weights(self, weight: Tensor | list[Tensor] | None) -> Tensor:
        if isinstance(weight, list):
            shapes = [i.path_shape for i in self.instructions if i.has_weight]
            flat = [w.reshape(*w.shape[: w.ndim - len(shape)], -1) for w, shape in zip(weight, shapes, strict=True)]
            weight = torch.cat(flat, dim=-1)
        if weight is None:
            if self.weight_numel > 0 and not self.internal_weights:
                raise RuntimeError("Weights must be provided when the TensorProduct does not have `internal_weights`")
            return self.weight
        assert self.shared_weights or weight.ndim > 1, "weights that are not shared need a batch dimension"
        return weight

    def weight_view_for_instruction(self, instruction: int, weight: Tensor | None = None) -> Tensor:
        """The weights of one path, as a view of the shape ``path_shape`` after the batch axes."""
        for number, _, view in self.weight_views(weight, yield_instruction=True):
            if number == instruction:
                return view
        raise ValueError(f"instruction {instruction} has no weights")

    def weight_views(self, weight: Tensor | None = None, yield_instruction: bool = False) -> Iterator:
        """Views of the weights of all paths that have some, or (number, instruction, view)."""
        weight = self._get_weights(weight)
        start = 0
        for number, path in enumerate(self.instructions):
            if path.has_weight:
                size = math.prod(path.path_shape)
                view = weight.narrow(-1, start, size).unflatten(-1, path.path_shape)
                start += size
                yield (number, path, view) if yield_instruction else view

    def visualize(self, weight: Tensor | None = None, plot_weight: bool = True, aspect_ratio: Any = 1, ax: Any = None) -> tuple:
        """Draw the paths between the blocks, see :func:`~._visualize.visualize`; (figure, axes)."""
        return visualize(self, weight, plot_weight, aspect_ratio, ax)

    def __setstate__(self, state: dict) -> None:
        if "_plan" in state:
            super().__setstate__(state)
            if "_by_rows" not in state:  # of an earlier tesseral
                self._by_rows = row_program(self._plan)
            return
        if "instructions" not in state:
            raise ValueError(
                f"a {type(self).__name__} of e3nn.o3.experimental was pickled, which is not translated: build it anew"
            )
        # a pickle of e3nn's own layer: its path weights are the coefficients, whatever normalisation they came from
        paths = [(*tuple(i)[:5], i.path_weight**2) for i in state["instructions"]]
        ends = (state["irreps_in1"], state["irreps_in2"], state["irreps_out"])
        ways = {name: state[name] for name in ("internal_weights", "shared_weights")}
        ways |= {"compile_right": state.get("_did_compile_right", False), "_specialized_code": state["_specialized_code"]}
        with using(convention_of(state)), torch.random.fork_rng(devices=()):
            TensorProduct.__init__(self, *ends, paths, irrep_normalization="none", path_normalization="none", **ways)
        take_over(self, state)

    def _make_tracing_inputs(self, n: int) -> list[dict]:
        more = []
        if self.weight_numel and not self.internal_weights:
            more.append(torch.randn(*(() if self.shared_weights else (5,)), self.weight_numel))
        return [{"forward": (self.irreps_in1.randn(5, -1), self.irreps_in2.randn(5, -1), *more)} for _ in range(n)]

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *rest: Any) -> None:
        found = detect(state_dict, prefix)
        if found is not None and found != self.convention:
            self._set_convention(found)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def __repr__(self) -> str:
        paths = sum(math.prod(i.path_shape) for i in self.instructions)
        ends = f"{self.irreps_in1.simplify()} x {self.irreps_in2.simplify()} -> {self.irreps_out.simplify()}"
        return f"{type(self).__name__}({ends} | {paths} paths | {self.weight_numel} weights)"
