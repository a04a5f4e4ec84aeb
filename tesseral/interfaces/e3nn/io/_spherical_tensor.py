"""Signals on the sphere as irreps."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from tesseral import o3
from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.o3._s2grid import _complete_lmax_res


class Return(NamedTuple):
    """The points of a grid and the values there."""

    grid: Tensor
    values: Tensor


class SphericalTensor(Irreps):
    """The irreps of a signal on the sphere, with the methods of :class:`tesseral.o3.SphericalTensor`.

    >>> SphericalTensor(3, 1, -1)
    1x0e+1x1o+1x2e+1x3o
    """

    _signals: o3.SphericalTensor

    def __new__(cls, lmax: int, p_val: int, p_arg: int) -> SphericalTensor:
        signals = o3.SphericalTensor(lmax, p_val, p_arg)
        self: Any = super().__new__(cls, tuple(signals.irreps))
        self._signals = signals
        return self

    def with_peaks_at(self, vectors: Tensor, values: Tensor | None = None) -> Tensor:
        """The smallest signal with these values (default: the lengths) in the directions of the vectors."""
        return self._signals.with_peaks_at(vectors, values)

    def sum_of_diracs(self, positions: Tensor, values: Tensor) -> Tensor:
        """A sum of peaks."""
        return self._signals.sum_of_diracs(positions, values)

    def from_samples_on_s2(self, positions: Tensor, values: Tensor, res: int = 100) -> Tensor:
        """The signal with the value of the nearest sample everywhere."""
        return self._signals.from_samples_on_s2(positions, values, _grid(None, res))

    def norms(self, signal: Tensor) -> Tensor:
        """The norm of each degree."""
        return self._signals.norms(signal)

    def signal_xyz(self, signal: Tensor, r: Tensor) -> Tensor:
        """Values in the directions ``r``."""
        return self._signals.signal_xyz(signal, r)

    def signal_on_grid(self, signal: Tensor, res: int = 100, normalization: str = "integral") -> Return:
        """Points and values on a grid."""
        return Return(*self._signals.signal_on_grid(signal, _grid(self.lmax, res), normalization))

    def plotly_surface(
        self,
        signals: Tensor | list[Tensor],
        centers: Any = None,
        res: int = 100,
        radius: bool = True,
        relu: bool = False,
        normalization: str = "integral",
    ) -> list[dict]:
        """The keyword arguments of ``plotly.graph_objects.Surface`` for each signal."""
        several = isinstance(signals, list | tuple)
        given: list[Any] = list(signals) if several else [signals]
        shifts = list(centers) if centers is not None and several else [centers] * len(given)
        traces = []
        for signal, center in zip(given, shifts, strict=True):
            r, f = self.plot(signal, center, res, radius, relu, normalization)
            x, y, z = r.unbind(-1)
            traces.append({"x": x.numpy(), "y": y.numpy(), "z": z.numpy(), "surfacecolor": f.numpy()})
        return traces

    def plot(
        self,
        signal: Tensor,
        center: Tensor | None = None,
        res: int = 100,
        radius: bool = True,
        relu: bool = False,
        normalization: str = "integral",
    ) -> tuple[Tensor, Tensor]:
        """A closed surface, and the values on it; ``normalization`` must be "integral"."""
        if normalization != "integral":
            raise NotImplementedError(f"surfaces are drawn with normalization='integral', got {normalization!r}")
        return self._signals.surface(signal.detach().cpu(), _grid(self.lmax, res), radius=radius, relu=relu, center=center)

    def find_peaks(self, signal: Tensor, res: int = 100) -> tuple[Tensor, Tensor]:
        """Directions and values of all local maxima, the highest first."""
        return self._signals.find_peaks(signal, _grid(self.lmax, res))

    def __reduce__(self) -> tuple[Any, ...]:
        return SphericalTensor, (self._signals.lmax, self._signals.p_val, self._signals.p_arg)


def _grid(lmax: int | None, res: Any) -> Any:
    beta, alpha = (res, None) if isinstance(res, int) else res
    _, beta, alpha = _complete_lmax_res(lmax, beta, alpha)
    return o3.equiangular_grid(beta, alpha)
