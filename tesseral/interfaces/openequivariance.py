r"""OpenEquivariance's layers on tesseral: programs that can use that package get fused convolutions, on CPUs, too.

NequIP, MACE and SevenNet know OpenEquivariance as an option (``enable_OpenEquivariance``, ``--enable_oeq``). It replaces "gather
the features, multiply on the edges, sum at the nodes" by one operation,

.. math:: z_n = \sum_{e:\, row(e) = n} x_{col(e)} \otimes_{W_e} y_e,

which here runs on tesseral's convolution: no product of an edge is ever in memory. :func:`tesseral.interfaces.e3nn.install` makes
``import openequivariance`` mean this module where the package itself is not installed.

    from tesseral.interfaces.openequivariance import TensorProductConv, TPProblem

    paths = [(0, 0, 0, "uvu", True), (1, 1, 0, "uvu", True), (0, 1, 1, "uvu", True)]
    problem = TPProblem("8x0e+8x1o", "0e+1o", "8x0e+8x1o", paths, shared_weights=False)
    z = TensorProductConv(problem)(x, y, w, rows, cols)       # (nodes, problem.irreps_out.dim)

Names, arguments and layouts are those of OpenEquivariance 0.7; weights have e3nn's order, which is its order for the modes that
convolutions use (*uvu*).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn import o3
from tesseral.interfaces.e3nn._convention import convention, using
from tesseral.interfaces.e3nn.o3 import Irreps
from tesseral.kernels import cpu
from tesseral.kernels.index_map import IndexMap, sort
from tesseral.kernels.operator import multilinear
from tesseral.kernels.spec import OUTPUT, Form, Program
from tesseral.ops.layout import to_layout
from tesseral.ops.tensor_product import TensorProductPlan, tensor_product_plan

__all__ = [
    "Irreps",
    "TPProblem",
    "TensorProduct",
    "TensorProductConv",
    "torch_ext_so_path",
    "torch_to_oeq_dtype",
    "transpose_irreps",
]
__version__ = "0.7.0"  # whose names these are

_DTYPES: dict[torch.dtype, type[np.generic]] = {torch.float32: np.float32, torch.float64: np.float64}


def torch_to_oeq_dtype(dtype: torch.dtype) -> type[np.generic]:
    """The NumPy type by which a :class:`TPProblem` names a dtype. Raises ``ValueError`` for one that is not float32 or float64.

    >>> torch_to_oeq_dtype(torch.float64)
    <class 'numpy.float64'>
    """
    if dtype not in _DTYPES:
        raise ValueError(f"no layer of dtype {dtype}: take torch.float32 or torch.float64")
    return _DTYPES[dtype]


def torch_ext_so_path() -> None:
    """None: there is no library to link to; the kernels are compiled when they are needed."""


def transpose_irreps(array: Tensor, irreps: Any, src_layout: str, dst_layout: str) -> Tensor:
    """Features (..., irreps.dim) from one layout, "mul_ir" or "ir_mul", to another."""
    return to_layout(array, Irreps(irreps), src_layout, dst_layout).clone()


class TPProblem:
    """What a product multiplies: e3nn's arguments of ``o3.TensorProduct``, dtypes of features and weights, and the layout.

    The sign convention of the Clebsch-Gordan coefficients is that of e3nn's layers built by the same code
    (:func:`tesseral.interfaces.e3nn.install`). Raises ``ValueError`` for an instruction that cannot be, and for internal weights.

    >>> TPProblem("4x1o", "1x1o", "4x0e", [(0, 0, 0, "uvu", True)], shared_weights=False)
    TPProblem(4x1o x 1x1o -> 4x0e | 4 paths | 4 weights)
    """

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        irreps_out: Any,
        instructions: Sequence[tuple],
        in1_var: Sequence[float] | None = None,
        in2_var: Sequence[float] | None = None,
        out_var: Sequence[float] | None = None,
        irrep_normalization: str = "component",
        path_normalization: str = "element",
        internal_weights: bool | None = False,
        shared_weights: bool | None = None,
        label: str | None = None,
        irrep_dtype: type[np.generic] = np.float32,
        weight_dtype: type[np.generic] = np.float32,
        layout: str = "mul_ir",
    ) -> None:
        if internal_weights:
            raise ValueError("a TPProblem has no weights of its own: give internal_weights=False, and the weights to the layer")
        if layout not in ("mul_ir", "ir_mul"):
            raise ValueError(f"unknown layout {layout!r}: expected 'mul_ir' or 'ir_mul'")
        self.irreps_in1, self.irreps_in2, self.irreps_out = Irreps(irreps_in1), Irreps(irreps_in2), Irreps(irreps_out)
        self.in1_var, self.in2_var, self.out_var = in1_var, in2_var, out_var
        self.irrep_normalization, self.path_normalization = irrep_normalization, path_normalization
        self.internal_weights, self.shared_weights = False, True if shared_weights is None else shared_weights
        self.label, self.layout = label or "", layout
        self.irrep_dtype, self.weight_dtype = irrep_dtype, weight_dtype
        self.instructions_raw = [tuple(i) for i in instructions]
        self.convention = convention()
        self.plan: TensorProductPlan = tensor_product_plan(
            self.irreps_in1, self.irreps_in2, self.irreps_out, self.instructions_raw,
            variances=(in1_var, in2_var, out_var), irrep_normalization=irrep_normalization,
            path_normalization=path_normalization, shared_weights=self.shared_weights, convention=self.convention,
        )  # fmt: skip
        self.instructions, self.weight_numel = list(self.plan.instructions), self.plan.weight_numel

    def clone(self) -> TPProblem:
        """A copy."""
        return copy.deepcopy(self)

    def __repr__(self) -> str:
        return f"TPProblem({self.plan})"


class _Layer(nn.Module):
    """A layer without parameters, whose state dict is empty."""

    def __init__(self, problem: TPProblem) -> None:
        super().__init__()
        self.input_args = {"problem": problem}
        self.weight_numel = problem.weight_numel

    @property
    def config(self) -> TPProblem:
        """The problem."""
        return self.input_args["problem"]

    def reorder_weights_from_e3nn(self, weights: Tensor, has_batch_dim: bool = True) -> Tensor:
        """The weights: their order is e3nn's."""
        return weights

    def reorder_weights_to_e3nn(self, weights: Tensor, has_batch_dim: bool = True) -> Tensor:
        """The weights: their order is e3nn's."""
        return weights

    def extra_repr(self) -> str:
        return f"{self.config.plan}, layout={self.config.layout!r}"


