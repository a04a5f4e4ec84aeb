"""Dropout keeps irreps whole, and the mean."""

import pytest
import torch

from tesseral.nn import Dropout
from tesseral.o3 import Irreps
from tests.contracts import (
    Case,
    check_compile,
    check_dtypes,
    check_empty,
    check_equivariance,
    check_gradients,
    check_pickle,
    name_of,
)

IRREPS = "3x0e+2x1o+4x2e"
EVALUATION = Case("evaluation", lambda dtype: Dropout(IRREPS, 0.4).eval(), [IRREPS], IRREPS)
TRAINING = Case("training", lambda dtype: Dropout(IRREPS, 0.4), [IRREPS], IRREPS)


@pytest.mark.parametrize("check", [check_equivariance, check_gradients, check_dtypes, check_empty, check_pickle], ids=name_of)
def test_contract(check):
    check(EVALUATION)


@pytest.mark.compile
def test_compiles():
    check_compile(EVALUATION)
    torch._dynamo.reset()
    compiled = torch.compile(Dropout(IRREPS, 0.5), fullgraph=True, backend="aot_eager")
    assert compiled(torch.ones(4, Irreps(IRREPS).dim)).shape == (4, Irreps(IRREPS).dim)


def test_training_is_equivariant_for_each_mask():
    check_equivariance(TRAINING)
    check_empty(TRAINING)


def test_irreps_fall_whole_and_the_mean_stays():
    irreps = Irreps(IRREPS)
    y = Dropout(irreps, 0.25)(torch.ones(20000, irreps.dim))
    for (mul, ir), place in zip(irreps, irreps.slices(), strict=True):
        block = y[:, place].reshape(-1, ir.dim, mul)
        assert bool((block == block[:, :1]).all())
        assert block[:, 0].mean().item() == pytest.approx(1.0, abs=0.03)
        assert (block[:, 0] == 0).double().mean().item() == pytest.approx(0.25, abs=0.01)
    assert len({tuple(row) for row in (y[:50, :3] == 0).tolist()}) > 1


def test_none_is_dropped_at_zero():
    x = torch.randn(4, Irreps(IRREPS).dim)
    assert torch.equal(Dropout(IRREPS, 0.0)(x), x)


def test_probabilities_outside_are_refused():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\), got 1.0"):
        Dropout(IRREPS, 1.0)
