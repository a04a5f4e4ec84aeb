"""Products of several features with an index symmetry, reduced to irreps."""

from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn._convention import convention
from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.util.jit import compile_mode
from tesseral.o3 import reduce_tensor


@compile_mode("script")
class ReducedTensorProducts(nn.Module):
    """The product of one feature for each index of ``formula``, in the basis of the tensors with its symmetry.

    ``change_of_basis`` (irreps_out.dim, dim of each index) has orthonormal rows, see :func:`tesseral.o3.reduce_tensor`. The state
    dict of e3nn's layer loads strictly: its basis is used, its inner products are not needed.

    >>> ReducedTensorProducts("ij=-ji", i="1o").irreps_out
    1x1e
    """

    change_of_basis: Tensor

    def __init__(self, formula: str, filter_ir_out: Any = None, filter_ir_mid: Any = None, eps: float = 1e-09, **irreps: Any):
        super().__init__()
        reduced = reduce_tensor(formula, filter_ir_out, filter_ir_mid, convention(), **{i: Irreps(r) for i, r in irreps.items()})
        self.irreps_in, self.irreps_out = list(reduced.irreps_in), reduced.irreps_out
        basis = torch.from_numpy(reduced.change_of_basis.copy())
        self.register_buffer("change_of_basis", basis.to(torch.get_default_device(), torch.get_default_dtype()))

    def forward(self, *xs: Tensor) -> Tensor:
        assert len(xs) == len(self.irreps_in), f"{len(xs)} features for {len(self.irreps_in)} indices"
        product = xs[0]
        for x in xs[1:]:
            product = (product.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2)
        return product @ self.change_of_basis.flatten(1).T

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *rest: Any) -> None:
        for name in [name for name in state_dict if name.startswith(prefix + "main.")]:
            del state_dict[name]
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def __repr__(self) -> str:
        return f"ReducedTensorProducts(\n    in: {' times '.join(map(repr, self.irreps_in))}\n    out: {self.irreps_out}\n)"
