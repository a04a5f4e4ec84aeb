"""Functions on the sphere."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from tesseral import o3
from tesseral.interfaces.e3nn.math._normalize_activation import normalize2mom
from tesseral.interfaces.e3nn.o3._irreps import Irreps
from tesseral.interfaces.e3nn.o3._s2grid import FromS2Grid, ToS2Grid
from tesseral.interfaces.e3nn.util.jit import compile_mode
from tesseral.nn.activation import parity_of


@compile_mode("script")
class S2Activation(nn.Module):
    """To a grid on the sphere, through a function at every point, and back.

    ``irreps`` has each degree up to lmax once, with parities p or p (-1)^l. ``random_rot`` turns the features by a random
    rotation before, and back after.
    """

    def __init__(
        self,
        irreps: Any,
        act: Callable,
        res: Any,
        normalization: str = "component",
        lmax_out: int | None = None,
        random_rot: bool = False,
    ) -> None:
        super().__init__()
        self.irreps_in = Irreps(irreps).simplify()
        lmax, p = self.irreps_in.lmax, self.irreps_in[0].ir.p
        if self.irreps_in.ls != list(range(lmax + 1)):
            raise AssertionError(f"a signal on the sphere has every degree once, in order; got {self.irreps_in}")
        argument = next((a for a in (1, -1) if all(ir.p == p * a**ir.l for _, ir in self.irreps_in)), None)
        assert argument is not None, f"the parity of {self.irreps_in} is not that of a signal on the sphere"
        if p == -1:
            p = parity_of(act)
            if p == 0:
                raise ValueError("the parity is violated: an odd signal needs a function that is even or odd")
        lmax_out = lmax if lmax_out is None else lmax_out
        self.irreps_out = Irreps([(1, (l, p * argument**l)) for l in range(lmax_out + 1)])
        self.to_s2 = ToS2Grid(lmax, res, normalization=normalization)
        self.from_s2 = FromS2Grid(res, lmax_out, normalization=normalization, lmax_in=lmax)
        self.act, self.random_rot = normalize2mom(act), random_rot

    def forward(self, features: Tensor) -> Tensor:
        assert features.shape[-1] == self.irreps_in.dim, f"features of {self.irreps_in} end in {self.irreps_in.dim}"
        if not self.random_rot:
            return self.from_s2(self.act(self.to_s2(features)))
        rotation = o3.rand_matrix(dtype=features.dtype, device=features.device)
        features = features @ self.irreps_in.D_from_matrix(rotation, check=False).T
        features = self.from_s2(self.act(self.to_s2(features)))
        return features @ self.irreps_out.D_from_matrix(rotation, check=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self.irreps_in} -> {self.irreps_out})"
