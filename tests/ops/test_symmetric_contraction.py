"""Bases, plans and errors of the symmetric contraction; the layer's tests compare numbers."""

import copy
import itertools
import math
import pickle

import numpy
import pytest
import torch

from tesseral.o3 import Irrep
from tesseral.ops.symmetric_contraction import SymmetricContractionPlan, coupled_basis, symmetric_basis, symmetric_contraction

IRREPS = (Irrep("0e"), Irrep("1o"), Irrep("2e"))


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("ir", ["0e", "1o", "2e"])
def test_couplings_span_the_symmetric_basis(order, ir):
    """The paths of left-to-right coupling, symmetrised, have the rank of the basis and lie in its span."""
    basis, paths = symmetric_basis(IRREPS, Irrep(ir), order), coupled_basis(IRREPS, Irrep(ir), order)
    letters = "ijk"[:order]
    axes = [tuple(2 + letters.index(c) for c in p) for p in itertools.permutations(letters)]
    symmetric = sum(paths.transpose(0, 1, *a) for a in axes) / len(axes)
    flat, target = symmetric.reshape(len(paths), -1), basis.reshape(len(basis), -1)
    assert numpy.linalg.matrix_rank(flat, tol=1e-9) == len(basis)
    residual = flat - flat @ numpy.linalg.pinv(target) @ target
    assert abs(residual).max() < 1e-12
    norms = numpy.linalg.norm(basis.reshape(-1, target.shape[1] // Irrep(ir).dim), axis=1)
    assert numpy.allclose(norms, 1 / math.sqrt(math.factorial(order)))


def test_norm_of_a_vector():
    """Degree two of one vector: its square, over sqrt(3) and sqrt(2)."""
    plan = SymmetricContractionPlan("1x1o", "1x0e", 2)
    x = torch.randn(4, 3, dtype=torch.float64)
    y = symmetric_contraction(plan, x, torch.ones(1, 1, dtype=torch.float64), torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(y[:, 0], x.square().sum(1) / math.sqrt(6))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="all multiplicities must be equal; got 2x0e"):
        SymmetricContractionPlan("2x0e+3x1o", "2x0e", 2)
    with pytest.raises(ValueError, match="correlation must be 1 to 4, got 5"):
        SymmetricContractionPlan("2x0e", "2x0e", 5)
    with pytest.raises(ValueError, match="0o cannot be made of 2x0e"):
        SymmetricContractionPlan("2x0e", "2x0o", 3)
    plan = SymmetricContractionPlan("2x0e+2x1o", "2x0e", 2)
    with pytest.raises(ValueError, match="must have 8 and 6 columns"):
        symmetric_contraction(plan, torch.ones(2, 8), torch.ones(1, 5), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"'species' must lie in 0\.\.0; found 0\.\.1"):
        symmetric_contraction(plan, torch.ones(2, 8), torch.ones(1, 6), torch.arange(2))


def test_plans_copy_and_pickle():
    plan = SymmetricContractionPlan("2x0e+2x1o", "2x0e", 2)
    for other in (copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
        assert other.program == plan.program
        assert repr(other) == repr(plan)