class TensorProduct(_Layer):
    """e3nn's ``o3.TensorProduct``: ``x`` and ``y`` (rows, dim) and weights (rows, weight_numel), or (weight_numel,) where shared.

    ``torch_op`` and ``use_opaque`` are accepted and make no difference.
    """

    def __init__(self, problem: TPProblem, torch_op: bool = True, use_opaque: bool = False) -> None:
        super().__init__(problem)
        ends = (problem.irreps_in1, problem.irreps_in2, problem.irreps_out)
        variances = (problem.in1_var, problem.in2_var, problem.out_var)
        normalizations = (problem.irrep_normalization, problem.path_normalization)
        with using(problem.convention):
            product = o3.TensorProduct(
                *ends, problem.instructions_raw, *variances, *normalizations, False, problem.shared_weights
            )
        self._product = (product,)  # a tuple, because its buffers have no place in the state dict

    def forward(self, x: Tensor, y: Tensor, W: Tensor) -> Tensor:
        problem = self.config
        if problem.layout == "mul_ir":
            return self._product[0](x, y, W)
        z = self._product[0](
            to_layout(x, problem.irreps_in1, "ir_mul", "mul_ir"), to_layout(y, problem.irreps_in2, "ir_mul", "mul_ir"), W
        )
        return to_layout(z, problem.irreps_out, "mul_ir", "ir_mul")


class TensorProductConv(_Layer):
    """The product of the features of nodes ``cols`` with those of the edges, summed at the nodes ``rows``.

    ``deterministic``, ``kahan``, ``torch_op`` and ``use_opaque`` are accepted and make no difference: sums are made in a fixed
    order anyway. Problems other than channelwise ones multiply on the edges first, as e3nn does.
    """

    def __init__(
        self,
        problem: TPProblem,
        *,
        deterministic: bool = False,
        kahan: bool = False,
        torch_op: bool = True,
        use_opaque: bool = False,
    ) -> None:
        super().__init__(problem)
        self._program = _convolution(problem.plan)
        self._indices = () if self._program is None else self._program.form.indices
        self._product = TensorProduct(problem) if self._program is None else None

    def forward(self, X: Tensor, Y: Tensor, W: Tensor, rows: Tensor, cols: Tensor, sender_perm: Tensor | None = None) -> Tensor:
        """``X`` (nodes, irreps_in1.dim), ``Y`` (edges, irreps_in2.dim), ``W`` (edges, weight_numel), ``rows``, ``cols`` (edges,).

        Returns (nodes, irreps_out.dim). ``sender_perm``, the order that sorts the edges by column, saves the sort.
        """
        problem = self.config
        if self._program is None:
            assert self._product is not None
            z = self._product(X[cols], Y, W)
            return z.new_zeros(X.shape[0], z.shape[1]).index_add(0, rows, z)
        if problem.layout == "mul_ir":
            X, Y = to_layout(X, problem.irreps_in1, "mul_ir", "ir_mul"), to_layout(Y, problem.irreps_in2, "mul_ir", "ir_mul")
        nodes = X.shape[0]  # sorted here once, and not in every derivative
        maps = {
            "source": sort(cols, nodes) if sender_perm is None else IndexMap(cols, sender_perm),
            "destination": sort(rows, nodes),
        }
        weights = W.reshape(1, -1) if problem.shared_weights else W
        z = multilinear(self._program, (X, Y, weights), [maps[name] for name in self._indices], [nodes] * len(self._indices))[0]
        return z if problem.layout == "ir_mul" else to_layout(z, problem.irreps_out, "ir_mul", "mul_ir")


def _convolution(plan: TensorProductPlan) -> Program | None:
    """The product's program with features gathered from nodes and products summed there; None where it is not channelwise."""
    if len(plan.stages) != 1 or plan.columns1 or plan.columns2 or plan.stages[0].mixing is not None:
        return None
    program, weights, _ = plan.stages[0]
    channelwise = cpu.channelwise(program) and len(program.outputs) == 1 and len(program.outputs[0]) == 1
    if program.num_inputs != 3 or weights != ((0, plan.weight_numel),) or not channelwise:
        return None
    places = {0: "source", OUTPUT: "destination"}  # by tensor; those of the edges stay what they are
    (term,) = program.outputs[0]
    slots = [
        dataclasses.replace(slot, index=places.get(tensor, slot.index))
        for slot, tensor in zip(program.form.slots, term.tensors, strict=True)
    ]
    return Program(Form(tuple(slots), program.form.paths), program.outputs)
