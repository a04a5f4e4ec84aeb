"""The equivariant linear layer."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.o3 import Irreps
from tesseral.ops.linear import linear, linear_with_channels
from tesseral.ops.linear_plan import linear_plan
from tesseral.ops.weight_views import weight_view, weight_views


class Linear(nn.Module):
    r"""A linear map between equal irreps, :math:`y_{mv} = c \sum_u x_{mu} W_{uv}`; layout ``ir_mul``.

    ``weight`` is flat, in e3nn's order, and starts standard normal; c keeps the mean square (``path_normalization``, see
    :func:`~tesseral.ops.linear.linear_plan`). ``biases`` adds a learned one to each 0e channel, zero at the start.
    ``instructions`` lists the pairs of blocks that are joined (default: all of equal irreps); ``channels = (f_in, f_out)`` mixes
    one more axis, for features ``(..., f_in, irreps_in.dim)``. Blocks of ``irreps_out`` that nothing reaches are zero.

    >>> layer = Linear("4x0e+2x1o", "3x1o+5x0e")
    >>> layer
    Linear(4x0e+2x1o -> 3x1o+5x0e, ir_mul, 26 weights)
    >>> layer(torch.randn(7, 10)).shape
    torch.Size([7, 14])
    """

    def __init__(
        self,
        irreps_in: object,
        irreps_out: object,
        biases: bool = False,
        *,
        instructions: Sequence[tuple[int, int]] | None = None,
        path_normalization: str = "element",
        channels: tuple[int, int] | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out, self.channels = Irreps(irreps_in), Irreps(irreps_out), channels
        self.plan = linear_plan(
            self.irreps_in,
            self.irreps_out,
            biases=biases,
            instructions=instructions,
            path_normalization=path_normalization,
            f_in=channels[0] if channels else None,
        )
        self.weight = nn.Parameter(torch.randn(*(channels or ()), self.plan.weight_numel, dtype=dtype, device=device))
        shape = (*(channels[1:] if channels else ()), self.plan.bias_numel)
        self.bias = nn.Parameter(torch.zeros(*shape, dtype=dtype, device=device)) if self.plan.biased else None

    def forward(self, x: Float[Tensor, "*batch dim_in"]) -> Float[Tensor, "*out dim_out"]:
        if self.channels is None:
            return linear(x, self.weight, self.plan, self.bias)
        return linear_with_channels(x, self.weight, self.plan, self.bias)

    def weight_view(self, number: int) -> Float[Tensor, "..."]:
        """The weights of one path of ``plan.paths``, (..., mul_in, mul_out): a view, for initialisation."""
        return weight_view(self._shapes(), self.weight, number)

    def weight_views(self) -> Iterator[tuple[int, Tensor]]:
        """The number and the weights of each path."""
        return weight_views(self._shapes(), self.weight)

    def matrices(self) -> list[Tensor]:
        """The matrices (..., channels in, channels out) that the weights form: views."""
        return self.plan.matrices(self.weight)

    def _shapes(self) -> list[tuple[int, ...] | None]:
        return [(self.irreps_in[p.i_in].mul, self.irreps_out[p.i_out].mul) for p in self.plan.paths]

    def __repr__(self) -> str:
        bias = f", {self.plan.bias_numel} biases" if self.bias is not None else ""
        return f"Linear({self.irreps_in} -> {self.irreps_out}, ir_mul, {self.weight.numel()} weights{bias})"
