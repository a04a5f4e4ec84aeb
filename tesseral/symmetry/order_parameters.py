r"""Order parameters: what an input must contain so that an output may have less symmetry than it (Curie's principle).

An equivariant function gives outputs that have at least the symmetry G of its inputs. To reach an output that is invariant only
under K, the input needs more: tensors that K leaves as they are and G does not. Those of one irrep of G are an *order parameter*;
it is *primary* if it alone leaves nothing but K.

Source: Smidt, Geiger, Miller, "Finding symmetry breaking order parameters with Euclidean neural networks",
Phys. Rev. Research 3, L012002 (2021).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.groups import PointGroup, generate
from tesseral.o3 import Irrep, Irreps
from tesseral.symmetry.readout import fixing, invariant_projection
from tesseral.symmetry.tensor_adam import TensorAdam


@dataclass(frozen=True, eq=False)
class OrderParameter:
    """An irrep of the parent group that contains directions (n, dim) which the subgroup leaves as they are.

    ``stabilizer`` is what a general such direction leaves of the parent group.
    """

    label: str
    directions: np.ndarray
    stabilizer: PointGroup
    primary: bool

    def __str__(self) -> str:
        return f"{self.label} ({'primary' if self.primary else f'alone leaves {self.stabilizer.name}'})"


@dataclass(frozen=True, eq=False)
class OrderParameters:
    """What leads from a group to a subgroup, made by :func:`order_parameters`."""

    group: PointGroup
    subgroup: PointGroup
    parameters: tuple[OrderParameter, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The irreps of the parent group that may occur."""
        return tuple(parameter.label for parameter in self.parameters)

    @cached_property
    def sufficient(self) -> tuple[tuple[str, ...], ...]:
        """The smallest sets of irreps that together leave only the subgroup: one of them must be in the input."""
        for size in range(1, len(self.parameters) + 1):
            found = [
                tuple(p.label for p in chosen)
                for chosen in itertools.combinations(self.parameters, size)
                if _in_common([p.stabilizer for p in chosen]) == self.subgroup.order
            ]
            if found:
                return tuple(found)
        return ()

    def functions(self, irreps: object) -> Float[Tensor, "functions dim"]:
        """An orthonormal basis of the tensors ``irreps``, ``ir_mul``, that may break the symmetry in this way, float64.

        They are invariant under the subgroup, and orthogonal to what is invariant under the group.
        """
        representation = self.subgroup.representation(irreps).mean(axis=0) - self.group.representation(irreps).mean(axis=0)
        values, vectors = np.linalg.eigh((representation + representation.T) / 2)
        return torch.from_numpy(np.ascontiguousarray(vectors[:, values > 0.5].T))

    def irreps(self, offered: object) -> list[tuple[Irrep, dict[str, int]]]:
        """Which of the ``offered`` irreps of O(3) contain order parameters, and how many of each label.

        >>> from tesseral.groups import point_group
        >>> parameters = order_parameters(point_group("D4h"), point_group("D2h"))
        >>> parameters.irreps("0e+1o+2e+3o+4e+5o")
        [(2e, {'B1g': 1}), (4e, {'B1g': 1})]
        """
        fixed = {parameter.label: len(parameter.directions) for parameter in self.parameters}
        found = []
        for ir in dict.fromkeys(ir for _, ir in Irreps(offered)):
            counts = {label: n * fixed[label] for label, n in self.group.subduce(ir).items() if label in fixed}
            if counts:
                found.append((ir, counts))
        return found

    def __str__(self) -> str:
        setting = f" ({self.group.setting})" if self.group.setting else ""
        return f"{self.group.name} -> {self.subgroup.name}{setting}: " + ", ".join(map(str, self.parameters))


