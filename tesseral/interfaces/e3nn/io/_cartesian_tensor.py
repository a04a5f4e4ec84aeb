"""Cartesian tensors as irreps."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tesseral import o3
from tesseral.interfaces.e3nn._convention import convention
from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.o3._reduce import ReducedTensorProducts


class CartesianTensor(Irreps):
    """The irreps of a Cartesian tensor with the index symmetry of ``formula``; its conversions are computed once.

    >>> CartesianTensor("ij=ji")
    1x0e+1x2e
    """

    formula: str
    indices: str
    _tensor: o3.CartesianTensor

    def __new__(cls, formula: str) -> CartesianTensor:
        tensor = o3.CartesianTensor(formula, convention=convention())
        self: Any = super().__new__(cls, tuple(tensor.irreps))
        self.formula, self.indices, self._tensor = formula, tensor.indices, tensor
        return self

    def from_cartesian(self, data: Tensor, rtp: ReducedTensorProducts | None = None) -> Tensor:
        """Features (..., dim) of tensors (..., 3, 3, ...)."""
        if rtp is None:
            return self._tensor.from_cartesian(data)
        return data.flatten(-len(self.indices)) @ rtp.change_of_basis.flatten(1).T

    def to_cartesian(self, data: Tensor, rtp: ReducedTensorProducts | None = None) -> Tensor:
        """Tensors (..., 3, 3, ...) of features (..., dim)."""
        if rtp is None:
            return self._tensor.to_cartesian(data)
        return (data @ rtp.change_of_basis.flatten(1)).unflatten(-1, (3,) * len(self.indices))

    def from_vectors(self, *xs: Tensor, rtp: ReducedTensorProducts | None = None) -> Tensor:
        """Features of the product of one vector for each index."""
        return self._tensor.from_vectors(*xs) if rtp is None else rtp(*xs)

    def reduced_tensor_products(self, data: Tensor | None = None) -> ReducedTensorProducts:
        """The layer with the change of basis, in the dtype and on the device of ``data``."""
        layer = ReducedTensorProducts(self.formula, **dict.fromkeys(self.indices, "1o"))  # type: ignore[arg-type]
        return layer if data is None else layer.to(device=data.device, dtype=data.dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return CartesianTensor, (self.formula,)
