r"""Nonlinear functions of scalars, scaled so that a standard normal input gives an output of mean square one."""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tesseral.o3 import Irreps

ScalarFunction = Callable[[Tensor], Tensor]


class Activation(nn.Module):
    r"""A function for each block of scalars, :math:`y = c f(x)` with :math:`c = \langle f(z)^2 \rangle^{-1/2}` for normal z.

    ``acts`` has one function, or ``None`` for the identity, for each block of ``irreps_in``; only scalars (l = 0) can have one.
    On odd scalars an even function gives even scalars, an odd function odd ones, and any other is refused.
    ``normalization`` is where c comes from, see :func:`second_moment_scale`. Raises ``ValueError`` for acts that do not fit.
    Layouts: scalars are the same in both; blocks without a function are not touched.

    >>> layer = Activation("4x0e+2x0o+1x1o", [torch.nn.functional.silu, torch.tanh, None])
    >>> layer
    Activation(4x0e+2x0o+1x1o -> 4x0e+2x0o+1x1o, ir_mul)
    >>> layer(torch.zeros(5, 9)).shape
    torch.Size([5, 9])
    """

    def __init__(self, irreps_in: object, acts: Sequence[ScalarFunction | None], normalization: str = "integral") -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps_in)
        if len(acts) != len(self.irreps_in):
            raise ValueError(f"{len(acts)} functions for the {len(self.irreps_in)} blocks of {self.irreps_in}: give one for each")
        self.acts = nn.ModuleList(nn.Identity() if act is None else Normalized(act, normalization) for act in acts)
        self.irreps_out = Irreps(
            [(mul, ir if act is None else (0, _parity_out(act, ir))) for (mul, ir), act in zip(self.irreps_in, acts, strict=True)]
        )
        self._slices = tuple((s.start, s.stop) for s in self.irreps_in.slices())

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        if len(self._slices) == 1:
            return self.acts[0](x)
        if not self._slices:
            return x
        return torch.cat([act(x[..., a:b]) for act, (a, b) in zip(self.acts, self._slices, strict=True)], dim=-1)

    def __repr__(self) -> str:
        return f"Activation({self.irreps_in} -> {self.irreps_out}, ir_mul)"


class Normalized(nn.Module):
    r"""The function :math:`c f(x)` with :math:`\langle (c f(z))^2 \rangle = 1` for standard normal z.

    >>> round(Normalized(torch.nn.functional.silu).scale, 9)
    1.67653247
    """

    def __init__(self, act: ScalarFunction, normalization: str | int | float = "integral") -> None:
        super().__init__()
        self.act = act
        self.scale = second_moment_scale(act, normalization) if isinstance(normalization, str) else float(normalization)

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        y = self.act(x)
        return y if self.scale == 1.0 else y * self.scale

    def __repr__(self) -> str:
        name = getattr(self.act, "__name__", None) or repr(self.act)
        return f"{self.scale:.6g} {name}"


def second_moment_scale(act: ScalarFunction, normalization: str = "integral") -> float:
    r""":math:`c = \left( \int f(z)^2\, \tfrac{e^{-z^2/2}}{\sqrt{2\pi}}\, dz \right)^{-1/2}`, by which a function is normalised.

    ``"integral"`` is that integral, to about 14 digits for functions that are smooth except at integers. ``"e3nn"`` is e3nn's
    estimate of it from a million normal numbers of a fixed seed (0.16 % too large for silu), which its models contain;
    1 if it is within 1e-4 of 1. ``"none"`` is 1. Raises ``ValueError`` for a function whose mean square is zero or infinite.

    >>> round(second_moment_scale(torch.relu), 12) == round(2**0.5, 12)
    True
    >>> f"{second_moment_scale(torch.nn.functional.silu, 'e3nn'):.9f}"
    '1.679176792'
    """
    if normalization == "none":
        return 1.0
    if normalization not in ("integral", "e3nn"):
        raise ValueError(f"unknown normalization {normalization!r} of an activation: expected 'integral', 'e3nn' or 'none'")
    if isinstance(act, nn.Module):  # not hashable by what it computes
        moment = _second_moment(act, normalization)
    else:
        moment = _cached_second_moment(act, normalization)
    if not 0 < moment < math.inf:
        raise ValueError(f"the mean square of {act} over normal numbers is {moment}: it cannot be normalised")
    scale = moment**-0.5
    return 1.0 if normalization == "e3nn" and abs(scale - 1) < 1e-4 else scale


def parity_of(act: ScalarFunction) -> int:
    """1 for an even function, -1 for an odd one, 0 for neither (sampled at 256 points).

    >>> parity_of(torch.tanh), parity_of(torch.abs), parity_of(torch.nn.functional.silu)
    (-1, 1, 0)
    """
    x = torch.linspace(0.01, 10, 256, dtype=torch.float64, device="cpu")
    with torch.no_grad():
        plus, minus = _in_double(act, x), _in_double(act, -x)
    if bool((plus - minus).abs().max() < 1e-5):
        return 1
    return -1 if bool((plus + minus).abs().max() < 1e-5) else 0


def _parity_out(act: ScalarFunction, ir: tuple[int, int]) -> int:
    l, p = ir
    if l != 0:
        raise ValueError(f"a function of single components breaks the symmetry of {ir}: only scalars (l = 0) can have one")
    if p == 1:
        return 1
    parity = parity_of(act)
    if parity == 0:
        name = getattr(act, "__name__", act)
        raise ValueError(
            f"{name} is neither even nor odd, so its value at odd scalars (0o) has no parity: use tanh or abs, for example"
        )
    return parity


@functools.lru_cache(maxsize=256)
def _cached_second_moment(act: ScalarFunction, normalization: str) -> float:
    return _second_moment(act, normalization)


def _second_moment(act: ScalarFunction, normalization: str) -> float:
    with torch.no_grad():
        if normalization == "e3nn":
            generator = torch.Generator("cpu").manual_seed(0)
            z = torch.randn(1_000_000, generator=generator, dtype=torch.float64, device="cpu")
            return float(_in_double(act, z).square().mean())
        # Gauss-Legendre on unit intervals, so that kinks at integers do no harm
        nodes, weights = np.polynomial.legendre.leggauss(20)
        left = np.arange(-14, 14)[:, None]
        z = torch.from_numpy((left + (nodes + 1) / 2).ravel())
        w = torch.from_numpy(np.broadcast_to(weights / 2, (28, 20)).ravel().copy())
        density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return float((_in_double(act, z).square() * density * w).sum())


def _in_double(act: ScalarFunction, x: Tensor) -> Tensor:
    """The function at float64 points, whatever the dtype of its own parameters."""
    if isinstance(act, nn.Module):
        parameter = next(act.parameters(), None)
        if parameter is not None:
            return act(x.to(device=parameter.device, dtype=parameter.dtype)).double().cpu()
    return act(x)
