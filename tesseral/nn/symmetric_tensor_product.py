"""Fully connected products of two equal representations whose weights know that the factors can be exchanged."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.o3 import Irreps
from tesseral.ops.tensor_product import tensor_product, tensor_product_plan


class SymmetricTensorProduct(nn.Module):
    r"""A fully connected product of two features of the same irreps with a law of exchange; layout ``ir_mul``.

    Blocks i, j of the factors meet twice, as (i, j) and (j, i), with channels (u, v) and (v, u); for a path with degrees
    :math:`l_1, l_2, l_3` the exchange of the factors gives the sign :math:`s = (-1)^{l_1+l_2+l_3}`. One weight serves both:

    - ``exchange="weights"``: :math:`W_{uvw} = W_{vuw}`, so that many channels behave as one would: with one path,
      :math:`f(y, x) = s f(x, y)`;
    - ``"even"``: :math:`W_{uvw} = s W_{vuw}`, all bilinear maps with :math:`f(y, x) = f(x, y)`;
    - ``"odd"``: :math:`W_{uvw} = -s W_{vuw}`, all with :math:`f(y, x) = -f(x, y)`.

    ``weight`` has one number for each free weight, standard normal at the start; outputs have unit variance for independent
    normal factors. Raises ``ValueError`` for an unknown ``exchange``.

    >>> product = SymmetricTensorProduct("3x0e+2x1o", "4x0e+2x1e", exchange="even")
    >>> product
    SymmetricTensorProduct(3x0e+2x1o x 3x0e+2x1o -> 4x0e+2x1e, even, 38 weights, ir_mul)
    >>> x, y = torch.randn(2, 5, 9)
    >>> torch.allclose(product(x, y), product(y, x), atol=1e-5)
    True
    """

    source: Tensor
    factor: Tensor

    def __init__(
        self,
        irreps_in: object,
        irreps_out: object,
        exchange: str = "weights",
        *,
        convention: str = "0.6",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if exchange not in ("weights", "even", "odd"):
            raise ValueError(f"unknown exchange {exchange!r}: expected 'weights', 'even' or 'odd'")
        self.irreps_in, self.irreps_out, self.exchange = Irreps(irreps_in), Irreps(irreps_out), exchange
        paths = [
            (i, j, k, "uvw", True)
            for i, (_, a) in enumerate(self.irreps_in)
            for j, (_, b) in enumerate(self.irreps_in)
            for k, (_, c) in enumerate(self.irreps_out)
            if c in a * b
        ]
        self.plan = tensor_product_plan(self.irreps_in, self.irreps_in, self.irreps_out, paths, convention=convention)
        source, factor, self.weight_numel = _ties(self.plan.instructions, self.irreps_in, self.irreps_out, exchange)
        self.register_buffer("source", torch.tensor(source, dtype=torch.int64, device=device), persistent=False)
        self.register_buffer("factor", torch.tensor(factor, dtype=dtype, device=device), persistent=False)
        self.weight = nn.Parameter(torch.randn(self.weight_numel, dtype=dtype, device=device))

    def forward(self, x: Float[Tensor, "*batch1 dim_in"], y: Float[Tensor, "*batch2 dim_in"]) -> Float[Tensor, "*out dim_out"]:
        return tensor_product(x, y, self.full_weight(), self.plan)

    def full_weight(self) -> Float[Tensor, "numel"]:
        """The weights of the fully connected product that this is."""
        if not self.weight_numel:
            return self.factor
        return self.weight[self.source] * self.factor

    def __repr__(self) -> str:
        return (
            f"SymmetricTensorProduct({self.irreps_in} x {self.irreps_in} -> {self.irreps_out}, {self.exchange}, "
            f"{self.weight_numel} weights, ir_mul)"
        )


def _ties(instructions: tuple, irreps_in: Irreps, irreps_out: Irreps, exchange: str) -> tuple[list[int], list[float], int]:
    """For each weight of the full product: the free weight it is, and its factor."""
    found: dict[tuple, int] = {}
    source, factor = [], []
    for path in instructions:
        i, j, k = path[:3]
        degrees = irreps_in[i].ir.l + irreps_in[j].ir.l + irreps_out[k].ir.l
        sign = {"weights": 1, "even": (-1) ** degrees, "odd": -((-1) ** degrees)}[exchange]
        U, V, W = path.path_shape
        # without its diagonal an antisymmetric matrix of weights has U (U - 1) entries instead of U²
        scale = (U / (U - 1)) ** 0.5 if i == j and sign == -1 and U > 1 else 1.0
        for u in range(U):
            for v in range(V):
                swapped = (i, u) > (j, v)
                first, second = ((j, v), (i, u)) if swapped else ((i, u), (j, v))
                for w in range(W):
                    if first == second and sign == -1:
                        source.append(0)
                        factor.append(0.0)
                    else:
                        source.append(found.setdefault((first, second, k, w), len(found)))
                        factor.append(scale * (sign if swapped else 1))
    return source, factor, len(found)
