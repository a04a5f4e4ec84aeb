"""Spherical harmonics as layers: without parameters, but with irreps that say what comes out."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from tesseral.o3 import Irreps, spherical_harmonics_alpha_beta
from tesseral.ops.spherical_harmonics import spherical_harmonics


class SphericalHarmonics(nn.Module):
    """Spherical harmonics of vectors, :func:`~tesseral.ops.spherical_harmonics`, as a layer; layout ``mul_ir``, the same as
    ``ir_mul`` where all multiplicities are 1.

    ``irreps_out`` is a degree, a list of degrees, or irreps, whose parities must be those of harmonics of ``irreps_in``: ``"1o"``
    for vectors, ``"1e"`` for pseudovectors (the default where an odd degree is even). Raises ``ValueError`` where they are not.

    >>> layer = SphericalHarmonics("0e+1o+2e", normalize=True)
    >>> layer
    SphericalHarmonics(1x1o -> 1x0e+1x1o+1x2e, normalize=True, 'integral')
    >>> import torch
    >>> layer(torch.randn(7, 3)).shape
    torch.Size([7, 9])
    >>> SphericalHarmonics([1, 3], normalize=True, irreps_in="1e").irreps_out
    1x1e+1x3e
    """

    def __init__(
        self,
        irreps_out: object,
        normalize: bool,
        normalization: str = "integral",
        irreps_in: object = None,
    ) -> None:
        super().__init__()
        if normalization not in ("integral", "component", "norm"):
            raise ValueError(f"normalization must be 'integral', 'component' or 'norm', got {normalization!r}")
        degrees, wanted = _wanted(irreps_out)
        parity = -1 if wanted is None or all(ir.p == (-1) ** ir.l for _, ir in wanted) else 1
        self.irreps_in = Irreps([(1, (1, parity))] if irreps_in is None else irreps_in)
        if self.irreps_in not in (Irreps("1o"), Irreps("1e")):
            raise ValueError(f"harmonics are functions of one vector, 1o or 1e, got {self.irreps_in}")
        parity = self.irreps_in[0].ir.p
        self.irreps_out = Irreps([(1, (l, parity**l)) for l in degrees]).simplify()
        if wanted is not None and wanted.remove_zero_multiplicities().simplify() != self.irreps_out:
            raise ValueError(f"the harmonics of {self.irreps_in} are {self.irreps_out}, not {wanted}: their parities differ")
        self.normalize, self.normalization = bool(normalize), normalization
        self._degrees = tuple(degrees)

    def forward(self, x: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch dim"]:
        return spherical_harmonics(self._degrees, x, self.normalize, self.normalization)

    def __repr__(self) -> str:
        return f"SphericalHarmonics({self.irreps_in} -> {self.irreps_out}, normalize={self.normalize}, {self.normalization!r})"


class SphericalHarmonicsAlphaBeta(nn.Module):
    r"""Spherical harmonics of the direction with angles alpha and beta (radians),
    :func:`~tesseral.o3.spherical_harmonics_alpha_beta`, as a layer.

    >>> import torch
    >>> SphericalHarmonicsAlphaBeta([0, 1])(torch.zeros(7), torch.zeros(7)).shape
    torch.Size([7, 4])
    """

    def __init__(self, degrees: object, normalization: str = "integral") -> None:
        super().__init__()
        if normalization not in ("integral", "component", "norm"):
            raise ValueError(f"normalization must be 'integral', 'component' or 'norm', got {normalization!r}")
        self._degrees = tuple(_wanted(degrees)[0])
        self.normalization = normalization

    def forward(self, alpha: Float[Tensor, "*batch"], beta: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        return spherical_harmonics_alpha_beta(
            self._degrees,
            alpha,
            beta,
            normalization=self.normalization,  # type: ignore[arg-type]
        )

    def __repr__(self) -> str:
        return f"SphericalHarmonicsAlphaBeta({list(self._degrees)}, {self.normalization!r})"


def _wanted(out: object) -> tuple[list[int], Irreps | None]:
    if isinstance(out, int):
        return [out], None
    if isinstance(out, Sequence) and not isinstance(out, (str, Irreps)) and all(isinstance(l, int) for l in out):
        return list(out), None
    irreps = Irreps(out)
    return irreps.ls, irreps
