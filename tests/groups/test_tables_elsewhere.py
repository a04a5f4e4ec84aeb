"""The tables of other programs, element by element: phonopy's and spgrep's of 32 groups, libmsym's of I, Ih and axial ones.

Elements are matched as matrices, in the axes of the other program, so that a swapped pair of classes cannot pass; and characters
of I and Ih follow once more from rotations of the sphere and permutations of five letters.
"""

import json
import pathlib

import numpy as np
import pytest
from phonopy.phonon.character_table import character_table as phonopy_tables
from spgrep import get_crystallographic_pointgroup_irreps_from_symmetry

from tesseral.groups import INTERNATIONAL, PointGroup, generate, point_group

HEXAGONAL = np.array([[1, -1 / 2, 0], [0, 3**0.5 / 2, 0], [0, 0, 1]])
VARIANTS = [(name, i) for name, variants in phonopy_tables.items() for i in range(len(variants))]
LIBMSYM = json.loads((pathlib.Path(__file__).parent / "libmsym_tables.json").read_text(encoding="utf-8"))
"""Written by libmsym 0.2.4: one element of each class with its axis, and the characters."""


def lattice_to_cartesian(symbol: str, matrices: np.ndarray) -> np.ndarray:
    cell = HEXAGONAL if symbol.lstrip("-")[0] in "36" else np.eye(3)
    return cell @ matrices @ np.linalg.inv(cell)


def by_matrix(group: PointGroup, label: str, matrices: np.ndarray) -> np.ndarray:
    return group.irrep(label).characters[group.class_of[[group.index(m) for m in matrices]]]


@pytest.mark.parametrize(("symbol", "variant"), VARIANTS)
def test_phonopy(symbol, variant):
    table = phonopy_tables[symbol][variant]
    heads = np.atleast_1d(table["rotation_list"])
    members = [np.array(table["mapping_table"][head]) for head in heads]
    matrices = lattice_to_cartesian(symbol, np.concatenate(members))
    group = generate(matrices)
    assert group.order == len(matrices)
    assert group.symbol == point_group(symbol).symbol
    assert sorted(group.labels) == sorted(table["character_table"])
    for label, row in table["character_table"].items():
        theirs = np.repeat(np.atleast_1d(row), [len(m) for m in members])
        if symbol == "6mm":  # there σv is normal to an axis of the cell, here it contains x: B1 and B2 change places
            label = {"B1": "B2", "B2": "B1"}.get(label, label)
        np.testing.assert_allclose(by_matrix(group, label, matrices), theirs, atol=1e-14, err_msg=label)


@pytest.mark.parametrize("name", INTERNATIONAL)
def test_spgrep(name):
    """Its real irreps of the same matrices, which have no labels: the same set of rows."""
    group = point_group(name)
    cell = HEXAGONAL if INTERNATIONAL[name].lstrip("-")[0] in "36" else np.eye(3)
    integers = np.rint(np.linalg.inv(cell) @ group.elements @ cell).astype(int)
    theirs = get_crystallographic_pointgroup_irreps_from_symmetry(integers, real=True)
    rows = sorted(np.trace(irrep, axis1=1, axis2=2).real.round(8).tolist() for irrep in theirs)
    ours = sorted(irrep.characters[group.class_of].round(8).tolist() for irrep in group.irreps)
    np.testing.assert_allclose(np.array(ours), np.array(rows), atol=1e-7)


def matrix(kind: str, axis: list[float] | None = None) -> np.ndarray:
    if axis is None:
        return np.eye(3) if kind == "E" else -np.eye(3)
    x, y, z = n = np.array(axis) / np.linalg.norm(axis)
    mirror = np.eye(3) - 2 * np.outer(n, n)
    if kind == "σ":
        return mirror
    order, power = map(int, kind[1:].split("^"))
    angle = 2 * np.pi * power / order
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return rotation @ mirror if kind[0] == "S" and power % 2 else rotation


@pytest.mark.parametrize("name", LIBMSYM)
def test_libmsym(name):
    table = LIBMSYM[name]
    matrices = np.array([matrix(*operation) for operation in table["operations"]])
    group = generate(matrices)  # elements of all classes generate a group
    assert group.symbol == point_group(name).symbol
    only_one = name in ("D2d", "D3d", "D3h", "D4h")  # libmsym says E1 where there is no E2
    rows = {label.replace("E1", "E") if only_one else label: row for label, row in table["rows"].items()}
    assert sorted(group.labels) == sorted(rows)
    for label, row in rows.items():
        np.testing.assert_allclose(by_matrix(group, label, matrices), row, atol=1e-11, err_msg=label)


@pytest.mark.parametrize("name", ["I", "Ih"])
def test_icosahedral_characters_from_the_sphere_and_five_letters(name):
    """T1 and H are vectors and quadrupoles; the five cubes in a dodecahedron are permuted as A + G; octupoles are T2 + G."""
    group = point_group(name)
    signs = np.rint(np.linalg.det(group.elements))
    cosines = np.clip((signs * np.trace(group.elements, axis1=1, axis2=2) - 1) / 2, -1, 1)
    angles = np.arccos(cosines)
    sphere = [1 + 2 * sum(np.cos(m * angles) for m in range(1, degree + 1)) for degree in range(4)]
    five = np.select(
        [angles < 0.01, np.abs(angles - np.pi) < 0.01, np.abs(cosines + 0.5) < 0.01], [5, 1, 2], 0
    )  # cubes left in place
    rows = {"A": sphere[0] + 0 * angles, "T1": sphere[1], "H": sphere[2], "G": five - 1, "T2": sphere[3] - (five - 1)}
    for letter, row in rows.items():
        for parity in ("g", "u") if name == "Ih" else ("",):
            expected = row * signs if parity == "u" else row
            np.testing.assert_allclose(by_matrix(group, letter + parity, group.elements), expected, atol=1e-13)
