"""Point groups against published tables, and against the axioms."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from tesseral import groups
from tesseral.groups import INTERNATIONAL, generate, point_group
from tesseral.o3 import Irreps, rand_matrix
from tests.groups.published_tables import CLASS_NAMES, FUNCTIONS, PRODUCTS, TABLES

ALL = [*INTERNATIONAL, "I", "Ih"]
BEYOND = ["C5", "C7v", "C5h", "D5d", "D5h", "D4d", "D6d", "S8", "S10", "D12h", "C9"]


def published(name: str) -> tuple[list[np.ndarray], dict[str, list[float]]]:
    """Representatives of classes, and the rows of the printed table."""
    if name in TABLES:
        group = point_group(name)
        heads, rows = TABLES[name]
        assert sorted(heads) == sorted(group.class_names)
        return [group.elements[group.classes[group.class_names.index(head)][0]] for head in heads], rows
    factor, other = PRODUCTS[name]
    representatives, rows = published(factor)
    z = -np.eye(3) if other == "i" else np.diag([1.0, 1, -1])
    even, odd = ("g", "u") if other == "i" else ("'", "''")
    product = {label + even: [*row, *row] for label, row in rows.items()}
    product |= {label + odd: [*row, *(-x for x in row)] for label, row in rows.items()}
    return [*representatives, *(z @ m for m in representatives)], product


@pytest.mark.parametrize("name", [*TABLES, *PRODUCTS])
def test_published_table(name):
    group = point_group(name)
    representatives, rows = published(name)
    columns = [group.class_of[group.index(m)] for m in representatives]
    assert sorted(columns) == list(range(len(group.classes)))
    assert sorted(group.labels) == sorted(rows)
    for irrep in group.irreps:
        np.testing.assert_allclose(irrep.characters[columns], rows[irrep.label], rtol=0, atol=5e-16)
        assert [float(x) for x in irrep.exact] == list(irrep.characters)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_published_class_names(name):
    group = point_group(name)
    columns = [group.class_of[group.index(m)] for m in published(name)[0]]
    assert [group.class_names[c] for c in columns] == CLASS_NAMES[name].split()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_published_functions(name):
    group = point_group(name)
    for irreps, expected in zip(("1o", "1e", "2e"), FUNCTIONS[name], strict=True):
        counts = {term.lstrip("2"): 2 if term[0] == "2" else 1 for term in expected.split("+")}
        assert group.subduce(irreps) == counts, irreps


@pytest.mark.parametrize("name", ALL + BEYOND)
def test_axioms(name):
    group = point_group(name)
    E, table = group.elements, group.multiplication
    np.testing.assert_allclose(np.einsum("aij,bjk->abik", E, E), E[table], rtol=0, atol=1e-15)
    np.testing.assert_array_equal(E[0], np.eye(3))
    assert (table[np.arange(group.order), group.inverses] == 0).all()
    for irrep in group.irreps:
        M = irrep.matrices
        np.testing.assert_allclose(np.einsum("aij,bjk->abik", M, M), M[table], rtol=0, atol=2e-15)
        np.testing.assert_allclose(M @ M.transpose(0, 2, 1), np.broadcast_to(np.eye(irrep.dim), M.shape), rtol=0, atol=1e-15)
        np.testing.assert_allclose(np.trace(M, axis1=1, axis2=2), irrep.characters[group.class_of], rtol=0, atol=3e-15)
    norms = (group.character_table**2) @ group.finite.class_sizes
    np.testing.assert_allclose(norms, [group.order * (2 if i.complex_type else 1) for i in group.irreps], rtol=1e-14)
    assert sum(i.dim**2 / (2 if i.complex_type else 1) for i in group.irreps) == group.order
    assert len(set(group.labels)) == len(group.labels)


def test_crystallographic_groups_are_complete():
    orders = sorted(point_group(name).order for name in INTERNATIONAL)
    assert orders == sorted(
        [1, 2, 2, 2, 4, 4, 4, 8, 4, 4, 8, 8, 8, 8, 16, 3, 6, 6, 6, 12, 6, 6, 12, 12, 12, 12, 24, 12, 24, 24, 24, 48]
    )
    assert len({point_group(name).symbol for name in INTERNATIONAL.values()}) == 32


@pytest.mark.parametrize("name", ALL + BEYOND)
def test_recognised_in_any_orientation(name):
    group = point_group(name)
    turn = rand_matrix(generator=torch.Generator().manual_seed(3), dtype=torch.float64).numpy()
    found = generate(turn @ group.elements @ turn.T, name=name)
    assert found.name == group.name
    assert all(found.contains(turn @ m @ turn.T, 1e-12) for m in group.elements)
    np.testing.assert_allclose(
        np.einsum("aij,bjk->abik", found.elements, found.elements), found.elements[found.multiplication], rtol=0, atol=2e-15
    )
    assert generate(group.elements) == group
    np.testing.assert_array_equal(generate(group.elements).orientation, np.eye(3))


def test_settings_of_international_symbols():
    x, y = np.diag([1.0, -1, -1]), np.diag([-1.0, 1, -1])
    mirror_x = np.diag([-1.0, 1, 1])
    assert point_group("-42m").contains(x)
    assert point_group("-4m2").contains(mirror_x)
    assert not point_group("-4m2").contains(x)
    assert point_group("321").contains(x)
    assert point_group("312").contains(y)
    assert point_group("3m1").contains(mirror_x)
    assert not point_group("31m").contains(mirror_x)
    assert point_group("-6m2").contains(mirror_x)
    assert point_group("-62m").contains(x)


@pytest.mark.parametrize("name", ["C4", "T", "D3h", "Oh", "Ih", "D5d"])
def test_adapted_bases(name):
    group = point_group(name)
    D = group.representation("2x0e+2x1o+1x2e+1x3o")
    total = 0
    for label, copies in group.subduce("2x0e+2x1o+1x2e+1x3o").items():
        bases = group.symmetric_basis(D, label)
        irrep = group.irrep(label)
        assert bases.shape == (copies, irrep.dim, D.shape[-1])
        for B in bases:
            np.testing.assert_allclose(B @ D @ B.T, irrep.matrices, atol=1e-13)
        flat = bases.reshape(-1, D.shape[-1])
        np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-13)
        np.testing.assert_allclose(flat.T @ flat, group.projector(D, label), atol=1e-13)
        total += len(flat)
    assert total == D.shape[-1]
    invariants = group.invariants("2x0e+2x1o+1x2e+1x3o")
    assert len(invariants) == group.subduce("2x0e+2x1o+1x2e+1x3o").get(group.labels[0], 0)


def test_layouts():
    group = point_group("C4v")
    for layout in ("ir_mul", "mul_ir"):
        D = group.representation("2x1o", layout)
        R = torch.from_numpy(np.array(group.elements))
        np.testing.assert_array_equal(D, Irreps("2x1o").D_from_matrix(R, layout=layout).numpy())
    np.testing.assert_array_equal(group.invariants("2x1o", "ir_mul") @ [0, 0, 0, 0, 1, 2], [1, 2])
    np.testing.assert_array_equal(group.invariants("2x1o", "mul_ir") @ [0, 0, 1, 0, 0, 2], [1, 2])


def test_products_and_powers():
    Oh = point_group("Oh")
    assert Oh.product("T1u", "T1u") == {"A1g": 1, "Eg": 1, "T1g": 1, "T2g": 1}
    assert Oh.symmetric_power("Eg") == {"A1g": 1, "Eg": 1}
    assert Oh.symmetric_power("T1u", antisymmetric=True) == {"T1g": 1}
    assert point_group("Ih").symmetric_power("Hg") == {"Ag": 1, "Gg": 1, "Hg": 2}
    assert groups.combine([{"A1": 1}, {"E": 1, "A1": 1}]) == {"A1": 2, "E": 1}


def test_value_semantics():
    group = point_group("D3")
    assert group == generate(group.elements[1:])
    assert group != point_group("312")
    assert len({group, generate(group.elements)}) == 1
    assert pickle.loads(pickle.dumps(group)) == group
    with pytest.raises(ValueError, match="read-only"):
        group.elements[0, 0, 0] = 2


def test_errors():
    for name in ("Q4", "C2d", "D1", "C0", ""):
        with pytest.raises(ValueError, match="is not a point group"):
            point_group(name)
    with pytest.raises(ValueError, match="no irrep 'T1u': expected one of A1"):
        point_group("Td").irrep("T1u")
    with pytest.raises(ValueError, match="not orthogonal"):
        generate(np.diag([1.0, 1, 2])[None])
    with pytest.raises(ValueError, match="generate C2v, not D2"):
        generate(point_group("C2v").elements, name="D2")
    irrational = np.array([[np.cos(1), -np.sin(1), 0], [np.sin(1), np.cos(1), 0], [0, 0, 1]])
    with pytest.raises(ValueError, match="more than 2000 elements"):
        generate(irrational[None])
    with pytest.raises(ValueError, match="no real representation"):
        point_group("Oh").reduce(np.ones(10) * 0.5)


def test_all_tables_take_two_seconds():
    """A fresh process, after the imports: elements, classes, exact characters, labels and matrices of the 32 groups."""
    program = (
        "import time, torch; from tesseral.groups import INTERNATIONAL, point_group; start = time.process_time();"
        "[point_group(name).irreps for name in INTERNATIONAL]; print(time.process_time() - start)"
    )
    seconds = float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
    print(f"tables of the 32 groups: {seconds:.2f} s of processor time")
    assert seconds < 2
