"""The point group of a molecule: which rotations and rotoinversions map it onto itself, and how they permute its atoms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tesseral.groups.continuous import ContinuousGroup
from tesseral.groups.elements import Element
from tesseral.groups.identify import exactified, identify, nearest_orthogonal, nearest_products
from tesseral.groups.point_group import PointGroup
from tesseral.groups.schoenflies import Symbol
from tesseral.groups.subgroups import permutation_of_points

STAND_IN = 8  # the order of the axis of the finite group in which a linear molecule is treated


@dataclass(frozen=True, eq=False)
class MolecularSymmetry:
    """What :func:`molecular_point_group` found.

    Element g of ``group``, about ``center``, moves atom i to where atom ``permutations[g, i]`` is, to the ``deviation`` (the
    largest distance, Å). A linear molecule has its true group in ``continuous``, an atom O(3); ``group`` is then a finite
    subgroup of it (C8v or D8h; Oh), large enough for displacements, dipoles and polarizabilities.
    """

    group: PointGroup
    center: np.ndarray
    permutations: np.ndarray
    deviation: float
    positions: np.ndarray
    continuous: ContinuousGroup | None

    @property
    def name(self) -> str:
        """The Schoenflies name, also of a continuous group."""
        return self.group.name if self.continuous is None else self.continuous.name

    @property
    def symmetrized(self) -> np.ndarray:
        """The nearest positions (n, 3) that have the symmetry exactly."""
        centered = self.positions - self.center
        images = centered[self.permutations] @ self.group.elements  # R⁻¹ of the image of each atom
        return images.mean(axis=0) + self.center

    def displacements(self) -> np.ndarray:
        """The matrices (order, 3n, 3n) that act on displacements, ordered as positions (n, 3) flattened."""
        order, n = self.permutations.shape
        result = np.zeros((order, n, 3, n, 3))
        atoms = np.arange(n)
        for g in range(order):
            result[g, self.permutations[g], :, atoms, :] = self.group.elements[g]
        return result.reshape(order, 3 * n, 3 * n)

    def displacement_irreps(self) -> dict[str, int]:
        """The irreps of all 3n displacements."""
        fixed = (self.permutations == np.arange(self.permutations.shape[1])).sum(axis=1)
        return self.relabel(self.group.reduce(fixed * np.trace(self.group.elements, axis1=1, axis2=2)))

    def vibration_irreps(self) -> dict[str, int]:
        """The irreps of the vibrations: the displacements without translations and rotations.

        >>> water = np.array([[0.0, 0, 0.12], [0.76, 0, -0.48], [-0.76, 0, -0.48]])
        >>> molecular_point_group(water, "OHH").vibration_irreps()
        {'A1': 2, 'B1': 1}
        """
        counts = dict(self.displacement_irreps())
        rigid = [self.group.subduce("1o"), self.group.subduce("1e") if len(self.positions) > 1 else {}]
        if self.continuous is not None:
            rigid = [self.relabel(part) for part in rigid]
            rigid[1] = {label: n for label, n in rigid[1].items() if label.startswith("Π")}
        for part in rigid:
            for label, n in part.items():
                counts[label] -= n
        return {label: n for label, n in counts.items() if n}

    def relabel(self, counts: dict[str, int]) -> dict[str, int]:
        """Labels of the stand-in become those of C∞v or D∞h for a linear molecule."""
        if self.continuous is None or self.continuous.name == "O(3)":
            return counts
        return self.continuous.rename(self.group, counts)

    def __iter__(self) -> Iterator[Element]:
        """The elements with their permutations of the atoms, for :func:`tesseral.groups.equivariance_error`."""
        for element, permutation in zip(self.group, self.permutations, strict=True):
            shift = self.center - element.rotation.numpy() @ self.center
            yield Element(element.rotation, torch.from_numpy(shift), torch.from_numpy(permutation.copy()), element.name)

    def __repr__(self) -> str:
        return f"MolecularSymmetry({self.name}, {len(self.positions)} atoms, to {self.deviation:.1e} Å)"


def molecular_point_group(positions: Any, species: Sequence[Any], tolerance: float = 0.01) -> MolecularSymmetry:
    """The point group of atoms at ``positions`` (n, 3) in Å, to a tolerance in Å.

    An element is accepted if it moves every atom to within the tolerance of one of its species, about the centroid. If the
    accepted elements are no group, because the tolerance cuts through a family of near symmetries, the worst are dropped until
    they are. Raises ``ValueError`` for no atoms, coinciding atoms, or another number of species.

    >>> methane = np.array([[0.0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]) * 0.63
    >>> symmetry = molecular_point_group(methane, ["C", "H", "H", "H", "H"])
    >>> symmetry.name, symmetry.vibration_irreps(), symmetry.permutations.shape
    ('Td', {'A1': 1, 'E': 1, 'T2': 2}, (24, 5))
    >>> molecular_point_group([[0, 0, -1.16], [0, 0, 0], [0, 0, 1.16]], "OCO").vibration_irreps()
    {'Σg+': 1, 'Σu+': 1, 'Πu': 1}
    """
    points = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
    kinds = _checked(points, species, tolerance)
    center = points.mean(axis=0)
    centered = points - center
    axis = np.linalg.svd(centered, full_matrices=True)[2][0] if len(points) > 1 else np.array([0.0, 0, 1])
    if np.linalg.norm(centered - np.outer(centered @ axis, axis), axis=1).max() <= tolerance:
        return _linear(points, centered, kinds, center, axis, tolerance)
    matrices, permutations = _largest_group(*_accepted(centered, kinds, tolerance))
    exact = exactified(matrices)
    group = PointGroup(*identify(exact))
    match = [int(np.abs(exact - m).max(axis=(1, 2)).argmin()) for m in group.elements]
    return _symmetry(group, points, center, permutations[match], None)


def _checked(points: np.ndarray, species: Sequence[Any], tolerance: float) -> np.ndarray:
    if len(points) == 0 or len(species) != len(points):
        raise ValueError(f"{len(points)} positions and {len(species)} species: expected at least one atom, and as many species")
    if not tolerance > 0:
        raise ValueError(f"the tolerance is {tolerance}, expected a positive distance in Å")
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag(np.full(len(points), np.inf))
    if distance.min(initial=np.inf) <= 2 * tolerance:
        i, j = np.unravel_index(distance.argmin(), distance.shape)
        raise ValueError(
            f"atoms {i} and {j} are {distance.min():.3g} Å apart, too close for a tolerance of {tolerance:g} Å: lower it"
        )
    return np.unique([str(s) for s in species], return_inverse=True)[1]


def _symmetry(
    group: PointGroup, points: np.ndarray, center: np.ndarray, permutations: np.ndarray, continuous: ContinuousGroup | None
) -> MolecularSymmetry:
    centered = points - center
    moved = np.einsum("gab,nb->gna", group.elements, centered)
    deviation = float(np.linalg.norm(moved - centered[permutations], axis=2).max())
    return MolecularSymmetry(group, center, permutations, deviation, points, continuous)


def _linear(
    points: np.ndarray, centered: np.ndarray, kinds: np.ndarray, center: np.ndarray, axis: np.ndarray, tolerance: float
) -> MolecularSymmetry:
    same = np.arange(len(points))
    if len(points) == 1:
        group = PointGroup(Symbol("Oh", 0), np.eye(3))
        return _symmetry(group, points, center, np.tile(same, (group.order, 1)), ContinuousGroup("O(3)"))
    axis = axis * (1 if axis[np.abs(axis) > 1e-6][-1] > 0 else -1)
    swapped = permutation_of_points(-centered, centered, kinds, tolerance)
    symbol = Symbol("Cv" if swapped is None else "Dh", STAND_IN)
    helper = np.eye(3)[int(np.abs(axis).argmin())]
    x = np.cross(helper, axis) / np.linalg.norm(np.cross(helper, axis))
    group = PointGroup(symbol, np.stack([x, np.cross(axis, x), axis], axis=1))
    keeps = np.einsum("a,gab,b->g", axis, group.elements, axis) > 0
    permutations = np.where(keeps[:, None], same, same if swapped is None else swapped)
    continuous = ContinuousGroup("C∞v" if swapped is None else "D∞h", (float(axis[0]), float(axis[1]), float(axis[2])))
    return _symmetry(group, points, center, permutations, continuous)


def _accepted(points: np.ndarray, kinds: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Orthogonal matrices that map the points onto themselves, with their permutations, best ones first."""
    radius = np.linalg.norm(points, axis=1)
    shells = [np.flatnonzero((kinds == kinds[i]) & (np.abs(radius - radius[i]) <= 2 * tolerance)) for i in range(len(points))]
    first = min((i for i in range(len(points)) if radius[i] > 10 * tolerance), key=lambda i: len(shells[i]))
    sine = np.linalg.norm(np.cross(points[first], points), axis=1) / (radius[first] * np.maximum(radius, 1e-12))
    oblique = np.flatnonzero((sine > min(0.1, sine.max() / 2)) & (radius > tolerance))
    second = min(oblique, key=lambda i: (len(shells[i]), -sine[i]))
    a, b = points[first], points[second]
    frame = np.linalg.inv(np.stack([a, b, np.cross(a, b)], axis=1))
    loose = 4 * tolerance * max(1.0, float(radius.max() / radius[second]))  # two atoms fix the matrix roughly
    slack = 4 * tolerance * (radius[first] + radius[second])
    found: dict[tuple, tuple[float, np.ndarray, np.ndarray]] = {}
    for i in shells[first]:
        for j in shells[second]:
            if abs(points[i] @ points[j] - a @ b) > slack:
                continue
            for sign in (1, -1):
                image = np.stack([points[i], points[j], sign * np.cross(points[i], points[j])], axis=1)
                m = nearest_orthogonal(image @ frame)
                permutation = permutation_of_points(points @ m.T, points, kinds, loose)
                if permutation is None:
                    continue
                m = _best_orthogonal(points, points[permutation], sign)
                error = float(np.linalg.norm(points @ m.T - points[permutation], axis=1).max())
                if error <= tolerance:
                    found[(*permutation, sign)] = (error, m, permutation)
    ranked = sorted(found.values(), key=lambda item: item[0])
    return np.array([m for _, m, _ in ranked]), np.array([p for _, _, p in ranked])


def _best_orthogonal(points: np.ndarray, images: np.ndarray, determinant: int) -> np.ndarray:
    """The matrix of this determinant that takes points nearest to images (Kabsch)."""
    u, _, v = np.linalg.svd(images.T @ points)
    return u @ np.diag([1.0, 1.0, determinant * np.sign(np.linalg.det(u @ v))]) @ v


def _largest_group(matrices: np.ndarray, permutations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The longest beginning of the list that is closed."""
    for n in range(len(matrices), 0, -1):
        table = nearest_products(matrices[:n])
        if (np.sort(table, axis=1) == np.arange(n)).all() and (permutations[table] == _composed(permutations[:n])).all():
            return matrices[:n], permutations[:n]
    raise ArithmeticError("the identity is no symmetry of the molecule")


def _composed(permutations: np.ndarray) -> np.ndarray:
    """[g, h]: first h, then g."""
    return permutations[np.arange(len(permutations))[:, None, None], permutations[None, :, :]]


def aligned_displacements(symmetry: MolecularSymmetry, target: Any) -> np.ndarray:
    """The displacements (n, 3) from the symmetric positions to a target (n, 3) with its atoms in the same order.

    The target is moved and turned to where they are least.
    """
    ideal = symmetry.symmetrized - symmetry.center
    moved = np.asarray(target, dtype=np.float64) - np.mean(target, axis=0)
    rotation = _best_orthogonal(moved, ideal, 1)
    return np.asarray(moved @ rotation.T - ideal)


def molecular_modes(symmetry: MolecularSymmetry, displacements: np.ndarray) -> dict[str, np.ndarray]:
    """Displacements (n, 3) by irreps, those above 1e-8 Å, the largest first; they are orthogonal and add up."""
    D, parts = symmetry.displacements(), {}
    for label in symmetry.group.reduce(np.trace(D, axis1=1, axis2=2)):
        part = (symmetry.group.projector(D, label) @ displacements.reshape(-1)).reshape(-1, 3)
        if np.linalg.norm(part) > 1e-8:
            parts[next(iter(symmetry.relabel({label: 1})))] = part
    return dict(sorted(parts.items(), key=lambda item: -float(np.linalg.norm(item[1]))))
