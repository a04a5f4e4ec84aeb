"""Spherical harmonics with e3nn's signatures."""

from typing import Any

import torch
from torch import Tensor, nn

from tesseral import ops
from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.util.jit import compile_mode


@compile_mode("script")
class SphericalHarmonics(nn.Module):
    """:func:`tesseral.ops.spherical_harmonics` as a module; no limit to the degree.

    >>> SphericalHarmonics("0e+1o", normalize=True).irreps_out
    1x0e+1x1o
    """

    def __init__(self, irreps_out: Any, normalize: bool, normalization: str = "integral", irreps_in: Any = None) -> None:
        super().__init__()
        assert normalization in ("integral", "component", "norm"), f"unknown normalization {normalization!r}"
        self.normalize, self.normalization = normalize, normalization
        given = Irreps(irreps_out) if isinstance(irreps_out, str) or hasattr(irreps_out, "_e3nn_irreps_marker") else None
        if irreps_in is None:
            axial = given is not None and any(ir.l % 2 == 1 and ir.p == 1 for _, ir in given)
            irreps_in = "1e" if axial else "1o"
        self.irreps_in = Irreps(irreps_in)
        if self.irreps_in not in (Irreps("1x1o"), Irreps("1x1e")):
            raise ValueError(f"harmonics are functions of a vector (1x1o) or a pseudovector (1x1e), not of {self.irreps_in}")
        parity = self.irreps_in[0].ir.p
        if given is not None:
            wrong = [ir for _, ir in given if ir.p != parity**ir.l]
            if wrong:
                raise ValueError(f"{wrong[0]} in {given} has the wrong parity: that of harmonics of {self.irreps_in} is p^l")
            self._ls_list = [ir.l for mul, ir in given for _ in range(mul)]
        else:
            self._ls_list = [irreps_out] if isinstance(irreps_out, int) else list(irreps_out)
        self.irreps_out = Irreps([(1, (l, parity**l)) for l in self._ls_list]).simplify()
        self._lmax = max(self._ls_list)
        self._is_range_lmax = self._ls_list == list(range(self._lmax + 1))

    def forward(self, x: Tensor) -> Tensor:
        return ops.spherical_harmonics(self._ls_list, x, self.normalize, self.normalization)


def _spherical_harmonics(lmax: int, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """The polynomials of all degrees up to ``lmax``, ``component`` normalised: pickles of e3nn 0.6 name this function."""
    return ops.spherical_harmonics(list(range(lmax + 1)), torch.stack([x, y, z], dim=-1), False, "component")


def spherical_harmonics(l: Any, x: Tensor, normalize: bool, normalization: str = "integral") -> Tensor:
    """Harmonics (..., irreps.dim) of vectors (..., 3), see :func:`tesseral.ops.spherical_harmonics`."""
    return SphericalHarmonics(l, normalize, normalization)(x)
