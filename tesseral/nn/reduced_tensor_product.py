"""Products of several features with an index symmetry, reduced to irreps."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.o3 import Irrep, permutation, reduce_tensor
from tesseral.o3.clebsch_gordan import Convention
from tesseral.o3.irreps import IrrepsLike


class ReducedTensorProduct(nn.Module):
    r"""The product of one feature for each index of a formula, projected to its index symmetry; layout ``ir_mul``, no weights.

    .. math:: z_a = \sum_{ij\ldots} Q_{a,ij\ldots}\, x_i\, y_j \cdots

    with the orthonormal change of basis Q of :func:`~tesseral.o3.reduce_tensor`, which explains the arguments; the buffer
    ``change_of_basis`` is Q in this layout. Leading axes broadcast. Raises ``ValueError`` for a bad formula and for a wrong
    number of features.

    >>> cross = ReducedTensorProduct("ij=-ji", i="1o")
    >>> cross
    ReducedTensorProduct(ij=-ji: 1x1o x 1x1o -> 1x1e, ir_mul)
    >>> cross(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    tensor([0.0000, 0.0000, 0.7071])
    """

    change_of_basis: Tensor

    def __init__(
        self,
        formula: str,
        filter_ir_out: Iterable[str | Irrep] | None = None,
        filter_ir_mid: Iterable[str | Irrep] | None = None,
        *,
        convention: Convention = "0.6",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        **irreps: IrrepsLike,
    ) -> None:
        super().__init__()
        reduced = reduce_tensor(formula, filter_ir_out, filter_ir_mid, convention, **irreps)
        self.formula, self.irreps_in, self.irreps_out = formula, reduced.irreps_in, reduced.irreps_out
        Q = reduced.change_of_basis
        for axis, space in enumerate((self.irreps_out, *self.irreps_in)):
            Q = Q.take(permutation(space, "mul_ir", "ir_mul"), axis)
        self.register_buffer("change_of_basis", torch.from_numpy(Q).to(dtype=dtype, device=device))

    def forward(self, *features: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        if len(features) != len(self.irreps_in):
            raise ValueError(f"{self.formula} is a product of {len(self.irreps_in)} features, got {len(features)}")
        rows = features[-1] @ self.change_of_basis.flatten(0, -2).T  # the last index goes first
        for x in reversed(features[:-1]):
            rows = (rows.unflatten(-1, (-1, x.shape[-1])) @ x.unsqueeze(-1)).squeeze(-1)
        return rows

    def __repr__(self) -> str:
        return f"ReducedTensorProduct({self.formula}: {' x '.join(map(str, self.irreps_in))} -> {self.irreps_out}, ir_mul)"
