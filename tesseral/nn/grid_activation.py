"""Nonlinearities on a grid: features become a function on the sphere or on the rotations, each value goes through an
activation, and the result is projected back to irreps.

They commute with rotations as far as the grid resolves the activated function; the error falls quickly with the number of
points. Parity is exact: it is that of the signal.
"""

from jaxtyping import Float
from torch import Tensor, nn

from tesseral.nn.activation import Normalized, ScalarFunction, parity_of
from tesseral.o3 import Irreps, RotationTransform, SphereGrid, SphereTransform, rand_matrix
from tesseral.o3.spherical_tensor import parities


class S2Activation(nn.Module):
    r"""An activation of a signal on the sphere, :math:`A^l \mapsto \int c\,\phi\!\left(\sum_j A^j Y^j(x)\right) Y^l(x)\, dx`.

    ``irreps_in`` is one irrep of each degree up to lmax, with the parities of a signal
    (:class:`~tesseral.o3.SphericalTensor`). A signal that is odd in value needs an odd or an even function. ``grid`` holds the
    points (:func:`~tesseral.o3.gauss_legendre_grid`, :func:`~tesseral.o3.equiangular_grid`); both the signal and the result up
    to ``lmax_out`` must fit. ``normalization`` is that of :class:`~tesseral.o3.SphereTransform`; the function is normalised as
    by :class:`~tesseral.nn.Normalized`, with ``moment``. ``random_rotation`` turns the grid by a random rotation at each call,
    so that the error of the grid has no preferred axis. Layouts are the same where every multiplicity is 1.

    Raises ``ValueError`` for irreps that are no signal, a function without parity where one is needed, or a coarse grid.
    Source: Cohen et al., Spherical CNNs, ICLR 2018.

    >>> import torch
    >>> from tesseral.o3 import gauss_legendre_grid
    >>> layer = S2Activation("0e+1o+2e", torch.tanh, gauss_legendre_grid(10, 20))
    >>> layer
    S2Activation(1x0e+1x1o+1x2e -> 1x0e+1x1o+1x2e, gauss_legendre_grid(10, 20))
    >>> layer(torch.randn(7, 9)).shape
    torch.Size([7, 9])
    """

    def __init__(
        self,
        irreps_in: object,
        act: ScalarFunction,
        grid: SphereGrid,
        normalization: str = "component",
        lmax_out: int | None = None,
        random_rotation: bool = False,
        moment: str = "integral",
    ) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps_in).simplify()
        lmax, p_val, p_arg = parities(self.irreps_in)
        lmax_out = lmax if lmax_out is None else lmax_out
        if grid.degree < 2 * max(lmax, lmax_out):
            raise ValueError(f"{grid} is too coarse for lmax = {max(lmax, lmax_out)}: it needs degree {2 * max(lmax, lmax_out)}")
        if p_val == -1:
            p_val = parity_of(act)
            if not p_val:
                raise ValueError(f"{act} is neither even nor odd, so it breaks the parity of a signal that is odd in value")
        self.irreps_out = Irreps([(1, (l, p_val * p_arg**l)) for l in range(lmax_out + 1)])
        self.act, self.random_rotation = Normalized(act, moment), random_rotation
        self.into = SphereTransform(lmax, grid, normalization)  # type: ignore[arg-type]
        self.back = SphereTransform(lmax_out, grid, normalization, lmax_in=lmax)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "*batch dim_in"]) -> Float[Tensor, "*batch dim_out"]:
        if not self.random_rotation:
            return self.back.from_grid(self.act(self.into.to_grid(x)))
        rotation = rand_matrix(dtype=x.dtype, device=x.device)
        turned = x @ self.irreps_in.D_from_matrix(rotation, check=False).T
        y = self.back.from_grid(self.act(self.into.to_grid(turned)))
        return y @ self.irreps_out.D_from_matrix(rotation, check=False)

    def __repr__(self) -> str:
        return f"S2Activation({self.irreps_in} -> {self.irreps_out}, {self.into.grid})"


class SO3Activation(nn.Module):
    r"""An activation of a signal on the rotations, with (2l+1) copies of each degree l up to ``lmax_in``; to ``lmax_out``.

    Features are those of :class:`~tesseral.o3.RotationTransform`, in layout ``mul_ir``: they are matrices, and their rows are
    the copies. ``grid`` gives the rings of beta and the meridians of alpha and gamma. The function is normalised with
    ``moment``. Raises ``ValueError`` for a coarse grid.

    >>> import torch
    >>> from tesseral.o3 import gauss_legendre_grid
    >>> layer = SO3Activation(2, 1, torch.tanh, gauss_legendre_grid(6, 11))
    >>> layer
    SO3Activation(1x0e+3x1o+5x2e -> 1x0e+3x1o, gauss_legendre_grid(6, 11))
    >>> layer(torch.randn(4, 35)).shape
    torch.Size([4, 10])
    """

    def __init__(self, lmax_in: int, lmax_out: int, act: ScalarFunction, grid: SphereGrid, moment: str = "integral") -> None:
        super().__init__()
        if grid.degree < 2 * max(lmax_in, lmax_out):
            raise ValueError(f"{grid} is too coarse for lmax = {max(lmax_in, lmax_out)}: take more rings or meridians")
        self.into, self.back = RotationTransform(lmax_in, grid), RotationTransform(lmax_out, grid)
        self.irreps_in, self.irreps_out = self.into.irreps, self.back.irreps
        self.act = Normalized(act, moment)

    def forward(self, x: Float[Tensor, "*batch dim_in"]) -> Float[Tensor, "*batch dim_out"]:
        return self.back.from_grid(self.act(self.into.to_grid(x)))

    def __repr__(self) -> str:
        return f"SO3Activation({self.irreps_in} -> {self.irreps_out}, {self.into.grid})"
