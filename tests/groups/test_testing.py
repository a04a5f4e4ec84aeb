"""The assertions hold where they should, and fail where they should."""

import pytest
import torch

from tesseral.groups.testing import assert_equivariant, assert_normalized, random_irreps
from tesseral.nn import FullTensorProduct, Linear


def test_random_irreps_cover_what_they_should():
    torch.manual_seed(0)
    drawn = [random_irreps(lmax=2, allow_empty=True) for _ in range(200)]
    assert any(len(i) == 0 for i in drawn)
    assert any(mul == 0 for i in drawn for mul, _ in i)
    assert {ir.l for i in drawn for _, ir in i} == {0, 1, 2}
    assert all(mul for _ in range(50) for mul, _ in random_irreps())


def test_equivariance():
    assert_equivariant(Linear("2x1o+0e", "3x1o", dtype=torch.float64), ["2x1o+0e"], "3x1o")
    x = torch.randn(3, 3)
    assert_equivariant(lambda x: x, ["1o"], "1o", inputs=[x])
    with pytest.raises(AssertionError, match="not equivariant to 1e-09"):
        assert_equivariant(lambda x: x.abs(), ["1o"], "1o")
    with pytest.raises(AssertionError, match="not equivariant"):
        assert_equivariant(lambda x: x, ["1o"], "1e")


@pytest.mark.parametrize("normalization", ["component", "norm"])
def test_normalisation(normalization):
    layer = FullTensorProduct("4x0e+4x1o", "4x1o", irrep_normalization=normalization)
    assert_normalized(layer, ["4x0e+4x1o", "4x1o"], layer.irreps_out, normalization)
    with pytest.raises(AssertionError, match="expected 1"):
        assert_normalized(lambda x, y: 2 * layer(x, y), ["4x0e+4x1o", "4x1o"], layer.irreps_out, normalization)
