"""Symmetric and antisymmetric powers: dimensions, symmetry, orthonormality."""

import itertools
import math

import numpy as np
import pytest

from tesseral.o3 import Irreps, antisymmetric_product_basis, product_basis, symmetric_product_basis
from tesseral.o3.permutations import sign


@pytest.mark.parametrize(("irreps", "order"), [("1o", 4), ("0e+1o", 3), ("2x1o", 2), ("2e", 3), ("1o+2e", 1)])
def test_powers(irreps, order):
    n = Irreps(irreps).dim
    for build, dim, odd in (
        (symmetric_product_basis, math.comb(n + order - 1, order), False),
        (antisymmetric_product_basis, math.comb(n, order), True),
    ):
        power = build(irreps, order)
        Q = power.change_of_basis
        assert power.irreps_out.dim == dim
        assert Q.shape == (dim, *[n] * order)
        flat = Q.reshape(dim, n**order)
        np.testing.assert_allclose(flat @ flat.T, np.eye(dim), atol=1e-14)
        for p in itertools.permutations(range(order)):
            np.testing.assert_allclose(Q.transpose(0, *(1 + i for i in p)), (sign(p) if odd else 1) * Q, atol=1e-14)


def test_both_powers_make_up_the_square():
    whole = product_basis(["0e+1o", "0e+1o"]).irreps_out
    parts = symmetric_product_basis("0e+1o", 2).irreps_out + antisymmetric_product_basis("0e+1o", 2).irreps_out
    assert parts.regroup() == whole


def test_filter_and_refusal():
    assert symmetric_product_basis("1o", 2, ["2e"]).irreps_out == Irreps("2e")
    with pytest.raises(ValueError, match="number of factors"):
        symmetric_product_basis("1o", 0)
