"""Functions on the group of rotations."""

from collections.abc import Callable

from torch import Tensor, nn

from tesseral.interfaces.e3nn.math._normalize_activation import normalize2mom
from tesseral.interfaces.e3nn.o3._so3grid import SO3Grid
from tesseral.interfaces.e3nn.util.jit import compile_mode


@compile_mode("script")
class SO3Activation(nn.Module):
    """To a grid on SO(3), through a function at every point, and back."""

    def __init__(
        self,
        lmax_in: int,
        lmax_out: int,
        act: Callable,
        resolution: int,
        *,
        normalization: str = "component",
        aspect_ratio: int = 2,
    ) -> None:
        super().__init__()
        self.grid_in = SO3Grid(lmax_in, resolution, normalization=normalization, aspect_ratio=aspect_ratio)
        self.grid_out = SO3Grid(lmax_out, resolution, normalization=normalization, aspect_ratio=aspect_ratio)
        self.act, self.lmax_in, self.lmax_out = normalize2mom(act), lmax_in, lmax_out

    def forward(self, features: Tensor) -> Tensor:
        return self.grid_out.from_grid(self.act(self.grid_in.to_grid(features)))

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self.lmax_in} -> {self.lmax_out})"
