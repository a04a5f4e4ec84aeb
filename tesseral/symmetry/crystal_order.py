r"""Order parameters on the sites of a crystal: which waves of which irreps lead from one space group to another.

Both structures are given in the same supercell. A function on the sites is a tensor at each; the space group of the supercell
acts by permuting sites and turning tensors. What the child leaves as it is and the parent does not, is a sum of waves

.. math:: v_j = \sum_k \mathrm{Re}\; a_k\, e^{i k \cdot (r_j - r_0)},

whose amplitudes transform by irreps of the little co-group of k, if the sites are one lattice with the full point symmetry.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import ase
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tesseral.groups import PointGroup, SpaceGroup, generate, space_group
from tesseral.o3 import Irreps
from tesseral.symmetry.readout import GroupPart, in_group


@dataclass(frozen=True, eq=False)
class Wave:
    """A wave on the sites: k in units of the reciprocal vectors of the parent's primitive cell, and its strength.

    ``little`` is the little co-group; ``parts`` are the irreps of it in the amplitude (dim,), which is the real part at the
    first site, in the setting of that group.
    """

    k: tuple[float, float, float]
    strength: float
    amplitude: np.ndarray
    little: PointGroup
    parts: tuple[GroupPart, ...]

    def __str__(self) -> str:
        labels = " + ".join(part.label for part in self.parts)
        return f"k = ({', '.join(f'{x:g}' for x in self.k)}): {labels} of {self.little.name}, strength {self.strength:.3g}"


@dataclass(frozen=True, eq=False)
class CrystalOrder:
    """What leads from one space group to another on some sites, made by :func:`crystal_order_parameters`.

    ``basis`` (n, sites, irreps.dim), orthonormal and ``ir_mul``, spans the functions that the child leaves as they are and the
    parent does not. ``parent`` and ``child`` are numbers of space groups, as spglib finds them.
    """

    parent: int
    child: int
    irreps: Irreps
    basis: Float[Tensor, "n sites dim"]
    offsets: np.ndarray
    primitive: np.ndarray
    wave_vectors: tuple[tuple[float, float, float], ...]
    group: PointGroup

    def waves(self, values: Float[Tensor, "sites dim"] | np.ndarray, tolerance: float = 1e-6) -> list[Wave]:
        """The waves in a function on the sites, the strongest first, without those below the relative tolerance."""
        numbers = values.detach().double().numpy() if isinstance(values, Tensor) else np.asarray(values, dtype=np.float64)
        total, found = float(np.linalg.norm(numbers)), []
        reciprocal = np.linalg.inv(self.primitive).T  # rows; without 2π
        for k in self.wave_vectors:
            phase = np.exp(-2j * np.pi * (self.offsets @ (np.array(k) @ reciprocal)))
            amplitude = phase @ numbers / len(numbers)
            twice = np.abs(np.rint(2 * np.array(k)) - 2 * np.array(k)).max() < 1e-9
            strength = float(np.linalg.norm(amplitude) * np.sqrt(len(numbers) * (1 if twice else 2)))
            if strength > tolerance * max(total, 1e-300):
                little = _little(self.group, k, self.primitive)
                parts = [p for p in in_group(amplitude.real, self.irreps, little) if p.strength > tolerance * total]
                found.append(Wave(k, strength, amplitude.real, little, tuple(parts)))
        return sorted(found, key=lambda wave: -wave.strength)


def crystal_order_parameters(
    parent: ase.Atoms, child: ase.Atoms, sites: list[int], irreps: object, tolerance: float = 1e-3
) -> CrystalOrder:
    """Functions, tensors ``irreps`` at the atoms ``sites``, that the child's space group leaves as they are, the parent's not.

    Both structures have the same atoms in the same order and the same supercell; the tolerance (Å) is spglib's. Raises
    ``ValueError`` if they have not, or if the sites are not one lattice, so that labels of irreps would depend on more.
    """
    if len(parent) != len(child) or (parent.numbers != child.numbers).any():
        raise ValueError(
            "parent and child must be the same atoms in the same order: build the child by moving those of the parent"
        )
    if np.abs(parent.cell[:] - child.cell[:]).max() > tolerance:
        raise ValueError("parent and child must be in the same cell: strain is an order parameter of its own")
    irreps, cell = Irreps(irreps), np.array(parent.cell[:])
    high, low = (space_group(cell, atoms.positions, atoms.numbers, tolerance) for atoms in (parent, child))
    primitive = _primitive(high)
    repeats = round(abs(np.linalg.det(cell) / np.linalg.det(primitive)))
    if repeats != len(sites):
        raise ValueError(f"{len(sites)} sites in {repeats} primitive cells: give the sites of one lattice, one in each cell")
    points = parent.get_scaled_positions()[sites]
    offsets = (points - points[0]) @ cell
    wave_vectors = _wave_vectors(primitive, cell)
    difference = _mean(low, sites, irreps) - _mean(high, sites, irreps)
    values, vectors = np.linalg.eigh((difference + difference.T) / 2)
    basis = _by_wave(vectors[:, values > 0.5].T.reshape(-1, len(sites), irreps.dim), offsets, primitive, wave_vectors)
    return CrystalOrder(
        high.number, low.number, irreps, torch.from_numpy(basis), offsets, primitive, wave_vectors, high.point_group
    )


def _mean(group: SpaceGroup, sites: list[int], irreps: Irreps) -> np.ndarray:
    """The projection (sites dim, sites dim) on the functions that all operations leave as they are."""
    matrices = irreps.D_from_matrix(torch.from_numpy(np.array(group.cartesian)), layout="ir_mul").numpy()
    place = np.full(len(group.numbers), -1)
    place[sites] = np.arange(len(sites))
    targets = place[group.permutations[:, sites]]
    if (targets < 0).any():
        raise ValueError("the space group does not permute the sites among themselves: give all equivalent sites")
    n, dim = len(sites), irreps.dim
    total = np.zeros((n, dim, n, dim))
    for target, D in zip(targets, matrices, strict=True):
        total[target, :, np.arange(n), :] += D
    return total.reshape(n * dim, n * dim) / len(matrices)


def _by_wave(basis: np.ndarray, offsets: np.ndarray, primitive: np.ndarray, wave_vectors: tuple) -> np.ndarray:
    """The same space by functions of one wave vector each, where the child's group does not join them."""
    if not len(basis):
        return basis
    reciprocal = np.linalg.inv(primitive).T
    labelled = np.zeros((len(offsets),) * 2)
    for number, k in enumerate(wave_vectors):
        phase = 2 * np.pi * (offsets @ (np.array(k) @ reciprocal))
        labelled += (1 + number) ** 0.5 * np.cos(phase[:, None] - phase[None, :]) / len(offsets)
    _, vectors = np.linalg.eigh(np.einsum("asd,st,btd->ab", basis, labelled, basis))
    return np.ascontiguousarray(np.einsum("ab,asd->bsd", vectors, basis))


