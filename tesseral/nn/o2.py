"""Layers on features of O(2): what edges of a graph allow once their frame is turned to the polar axis."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.groups.o2 import O2Irrep, O2Irreps, coupling


class O2Linear(nn.Module):
    r"""A linear map that commutes with O(2): equal irreps are mixed, :math:`y_{cv} = \tfrac{1}{\sqrt U} \sum_u x_{cu} W_{uv}`;
    layout ``ir_mul``.

    With ``reflection=False`` it commutes with rotations only, SO(2): then 0e and 0o mix, and pairs are multiplied by complex
    weights, as in the convolutions of eSCN. Blocks of ``irreps_out`` that nothing reaches are zero.
    Source: Passaro and Zitnick, ICML 2023, eq. 7.

    >>> layer = O2Linear("4x0e+2x0o+3x1", "2x0e+5x1")
    >>> layer
    O2Linear(4x0e+2x0o+3x1 -> 2x0e+5x1, ir_mul, 23 weights)
    >>> layer(torch.randn(7, 12)).shape
    torch.Size([7, 12])
    """

    def __init__(
        self,
        irreps_in: object,
        irreps_out: object,
        reflection: bool = True,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out, self.reflection = O2Irreps(irreps_in), O2Irreps(irreps_out), reflection  # type: ignore[arg-type]
        self._paths: list[tuple[int, int, float]] = []
        weights = []
        for k, (out_mul, out) in enumerate(self.irreps_out):
            sources = [i for i, (mul, ir) in enumerate(self.irreps_in) if mul and self._joined(ir, out)]
            number = sum(self.irreps_in[i][0] for i in sources) * (2 if out.m and not reflection else 1)
            for i in sources:
                shape = (self.irreps_in[i][0], out_mul, 2) if out.m and not reflection else (self.irreps_in[i][0], out_mul)
                self._paths.append((i, k, 1 / math.sqrt(number)))
                weights.append(nn.Parameter(torch.randn(shape, dtype=dtype, device=device)))
        self.weights = nn.ParameterList(weights)
        self._in = [(s.start, s.stop, ir.dim, mul) for s, (mul, ir) in zip(self.irreps_in.slices(), self.irreps_in)]
        self._out = [(mul, ir.dim) for mul, ir in self.irreps_out]

    def _joined(self, a: O2Irrep, b: O2Irrep) -> bool:
        return a == b or (not self.reflection and a.m == b.m)

    def forward(self, x: Float[Tensor, "*batch dim_in"]) -> Float[Tensor, "*batch dim_out"]:
        results: list[Tensor | None] = [None] * len(self._out)
        for (i, k, scale), weight in zip(self._paths, self.weights):
            start, stop, dim, mul = self._in[i]
            block = x[..., start:stop].unflatten(-1, (dim, mul))
            if weight.ndim == 3:  # complex: (a + ib) times (w + iv)
                real, imaginary = block @ weight[..., 0], block @ weight[..., 1]
                part = torch.stack([real[..., 0, :] - imaginary[..., 1, :], real[..., 1, :] + imaginary[..., 0, :]], -2)
            else:
                part = block @ weight
            previous = results[k]
            results[k] = part * scale if previous is None else previous + part * scale
        empty = [x.new_zeros(*x.shape[:-1], d, mul) for mul, d in self._out]
        filled = [(e if r is None else r).flatten(-2) for r, e in zip(results, empty)]
        return torch.cat(filled, -1) if filled else x[..., :0]

    def __repr__(self) -> str:
        number = sum(w.numel() for w in self.weights)
        group = "" if self.reflection else ", SO(2)"
        return f"O2Linear({self.irreps_in} -> {self.irreps_out}, ir_mul, {number} weights{group})"


class O2TensorProduct(nn.Module):
    """The product of features of O(2), channel by channel, into the irreps of ``filter_out`` (default: all); layout ``ir_mul``.

    Both inputs have one block multiplicity throughout. Outputs are components of unit variance for normal inputs, in order of the
    paths. Raises ``ValueError`` for unlike multiplicities.

    >>> O2TensorProduct("4x0e+4x1", "4x1")
    O2TensorProduct(4x0e+4x1 x 4x1 -> 4x1+4x0e+4x0o+4x2, ir_mul)
    """

    def __init__(self, irreps_in1: object, irreps_in2: object, filter_out: object | None = None) -> None:
        super().__init__()
        self.irreps_in1, self.irreps_in2 = O2Irreps(irreps_in1), O2Irreps(irreps_in2)  # type: ignore[arg-type]
        multiplicities = {mul for mul, _ in (*self.irreps_in1, *self.irreps_in2)}
        if len(multiplicities) != 1:
            raise ValueError(f"{self.irreps_in1} and {self.irreps_in2} must have one multiplicity throughout")
        self.channels = multiplicities.pop()
        kept = None if filter_out is None else {ir for _, ir in O2Irreps(filter_out)}  # type: ignore[arg-type]
        self._paths = [
            (i, j, out)
            for i, (_, a) in enumerate(self.irreps_in1)
            for j, (_, b) in enumerate(self.irreps_in2)
            for out in a * b
            if kept is None or out in kept
        ]
        self.irreps_out = O2Irreps([(self.channels, out) for *_, out in self._paths])
        for n, (i, j, out) in enumerate(self._paths):
            tensor = coupling(self.irreps_in1[i][1], self.irreps_in2[j][1], out) * out.dim**0.5
            self.register_buffer(f"coupling_{n}", torch.from_numpy(tensor), persistent=False)

    def forward(self, x: Float[Tensor, "*batch dim1"], y: Float[Tensor, "*batch dim2"]) -> Float[Tensor, "*batch dim_out"]:
        left = [x[..., s].unflatten(-1, (-1, self.channels)) for s in self.irreps_in1.slices()]
        right = [y[..., s].unflatten(-1, (-1, self.channels)) for s in self.irreps_in2.slices()]
        pieces = []
        for n, (i, j, _) in enumerate(self._paths):
            tensor = getattr(self, f"coupling_{n}").to(x.dtype)
            pieces.append(torch.einsum("...au,...bu,abc->...cu", left[i], right[j], tensor).flatten(-2))
        return torch.cat(pieces, -1) if pieces else x[..., :0]

    def __repr__(self) -> str:
        return f"O2TensorProduct({self.irreps_in1} x {self.irreps_in2} -> {self.irreps_out}, ir_mul)"
