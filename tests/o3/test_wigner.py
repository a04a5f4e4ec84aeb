"""Wigner D: exact references, the group law, harmonics that turn, derivatives at the points where angles fail, and graphs."""

import functools
import pathlib
import warnings

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from tesseral import o3
from tesseral.o3 import wigner

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from e3nn import o3 as e3nn

EYE = torch.eye(3, dtype=torch.float64)


def exact_wigner_D(l: int, alpha: float, beta: float, gamma: float) -> np.ndarray:
    """Wigner's sum for d^l(beta) in 40 digits, with the phases of alpha and gamma, taken to the real basis."""
    with mpmath.workdps(40):
        a, b, c = mpmath.mpf(alpha), mpmath.mpf(beta), mpmath.mpf(gamma)
        factorial, cos, sin = mpmath.factorial, mpmath.cos(b / 2), mpmath.sin(b / 2)
        m = range(-l, l + 1)

        def small(i: int, j: int) -> mpmath.mpf:
            root = mpmath.sqrt(factorial(l + i) * factorial(l - i) * factorial(l + j) * factorial(l - j))
            terms = [
                (-1) ** (i - j + s)
                * cos ** (2 * l + j - i - 2 * s)
                * sin ** (i - j + 2 * s)
                / (factorial(l + j - s) * factorial(s) * factorial(i - j + s) * factorial(l - i - s))
                for s in range(max(0, j - i), min(l + j, l - i) + 1)
            ]
            return root * mpmath.fsum(terms)

        D = mpmath.matrix(2 * l + 1)
        for i in m:
            for j in m:
                # complex harmonics turn by the conjugate; y, z, x are here what z, x, y are in textbooks
                D[i + l, j + l] = mpmath.expj(i * a) * small(i, j) * mpmath.expj(j * c)
        Q = mpmath.matrix(2 * l + 1)
        Q[l, l] = 1
        half = 1 / mpmath.sqrt(2)
        for k in range(1, l + 1):
            # Y_k, with the textbook sign (-1)^k, and Y_-k in the cosine (k) and the sine (-k)
            Q[l + k, l + k], Q[l + k, l - k] = (-1) ** k * half, 1j * (-1) ** k * half
            Q[l - k, l + k], Q[l - k, l - k] = half, -1j * half
        real = Q.H * D * Q
        return np.array([[float(mpmath.re(real[i, j])) for j in range(2 * l + 1)] for i in range(2 * l + 1)])


@pytest.mark.parametrize("l", [0, 1, 2, 3, 7, 12])
@pytest.mark.parametrize("angles", [(0.3, 1.1, -2.0), (2.0, 3.1, 0.7), (-1.0, 1e-9, 3.0)])
def test_exact(l: int, angles: tuple[float, float, float]) -> None:
    reference = torch.tensor(exact_wigner_D(l, *angles))
    ours = o3.wigner_D(l, *torch.tensor(angles, dtype=torch.float64))
    torch.testing.assert_close(ours, reference, rtol=0, atol=2e-14)
    single = o3.wigner_D(l, *torch.tensor(angles, dtype=torch.float32))
    torch.testing.assert_close(single.double(), reference, rtol=0, atol=5e-6)


@pytest.mark.parametrize("l", [0, 1, 2, 5, 12, 20])
def test_group_law(l: int) -> None:
    R, S = o3.rand_matrix(2, 8, dtype=torch.float64)
    D = functools.partial(o3.wigner_D_from_matrix, l)
    eye = torch.eye(2 * l + 1, dtype=torch.float64)
    torch.testing.assert_close(D(R @ S), D(R) @ D(S), rtol=0, atol=1e-13)
    torch.testing.assert_close(D(R.mT), D(R).mT, rtol=0, atol=1e-13)
    torch.testing.assert_close(D(R) @ D(R).mT, eye.expand(8, -1, -1), rtol=0, atol=1e-13)
    torch.testing.assert_close(D(EYE), eye, rtol=0, atol=1e-14)
    torch.testing.assert_close(D(-R), (-1) ** l * D(R), rtol=0, atol=1e-13)


@pytest.mark.parametrize("l", range(9))
def test_harmonics_turn(l: int) -> None:
    R = o3.rand_matrix(10, dtype=torch.float64)
    R[5:] *= -1
    x = torch.randn(10, 3, dtype=torch.float64)
    turned = o3.spherical_harmonics(l, torch.einsum("bij,bj->bi", R, x), True)
    D = o3.wigner_D_from_matrix(l, R)
    torch.testing.assert_close(turned, torch.einsum("bij,bj->bi", D, o3.spherical_harmonics(l, x, True)), rtol=0, atol=1e-13)