def _primitive(group: SpaceGroup) -> np.ndarray:
    """A primitive cell (rows) from the pure translations of a supercell: the shortest independent ones."""
    shifts = group.translations[(group.rotations == np.eye(3)).all(axis=(1, 2))]
    images = [(t + np.array(n)) @ group.cell for t in shifts for n in itertools.product((-1, 0, 1), repeat=3)]
    ordered = sorted((v for v in images if np.linalg.norm(v) > 1e-6), key=lambda v: (round(float(np.linalg.norm(v)), 6), *(-v)))
    chosen: list[np.ndarray] = []
    for v in ordered:
        if np.linalg.matrix_rank(np.array([*chosen, v]), tol=1e-6) > len(chosen):
            chosen.append(v)
    primitive = np.array(chosen[:3])
    return primitive if np.linalg.det(primitive) > 0 else primitive[[1, 0, 2]]


def _wave_vectors(primitive: np.ndarray, cell: np.ndarray) -> tuple[tuple[float, float, float], ...]:
    """The k of the parent that the supercell folds to zero, one of each pair ±k, in units of its reciprocal vectors."""
    repeats = np.rint(cell @ np.linalg.inv(primitive)).astype(int)
    size, found = round(abs(np.linalg.det(repeats))), set()
    inverse = np.linalg.inv(repeats).T
    for n in itertools.product(range(-size, size + 1), repeat=3):
        k = np.round(np.array(n) @ inverse % 1.0, 9) % 1.0
        opposite = np.round(-k % 1.0, 9) % 1.0
        found.add(min(tuple(map(float, k)), tuple(map(float, opposite))))
    return tuple(sorted(found))  # type: ignore[arg-type]


def _little(group: PointGroup, k: tuple[float, float, float], primitive: np.ndarray) -> PointGroup:
    """The elements of the point group that map k to itself, up to reciprocal lattice vectors."""
    wave = np.array(k) @ np.linalg.inv(primitive).T
    change = (group.elements @ wave - wave) @ primitive.T
    return generate(group.elements[np.abs(change - np.rint(change)).max(axis=1) < 1e-6])
