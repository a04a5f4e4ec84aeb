"""Orthonormal families against e3nn's, and where e3nn's lose accuracy."""

import e3nn.math
import pytest
import torch

from tesseral.o3 import complete_basis, direct_sum, orthonormalize


def test_direct_sum_agrees_with_e3nn_and_broadcasts():
    a, b = torch.randn(4, 2, 3), torch.randn(4, 1, 2)
    torch.testing.assert_close(direct_sum(a, b), e3nn.math.direct_sum(a, b))
    assert direct_sum(a, b[0]).shape == (4, 3, 5)
    with pytest.raises(ValueError, match="at least one"):
        direct_sum()


def test_orthonormalize_agrees_with_e3nn():
    x = torch.randn(6, 5, dtype=torch.float64)
    x[2] = x[0] - 2 * x[1]
    y, A = orthonormalize(x)
    theirs, matrix = e3nn.math.orthonormalize(x)
    assert y.shape == (5, 5)
    torch.testing.assert_close(y, theirs)
    torch.testing.assert_close(A, matrix)
    torch.testing.assert_close(A @ x, y)


def test_nearly_dependent_rows_stay_orthogonal():
    x = torch.ones(3, 4, dtype=torch.float64) + 1e-7 * torch.randn(3, 4, dtype=torch.float64)
    y, _ = orthonormalize(x)
    torch.testing.assert_close(y @ y.T, torch.eye(3, dtype=torch.float64), atol=1e-14, rtol=0)


def test_complement():
    x = torch.linalg.qr(torch.randn(5, 2, dtype=torch.float64))[0].T
    torch.testing.assert_close(complete_basis(x), e3nn.math.complete_basis(x))
    oblique = torch.tensor([[1.0, 0, 0], [1.0, 1.0, 0]], dtype=torch.float64)
    torch.testing.assert_close(complete_basis(oblique), torch.tensor([[0.0, 0, 1]], dtype=torch.float64))
