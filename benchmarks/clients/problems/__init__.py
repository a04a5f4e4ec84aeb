"""What each client computes, by its own means."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Problem(NamedTuple):
    """A model, what it says about its structures (arrays by name), and a step of training that changes it."""

    model: Any
    evaluate: Callable[[], dict[str, np.ndarray]]
    step: Callable[[], None]
    description: dict


def crystal(repeat: int):
    """A rattled crystal of three kinds of atoms, 8 times ``repeat`` cubed of them, without symmetry, in a sheared cell."""
    from ase.build import bulk

    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True).repeat(repeat)
    random = np.random.default_rng(7)
    atoms.symbols[random.choice(len(atoms), len(atoms) // 4, replace=False)] = "K"
    shear = np.eye(3) + 0.03 * random.standard_normal((3, 3))
    atoms.set_cell(atoms.cell @ shear, scale_atoms=True)
    atoms.positions += 0.2 * random.standard_normal(atoms.positions.shape)
    return atoms
