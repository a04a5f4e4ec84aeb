"""The Gaunt tensor product as a layer: signals on the sphere multiplied point by point, with weights for degrees."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.ops.gaunt import GauntPlan, Method, gaunt_path_weight, gaunt_product, natural_irreps


class GauntTensorProduct(torch.nn.Module):
    r"""A product of two features of all degrees, channel by channel: :math:`z = W_3\,\mathrm{Gaunt}(W_1 x,\, W_2 y)`.

    The W multiply each degree of each channel by a learned number, which starts at one. Features have natural parity
    :math:`(-1)^l` and the same ``channels`` in every degree, layout ``ir_mul``; outputs have unit variance for inputs of unit
    variance at the start. All paths with even :math:`l_1 + l_2 + l` are there, with fixed ratios; those with odd sums (the cross
    product) are not, whatever the weights: see :mod:`tesseral.ops.gaunt`. Where they matter, use
    :class:`~tesseral.nn.TensorProduct`.

    >>> layer = GauntTensorProduct(2, 2, 3, channels=8)
    >>> layer
    GauntTensorProduct(8x0e+8x1o+8x2e x 8x0e+8x1o+8x2e -> 8x0e+8x1o+8x2e+8x3o, grid, ir_mul)
    >>> layer(torch.randn(5, 72), torch.randn(5, 72)).shape
    torch.Size([5, 128])
    """

    def __init__(
        self,
        lmax1: int,
        lmax2: int,
        lmax_out: int,
        channels: int,
        *,
        method: Method = "grid",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if lmax_out > lmax1 + lmax2:
            raise ValueError(f"no product of degrees {lmax1} and {lmax2} reaches {lmax_out}: lmax_out is at most {lmax1 + lmax2}")
        if channels < 1:
            raise ValueError(f"channels is {channels}, expected 1 or more")
        self.plan, self.channels = GauntPlan(lmax1, lmax2, lmax_out, method), channels
        degrees = (lmax1, lmax2, lmax_out)
        self.irreps_in1, self.irreps_in2, self.irreps_out = (natural_irreps(l, channels) for l in degrees)
        factory = {"dtype": dtype, "device": device}
        self.weights = torch.nn.ParameterList([torch.ones(l + 1, channels, **factory) for l in degrees])  # type: ignore[arg-type]
        self._degrees = tuple(tuple(l for l in range(lmax + 1) for _ in range(2 * l + 1)) for lmax in degrees)
        variances = [
            sum(gaunt_path_weight(l1, l2, l) ** 2 for l1 in range(lmax1 + 1) for l2 in range(lmax2 + 1)) / (2 * l + 1)
            for l in range(lmax_out + 1)
        ]
        self._factors = tuple(v**-0.5 for v in variances)

    def forward(self, x: Float[Tensor, "*batch dim1"], y: Float[Tensor, "*batch dim2"]) -> Float[Tensor, "*batch dim3"]:
        rows = [weight[list(degrees)] for weight, degrees in zip(self.weights, self._degrees, strict=True)]
        factors = x.new_tensor(self._factors)[list(self._degrees[2]), None]
        signals = (value.unflatten(-1, (-1, self.channels)) for value in (x, y))
        first, second = (signal * row for signal, row in zip(signals, rows[:2], strict=True))
        return (gaunt_product(self.plan, first, second) * (rows[2] * factors)).flatten(-2)

    def __repr__(self) -> str:
        name = f"{self.irreps_in1} x {self.irreps_in2} -> {self.irreps_out}"
        return f"GauntTensorProduct({name}, {self.plan.method}, ir_mul)"
