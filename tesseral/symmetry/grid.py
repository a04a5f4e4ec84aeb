r"""Group convolutions on voxel grids, strict or relaxed, for the octahedral group and its subgroups.

Features are functions on the group, (batch, channels, order, X, Y, Z); an element acts as :math:`f(g^{-1}x, g^{-1}h)`. A *lift*
makes them from a field of irreps of O(3) (scalars, vectors, ...), convolutions mix them, a *projection* makes a field of them.

*Relaxed* layers carry a weight on the group for each filter of a bank, :math:`\sum_n w_n(g)\,\kappa_n(g^{-1}\cdot)`, which is one
at the start, where the layer is equivariant. What the weights have become is read by :func:`tesseral.symmetry.on_group`.

Source: Wang et al., ICML 2024 (relaxed group convolution); weights on all of the group are those of its equation for G = H.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tesseral.o3 import Irreps
from tesseral.symmetry.grid_action import GridAction

Shape = tuple[int, int, int]


class GroupWeights(nn.Module):
    """The weights of a relaxed layer on the group, (filters, order), one at the start; ``filters=0`` is a strict layer."""

    def __init__(self, filters: int, order: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.filters, self.order = filters, order
        self.weight = nn.Parameter(torch.ones(filters, order, dtype=dtype)) if filters else None

    def forward(self, bank: Tensor) -> Tensor:
        """Filters (bank, order, ...) turned by each element, summed with the weights: (order, ...)."""
        return bank.sum(0) if self.weight is None else torch.einsum("ng,ng...->g...", self.weight, bank)

    def extra_repr(self) -> str:
        return "strict" if self.weight is None else f"{self.filters} filters on {self.order} elements"


class _Correlation(nn.Module):
    """What layers with a kernel in space share: its relaxed weights, how elements move its voxels, and the sum over voxels."""

    voxels: Tensor

    def __init__(self, action: GridAction, kernel_size: Shape, filters: int, padding_mode: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.kernel_size, self.padding_mode = kernel_size, padding_mode
        self.relaxation = GroupWeights(filters, action.order, dtype)
        self.register_buffer("voxels", action.kernel_index(kernel_size), persistent=False)

    def correlate(self, field: Tensor, kernel: Tensor, groups: int = 1) -> Tensor:
        """The field (batch, dim, x, y, z) with kernels (order, out, ..., voxels): (batch, out, order, x, y, z)."""
        order, out = kernel.shape[:2]
        weight = kernel.transpose(0, 1).reshape(out * order, -1, *self.kernel_size)
        pad = [side for size in reversed(self.kernel_size) for side in (size // 2, size // 2)]
        padded = functional.pad(field, pad, mode="constant" if self.padding_mode == "zeros" else self.padding_mode)
        return functional.conv3d(padded, weight, groups=groups).unflatten(1, (out, order))


class GroupLift(_Correlation):
    r"""Features on the group from a field of irreps: correlation with filters turned by every element, plus nothing else.

    ``irreps_in`` (``ir_mul``) says how the components of the field transform; the kernel is odd in every direction and padded
    with ``padding_mode`` (``"circular"`` or ``"zeros"``). ``filters`` is the number of relaxed filters, 0 for a strict layer.

    >>> from tesseral.groups import point_group
    >>> lift = GroupLift("1o", 4, point_group("O"))
    >>> lift(torch.randn(2, 3, 8, 8, 8)).shape
    torch.Size([2, 4, 24, 8, 8, 8])
    """

    matrices: Tensor

    def __init__(
        self,
        irreps_in: object,
        channels: int,
        group: Any,
        *,
        kernel_size: Shape = (3, 3, 3),
        filters: int = 0,
        padding_mode: str = "circular",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        action = GridAction(group)
        super().__init__(action, kernel_size, filters, padding_mode, dtype)
        self.irreps_in, self.channels = Irreps(irreps_in), channels
        bank, voxels = max(filters, 1), math.prod(kernel_size)
        scale = 1 / math.sqrt(bank * self.irreps_in.dim * voxels)
        self.kernel = nn.Parameter(scale * torch.randn(bank, channels, self.irreps_in.dim, voxels, dtype=dtype))
        self.register_buffer("matrices", action.representation(irreps_in).to(dtype), persistent=False)

    def forward(self, field: Float[Tensor, "batch dim x y z"]) -> Float[Tensor, "batch channels order x y z"]:
        turned = self.kernel[..., self.voxels]  # bank, channels, dim, order, voxels
        turned = torch.einsum("ncigv,gji->ngcjv", turned, self.matrices)  # κ ρ(g)⁻¹, and ρ is orthogonal
        return self.correlate(field, self.relaxation(turned))


class GroupConvolution(_Correlation):
    r"""Features on the group from features on the group, :math:`\sum_{d,h} \kappa(g^{-1}h, g^{-1}d)\, f(x+d, h)`.

    Cost grows with the square of the order; :class:`SeparableGroupConvolution` is some 27 times cheaper. Arguments as for
    :class:`GroupLift`.

    >>> from tesseral.groups import point_group
    >>> layer = GroupConvolution(2, 3, point_group("C4"), kernel_size=(3, 3, 1), filters=2)
    >>> layer(torch.randn(1, 2, 4, 8, 8, 1)).shape
    torch.Size([1, 3, 4, 8, 8, 1])
    """

    left: Tensor

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        group: Any,
        *,
        kernel_size: Shape = (3, 3, 3),
        filters: int = 0,
        padding_mode: str = "circular",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        action = GridAction(group)
        super().__init__(action, kernel_size, filters, padding_mode, dtype)
        bank, voxels = max(filters, 1), math.prod(kernel_size)
        scale = 1 / math.sqrt(bank * channels_in * action.order * voxels)
        self.kernel = nn.Parameter(scale * torch.randn(bank, channels_out, channels_in, action.order, voxels, dtype=dtype))
        self.register_buffer("left", action.left_index, persistent=False)

    def forward(self, f: Float[Tensor, "batch channels order x y z"]) -> Float[Tensor, "batch channels_out order x y z"]:
        turned = self.kernel[..., self.left[:, :, None], self.voxels[:, None, :]]  # bank, out, in, g, h, voxels
        return self.correlate(f.flatten(1, 2), self.relaxation(turned.movedim(3, 1)))  # g, out, in, h, voxels


class SeparableGroupConvolution(_Correlation):
    r"""A group convolution in two steps: mixing over channels and group at each voxel, then one kernel in space for each channel.

    .. math:: \sum_d \beta(g^{-1}d) \sum_h \alpha(g^{-1}h)\, f(x+d, h)

    with relaxed weights on both factors. Arguments as for :class:`GroupLift`.

    >>> from tesseral.groups import point_group
    >>> layer = SeparableGroupConvolution(2, 3, point_group("Oh"))
    >>> layer(torch.randn(1, 2, 48, 4, 4, 4)).shape
    torch.Size([1, 3, 48, 4, 4, 4])
    """

    left: Tensor

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        group: Any,
        *,
        kernel_size: Shape = (3, 3, 3),
        filters: int = 0,
        padding_mode: str = "circular",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        action = GridAction(group)
        super().__init__(action, kernel_size, filters, padding_mode, dtype)
        bank, voxels = max(filters, 1), math.prod(kernel_size)
        mixing = torch.randn(bank, channels_out, channels_in, action.order, dtype=dtype)
        self.mixing = nn.Parameter(mixing / math.sqrt(bank * channels_in * action.order))
        self.kernel = nn.Parameter(torch.randn(bank, channels_out, voxels, dtype=dtype) / math.sqrt(bank * voxels))
        self.mixing_relaxation = GroupWeights(filters, action.order, dtype)
        self.register_buffer("left", action.left_index, persistent=False)

    def forward(self, f: Float[Tensor, "batch channels order x y z"]) -> Float[Tensor, "batch channels_out order x y z"]:
        mixing = self.mixing_relaxation(self.mixing[..., self.left].movedim(3, 1))  # g, out, in, h
        order, out = mixing.shape[:2]
        kernel = self.relaxation(self.kernel[..., self.voxels].movedim(2, 1))  # g, out, voxels
        mixed = torch.einsum("goih,bihxyz->bogxyz", mixing, f).flatten(1, 2)
        return self.correlate(mixed, kernel, groups=out * order)


class GroupProjection(nn.Module):
    r"""A field of irreps from features on the group, the mean of :math:`\rho(g)\, A_{g^{-1}p}\, f(x, g)` over the elements.

    With ``upsample`` = s each voxel becomes s³ sub-voxels p, each with its own A (``(s, s, 1)`` keeps a flat image flat).

    >>> from tesseral.groups import point_group
    >>> GroupProjection(4, "1o", point_group("O"), upsample=(2, 2, 2))(torch.randn(1, 4, 24, 8, 8, 8)).shape
    torch.Size([1, 3, 16, 16, 16])
    """

    voxels: Tensor
    matrices: Tensor

    def __init__(
        self,
        channels: int,
        irreps_out: object,
        group: Any,
        *,
        upsample: Shape = (1, 1, 1),
        filters: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        action = GridAction(group)
        self.irreps_out, self.upsample = Irreps(irreps_out), upsample
        bank = max(filters, 1)
        scale = 1 / math.sqrt(bank * channels)
        self.weight = nn.Parameter(scale * torch.randn(bank, self.irreps_out.dim, channels, math.prod(upsample), dtype=dtype))
        self.relaxation = GroupWeights(filters, action.order, dtype)
        self.register_buffer("voxels", action.kernel_index(upsample), persistent=False)
        self.register_buffer("matrices", action.representation(irreps_out).to(dtype), persistent=False)

    def forward(self, f: Float[Tensor, "batch channels order x y z"]) -> Float[Tensor, "batch dim x2 y2 z2"]:
        turned = torch.einsum("gij,njcgp->ngicp", self.matrices, self.weight[..., self.voxels])
        weight = self.relaxation(turned) / f.shape[2]
        out = torch.einsum("gicp,bcgxyz->bipxyz", weight, f).unflatten(2, self.upsample)
        batch, dim, (sx, sy, sz), (x, y, z) = out.shape[0], out.shape[1], self.upsample, out.shape[-3:]
        return out.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(batch, dim, x * sx, y * sy, z * sz)
