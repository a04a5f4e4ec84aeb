"""How a point group acts on voxels: kernels and sub-voxels are moved by index permutations, so equivariance is exact."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tesseral.groups import PointGroup, as_point_group
from tesseral.o3 import Irreps


class GridAction:
    r"""A finite group of signed permutations of the axes x, y, z, acting on blocks of voxels.

    ``group`` is a :class:`tesseral.groups.PointGroup`.
    A voxel grid has only the symmetry of the cube: raises ``ValueError`` for a group that is not a subgroup of Oh in the setting
    whose axes are those of the grid. Two-dimensional images are grids one voxel deep with groups that keep that axis.

    >>> from tesseral.groups import point_group
    >>> action = GridAction(point_group("C4"))
    >>> action.order, action.kernel_index((3, 3, 1)).shape
    (4, torch.Size([4, 9]))
    """

    def __init__(self, group: PointGroup) -> None:
        matrices = np.asarray(group.elements, dtype=np.float64)
        rounded = np.rint(matrices)
        if np.abs(matrices - rounded).max() > 1e-9:
            raise ValueError(
                f"{group} does not map voxels to voxels: give a subgroup of Oh whose axes are those of the grid, such as "
                "'Oh', 'O', 'D4h' or 'C4v'"
            )
        self.group = group
        self.matrices = rounded.astype(np.int64)
        self.multiplication = np.asarray(group.multiplication, dtype=np.int64)
        self.inverses = np.argmin(self.multiplication, axis=1)
        self.order = len(rounded)

    def kernel_index(self, shape: tuple[int, int, int]) -> Int64[Tensor, "order voxels"]:
        r"""For each element g and voxel d of a block about the origin, the number of the voxel :math:`g^{-1}d`.

        Raises ``ValueError`` for a block that the group does not map to itself.
        """
        centred = np.array(list(itertools.product(*(range(n) for n in shape)))) * 2 - (np.array(shape) - 1)
        moved = np.einsum("gji,vj->gvi", self.matrices, centred)  # the inverse of an orthogonal matrix is its transpose
        place, remainder = np.divmod(moved + (np.array(shape) - 1), 2)
        if (remainder != 0).any() or (place < 0).any() or (place >= np.array(shape)).any():
            raise ValueError(f"the group {self.group} does not map a block of {shape} voxels to itself: choose equal sides")
        return torch.from_numpy(np.ravel_multi_index(tuple(np.moveaxis(place, -1, 0)), shape))

    @functools.cached_property
    def left_index(self) -> Int64[Tensor, "order order"]:
        """For each pair g, h the number of :math:`g^{-1}h`."""
        return torch.from_numpy(self.multiplication[self.inverses])

    def representation(self, irreps: object) -> Float[Tensor, "order dim dim"]:
        """The matrices of the elements in irreps of O(3), ``ir_mul``, float64."""
        return Irreps(irreps).D_from_matrix(torch.from_numpy(self.matrices).to(torch.float64), layout="ir_mul")

    def act(self, element: int, field: Tensor, irreps: object) -> Tensor:
        r"""A field (..., dim, X, Y, Z) after an element has turned it about the centre of the grid: :math:`\rho(g)F(g^{-1}x)`.

        Raises ``ValueError`` for a grid that the element does not map to itself.
        """
        turned = self.turn(element, field)
        matrix = self.representation(irreps)[element].to(field)
        return torch.einsum("ij,...jxyz->...ixyz", matrix, turned)

    def act_regular(self, element: int, features: Tensor) -> Tensor:
        r"""Features (..., order, X, Y, Z) of the group after an element: :math:`f(g^{-1}x, g^{-1}h)`."""
        return self.turn(element, features).index_select(-4, self.left_index[element])

    def stabilizer(self, field: Tensor, irreps: object, tolerance: float = 1e-6) -> PointGroup:
        """The elements that leave a field (dim, X, Y, Z) as it is, to a tolerance relative to its largest value.

        They turn it about the centre of the grid, so the grid must be a cube for all of Oh.

        >>> from tesseral.groups import point_group
        >>> field = torch.zeros(1, 3, 3, 3)
        >>> field[0, 1, 1, 2] = 1.0
        >>> GridAction(point_group("Oh")).stabilizer(field, "0e")
        PointGroup(C4v)
        """
        allowed = tolerance * float(field.abs().max())
        kept = [g for g in range(self.order) if float((self.act(g, field, irreps) - field).abs().max()) <= allowed]
        return as_point_group(self.group, kept)

    def turn(self, element: int, values: Tensor) -> Tensor:
        """Values (..., X, Y, Z) moved with their voxels."""
        shape = tuple(values.shape[-3:])
        centred = np.array(list(itertools.product(*(range(n) for n in shape)))) * 2 - (np.array(shape) - 1)
        place = (centred @ self.matrices[element] + np.array(shape) - 1) // 2
        if (place < 0).any() or (place >= np.array(shape)).any():
            raise ValueError(f"element {element} does not map a grid of {shape} voxels to itself: choose equal sides")
        index = torch.from_numpy(np.ravel_multi_index(tuple(place.T), shape))
        return values.flatten(-3).index_select(-1, index).unflatten(-1, shape)
