"""Norms of irreps, and layers that divide by them; all treat the components of an irrep alike."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.nn.activation import ScalarFunction
from tesseral.o3 import Irreps


class Norm(nn.Module):
    r"""The Euclidean norm of each irrep, :math:`n_u = \sqrt{\sum_m x_{mu}^2}`, or its square; layout ``ir_mul``.

    The gradient of the norm at a vanishing irrep is zero.

    >>> norm = Norm("2x0e+1x1o")
    >>> norm
    Norm(2x0e+1x1o -> 3x0e, ir_mul)
    >>> norm(torch.tensor([-1.0, 2.0, 2.0, 1.0, 2.0]))
    tensor([1., 2., 3.])
    """

    def __init__(self, irreps_in: object, squared: bool = False) -> None:
        super().__init__()
        self.irreps_in, self.squared = Irreps(irreps_in), squared
        self.irreps_out = Irreps([(self.irreps_in.num_irreps, (0, 1))]) if self.irreps_in.num_irreps else Irreps()
        self._blocks = _blocks(self.irreps_in)

    def forward(self, x: Float[Tensor, "*batch dim_in"]) -> Float[Tensor, "*batch dim_out"]:
        squares = _squares(x, self._blocks)
        return squares if self.squared else _safe_sqrt(squares)

    def __repr__(self) -> str:
        return f"Norm({self.irreps_in} -> {self.irreps_out}, ir_mul{', squared' if self.squared else ''})"


class NormActivation(nn.Module):
    r"""A function of the norm of each irrep, :math:`y = f(n + b)\, x / n`, or without ``normalize`` :math:`y = f(n + b)\, x`;
    layout ``ir_mul``.

    ``bias`` learns one b for each irrep, zero at the start. Norms are taken as at least ``epsilon``, so that nothing is singular
    at zero. The function is not normalised. Raises ``ValueError`` for an epsilon that is not positive.
    Source: Thomas et al., Tensor field networks, arXiv:1802.08219, section 4.1.3.

    >>> NormActivation("1x1o", torch.tanh)(torch.tensor([0.0, 3.0, 4.0]))
    tensor([0.0000, 0.5999, 0.7999])
    """

    def __init__(
        self,
        irreps_in: object,
        act: ScalarFunction,
        normalize: bool = True,
        epsilon: float = 1e-8,
        bias: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if not epsilon > 0:
            raise ValueError(f"epsilon must be positive, got {epsilon}")
        self.irreps_in = self.irreps_out = Irreps(irreps_in)
        self.act, self.normalize, self.epsilon = act, normalize, epsilon
        self._blocks = _blocks(self.irreps_in)
        self.bias = nn.Parameter(torch.zeros(self.irreps_in.num_irreps, dtype=dtype, device=device)) if bias else None

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        norms = _squares(x, self._blocks).clamp(min=self.epsilon**2).sqrt()
        factors = self.act(norms if self.bias is None else norms + self.bias)
        return _scaled(x, factors / norms if self.normalize else factors, self._blocks)

    def __repr__(self) -> str:
        return f"NormActivation({self.irreps_in}, {getattr(self.act, '__name__', self.act)}, ir_mul)"


class BatchNorm(nn.Module):
    r"""Batch normalisation: scalars 0e lose their mean, every irrep is divided by the root mean square over the batch; layout
    ``ir_mul``.

    In training the statistics are those of the batch (all axes but the last), whose running averages, updated by
    :math:`(1-m)\,\mathrm{old} + m\,\mathrm{new}` with ``momentum`` m, serve in evaluation. With ``instance`` they are those of
    each entry of the first axis, always, and nothing is stored. ``affine`` learns a factor for each irrep and a bias for each
    0e (``"factor"``: no bias). ``normalization`` takes the square of an irrep as the ``"component"`` mean or the sum
    (``"norm"``). ``reduce="max"`` takes the largest square over the middle axes instead of the mean. The parameters and averages
    are e3nn's. Raises ``ValueError`` for an unknown option.

    >>> norm = BatchNorm("2x0e+1x1o")
    >>> norm
    BatchNorm(2x0e+1x1o, ir_mul, momentum 0.1)
    >>> norm(torch.randn(8, 5)).shape
    torch.Size([8, 5])
    """

    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(
        self,
        irreps_in: object,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool | str = True,
        instance: bool = False,
        normalization: str = "component",
        reduce: str = "mean",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        if normalization not in ("component", "norm"):
            raise ValueError(f"unknown normalization {normalization!r} of irreps: expected 'component' or 'norm'")
        if reduce not in ("mean", "max"):
            raise ValueError(f"unknown reduction {reduce!r} of squares: expected 'mean' or 'max'")
        if affine not in (True, False, "factor"):
            raise ValueError(f"affine is True, False or 'factor', got {affine!r}")
        self.irreps_in = self.irreps_out = Irreps(irreps_in)
        self.eps, self.momentum, self.instance = eps, momentum, instance
        self.normalization, self.reduce = normalization, reduce
        self._blocks = _blocks(self.irreps_in)
        self._scalars = _scalar_channels(self.irreps_in)
        factory = {"dtype": dtype, "device": device}
        count, scalars = self.irreps_in.num_irreps, len(self._scalars)
        self.weight = nn.Parameter(torch.ones(count, **factory)) if affine else None  # type: ignore[arg-type]
        self.bias = nn.Parameter(torch.zeros(scalars, **factory)) if affine is True else None  # type: ignore[arg-type]
        self.register_buffer("running_mean", None if instance else torch.zeros(scalars, **factory))  # type: ignore[arg-type]
        self.register_buffer("running_var", None if instance else torch.ones(count, **factory))  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "batch *shape dim"]) -> Float[Tensor, "batch *shape dim"]:
        if self.running_mean is not None and self.running_var is not None:
            axes = list(range(x.ndim - 1))
            learn = self.training and x.numel() > 0
            if learn:
                mean = _channels(x, self._blocks, self._scalars).mean(axes)
                x = _shifted(x, -mean, self._blocks, self._scalars)
                square = self._square(x)
                if self.reduce == "max" and x.ndim > 2:
                    square = square.flatten(1, -2).amax(1)
                square = square.mean(list(range(square.ndim - 1)))
                with torch.no_grad():
                    self.running_mean.mul_(1 - self.momentum).add_(self.momentum * mean.to(self.running_mean.dtype))
                    self.running_var.mul_(1 - self.momentum).add_(self.momentum * square.to(self.running_var.dtype))
            else:
                x = _shifted(x, -self.running_mean, self._blocks, self._scalars)
                square = self.running_var
        else:
            axes = list(range(1, x.ndim - 1))
            mean = _channels(x, self._blocks, self._scalars)
            mean = mean.mean(axes, keepdim=True) if axes else mean
            x = _shifted(x, -mean, self._blocks, self._scalars)
            square = self._square(x)
            if axes:
                square = square.amax(axes, keepdim=True) if self.reduce == "max" else square.mean(axes, keepdim=True)
        factors = (square + self.eps).rsqrt()
        x = _scaled(x, factors if self.weight is None else factors * self.weight, self._blocks)
        return x if self.bias is None else _shifted(x, self.bias, self._blocks, self._scalars)

    def _square(self, x: Tensor) -> Tensor:
        return _squares(x, self._blocks, mean=self.normalization == "component")

    def __repr__(self) -> str:
        return f"BatchNorm({self.irreps_in}, ir_mul, {'instance' if self.instance else f'momentum {self.momentum}'})"


class LayerNorm(nn.Module):
    r"""Normalisation over the channels of one node: each block is divided by its root mean square; layout ``ir_mul``.

    .. math:: y_{mu} = w_u\, \frac{x_{mu}}{\sqrt{\varepsilon + \frac{1}{(2l+1) U} \sum_{m'u'} x_{m'u'}^2}}

    Blocks of 0e lose their mean over channels first, unless ``center`` is off, and have a bias. With ``together``, all blocks of
    l > 0 share one root mean square, the mean over degrees of those of the blocks (the separable norm of EquiformerV2).
    Source: Liao and Smidt, Equiformer, ICLR 2023, section 4.1; Liao et al., EquiformerV2, ICLR 2024, section 4.3.

    >>> LayerNorm("2x0e+2x1o")
    LayerNorm(2x0e+2x1o, ir_mul)
    >>> LayerNorm("2x0e+2x1o", affine=False)(torch.tensor([1.0, 3.0, 3.0, 3.0, 0.0, 0.0, 0.0, 0.0]))
    tensor([-1.0000,  1.0000,  1.7320,  1.7320,  0.0000,  0.0000,  0.0000,  0.0000])
    """

    def __init__(
        self,
        irreps_in: object,
        eps: float = 1e-5,
        affine: bool = True,
        center: bool = True,
        together: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.irreps_in = self.irreps_out = Irreps(irreps_in)
        self.eps, self.center, self.together = eps, center, together
        self._blocks = _blocks(self.irreps_in)
        self._even = tuple(ir.is_scalar() for mul, ir in self.irreps_in if mul)
        scalars = _scalar_channels(self.irreps_in)
        self.weight = nn.Parameter(torch.ones(self.irreps_in.num_irreps, dtype=dtype, device=device)) if affine else None
        self.bias = nn.Parameter(torch.zeros(len(scalars), dtype=dtype, device=device)) if affine else None

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        blocks = [x[..., a : a + d * n].unflatten(-1, (d, n)) for a, d, n in self._blocks]
        if self.center:
            blocks = [b - b.mean(-1, keepdim=True) if even else b for b, even in zip(blocks, self._even, strict=True)]
        squares = [b.square().mean((-2, -1), keepdim=True) for b in blocks]
        if self.together:
            vectors = [s for s, b in zip(squares, blocks, strict=True) if b.shape[-2] > 1]
            shared = sum(vectors[1:], vectors[0]) / len(vectors) if vectors else None
            squares = [s if shared is None or b.shape[-2] == 1 else shared for s, b in zip(squares, blocks, strict=True)]
        pieces, at, at_bias = [], 0, 0
        for block, square, even in zip(blocks, squares, self._even, strict=True):
            number = block.shape[-1]
            factor = (square + self.eps).rsqrt()
            y = block * (factor if self.weight is None else factor * self.weight[at : at + number])
            at += number
            if even and self.bias is not None:
                y = y + self.bias[at_bias : at_bias + number]
                at_bias += number
            pieces.append(y.flatten(-2))
        return torch.cat(pieces, dim=-1) if pieces else x

    def __repr__(self) -> str:
        return f"LayerNorm({self.irreps_in}, ir_mul{', degrees together' if self.together else ''})"


Blocks = tuple[tuple[int, int, int], ...]  # offset, components, channels


def _blocks(irreps: Irreps) -> Blocks:
    return tuple((s.start, ir.dim, mul) for s, (mul, ir) in zip(irreps.slices(), irreps, strict=True) if mul)


def _scalar_channels(irreps: Irreps) -> tuple[int, ...]:
    """Columns of the channels of 0e."""
    return tuple(c for s, (_, ir) in zip(irreps.slices(), irreps, strict=True) if ir.is_scalar() for c in range(s.start, s.stop))


def _squares(x: Tensor, blocks: Blocks, mean: bool = False) -> Tensor:
    """Sum (or mean) of squares over the components of each irrep: (..., number of irreps)."""
    if not blocks:
        return x
    pieces = [x[..., a : a + d * n].unflatten(-1, (d, n)).square().sum(-2) / (d if mean else 1) for a, d, n in blocks]
    return torch.cat(pieces, dim=-1)


def _scaled(x: Tensor, factors: Tensor, blocks: Blocks) -> Tensor:
    """Each irrep times its factor."""
    pieces, start = [], 0
    for a, d, n in blocks:
        pieces.append((x[..., a : a + d * n].unflatten(-1, (d, n)) * factors[..., None, start : start + n]).flatten(-2))
        start += n
    return torch.cat(pieces, dim=-1) if pieces else x


def _channels(x: Tensor, blocks: Blocks, columns: tuple[int, ...]) -> Tensor:
    taken = [x[..., a : a + n] for a, _, n in blocks if a in columns]
    return torch.cat(taken, dim=-1) if taken else x[..., :0]


def _shifted(x: Tensor, shift: Tensor, blocks: Blocks, columns: tuple[int, ...]) -> Tensor:
    """The channels of 0e plus a shift each."""
    if not columns:
        return x
    pieces, start = [], 0
    for a, d, n in blocks:
        piece = x[..., a : a + d * n]
        if a in columns:
            piece = piece + shift[..., start : start + n]
            start += n
        pieces.append(piece)
    return torch.cat(pieces, dim=-1)


def _safe_sqrt(squares: Tensor) -> Tensor:
    """The square root, with gradient zero at zero."""
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, torch.ones_like(squares)).sqrt(), torch.zeros_like(squares))
