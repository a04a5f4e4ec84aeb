"""Perceptrons of invariants: from the radial basis to the weights of a convolution."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.nn.activation import Normalized, ScalarFunction
from tesseral.ops.perceptron import perceptron, perceptron_layers


class MLP(nn.Module):
    r"""Layers :math:`x \leftarrow c f\!\left(x W / \sqrt{n}\right)`, the last one linear, that keep the mean square at one.

    ``dims`` are the widths, from the input to the output. Weights have mean square one and are divided by the square root of
    the number n of inputs; ``initialization`` draws them ``"normal"`` or ``"uniform"`` in :math:`\pm\sqrt 3`.
    ``normalization`` gives c: the second moment of the activation (``"integral"``; ``"e3nn"`` its Monte-Carlo estimate), or a
    number (:math:`\sqrt 2` is NequIP 0.19's gain), or ``"none"``. ``bias`` adds biases, zero at the start; ``out_act`` activates
    the last layer too. Raises ``ValueError`` for fewer than two widths.

    >>> MLP([8, 64, 32])
    MLP(8 -> 64 -> 32, 1.67653 silu)
    >>> MLP([8, 64, 32])(torch.randn(10, 8)).shape
    torch.Size([10, 32])
    """

    def __init__(
        self,
        dims: Sequence[int],
        act: ScalarFunction = nn.functional.silu,
        *,
        bias: bool = False,
        out_act: bool = False,
        normalization: str | int | float = "integral",
        initialization: str = "normal",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if len(dims) < 2:
            raise ValueError(f"an MLP needs at least the widths of its input and output, got {list(dims)}")
        if initialization not in ("normal", "uniform"):
            raise ValueError(f"unknown initialization {initialization!r}: expected 'normal' or 'uniform'")
        self.dims, self.out_act = tuple(int(n) for n in dims), out_act
        self.act = Normalized(act, normalization)
        draw = _normal if initialization == "normal" else _uniform
        shapes = list(zip(self.dims[:-1], self.dims[1:], strict=True))
        self.weights = nn.ParameterList([draw(shape, dtype, device) for shape in shapes])
        self.biases = nn.ParameterList([torch.zeros(n, dtype=dtype, device=device) for _, n in shapes]) if bias else None
        name = _COMPILED.get(act)
        self._layers = None if bias or out_act or name is None else perceptron_layers(self.dims, name, self.act.scale)

    def forward(self, x: Float[Tensor, "*batch n_in"]) -> Float[Tensor, "*batch n_out"]:
        if self._layers is not None:
            return perceptron(x, list(self.weights), self._layers)
        last = len(self.weights) - 1
        for i, weight in enumerate(self.weights):
            x = x @ (weight * (1 / math.sqrt(max(1, weight.shape[0]))))
            if self.biases is not None:
                x = x + self.biases[i]
            if i < last or self.out_act:
                x = self.act(x)
        return x

    def matrices(self) -> list[Tensor]:
        """The matrices of the layers."""
        return list(self.weights)

    def __repr__(self) -> str:
        return f"MLP({' -> '.join(map(str, self.dims))}, {self.act})"


class FullyConnectedNet(nn.Module):
    r"""e3nn's ``FullyConnectedNet``: an :class:`MLP` without biases whose input and output have given variances.

    Hidden layers are :math:`c f(x W / \sqrt{n v})` with the variance v of their input; an activated last layer is
    multiplied by, a linear one has the weights multiplied by, the square root of ``variance_out``.

    >>> FullyConnectedNet([8, 16, 4], torch.tanh)(torch.randn(3, 8)).shape
    torch.Size([3, 4])
    """

    def __init__(
        self,
        hs: Sequence[int],
        act: ScalarFunction | None = None,
        variance_in: int | float = 1.0,
        variance_out: int | float = 1.0,
        out_act: bool = False,
        normalization: str = "integral",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.mlp = MLP(
            hs,
            _identity if act is None else act,
            out_act=out_act and act is not None,
            normalization="none" if act is None else normalization,
            dtype=dtype,
            device=device,
        )
        self.variance_in, self.variance_out = variance_in, variance_out

    def forward(self, x: Float[Tensor, "*batch n_in"]) -> Float[Tensor, "*batch n_out"]:
        x = self.mlp(x * self.variance_in**-0.5 if self.variance_in != 1 else x)
        return x * self.variance_out**0.5 if self.variance_out != 1 else x

    def extra_repr(self) -> str:
        return f"variance_in={self.variance_in}, variance_out={self.variance_out}"


# Activations that compiled perceptrons know.
_COMPILED: dict[ScalarFunction, str] = {nn.functional.silu: "silu", torch.tanh: "tanh", torch.nn.functional.tanh: "tanh"}


def _identity(x: Tensor) -> Tensor:
    return x


def _normal(shape: tuple[int, int], dtype: torch.dtype, device: torch.device | str | None) -> Tensor:
    return torch.randn(shape, dtype=dtype, device=device)


def _uniform(shape: tuple[int, int], dtype: torch.dtype, device: torch.device | str | None) -> Tensor:
    return (2 * torch.rand(shape, dtype=dtype, device=device) - 1) * math.sqrt(3)
