r"""Symmetry-breaking sets: extra inputs by which an equivariant model may choose one of several equivalent outputs.

A set B for the symmetry S of an input holds tensors b, of which S leaves none as it is (*full*), or each by a conjugate of K
(*partial*), and it is closed under all motions that map S (and K) to itself, so that the choice of a set from S alone is
equivariant. B is an orbit of the normaliser N with a stabilizer H, :math:`H \cap S = K`, and is *ideal* if S permutes it
transitively, :math:`|B| = |S|/|K|`: no member is then worse than another. For full breaking an ideal set exists exactly if S has
a complement in N.

Source: Xie, Smidt, "Equivariant symmetry breaking sets", TMLR 2024.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.groups import ContinuousGroup, PointGroup, as_point_group, generate, members_of, normalizer_in_o3, subgroup_classes
from tesseral.o3 import Irrep, Irreps

Group = PointGroup | ContinuousGroup
HIGHEST_DEGREE = 12


@dataclass(frozen=True, eq=False)
class BreakingSet:
    """A set that breaks ``group`` to (conjugates of) ``subgroup``, made by :func:`breaking_set`.

    ``objects`` (size, irreps.dim) are unit tensors, ``ir_mul``, float64, which ``normalizer`` permutes and ``stabilizer``, a
    subgroup of it, leaves as they are (the first of them). Where the set is a continuum, ``size`` is infinite, and ``objects``
    are the orbit of one of them under ``group``.
    """

    group: PointGroup
    subgroup: PointGroup
    normalizer: Group
    stabilizer: Group
    irreps: Irreps
    objects: Float[Tensor, "objects dim"]
    size: int | float

    @property
    def ideal(self) -> bool:
        """Whether the group permutes the set transitively, so that every member is equivalent to every other."""
        return self.size * self.subgroup.order == self.group.order

    def attach(self, features: Float[Tensor, "nodes dim"], number: int = 0) -> Float[Tensor, "nodes dim2"]:
        """Features of nodes with a member of the set beside them, for a model whose input irreps end with ``irreps``.

        >>> from tesseral.groups import point_group
        >>> breaking_set(point_group("Oh"), point_group("C4v")).attach(torch.ones(2, 1), 0)
        tensor([[1., 0., 0., 1.],
                [1., 0., 0., 1.]])
        """
        return torch.cat([features, self.objects[number].to(features).expand(len(features), -1)], dim=1)

    def __str__(self) -> str:
        size = "a continuum" if math.isinf(self.size) else f"{int(self.size)} objects"
        kind = "ideal" if self.ideal else "not ideal"
        names = f"{self.group.name} -> {self.subgroup.name} in {self.normalizer.name}"
        return f"{names}: {size} ({self.irreps}), {kind}, each left by {self.stabilizer.name}"


def breaking_set(group: PointGroup, subgroup: PointGroup | None = None) -> BreakingSet:
    """The smallest equivariant set that breaks a point group to a subgroup (``None``: completely).

    It is one orbit of the normaliser in O(3), of a tensor in irreps of least degree. Cn, S2n and Cnh (n > 1) have no
    finite set for full breaking, because their normaliser contains all rotations about the axis. Raises ``ValueError`` if
    the second is no subgroup of the first in its orientation.

    >>> from tesseral.groups import point_group
    >>> print(breaking_set(point_group("Oh"), point_group("C4v")))
    Oh -> C4v in Oh: 6 objects (1x1o), ideal, each left by C4v
    >>> print(breaking_set(point_group("D3")))
    D3 -> C1 in D6h: 6 objects (1x1o), ideal, each left by C2v
    >>> print(breaking_set(point_group("C4")))
    C4 -> C1 in D∞h: a continuum (1x1o), not ideal, each left by C2v
    """
    target = generate(np.zeros((0, 3, 3))) if subgroup is None else subgroup
    try:
        kept = members_of(group, target)
    except ValueError as error:
        raise ValueError(f"{target.name} is no subgroup of {group.name} as they are oriented: {error}") from None
    normalizer = normalizer_in_o3(group)
    if isinstance(normalizer, ContinuousGroup):
        return _continuous(group, target, kept, normalizer)
    allowed = _generalized_normalizer(normalizer, group, target)
    inside, wanted = members_of(allowed, group), members_of(allowed, target)
    h, irreps, tensor = _largest(allowed, inside, wanted)
    objects = _orbit(allowed.representation(irreps), tensor)
    return BreakingSet(group, target, allowed, as_point_group(allowed, h), irreps, torch.from_numpy(objects), len(objects))


def _generalized_normalizer(normalizer: PointGroup, group: PointGroup, target: PointGroup) -> PointGroup:
    """The motions that map the group to itself and the subgroup to one of its conjugates in the group."""
    inside, kept = sorted(members_of(normalizer, group)), sorted(members_of(normalizer, target))
    conjugates = normalizer.finite.conjugates
    own = {frozenset(int(x) for x in conjugates[s, kept]) for s in inside}
    return as_point_group(normalizer, [g for g in range(normalizer.order) if frozenset(map(int, conjugates[g, kept])) in own])


def _largest(allowed: PointGroup, inside: Collection[int], wanted: Collection[int]) -> tuple[frozenset[int], Irreps, np.ndarray]:
    """A largest subgroup that meets the broken group in the wanted subgroup only, and a tensor that has just this symmetry.

    Of several such subgroups the one whose tensor has the least degrees is taken.
    """
    s, k = frozenset(inside), frozenset(wanted)
    met = [next((h for h in family if h & s == k), frozenset()) for family in subgroup_classes(allowed.finite)]
    most = max(len(h) for h in met)
    found = [(h, *_tensor(allowed, h)) for h in met if len(h) == most]
    return min(found, key=lambda choice: (len(choice[1]), [(ir.l, ir.p != (-1) ** ir.l) for _, ir in choice[1]]))


def _tensor(group: PointGroup, members: Collection[int]) -> tuple[Irreps, np.ndarray]:
    """A tensor in irreps of least degree that the members leave as it is and no other element of the group does.

    Among single irreps first, then among sums of two.
    """
    subgroup, kept = as_point_group(group, members), frozenset(members)
    offers: list[tuple[Irrep, frozenset[int], np.ndarray]] = []
    for ir in Irrep.iterator(HIGHEST_DEGREE):
        basis = subgroup.invariants(ir)
        if not len(basis):
            continue
        tensor = basis.T @ (np.cos(1.7 * np.arange(len(basis))) / (1 + np.arange(len(basis))))  # a general one
        change = np.abs(group.representation(ir) @ tensor - tensor).max(axis=1)
        fixing = frozenset(int(g) for g in np.flatnonzero(change < 1e-6 * np.abs(tensor).max()))
        if fixing == kept:
            return Irreps(ir), tensor / np.linalg.norm(tensor)
        for other, others, first in offers:
            if fixing & others == kept:
                both = np.concatenate([first / np.linalg.norm(first), tensor / np.linalg.norm(tensor)]) / np.sqrt(2)
                return Irreps([other, ir]), both
        offers.append((ir, fixing, tensor))
    raise ArithmeticError(
        f"no two irreps up to degree {HIGHEST_DEGREE} tell {subgroup.name} from its supergroups in {group.name}"
    )


def _orbit(matrices: np.ndarray, tensor: np.ndarray) -> np.ndarray:
    images: list[np.ndarray] = []
    for image in matrices @ tensor:
        if all(np.abs(image - other).max() > 1e-6 for other in images):
            images.append(np.where(np.abs(image) < 1e-14, 0.0, image))
    return np.array(images)


def _continuous(group: PointGroup, target: PointGroup, kept: Collection[int], normalizer: ContinuousGroup) -> BreakingSet:
    """Normalisers O(3) (of C1, Ci) and D∞h (of Cn, S2n, Cnh): finite sets have stabilizers of finite index in them.

    A closed subgroup of finite index contains all proper motions that are connected to the identity. In D∞h it is one of five.
    """
    axis = np.array(normalizer.axis) / np.linalg.norm(normalizer.axis)
    candidates: tuple[tuple[str, str, np.ndarray], ...] = (("O(3)", "0e", np.ones(1)), ("SO(3)", "0o", np.ones(1)))
    if normalizer.name == "D∞h":
        candidates = (
            ("D∞h", "0e", np.ones(1)),
            ("C∞v", "1o", axis),
            ("C∞h", "1e", axis),
            ("D∞", "0o", np.ones(1)),
            ("C∞", "1o+1e", np.concatenate([axis, axis]) / np.sqrt(2)),
        )
    for name, irreps, tensor in candidates:
        h = ContinuousGroup(name, normalizer.axis)
        if {g for g, m in enumerate(group.elements) if h.contains(m)} == set(kept):
            orbit = _orbit(np.concatenate([group.representation(irreps), _turned(irreps, axis)]), tensor)
            return BreakingSet(group, target, normalizer, h, Irreps(irreps), torch.from_numpy(orbit), len(orbit))
    finite = PointGroup(type(group.symbol)("Dh", 2 * max(group.symbol.n, 1)), group.orientation)
    inside, wanted = members_of(finite, group), members_of(finite, target)
    h_finite, found, tensor = _largest(finite, inside, wanted)
    orbit = _orbit(group.representation(found), tensor)
    stabilizer = as_point_group(finite, h_finite)
    return BreakingSet(group, target, normalizer, stabilizer, found, torch.from_numpy(orbit), math.inf)


def _turned(irreps: str, axis: np.ndarray) -> np.ndarray:
    """The matrices of a half turn about a perpendicular axis, of the inversion, and of both: what D∞h has beside C∞."""
    across = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    across /= np.linalg.norm(across)
    half = 2 * np.outer(across, across) - np.eye(3)
    motions = torch.from_numpy(np.array([half, -np.eye(3), -half]))
    return Irreps(irreps).D_from_matrix(motions, layout="ir_mul").numpy()
