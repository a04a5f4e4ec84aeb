"""Structures that neighbour lists stumble over, and a neighbour search too simple to be wrong."""

import itertools

import ase
import ase.build
import numpy as np


def brute_force(positions, cell, pbc, cutoff):
    """Sorted (destination, source, shift) triples found by trying every image in a safe range."""
    completed = np.where(np.asarray(pbc)[:, None], cell, 0.0)
    reach = np.zeros(3, dtype=int)
    periodic = np.flatnonzero(pbc)
    if len(periodic):
        # Fractional coordinates of a vector v are v @ pinv(cell); their size is at most |v| times the column norm.
        inverse = np.linalg.pinv(completed[periodic])
        spread = np.linalg.norm(np.ptp(positions, axis=0)) if len(positions) else 0.0
        reach[periodic] = np.ceil((cutoff + spread) * np.linalg.norm(inverse, axis=0)).astype(int) + 1
    found = []
    for shift in itertools.product(*(range(-n, n + 1) for n in reach)):
        vectors = positions[None, :] + np.array(shift) @ completed - positions[:, None]
        close = np.linalg.norm(vectors, axis=2) < cutoff
        if shift == (0, 0, 0):
            np.fill_diagonal(close, False)
        found += [(int(i), int(j), *shift) for i, j in np.argwhere(close)]
    return sorted(found)


def triples(edge_index, shifts):
    """The same triples from a neighbour list, in the order it gives them."""
    return [(int(d), int(s), *map(int, shift)) for (s, d), shift in zip(np.asarray(edge_index).T, np.asarray(shifts))]


def awkward_structures():
    rng = np.random.default_rng(0)
    tiny = ase.Atoms("Po", cell=np.diag([1.1, 1.3, 1.7]), pbc=True)
    skewed = ase.Atoms("Si2", positions=[(0, 0, 0), (1, 1, 1)], cell=[[3, 0, 0], [8, 3, 0], [-7, 5, 3.5]], pbc=True)
    left_handed = ase.build.bulk("NaCl", "rocksalt", a=5.6)
    left_handed.set_cell(left_handed.cell[[1, 0, 2]])
    unwrapped = ase.build.bulk("Cu", cubic=True)
    unwrapped.positions += rng.integers(-3, 4, (4, 3)) @ unwrapped.cell.array + rng.normal(0, 0.1, (4, 3))
    slab = ase.build.fcc111("Al", (2, 2, 3), vacuum=5.0)
    slab.pbc = (True, True, False)
    wire = ase.Atoms("C3", positions=rng.normal(0, 2, (3, 3)), cell=[[0, 0, 0], [0, 2.5, 0], [0, 0, 0]], pbc=(False, True, False))
    sandwich = ase.Atoms(
        "C5", positions=rng.normal(0, 6, (5, 3)), cell=[[3, 1, 0], [9, 9, 9], [1, 0, 4]], pbc=(True, False, True)
    )
    cloud = ase.Atoms("H20", positions=rng.normal(0, 3, (20, 3)))
    boxed = ase.Atoms("H5", positions=rng.normal(0, 3, (5, 3)), cell=np.eye(3), pbc=False)
    return {
        "tiny": tiny,
        "skewed": skewed,
        "left_handed": left_handed,
        "unwrapped": unwrapped,
        "slab": slab,
        "wire": wire,
        "sandwich": sandwich,
        "cloud": cloud,
        "cell without pbc": boxed,
        "one atom": ase.Atoms("He"),
        "no atoms": ase.Atoms(),
    }
