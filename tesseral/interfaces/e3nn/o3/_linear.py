"""The equivariant linear layer with e3nn's signature, layout and state dict."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn._optimization import get_optimization_defaults
from tesseral.interfaces.e3nn._pickles import take_over
from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.util.jit import compile_mode
from tesseral.ops.layout import to_layout
from tesseral.ops.linear import linear, linear_with_channels
from tesseral.ops.linear_plan import linear_plan


class Instruction(NamedTuple):
    """Block ``i_in`` (-1: a bias) to block ``i_out``, with the shape of its weights and its coefficient."""

    i_in: int
    i_out: int
    path_shape: tuple
    path_weight: float


class LinearSlices(NamedTuple):
    """Where the weights of a path are in the flat vector, and their shape."""

    slice_1D: slice
    shape_2D: tuple


@compile_mode("script")
class Linear(nn.Module):
    """:func:`tesseral.ops.linear` in layout ``mul_ir``; arguments, weights and state dict are e3nn's.

    >>> layer = Linear("4x0e+16x1o", "8x0e+8x1o", biases=True)
    >>> layer
    Linear(4x0e+16x1o -> 8x0e+8x1o | 160 weights)
    >>> layer(torch.randn(7, 52)).shape
    torch.Size([7, 32])
    """

    def __init__(
        self,
        irreps_in: Any,
        irreps_out: Any,
        *,
        f_in: int | None = None,
        f_out: int | None = None,
        internal_weights: bool | None = None,
        shared_weights: bool | None = None,
        instructions: list[tuple[int, int]] | None = None,
        biases: bool | list[bool] = False,
        path_normalization: str = "element",
        _optimize_einsums: bool | None = None,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        if internal_weights is None:
            internal_weights = shared_weights is not False
        optimize = get_optimization_defaults()["optimize_einsums"]
        self._optimize_einsums = optimize if _optimize_einsums is None else _optimize_einsums
        self.internal_weights, self.shared_weights = internal_weights, shared_weights is not False
        assert self.shared_weights or not internal_weights, "internal weights are shared: they need shared_weights=True"
        for i, j in instructions or ():
            if not (i < len(self.irreps_in) and j < len(self.irreps_out)):
                raise IndexError(f"instruction ({i}, {j}) names a block that {self.irreps_in} or {self.irreps_out} does not have")
        plan = linear_plan(
            self.irreps_in,
            self.irreps_out,
            instructions=instructions,
            path_normalization=path_normalization,
            f_in=f_in,
        )
        if biases is None or isinstance(biases, bool):
            biases = [bool(biases) and ir.is_scalar() for _, ir in self.irreps_out]
        assert len(biases) == len(self.irreps_out), f"{len(biases)} biases for the {len(self.irreps_out)} blocks of the output"
        assert all(ir.is_scalar() or not b for b, (_, ir) in zip(biases, self.irreps_out, strict=True)), "biases are for 0e only"
        biased = tuple(k for k, bias in enumerate(biases) if bias)
        self._plan, self._channels = replace(plan, biased=biased), None if f_in is None else (f_in, f_out)
        muls_in, muls_out = [mul for mul, _ in self.irreps_in], [mul for mul, _ in self.irreps_out]
        self.instructions = [
            Instruction(p.i_in, p.i_out, (muls_in[p.i_in], muls_out[p.i_out]), p.coefficient) for p in self._plan.paths
        ] + [Instruction(-1, k, (muls_out[k],), 1.0) for k in biased]
        self.weight_numel, self.bias_numel = self._plan.weight_numel, self._plan.bias_numel
        ends, self.weight_index_slices = 0, []
        for ins in self.instructions:
            size = math.prod(ins.path_shape)
            self.weight_index_slices.append(LinearSlices(slice(ends, ends + size), ins.path_shape))
            ends += size

        if internal_weights and self.weight_numel > 0:
            self.weight = nn.Parameter(torch.randn(*(() if f_in is None else (f_in, f_out)), self.weight_numel))
        else:
            self.register_buffer("weight", torch.empty(0))
        if internal_weights and self.bias_numel > 0:
            self.bias = nn.Parameter(torch.zeros(*(() if f_out is None else (f_out,)), self.bias_numel))
        else:
            self.register_buffer("bias", torch.empty(0))
        reached = {i.i_out for i in self.instructions if 0 not in i.path_shape}
        masks = [torch.full((block.dim,), float(k in reached)) for k, block in enumerate(self.irreps_out)]
        self.register_buffer("output_mask", torch.cat(masks) if masks else torch.ones(0))

    def forward(self, features: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """The map of features (..., [f_in,] irreps_in.dim); ``weight`` and ``bias`` where the layer has none of its own."""
        if weight is None:
            if self.weight_numel > 0 and not self.internal_weights:
                raise RuntimeError("Weights must be provided when internal_weights = False")
            weight = self.weight
        if bias is None:
            if self.bias_numel > 0 and not self.internal_weights:
                raise RuntimeError("Biases must be provided when internal_weights = False")
            bias = self.bias
        channels = () if self._channels is None else self._channels
        if self.shared_weights and weight.ndim > 1 + len(channels):
            weight = weight.reshape(*channels, -1)
        if not self.instructions:  # e3nn does not look at features that reach nothing
            return features.new_zeros(*features.shape[: -2 if channels else -1], *channels[1:], self.irreps_out.dim)
        x = to_layout(features, self.irreps_in, "mul_ir", "ir_mul")
        operation = linear if self._channels is None else linear_with_channels
        y = operation(x, weight, self._plan, bias if self.bias_numel else None)
        return to_layout(y, self.irreps_out, "ir_mul", "mul_ir")

    def _make_tracing_inputs(self, n: int) -> list[dict]:
        channels = () if self._channels is None else self._channels[:1]
        more: list[Tensor] = []
        if not self.internal_weights:
            shape = () if self.shared_weights else (5,)
            full = () if self._channels is None else self._channels
            more = [torch.randn(*shape, *full, self.weight_numel), torch.randn(*shape, *full[1:], self.bias_numel)]
        return [{"forward": (self.irreps_in.randn(5, *channels, -1), *more)} for _ in range(n)]

    def __setstate__(self, state: dict) -> None:
        if "_plan" in state:
            return super().__setstate__(state)
        # a pickle of e3nn's own layer, which does not say how its paths were normalised: by the one that gives their weights
        given = state["instructions"]
        ends = (state["irreps_in"], state["irreps_out"])
        ways: dict[str, Any] = {name: state[name] for name in ("internal_weights", "shared_weights")}
        ways["instructions"] = [(i.i_in, i.i_out) for i in given if i.i_in >= 0]
        ways["biases"] = [any(i.i_in < 0 and i.i_out == k for i in given) for k in range(len(ends[1]))]
        weight = state["_parameters"].get("weight")
        if weight is not None and weight.ndim == 3:
            ways["f_in"], ways["f_out"] = weight.shape[:2]
        for normalization in ("element", "path"):
            with torch.random.fork_rng(devices=()):
                Linear.__init__(self, *ends, path_normalization=normalization, **ways)
            pairs = zip(given, self.instructions, strict=True)
            if all(a[:2] == b[:2] and math.isclose(a.path_weight, b.path_weight, rel_tol=1e-12) for a, b in pairs):
                return take_over(self, state)
        raise ValueError(
            f"the pickled linear map {ends[0]} -> {ends[1]} has the path weights {[i.path_weight for i in given]}, which no "
            "normalisation gives: load its state dict into a new layer"
        )

    def weight_view_for_instruction(self, instruction: int, weight: Tensor | None = None) -> Tensor:
        """The weights of one path, as a view of the shape ``path_shape`` after the batch axes."""
        return list(self.weight_views(weight))[instruction]

    def weight_views(self, weight: Tensor | None = None, yield_instruction: bool = False) -> Iterator:
        """Views of the weights of all paths (biases have none), or (number, instruction, view)."""
        if weight is None:
            assert self.internal_weights, "Weights must be provided when internal_weights = False"
            weight = self.weight
        for number, (ins, place) in enumerate(zip(self.instructions, self.weight_index_slices, strict=True)):
            if ins.i_in != -1:
                view = weight[..., place.slice_1D].unflatten(-1, ins.path_shape)
                yield (number, ins, view) if yield_instruction else view

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.irreps_in} -> {self.irreps_out} | {self.weight_numel} weights)"