def order_parameters(group: PointGroup, subgroup: PointGroup) -> OrderParameters:
    """The irreps of a point group by which an input may lower the symmetry to a subgroup.

    Raises ``ValueError`` if the second is no subgroup of the first in its orientation; see :func:`common_symmetry`.

    >>> from tesseral.groups import generate, point_group
    >>> print(order_parameters(point_group("Oh"), point_group("C4v")))
    Oh -> C4v: Eg (alone leaves D4h), T1u (primary)
    """
    outside = [m for m in subgroup.elements if not group.contains(m)]
    if outside:
        raise ValueError(
            f"{subgroup.name} is no subgroup of {group.name} as they are oriented: {len(outside)} of its elements are not in it; "
            "an output has at least the symmetry that it shares with the input: common_symmetry(group, subgroup)"
        )
    members = np.array([group.index(m) for m in subgroup.elements])
    found = []
    for irrep in group.irreps:
        projector = irrep.matrices[members].mean(axis=0)
        values, vectors = np.linalg.eigh((projector + projector.T) / 2)
        directions = vectors[:, values > 0.5].T
        if not len(directions) or (np.abs(irrep.matrices - np.eye(irrep.dim)) < 1e-9).all():
            continue
        general = directions.T @ np.cos(1.7 * np.arange(1, len(directions) + 1))
        left = fixing(group, irrep.matrices @ general, general)
        found.append(OrderParameter(irrep.label, directions, left, left.order == subgroup.order))
    return OrderParameters(group, subgroup, tuple(found))


def common_symmetry(*groups: PointGroup) -> PointGroup:
    """The elements that point groups have in common, in their orientations.

    >>> from tesseral.groups import point_group
    >>> common_symmetry(point_group("Oh"), point_group("D6h"))
    PointGroup(D2h)
    """
    first, *others = groups
    return generate([m for m in first.elements if all(other.contains(m) for other in others)])


@dataclass(frozen=True, eq=False)
class LearnedInput:
    """What :func:`learn_order_parameter` found: the input, its first gradient, and the losses without and with it."""

    value: Float[Tensor, "*sites dim"]
    gradient: Float[Tensor, "*sites dim"]
    stuck: float
    loss: float


def learn_order_parameter(
    loss: Callable[[Tensor], Tensor],
    parameters: Iterable[Tensor],
    start: Float[Tensor, "*sites dim"],
    irreps: object,
    *,
    steps: tuple[int, int] = (100, 300),
    lr: float = 1e-2,
    penalty: float | int = 1e-2,
    invariant_under: PointGroup | None = None,
) -> LearnedInput:
    """Learn an extra input of a model, zero at the start, that lets it reach a target which its symmetry forbids.

    ``loss(extra)`` is the loss of the model with the extra input (..., irreps.dim), ``ir_mul``; ``parameters`` are the model's.
    First the model alone is fitted (``steps[0]``) until it is stuck, then model and input together (``steps[1]``), the input by
    :class:`~tesseral.symmetry.TensorAdam` with ``penalty`` on the norms of its irreps. As the model is equivariant, the input
    never leaves the tensors that have the symmetry of the target. Parts that are invariant under the symmetry of the other
    inputs break nothing, but the model may use them; given that group, ``invariant_under``, they are left out.
    """
    extra = start.detach().clone().requires_grad_()
    free = None if invariant_under is None else invariant_projection(invariant_under, irreps).to(extra)
    model = torch.optim.Adam(list(parameters), lr=lr)
    tensors = TensorAdam([extra], irreps, lr=lr, penalty=penalty)
    value = loss(extra)
    stuck, gradient = float(value.detach()), torch.zeros_like(extra)
    for step in range(sum(steps)):
        model.zero_grad()
        tensors.zero_grad()
        value = loss(extra)
        value.backward()
        if free is not None and extra.grad is not None:
            extra.grad -= extra.grad @ free
        if step == steps[0]:
            stuck = float(value.detach())
            gradient = torch.zeros_like(extra) if extra.grad is None else extra.grad.detach().clone()
        model.step()
        if step >= steps[0]:
            tensors.step()
    return LearnedInput(extra.detach(), gradient, stuck, float(value.detach()))


def _in_common(groups: list[PointGroup]) -> int:
    first, *others = groups
    return sum(all(other.contains(m) for other in others) for m in first.elements)
