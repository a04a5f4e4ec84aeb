"""Lattices against published counts; normalisers and complements against their definitions."""

import itertools

import numpy as np
import pytest
import torch

from tesseral import groups
from tesseral.groups import INTERNATIONAL, ContinuousGroup, SubgroupLattice, point_group
from tesseral.o3 import Irreps


@pytest.mark.parametrize(
    ("name", "subgroups", "classes"),
    # the subgroup tables of the point groups: T, O, Td as A4, S4, S4; I, Ih as A5, A5 × 2; D4h, D6h, Oh: Bilbao
    [("C6", 4, 4), ("D4", 10, 8), ("T", 10, 5), ("Td", 30, 11), ("O", 30, 11), ("D4h", 35, 27), ("D6h", 54, 32), ("Oh", 98, 33),
     ("I", 59, 9), ("Ih", 164, 22)],
)  # fmt: skip
def test_published_numbers_of_subgroups(name, subgroups, classes):
    lattice = SubgroupLattice.of(point_group(name))
    assert (lattice.number, len(lattice.classes)) == (subgroups, classes)


def test_maximal_subgroups_of_m3m():
    lattice = SubgroupLattice.of(point_group("m-3m"))
    top = lattice.classes[0]
    assert sorted(lattice.classes[i].group.name for i in top.maximal) == ["D3d", "D4h", "O", "Td", "Th"]
    assert lattice.classes[-1].maximal == ()
    assert lattice.find(point_group("C4v")).index == 6
    assert not lattice.find(point_group("C4v")).normal
    assert (0, top.maximal[0]) in lattice.edges


def test_subgroups_keep_their_place():
    """A subgroup as a point group of its own has the matrices that it has in the parent."""
    parent = point_group("D6h")
    for c in SubgroupLattice.of(parent).classes:
        assert groups.members_of(parent, c.group) == c.members
        table, numbers = groups.sub(parent.finite, c.members)
        assert (numbers[table.multiplication] == parent.multiplication[np.ix_(numbers, numbers)]).all()


def test_normalizers_and_centralizers_by_definition():
    group = point_group("Oh").finite
    for family in groups.subgroup_classes(group):
        h = family[0]
        expected = {g for g in range(48) if {int(group.conjugates[g, x]) for x in h} == set(h)}
        assert groups.normalizer(group, h) == expected
        assert len(family) * len(expected) == 48
        assert groups.centralizer(group, h) == {g for g in range(48) if all(group.conjugates[g, x] == x for x in h)}
    assert groups.quotient(group, [0, 24])[0].order == 24
    with pytest.raises(ValueError, match="not normal"):
        groups.quotient(group, group.closure([1]))
    with pytest.raises(ValueError, match="not closed"):
        groups.sub(group, [0, 1])


def test_thirteen_normalizers_are_continuous():
    continuous = [name for name in INTERNATIONAL if isinstance(groups.normalizer_in_o3(point_group(name)), ContinuousGroup)]
    assert sorted(continuous) == sorted(["C1", "Ci", "C2", "C3", "C4", "C6", "Cs", "C2h", "C3h", "C4h", "C6h", "S4", "C3i"])


@pytest.mark.parametrize("name", [*INTERNATIONAL, "I", "Ih", "D5d", "C5v", "S8", "D7"])
def test_normalizers_in_o3(name):
    """Every element of the normaliser normalises, and of many other motions only its elements do."""
    group = point_group(name)
    normalizer = groups.normalizer_in_o3(group)
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    pool = [point_group(x).elements for x in ("Oh", "Ih", "D24h", "D10h", "D14h")]
    for m in (*itertools.chain(*pool), *(turn @ point_group("Ih").elements)):
        normalises = all(group.contains(m @ g @ m.T) for g in group.elements)
        assert normalises == normalizer.contains(m), f"{groups.point_group(name)}: {m}"


def test_complements_of_point_groups_in_their_normalizers():
    """Xie and Smidt, Equivariant Symmetry Breaking Sets: ideal sets exist for the cubic and dihedral groups."""
    for name in ("T", "Td", "Th", "O", "Oh", "D2", "D3", "D4", "D6", "D2h", "D3h", "D4h", "D6h", "D2d", "D3d"):
        group = point_group(name)
        normalizer = groups.normalizer_in_o3(group)
        members = groups.members_of(normalizer, group)
        found = groups.complement(normalizer.finite, members)
        if found is None:
            pytest.fail(f"{name} has no complement in {normalizer}")
        assert len(found) * group.order == normalizer.order
        assert found & members == {0}
    for n, m in ((2, 4), (3, 9), (4, 8), (6, 12)):  # the normaliser of Cn is D∞h; already in Dmh it has no complement
        around = point_group(f"D{m}h")
        assert groups.complement(around.finite, groups.members_of(around, point_group(f"C{n}"))) is None


def test_stabilizers():
    Oh = point_group("Oh")
    names = {
        (0, 0, 1): "C4v", (1, 1, 1): "C3v", (1, 1, 0): "C2v", (1, 2, 0): "Cs", (1, 2, 3): "C1", (0, 0, 0): "Oh",
    }  # fmt: skip
    for vector, name in names.items():
        assert groups.stabilizer(Oh, "1o", np.array(vector, dtype=float)).name == name
    both = np.array([[0.0, 0, 1], [1, 0, 0]])
    assert groups.stabilizer(Oh, "1o", both).name == "Cs"
    assert groups.stabilizer(Oh, "1o+1e", np.array([0.0, 0, 1, 0, 0, 1])).name == "C4"
    with pytest.raises(ValueError, match="4 components for irreps of dimension 3"):
        groups.stabilizer(Oh, "1o", np.ones(4))


def test_linear_groups_are_limits_of_finite_ones():
    """Decompositions, products and characters of D∞h and C∞v are those of D10h and C10v."""
    for name, finite in (("D∞h", point_group("D10h")), ("C∞v", point_group("C10v"))):
        group = ContinuousGroup(name)
        for irreps in ("0e+0o", "1o+1e", "2e", "3o", "4e+4o"):
            assert group.rename(finite, finite.subduce(irreps)) == group.subduce(irreps)
        low = [label for label in finite.labels if label[0] == "A" or label[:2] in ("E1", "E2")]
        renamed = {label: group.label_of(finite, label) for label in finite.labels if label[0] in "AE"}
        for first, second in itertools.product(low, repeat=2):
            expected = {renamed[label]: n for label, n in finite.product(first, second).items()}
            assert group.product(renamed[first], renamed[second]) == expected
    assert ContinuousGroup("D∞h").product("Πu", "Πu") == {"Σg+": 1, "Σg-": 1, "Δg": 1}
    with pytest.raises(ValueError, match="no irrep of D∞h: expected labels such as"):
        ContinuousGroup("D∞h").product("Π", "Σg+")
    with pytest.raises(ValueError, match="no continuous point group"):
        ContinuousGroup("C∞d")


def test_invariants_span_the_fixed_tensors():
    group = point_group("D3h")
    irreps = Irreps("2x0e+1x1o+2x2e+1x3o")
    random = irreps.randn(-1, generator=torch.Generator().manual_seed(1), dtype=torch.float64).numpy()
    projected = group.representation(irreps).mean(axis=0) @ random
    basis = group.invariants(irreps)
    np.testing.assert_allclose(basis.T @ (basis @ projected), projected, atol=1e-13)
    np.testing.assert_allclose(group.representation(irreps) @ projected, np.broadcast_to(projected, (12, irreps.dim)), atol=1e-13)
