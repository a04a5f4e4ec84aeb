import pickle

import pytest
import torch
from e3nn import o3 as e3nn_o3

from tesseral.o3 import equiangular_grid, gauss_legendre_grid, rand_matrix, wigner_D
from tesseral.o3.rotation_grid import RotationTransform
from tesseral.o3.rotations import angles_to_matrix, matrix_to_angles


def evaluate(transform, coefficients, alpha, beta, gamma):
    """The definition, at any angles."""
    blocks = [(2 * l + 1) ** 0.5 * wigner_D(l, alpha, beta, gamma).flatten(-2) for l in range(transform.lmax + 1)]
    return torch.cat(blocks, -1) @ coefficients / transform.irreps.dim**0.5


@pytest.mark.parametrize("grid", [gauss_legendre_grid(4, 7), equiangular_grid(8, 9)], ids=str)
def test_values_and_round_trip(grid):
    transform = RotationTransform(3, grid)
    assert transform.irreps.dim == 1 + 9 + 25 + 49
    x = torch.randn(2, transform.irreps.dim, dtype=torch.float64)
    values = transform.to_grid(x)
    torch.testing.assert_close(transform.from_grid(values), x, rtol=0, atol=1e-13)
    alphas, betas = torch.from_numpy(grid.alphas.copy()), torch.from_numpy(grid.betas.copy())
    expected = evaluate(transform, x[0], *torch.meshgrid(alphas, betas, alphas, indexing="ij"))
    torch.testing.assert_close(values[0], expected, rtol=0, atol=1e-12)


def test_equal_to_e3nn():
    torch.set_default_dtype(torch.float64)  # e3nn has no dtype argument here
    theirs = e3nn_o3.SO3Grid(2, 4, aspect_ratio=2)
    torch.set_default_dtype(torch.float32)
    ours = RotationTransform(2, equiangular_grid(8, 16))
    x = torch.randn(3, 35, dtype=torch.float64)
    torch.testing.assert_close(ours.to_grid(x), theirs.to_grid(x), rtol=0, atol=1e-13)
    values = torch.randn(3, 16, 8, 16, dtype=torch.float64)
    torch.testing.assert_close(ours.from_grid(values), theirs.from_grid(values), rtol=0, atol=1e-13)


def test_equivariance():
    # f(R0^-1 R) has coefficients D(R0) F: rows m transform, at every point of the grid.
    transform = RotationTransform(2, gauss_legendre_grid(3, 5))
    x = torch.randn(35, dtype=torch.float64)
    R0 = rand_matrix(dtype=torch.float64)
    rotated = transform.irreps.D_from_matrix(R0, layout="ir_mul") @ x  # each F is a matrix whose rows turn
    alphas = torch.from_numpy(transform.grid.alphas.copy())
    betas = torch.from_numpy(transform.grid.betas.copy())
    R = angles_to_matrix(*torch.meshgrid(alphas, betas, alphas, indexing="ij"))
    expected = evaluate(transform, x, *matrix_to_angles(R0.T @ R))
    error = (transform.to_grid(rotated) - expected).abs().max().item()
    assert error < 1e-12, error


def test_unit_variance():
    transform = RotationTransform(2, gauss_legendre_grid(3, 5))
    squares = transform.to_grid(torch.eye(35, dtype=torch.float64)).square().sum(0)
    torch.testing.assert_close(squares, torch.ones_like(squares))


def test_gradients_dtypes_empty_and_pickle():
    transform = RotationTransform(1, gauss_legendre_grid(2, 3))

    def function(x):
        return transform.from_grid(transform.to_grid(x).tanh())

    x = torch.randn(2, 10, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)
    torch.testing.assert_close(torch.vmap(function)(x), function(x))
    torch.testing.assert_close(function(x.float()).double(), function(x), rtol=0, atol=1e-5)
    assert function(x.float()).dtype == torch.float32
    assert function(x[:0]).shape == (0, 10)
    assert function(x.to("meta")).is_meta
    other = pickle.loads(pickle.dumps(transform))
    assert repr(other) == repr(transform)
    torch.testing.assert_close(other.to_grid(x), transform.to_grid(x), rtol=0, atol=0)


def test_bad_arguments():
    transform = RotationTransform(2, gauss_legendre_grid(2, 3))
    with pytest.raises(ValueError, match="lmax = 2 has 35 coefficients"):
        transform.to_grid(torch.zeros(34))
    with pytest.raises(ValueError, match=r"shape \(..., 3, 2, 3\), got \(2, 3, 3\)"):
        transform.from_grid(torch.zeros(2, 3, 3))
    with pytest.raises(ValueError, match="lmax = 2 need 4"):
        transform.from_grid(torch.zeros(3, 2, 3))


class Activation(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.transform = RotationTransform(2, gauss_legendre_grid(4, 7))

    def forward(self, x):
        return self.transform.from_grid(self.transform.to_grid(x).relu())


@pytest.mark.compile
def test_compiles_and_exports():
    module = Activation()
    x = torch.randn(4, 35)
    torch.testing.assert_close(torch.compile(module, fullgraph=True, backend="aot_eager")(x), module(x))
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    other = torch.randn(6, 35)
    torch.testing.assert_close(program.module()(other), module(other))
