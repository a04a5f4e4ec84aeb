"""Permutations and index symmetries against e3nn's, and the laws of groups."""

import itertools
import math

import e3nn.math
import e3nn.math.perm
import numpy as np
import pytest
import torch

from tesseral.o3 import permutations as perm


@pytest.mark.parametrize("n", [1, 3, 4])
def test_every_function_agrees_with_e3nn(n):
    theirs = e3nn.math.perm
    assert perm.group(n) == theirs.group(n)
    assert perm.identity(n) == theirs.identity(n)
    for number in range(math.factorial(n)):
        p = perm.from_int(number, n)
        assert p == theirs.from_int(number, n)
        assert perm.to_int(p) == number
        assert perm.inverse(p) == theirs.inverse(p)
        assert perm.sign(p) == theirs.sign(p)
        assert perm.to_cycles(p) == theirs.to_cycles(p)
        torch.testing.assert_close(perm.natural_representation(p), theirs.natural_representation(p))
        torch.testing.assert_close(perm.standard_representation(p), theirs.standard_representation(p))
        assert perm.germinate({p}) == theirs.germinate({p})
    assert perm.is_perm(perm.rand(n))


def test_representations_are_homomorphisms_in_any_dtype():
    for p, q in itertools.product(perm.group(3), repeat=2):
        for rep in (perm.natural_representation, perm.standard_representation):
            product = rep(p, dtype=torch.float64) @ rep(q, dtype=torch.float64)
            torch.testing.assert_close(product, rep(perm.compose(p, q), dtype=torch.float64))
    assert np.linalg.det(perm.natural_representation((1, 0, 2)).numpy()) == pytest.approx(perm.sign((1, 0, 2)))


def test_groups_are_recognised():
    assert perm.is_group(perm.group(4))
    assert not perm.is_group(perm.group(3) - {(0, 1, 2)})
    assert perm.is_group({p for p in perm.group(4) if perm.sign(p) == 1})


@pytest.mark.parametrize("formula", ["ij", "ij=ji", "ij=-ji", "ijk=jki", "ijk=-jik=-ikj", "ijkl=jikl=klij", "ij=ji=-ij"])
def test_index_symmetries_are_those_of_e3nn(formula):
    ours, theirs = perm.germinate_formulas(formula), e3nn.math.germinate_formulas(formula)
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1]
    dims = dict.fromkeys(ours[0], 3)
    basis, elements = perm.reduce_permutation(*ours, **dims)
    expected, their_elements = e3nn.math.reduce_permutation(*theirs, dtype=torch.float64, **dims)
    np.testing.assert_allclose(basis, expected.numpy(), atol=1e-15)
    assert elements == their_elements


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: perm.compose((0, 1), (0, 1, 2)), "as many things"),
        (lambda: perm.germinate_formulas("ij=jk"), "not a permutation"),
        (lambda: perm.reduce_permutation(*perm.germinate_formulas("ij=ji")), "no dimension"),
        (lambda: perm.reduce_permutation(*perm.germinate_formulas("ij=ji"), i=2, j=3), "another dimension"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
