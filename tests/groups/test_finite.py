"""Abstract groups and exact numbers: groups that are no point groups."""

import itertools

import numpy as np
import pytest

from tesseral.groups import Cyclotomic, FiniteGroup
from tesseral.groups.cyclotomic import cosine, cyclotomic_polynomial, sine


def permutations(n: int) -> FiniteGroup:
    elements = list(itertools.permutations(range(n)))
    return FiniteGroup(np.array([[elements.index(tuple(a[i] for i in b)) for b in elements] for a in elements]))


def quaternions() -> FiniteGroup:
    one, i, j = np.eye(2), np.diag([1j, -1j]), np.array([[0, 1], [-1, 0]])
    elements = [s * m for m in (one, i, j, i @ j) for s in (1, -1)]
    table = [[next(k for k, c in enumerate(elements) if np.allclose(a @ b, c)) for b in elements] for a in elements]
    return FiniteGroup(np.array(table))


def test_characters_of_the_symmetric_group():
    """S5: the dimensions are 1, 1, 4, 4, 5, 5, 6 and every character is an integer."""
    group = permutations(5)
    table = group.complex_characters
    assert sorted(float(row[0]) for row in table) == [1, 1, 4, 4, 5, 5, 6]
    assert all(str(x).lstrip("-").isdigit() for row in table for x in row)


def test_characters_of_the_quaternions():
    table = quaternions().complex_characters
    assert sorted(int(float(row[0])) for row in table) == [1, 1, 1, 1, 2]


def test_frobenius_group_has_irrational_complex_characters():
    """Order 21: x → ax + b modulo 7 with a in {1, 2, 4}; the characters contain (-1 ± i√7)/2."""
    elements = [(a, b) for a in (1, 2, 4) for b in range(7)]
    table = [[elements.index((a * c % 7, (a * d + b) % 7)) for c, d in elements] for a, b in elements]
    characters = FiniteGroup(np.array(table)).complex_characters
    values = {complex(round(complex(x).real, 9), round(complex(x).imag, 9)) for row in characters for x in row}
    assert complex(-0.5, round(7**0.5 / 2, 9)) in values


def test_orders_powers_classes():
    group = permutations(4)
    assert sorted(len(c) for c in group.classes) == [1, 3, 6, 6, 8]
    assert sorted(group.element_orders) == [1] + [2] * 9 + [3] * 8 + [4] * 6
    assert group.exponent == 12
    for g in range(24):
        assert group.power(g, -1) == group.inverses[g]
        assert group.power(g, int(group.element_orders[g])) == 0


def test_a_table_that_is_no_group():
    with pytest.raises(ValueError, match="not the multiplication of a group"):
        FiniteGroup(np.array([[0, 1], [1, 1]]))
    with pytest.raises(ValueError, match="not the multiplication of a group"):
        FiniteGroup(np.array([[1, 0], [0, 1]]))


def test_cyclotomic_numbers_are_exact():
    zeta = Cyclotomic(3, (0, 1, 0))
    assert zeta + zeta.conjugate() == -1
    assert zeta * zeta * zeta == 1
    assert Cyclotomic(6, (0, 1, 0, 0, 0, 0)) == zeta.conjugate() * -1
    assert zeta != 1
    assert hash(Cyclotomic(6, (0, 1, 0, 0, 0, 0))) == hash(zeta.conjugate() * -1)
    root2 = Cyclotomic(8, (0, 1, 0, 0, 0, 0, 0, 1))
    assert root2 * root2 == 2
    assert str(root2) == "2cos(π/4)"
    assert float(root2) == pytest.approx(2**0.5, abs=1e-15)
    with pytest.raises(ValueError, match="not real"):
        float(zeta)
    with pytest.raises(ValueError, match="expected one for each power"):
        Cyclotomic(3, (1,))


def test_cosines():
    for n in range(1, 40):
        for k in range(-n, 2 * n):
            assert cosine(k, n) == pytest.approx(np.cos(2 * np.pi * (k % n) / n), abs=2e-15)
            assert sine(k, n) == pytest.approx(np.sin(2 * np.pi * (k % n) / n), abs=2e-15)
    assert [cosine(k, 12) for k in (0, 2, 3, 4, 6)] == [1.0, 0.5, 0.0, -0.5, -1.0]
    assert cyclotomic_polynomial(105)[7] == -2  # the first coefficient that is not 0 or ±1
