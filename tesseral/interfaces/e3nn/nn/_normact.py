"""Functions of the norm."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.o3._norm import Norm
from tesseral.interfaces.e3nn.o3._tensor_product._sub import ElementwiseTensorProduct
from tesseral.interfaces.e3nn.util.jit import compile_mode


@compile_mode("script")
class NormActivation(nn.Module):
    """A function of the norm of each irrep times the irrep, of unit norm with ``normalize``.

    Norms below ``epsilon`` (1e-8) count as that; without ``normalize`` there is none. ``bias`` learns one to add to each norm.
    """

    def __init__(
        self,
        irreps_in: Any,
        scalar_nonlinearity: Callable,
        normalize: bool = True,
        epsilon: float | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.irreps_in = self.irreps_out = Irreps(irreps_in)
        if epsilon is not None and not normalize:
            raise ValueError("epsilon and normalize = False don't make sense together: nothing is divided by the norm")
        if epsilon is not None and not epsilon > 0:
            raise ValueError(f"epsilon {epsilon} is invalid, must be strictly positive.")
        self.epsilon = (1e-8 if epsilon is None else epsilon) if normalize else None
        self.norm = Norm(self.irreps_in, squared=self.epsilon is not None)
        self.scalar_nonlinearity, self.normalize, self.bias = scalar_nonlinearity, normalize, bias
        if bias:
            self.biases = nn.Parameter(torch.zeros(self.irreps_in.num_irreps))
        self.scalar_multiplier = ElementwiseTensorProduct(self.norm.irreps_out, self.irreps_in)

    def forward(self, features: Tensor) -> Tensor:
        norms = self.norm(features)
        if self.epsilon is not None:
            norms = norms.clamp(min=self.epsilon**2).sqrt()
        factors = self.scalar_nonlinearity(norms + self.biases if self.bias else norms)
        return self.scalar_multiplier(factors / norms if self.normalize else factors, features)
