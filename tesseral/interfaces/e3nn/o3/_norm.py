"""Norms of irreps."""

from typing import Any

from torch import Tensor, nn

from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.o3._tensor_product._tensor_product import TensorProduct
from tesseral.interfaces.e3nn.util.jit import compile_mode


@compile_mode("trace")
class Norm(nn.Module):
    """The Euclidean norm of each irrep, or its square; the gradient at a vanishing irrep is zero.

    >>> Norm("17x1o")
    Norm(17x1o)
    """

    def __init__(self, irreps_in: Any, squared: bool = False) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps_in).simplify()
        scalars = Irreps([(mul, (0, 1)) for mul, _ in self.irreps_in])
        paths = [(i, i, i, "uuu", False, ir.dim) for i, (_, ir) in enumerate(self.irreps_in)]
        self.tp = TensorProduct(self.irreps_in, self.irreps_in, scalars, paths, irrep_normalization="component")
        self.irreps_out, self.squared = scalars.simplify(), squared

    def forward(self, features: Tensor) -> Tensor:
        squares = self.tp(features, features)
        return squares if self.squared else squares.relu().sqrt()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.irreps_in})"