@pytest.mark.parametrize("l", [0, 1, 2, 4, 8])
def test_same_as_e3nn(l: int) -> None:
    torch.set_default_dtype(torch.float64)  # e3nn's generators have the default precision
    try:
        angles = o3.rand_angles(20)
        reference = e3nn.wigner_D(l, *angles)
        generators, su2 = e3nn._wigner.so3_generators(l), e3nn._wigner.su2_generators(l)
        change = e3nn._wigner.change_basis_real_to_complex(l)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(o3.wigner_D(l, *angles), reference, rtol=0, atol=1e-12)
    R, q = o3.angles_to_matrix(*angles), -3 * o3.angles_to_quaternion(*angles)
    torch.testing.assert_close(o3.wigner_D_from_matrix(l, R), reference, rtol=0, atol=1e-12)
    torch.testing.assert_close(o3.wigner_D_from_quaternion(l, q), reference, rtol=0, atol=1e-12)
    torch.testing.assert_close(o3.so3_generators(l), generators, rtol=0, atol=1e-13)
    torch.testing.assert_close(o3.su2_generators(l), su2, rtol=0, atol=1e-13)
    torch.testing.assert_close(o3.change_basis_real_to_complex(l), change, rtol=0, atol=1e-15)


@pytest.mark.parametrize("version", ["0.4.4", "0.6.0"])
@pytest.mark.parametrize("l", [1, 2, 3, 6])
def test_golden(version: str, l: int) -> None:
    with np.load(pathlib.Path(__file__).parent / "golden" / f"e3nn-{version}.npz") as golden:
        angles, reference = torch.from_numpy(golden["angles"]), torch.from_numpy(golden[f"wigner_D_{l}"])
    torch.testing.assert_close(o3.wigner_D(l, *angles), reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("l", range(1, 13))
def test_the_coupling_is_the_3j_symbol(l: int) -> None:
    ours = np.array(wigner.stretched_coupling(l)).reshape(2 * l - 1, 3, 2 * l + 1)
    np.testing.assert_allclose(ours, np.sqrt(2 * l + 1) * o3.wigner_3j_array(l - 1, 1, l), rtol=0, atol=1e-15)


@pytest.mark.parametrize("l", [0, 1, 3, 12])
def test_generators(l: int) -> None:
    X = o3.so3_generators(l)
    for i, j, k in [(0, 1, 2), (1, 2, 0), (2, 0, 1)]:
        torch.testing.assert_close(X[i] @ X[j] - X[j] @ X[i], X[k], rtol=0, atol=1e-12)
    torch.testing.assert_close((X @ X).sum(0), -l * (l + 1) * torch.eye(2 * l + 1, dtype=torch.float64), rtol=0, atol=1e-12)
    assert torch.equal(X, -X.mT)
    vector = torch.randn(3, dtype=torch.float64)
    D = o3.wigner_D_from_matrix(l, o3.rotation_vector_to_matrix(vector))
    torch.testing.assert_close(D, torch.linalg.matrix_exp(torch.einsum("i,ijk->jk", vector, X)), rtol=0, atol=1e-12)
    assert o3.so3_generators(l, dtype=torch.float32).dtype == torch.float32
    assert o3.su2_generators(l, dtype=torch.float32).dtype == torch.complex64
    assert o3.change_basis_real_to_complex(l, dtype=torch.float32).dtype == torch.complex64


@pytest.mark.parametrize("l", [1, 2, 4, 8])
def test_derivatives_at_special_rotations(l: int) -> None:
    """Along v, D(R exp(v)) changes by D(R) X(v), and to second order by D(R) X(v) X(v) / 2, everywhere."""
    X = o3.so3_generators(l)
    half_turn = o3.matrix_x(torch.tensor(torch.pi, dtype=torch.float64))
    for R in (EYE, half_turn, o3.matrix_y(torch.tensor(0.4, dtype=torch.float64)), o3.rand_matrix(dtype=torch.float64)):

        def turned(v: Tensor, R: Tensor = R) -> Tensor:
            return o3.wigner_D_from_matrix(l, R @ o3.rotation_vector_to_matrix(v))

        zero = torch.zeros(3, dtype=torch.float64)
        D = turned(zero)
        first = torch.einsum("ij,kjl->ilk", D, X)
        torch.testing.assert_close(torch.func.jacrev(turned)(zero), first, rtol=0, atol=1e-12)
        if l <= 2:
            XX = torch.einsum("kij,mjl->ilkm", X, X)
            second = torch.einsum("ij,jlkm->ilkm", D, (XX + XX.mT) / 2)
            torch.testing.assert_close(torch.func.hessian(turned)(zero), second, rtol=0, atol=1e-12)


def test_gradcheck_and_vmap() -> None:
    R = o3.rand_matrix(1, dtype=torch.float64).requires_grad_()
    function = functools.partial(o3.wigner_D_from_matrix, 3, check=False)
    assert torch.autograd.gradcheck(function, (R,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(functools.partial(o3.wigner_D_from_matrix, 2, check=False), (R,))
    torch.testing.assert_close(torch.vmap(functools.partial(o3.wigner_D_from_matrix, 3))(R), function(R))
    angles = [a.requires_grad_() for a in o3.rand_angles(1, dtype=torch.float64)]
    assert torch.autograd.gradcheck(functools.partial(o3.wigner_D, 2), angles)
    assert torch.autograd.gradcheck(
        lambda R: o3.Irreps("2x1o+1e+0o+2e").D_from_matrix(R, layout="ir_mul", check=False), (R,), check_forward_ad=True
    )


def test_all_degrees_at_once_and_shapes() -> None:
    R = o3.rand_matrix(2, 3, dtype=torch.float64)
    for l, D in enumerate(o3.wigner_D_all(5, R)):
        assert D.shape == (2, 3, 2 * l + 1, 2 * l + 1)
        assert torch.equal(D, o3.wigner_D_from_matrix(l, R))
    assert torch.equal(o3.wigner_D_from_matrix(1, R), R)
    assert [D.shape for D in o3.wigner_D_all(2, R[:, :0])] == [(2, 0, 1, 1), (2, 0, 3, 3), (2, 0, 5, 5)]
    assert o3.wigner_D_from_matrix(3, R[0, 0]).shape == (7, 7)
    alpha, beta = torch.randn(4, 1), torch.randn(3)
    assert o3.wigner_D(2, alpha, beta, torch.tensor(0.0)).shape == (4, 3, 5, 5)
    assert o3.wigner_D_from_matrix(2, R.to("meta")).shape == (2, 3, 5, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_other_dtypes(dtype: torch.dtype) -> None:
    R = o3.rand_matrix(20, dtype=torch.float64)
    D = o3.wigner_D_from_matrix(4, R.to(dtype))
    assert D.dtype == dtype
    torch.testing.assert_close(D.double(), o3.wigner_D_from_matrix(4, R), rtol=0, atol=10 * torch.finfo(dtype).eps)


def test_autocast_does_not_round() -> None:
    R = o3.rand_matrix(5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = o3.wigner_D_from_matrix(4, R)
    assert torch.equal(inside, o3.wigner_D_from_matrix(4, R))


def test_errors() -> None:
    with pytest.raises(ValueError, match="negative, got -1"):
        o3.wigner_D_from_matrix(-1, EYE)
    with pytest.raises(ValueError, match="orthogonal"):
        o3.wigner_D_from_matrix(2, 1.1 * EYE)
    o3.wigner_D_from_matrix(2, 1.1 * EYE, check=False)


def test_constants_outlive_the_mode_they_were_made_in() -> None:
    R = o3.rand_matrix(2, dtype=torch.float64)
    function = functools.partial(o3.wigner_D_from_matrix, 3)
    expected = function(R)

    def trace() -> object:
        return torch.fx.experimental.proxy_tensor.make_fx(function, tracing_mode="fake")(R)

    def infer() -> object:
        with torch.inference_mode():
            return function(R)

    for cold_start in (infer, trace, lambda: torch.func.grad(lambda R: function(R).sum())(R), lambda: torch.vmap(function)(R)):
        wigner._kept_coupling.cache_clear()
        cold_start()
        leaf = R.clone().requires_grad_()
        out = function(leaf)
        out.sum().backward()
        assert torch.equal(out, expected)


@pytest.mark.compile
def test_compiles_and_exports() -> None:
    class Turn(torch.nn.Module):
        def forward(self, R: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            D = o3.wigner_D_all(4, R)
            return D[4], D[0], o3.wigner_D_from_quaternion(3, q)

    R, q = o3.rand_matrix(5, dtype=torch.float64), o3.rand_quaternion(5, dtype=torch.float64)
    compiled = torch.compile(Turn(), fullgraph=True, dynamic=True)
    for batch in (5, 3):
        torch.testing.assert_close(compiled(R[:batch], q[:batch]), Turn()(R[:batch], q[:batch]), rtol=0, atol=1e-14)
    leaf = R.clone().requires_grad_()
    compiled(leaf, q)[0].sum().backward()
    again = R.clone().requires_grad_()
    Turn()(again, q)[0].sum().backward()
    torch.testing.assert_close(leaf.grad, again.grad, rtol=0, atol=1e-13)
    for strict in (False, True):
        dynamic = ({0: torch.export.Dim.DYNAMIC}, {0: torch.export.Dim.DYNAMIC})
        exported = torch.export.export(Turn(), (R, q), dynamic_shapes=dynamic, strict=strict).module()
        torch.testing.assert_close(exported(R[:2], q[:2]), Turn()(R[:2], q[:2]), rtol=0, atol=1e-14)
