"""Point groups of molecules whose symmetry and vibrations are in every textbook."""

import ase.build
import numpy as np
import pytest
import torch
from ase import Atoms

from tesseral.groups import Invariant, PerNode, Positions, equivariance_error, molecular_point_group
from tesseral.o3 import rand_matrix

PHI = (1 + 5**0.5) / 2


def cyclic(n: int, radius: float, z: float = 0.0, phase: float = 0.0) -> np.ndarray:
    angle = 2 * np.pi * (np.arange(n) + phase) / n
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full(n, z)], axis=1)


def fullerene() -> Atoms:
    points = []
    for a, b, c in ((0, 1, 3 * PHI), (1, 2 + PHI, 2 * PHI), (PHI, 2, 2 * PHI + 1)):
        for s in np.ndindex(2, 2, 2):
            v = np.array([a, b, c]) * (1 - 2 * np.array(s))
            points += [v, np.roll(v, 1), np.roll(v, 2)]
    return Atoms("C60", np.unique(np.round(points, 9), axis=0) * 0.7)


def ferrocene(phase: float) -> Atoms:
    rings = [cyclic(5, 1.2, 1.65), cyclic(5, 1.2, -1.65, phase), cyclic(5, 2.3, 1.6), cyclic(5, 2.3, -1.6, phase)]
    return Atoms("FeC10H10", np.concatenate([np.zeros((1, 3)), *rings]))


MOLECULES = {
    "H2O": ("C2v", "2A1+B1"),
    "NH3": ("C3v", "2A1+2E"),
    "CH4": ("Td", "A1+E+2T2"),
    "C6H6": ("D6h", "2A1g+A2g+2B2g+E1g+4E2g+A2u+2B1u+2B2u+3E1u+2E2u"),
    "C2H4": ("D2h", None),
    "C2H6": ("D3d", "3A1g+3Eg+A1u+2A2u+3Eu"),
    "trans-butane": ("C2h", None),
    "C60": ("Ih", "2Ag+3T1g+4T2g+6Gg+8Hg+Au+4T1u+5T2u+6Gu+7Hu"),
    "HCN": ("C∞v", "2Σ++Π"),
    "C2H2": ("D∞h", "2Σg++Πg+Σu++Πu"),
    "N2": ("D∞h", "Σg+"),
    "ferrocene": ("D5d", None),
    "ferrocene-eclipsed": ("D5h", None),
    "SF6": ("Oh", "A1g+Eg+T2g+2T1u+T2u"),
    "CHFClBr": ("C1", "9A"),
    "BF3": ("D3h", "A1'+2E'+A2''"),
    "allene": ("D2d", None),
}


def molecule(name: str) -> Atoms:
    if name == "ferrocene" or name == "ferrocene-eclipsed":
        return ferrocene(0.5 if name == "ferrocene" else 0.0)
    if name == "SF6":
        return Atoms("SF6", [[0, 0, 0], *(1.56 * s * np.eye(3)[i] for i in range(3) for s in (1, -1))])
    if name == "BF3":
        return Atoms("BF3", [[0, 0, 0], *cyclic(3, 1.3)])
    if name == "CHFClBr":
        return Atoms("CHFClBr", 1.2 * np.array([[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]))
    if name == "C60":
        return fullerene()
    if name == "HCN":
        return Atoms("HCN", [[0, 0, -1.06], [0, 0, 0], [0, 0, 1.15]])
    return ase.build.molecule({"allene": "C3H4_D2d"}.get(name, name))


@pytest.mark.parametrize("name", MOLECULES)
def test_textbook_molecules(name):
    atoms = molecule(name)
    turn = rand_matrix(generator=torch.Generator().manual_seed(5), dtype=torch.float64).numpy()
    symmetry = molecular_point_group(atoms.positions @ turn.T + 1.0, atoms.get_chemical_symbols(), 0.005)
    expected, vibrations = MOLECULES[name]
    assert symmetry.name == expected
    assert symmetry.deviation <= 0.005
    found = symmetry.vibration_irreps()
    dims = {i.label: i.dim for i in symmetry.group.irreps}
    total = sum(n * dims.get(label, 1 if label[0] == "Σ" else 2) for label, n in found.items())
    assert total == 3 * len(atoms) - (5 if symmetry.continuous else 6)
    if vibrations is not None:
        assert "+".join(f"{n if n > 1 else ''}{label}" for label, n in found.items()) == vibrations


@pytest.mark.parametrize("name", ["NH3", "C2H6", "HCN", "ferrocene", "C2H2"])
def test_permutations_belong_to_the_elements(name):
    """The meter with the molecule's own elements: distances to the atoms are left alone, positions are mapped onto positions."""
    atoms = molecule(name)
    symmetry = molecular_point_group(atoms.positions, atoms.get_chemical_symbols(), 0.005)
    exact = symmetry.symmetrized
    again = molecular_point_group(exact, atoms.get_chemical_symbols(), 0.005)
    assert again.deviation < 1e-12
    positions = torch.from_numpy(exact)
    for element in again:
        moved = PerNode(Positions()).transform(element, positions)
        torch.testing.assert_close(moved, positions, rtol=0, atol=1e-12)
    D = again.displacements()
    table = again.group.multiplication
    np.testing.assert_allclose(D[1] @ D[2], D[table[1, 2]], atol=1e-14)

    def pairs(x: torch.Tensor) -> torch.Tensor:
        return torch.cdist(x, x).sort(dim=1).values

    assert float(equivariance_error(pairs, PerNode(Positions()), PerNode(Invariant()), again, inputs=(positions,))) < 1e-12
    if name != "HCN":  # where no atom moves
        numbered = equivariance_error(
            lambda x: torch.arange(len(x)), PerNode(Positions()), PerNode(Invariant()), again, inputs=(positions,)
        )
        assert float(numbered) > 0.1


def test_tolerance_decides():
    atoms = molecule("SF6")
    atoms.positions[1, 0] += 0.03
    species = atoms.get_chemical_symbols()
    assert molecular_point_group(atoms.positions, species, 0.1).name == "Oh"
    assert molecular_point_group(atoms.positions, species, 0.001).name == "C4v"
    for tolerance in np.geomspace(1e-3, 0.1, 12):  # whatever is cut, it is a group
        rattled = atoms.positions + np.random.default_rng(0).normal(0, 0.01, (7, 3))
        symmetry = molecular_point_group(rattled, species, tolerance)
        assert 48 % symmetry.group.order == 0
    assert molecular_point_group([[1, 2, 3]], ["He"]).name == "O(3)"
    assert molecular_point_group([[1, 2, 3]], ["He"]).vibration_irreps() == {}


def test_errors():
    with pytest.raises(ValueError, match="0 positions and 0 species"):
        molecular_point_group(np.zeros((0, 3)), [])
    with pytest.raises(ValueError, match=r"atoms 0 and 1 are 0\.01 Å apart"):
        molecular_point_group([[0, 0, 0], [0, 0, 0.01]], "HH")
    with pytest.raises(ValueError, match="expected a positive distance"):
        molecular_point_group([[0, 0, 0]], "H", tolerance=0.0)
