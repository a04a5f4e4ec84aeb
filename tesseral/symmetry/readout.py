"""What a learned tensor, or learned weights on a group, say about a broken symmetry: irreps, strengths, directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.groups import PointGroup, as_point_group
from tesseral.o3 import Irrep, Irreps


@dataclass(frozen=True, eq=False)
class TensorPart:
    """The part of a tensor in one irrep of O(3): its norm and its components (copies, 2l+1)."""

    irrep: Irrep
    strength: float
    components: np.ndarray


@dataclass(frozen=True, eq=False)
class GroupPart:
    """The part of a tensor, or of a function on a group, that transforms by one irrep of a finite group.

    ``components`` (dim of the irrep, copies) refer to the matrices of the irrep. ``stabilizer`` is the subgroup that leaves the
    part as it is; ``axis`` its direction in space where the irrep is that of a vector or pseudovector, else None.
    """

    label: str
    strength: float
    components: np.ndarray
    stabilizer: PointGroup
    axis: np.ndarray | None

    def __str__(self) -> str:
        along = "" if self.axis is None else f" along {direction_name(self.axis)}"
        return f"{self.label}{along}, strength {self.strength:.3g}, leaves {self.stabilizer.name}"


def strengths(theta: Float[Tensor, " dim"] | np.ndarray, irreps: object) -> list[TensorPart]:
    """The parts of a tensor (irreps.dim,), ``ir_mul``, in the irreps of O(3), those of one irrep together.

    >>> [(part.irrep, part.strength) for part in strengths(torch.tensor([1.0, 0.0, 3.0, 4.0]), "0e+1o")]
    [(0e, 1.0), (1o, 5.0)]
    """
    values, irreps = _numbers(theta), Irreps(irreps)
    blocks: dict[Irrep, list[np.ndarray]] = {}
    for (mul, ir), place in zip(irreps, irreps.slices(), strict=True):
        blocks.setdefault(ir, []).append(values[place].reshape(ir.dim, mul).T)
    joined = {ir: np.concatenate(parts) for ir, parts in blocks.items()}
    return [TensorPart(ir, float(np.linalg.norm(x)), x) for ir, x in joined.items()]


def in_group(theta: Float[Tensor, " dim"] | np.ndarray, irreps: object, group: PointGroup) -> list[GroupPart]:
    """The parts of a tensor (irreps.dim,), ``ir_mul``, in the irreps of a point group, the invariant ones included.

    >>> from tesseral.groups import point_group
    >>> for part in in_group(torch.tensor([0.0, 0.0, 0.5]), "1o", point_group("Oh")):
    ...     print(part)
    T1u along [0 0 1], strength 0.5, leaves C4v
    """
    values = _numbers(theta)
    bases = group.decompose(group.representation(irreps))
    return [_part(group, label, np.einsum("kdi,i->dk", basis, values)) for label, basis in bases.items()]


def on_group(group: PointGroup, weights: Float[Tensor, " order"] | np.ndarray) -> list[GroupPart]:
    r"""The parts of a function on a group, such as relaxed weights w(g), in all irreps: its Fourier transform.

    .. math:: \hat w = \sqrt{d/c}\; \frac{1}{|G|} \sum_g w(g)\, \Gamma(g)

    with the dimension d of a real irrep and c = 2 for those of complex type, 1 for others; so the squares of the strengths add up
    to the mean square of w. A function with w(hg) = w(g) has parts whose stabilizers contain h.

    >>> from tesseral.groups import point_group
    >>> [(part.label, round(part.strength, 3)) for part in on_group(point_group("C4"), torch.tensor([4.0, 2.0, 4.0, 2.0]))]
    [('A', 3.0), ('B', 0.0), ('E', 1.0)]
    """
    values = _numbers(weights)
    if values.shape != (group.order,):
        raise ValueError(f"weights of shape {values.shape}: {group} has {group.order} elements")
    parts = []
    for irrep in group.irreps:
        kind = 2 if irrep.complex_type else 1
        transform = np.einsum("g,gij->ij", values, irrep.matrices) * np.sqrt(irrep.dim / kind) / group.order
        parts.append(_part(group, irrep.label, transform))
    return parts


def invariant_projection(group: PointGroup, irreps: object) -> Float[Tensor, "dim dim"]:
    """The projection (symmetric, float64) of tensors, ``ir_mul``, on those that a group leaves as they are.

    >>> from tesseral.groups import point_group
    >>> invariant_projection(point_group("C4v"), "1o").diagonal()
    tensor([0., 0., 1.], dtype=torch.float64)
    """
    basis = torch.from_numpy(group.invariants(irreps))
    return basis.T @ basis


def direction_name(axis: Any) -> str:
    """A direction as small integers where it is one, else as numbers.

    >>> direction_name([0.0, 0.0, -2.0]), direction_name([0.5, 0.5, 0.0]), direction_name([1.0, 0.3, 0.0])
    ('[0 0 -1]', '[1 1 0]', '[0.958 0.287 0.000]')
    """
    vector = np.asarray(axis, dtype=np.float64)
    for n in range(1, 4):
        scaled = vector / np.abs(vector).max() * n
        if np.abs(scaled - np.rint(scaled)).max() < 1e-4:
            return "[" + " ".join(str(int(x)) for x in np.rint(scaled)) + "]"
    return "[" + " ".join(f"{x:.3f}" for x in vector / np.linalg.norm(vector)) + "]"


def _part(group: PointGroup, label: str, components: np.ndarray) -> GroupPart:
    strength = float(np.linalg.norm(components))
    if strength == 0:
        return GroupPart(label, 0.0, components, group, None)
    moved = group.irrep(label).matrices @ components
    axis = None
    if strength > 0 and np.linalg.matrix_rank(components, tol=1e-4 * strength) == 1:
        axis = _axis(group, label, np.linalg.svd(components)[0][:, 0], components)
    return GroupPart(label, strength, components, fixing(group, moved, components, 1e-4), axis)


def fixing(group: PointGroup, moved: np.ndarray, still: np.ndarray, tolerance: float = 1e-6) -> PointGroup:
    """The elements that leave something as it is: ``moved[g]`` is what it becomes; the tolerance is relative."""
    difference = np.abs(moved - still).reshape(group.order, -1).max(axis=1, initial=0.0)
    kept = difference <= tolerance * max(float(np.abs(still).max(initial=0.0)), 1e-300)
    return as_point_group(group, [int(g) for g in np.flatnonzero(kept)])


def _axis(group: PointGroup, label: str, direction: np.ndarray, components: np.ndarray) -> np.ndarray | None:
    """The direction in space of a vector of the irrep, if 1o or 1e contain it once; signed as the largest copy."""
    largest = components[:, np.abs(components).sum(axis=0).argmax()]
    for vector in ("1o", "1e"):
        if group.subduce(vector).get(label) == 1:
            basis = group.symmetric_basis(group.representation(vector), label)[0]
            return np.sign(direction @ largest) * direction @ basis
    return None


def _numbers(values: Tensor | np.ndarray) -> np.ndarray:
    return values.detach().double().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values, dtype=np.float64)
