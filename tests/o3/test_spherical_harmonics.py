import itertools
import math
import pickle

import numpy as np
import pytest
import scipy.special
import torch
from e3nn import o3 as e3nn_o3

from tesseral.o3 import Irreps
from tesseral.o3.spherical_harmonics import (
    legendre,
    polynomials,
    recurrence,
    spherical_harmonics,
    spherical_harmonics_alpha,
    spherical_harmonics_alpha_beta,
)

from .golden import golden

NORMALIZATIONS = ["integral", "component", "norm"]


def vectors(n, dtype=torch.float64, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("version", ["0.6.0", "0.4.4"])
def test_golden_values(version):
    fixture = golden(version)
    x = torch.from_numpy(fixture["sh_x"])
    degrees = list(range(12))
    for normalization in NORMALIZATIONS:
        values = spherical_harmonics(degrees, x, False, normalization).numpy()
        for l in degrees:  # homogeneous: each degree has its own magnitude
            block = slice(l * l, (l + 1) ** 2)
            expected = fixture[f"sh_{normalization}"][:, block]
            np.testing.assert_allclose(values[:, block], expected, rtol=0, atol=1e-13 * np.abs(expected).max())
    np.testing.assert_allclose(spherical_harmonics(degrees, x, True).numpy(), fixture["sh_normalized"], atol=1e-13)
    alpha, beta, _ = torch.from_numpy(fixture["angles"])
    values = spherical_harmonics_alpha_beta(list(range(6)), alpha, beta)
    np.testing.assert_allclose(values.numpy(), fixture["sh_alpha_beta"], atol=1e-13)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_equal_to_installed_e3nn(normalize, normalization):
    x = vectors(20, seed=3)
    for l in (0, [3], [0, 2, 2, 1], list(range(13))):
        expected = e3nn_o3.spherical_harmonics(l, x, normalize, normalization)
        actual = spherical_harmonics(l, x, normalize, normalization)
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-13 * expected.abs().max().item())


def test_written_out_up_to_degree_two():
    x, y, z = vectors(5).unbind(-1)
    expected = [
        torch.ones_like(x),
        *(math.sqrt(3) * v for v in (x, y, z)),
        math.sqrt(15) * x * z,
        math.sqrt(15) * x * y,
        math.sqrt(5) * (y * y - (x * x + z * z) / 2),
        math.sqrt(15) * y * z,
        math.sqrt(15) / 2 * (z * z - x * x),
    ]
    actual = spherical_harmonics([0, 1, 2], vectors(5), False, "component")
    torch.testing.assert_close(actual, torch.stack(expected, -1), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("l", [0, 1, 5, 13, 20, 40])
def test_high_degrees_against_scipy(l):
    x = vectors(30, seed=l)
    unit = (x / x.norm(dim=-1, keepdim=True)).numpy()
    theta, phi = np.arccos(unit[:, 1]), np.arctan2(unit[:, 0], unit[:, 2])
    expected = np.empty((30, 2 * l + 1))
    for m in range(l + 1):
        complex_value = scipy.special.sph_harm_y(l, m, theta, phi) * (-1) ** m * (math.sqrt(2) if m else 1)
        expected[:, l - m], expected[:, l + m] = complex_value.imag, complex_value.real
    actual = spherical_harmonics(l, x, True).numpy()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_degree_20_against_50_digits():
    import mpmath

    mpmath.mp.dps = 50
    point = vectors(1, seed=5)[0]
    x, y, z = (mpmath.mpf(v) for v in point.tolist())
    r = mpmath.sqrt(x * x + y * y + z * z)
    actual = spherical_harmonics(20, point, False, "integral").tolist()
    scale = max(map(abs, actual))
    for m in range(21):
        # the derivative form of the associated Legendre function, in exact arithmetic, at cos(beta) = y / r
        polynomial = mpmath.taylor(lambda t: mpmath.legendre(20, t), y / r, m)
        factor = mpmath.sqrt(mpmath.mpf(41) / (4 * mpmath.pi) * mpmath.factorial(20 - m) / mpmath.factorial(20 + m))
        value = factor * polynomial[m] * mpmath.factorial(m) * (mpmath.mpc(z, x) / r) ** m * r**20
        value *= mpmath.sqrt(2) if m else 1
        assert abs(actual[20 + m] - value.real) < 1e-13 * scale
        if m:
            assert abs(actual[20 - m] - value.imag) < 1e-13 * scale


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_norm_on_the_sphere(normalization):
    x = vectors(10)
    for l in (0, 1, 4, 25):
        norm = spherical_harmonics(l, x, True, normalization).norm(dim=-1)
        expected = {"integral": math.sqrt((2 * l + 1) / (4 * math.pi)), "component": math.sqrt(2 * l + 1), "norm": 1.0}
        torch.testing.assert_close(norm, torch.full_like(norm, expected[normalization]), rtol=1e-13, atol=0)


def test_equivariant_under_rotations_and_inversion():
    x = vectors(10)
    irreps = e3nn_o3.Irreps.spherical_harmonics(8)
    R = e3nn_o3.rand_matrix(dtype=torch.float64)
    for Q in (R, -R):
        torch.set_default_dtype(torch.float64)  # e3nn computes Wigner matrices with the accuracy of the default dtype
        D = irreps.D_from_matrix(Q)
        torch.set_default_dtype(torch.float32)
        rotated = spherical_harmonics(list(range(9)), x @ Q.T, False)
        expected = spherical_harmonics(list(range(9)), x, False) @ D.T
        error = ((rotated - expected).abs().max() / expected.abs().max()).item()
        assert error < 1e-12, error


def test_homogeneous():
    x = vectors(4)
    for l in (0, 1, 7):
        torch.testing.assert_close(
            spherical_harmonics(l, 2.0 * x, False), 2.0**l * spherical_harmonics(l, x, False), rtol=1e-13, atol=1e-13
        )


def test_irreps_choose_and_repeat_degrees():
    x = vectors(4)
    Y = [spherical_harmonics(l, x, True) for l in range(4)]
    expected = torch.cat([Y[0], Y[0], Y[1], Y[3]], -1)
    for l in ("2x0e+1o+3o", Irreps("2x0e+1o+3o"), [0, 0, 1, 3], (0, 0, 1, 3)):
        torch.testing.assert_close(spherical_harmonics(l, x, True), expected, rtol=0, atol=0)
    torch.testing.assert_close(spherical_harmonics("1e+2e", x, True), torch.cat(Y[1:3], -1), rtol=0, atol=0)
    assert spherical_harmonics("0x1o", x, True).shape == (4, 0)
    assert spherical_harmonics([], x, True).shape == (4, 0)


@pytest.mark.parametrize(
    ("irreps", "message"), [("0e+2o", "2o"), ("0o", "0o"), ("1e+3o", "3o"), ("1o+1e", "1o"), ("1e+0o", "0o")]
)
def test_wrong_parity(irreps, message):
    with pytest.raises(ValueError, match=f"asks for {message}"):
        spherical_harmonics(irreps, vectors(2), True)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"0 or more, got \[-1\]"):
        spherical_harmonics(-1, vectors(2), True)
    with pytest.raises(Exception, match=r"3|three"):
        spherical_harmonics(1, torch.zeros(2, 4), True)


def test_zero_vector_has_finite_derivatives():
    x = torch.cat([torch.zeros(1, 3), vectors(1), torch.full((1, 3), 1e-20)]).double().requires_grad_()
    degrees = list(range(7))
    for normalize in (True, False):
        Y = spherical_harmonics(degrees, x, normalize)
        torch.testing.assert_close(Y[0].detach(), e3nn_o3.spherical_harmonics(degrees, x, normalize)[0].detach())
        weights = torch.linspace(-1, 1, Y.numel(), dtype=Y.dtype).view_as(Y)
        (first,) = torch.autograd.grad((weights * Y).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), x)
        assert first.isfinite().all()
        assert second.isfinite().all()
        if normalize:
            assert (first[0] == 0).all()
        else:  # only l = 1 has a slope at the origin
            slope = torch.autograd.grad((weights[0, 1:4] * spherical_harmonics(1, x, False)[0]).sum(), x)[0][0]
            torch.testing.assert_close(first[0].detach(), slope)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_gradients(normalize, normalization):
    x = vectors(2).requires_grad_()

    def function(x):
        return spherical_harmonics([0, 1, 2, 5], x, normalize, normalization)

    assert torch.autograd.gradcheck(function, x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, x)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-5), (torch.bfloat16, 0.1), (torch.float16, 0.02)]
)
def test_dtypes(dtype, tolerance):
    x = vectors(20, dtype)
    Y = spherical_harmonics([0, 1, 2, 3, 4], x, True, "component")
    assert Y.dtype == dtype
    torch.testing.assert_close(
        Y.double(), spherical_harmonics([0, 1, 2, 3, 4], x.double(), True, "component"), rtol=0, atol=tolerance
    )


def test_batches_of_any_shape():
    x = vectors(24)
    Y = spherical_harmonics([1, 3], x, True)
    assert spherical_harmonics([1, 3], torch.zeros(0, 3), True).shape == (0, 10)
    assert spherical_harmonics([1, 3], torch.zeros(5, 0, 3), False).shape == (5, 0, 10)
    torch.testing.assert_close(spherical_harmonics([1, 3], x.view(2, 3, 4, 3), True), Y.view(2, 3, 4, 10))
    torch.testing.assert_close(spherical_harmonics([1, 3], x[0], True), Y[0])
    torch.testing.assert_close(spherical_harmonics([1, 3], x.T.contiguous().T, True), Y)


def test_functional_transforms():
    x = vectors(6)

    def function(v):
        return spherical_harmonics([0, 1, 2, 3], v, True)

    torch.testing.assert_close(torch.vmap(function)(x), function(x))
    jacobian = torch.vmap(torch.func.jacfwd(function))(x)
    torch.testing.assert_close(jacobian, torch.vmap(torch.func.jacrev(function))(x))
    hessian = torch.func.hessian(function)(x[0])
    torch.testing.assert_close(hessian, hessian.transpose(-1, -2))


def test_stays_on_the_device_of_the_input():
    x = torch.zeros(4, 3, device="meta")
    assert spherical_harmonics([0, 1, 5], x, True).is_meta
    assert spherical_harmonics_alpha_beta([0, 1, 5], x[:, 0], x[:, 1]).is_meta


def test_input_is_left_alone():
    x = vectors(3)
    before = x.clone()
    spherical_harmonics([0, 1, 2], x, True)
    assert torch.equal(x, before)


@pytest.mark.parametrize("l", [0, 1, 2, 3, 6, 11])
def test_polynomials_are_the_harmonics(l):
    point = vectors(1, seed=l)[0]
    x, y, z = point.tolist()
    values = [math.fsum(c * x**i * y**j * z**k for (i, j, k), c in p.items()) for p in polynomials(l)]
    expected = spherical_harmonics(l, point, False, "component")
    torch.testing.assert_close(torch.tensor(values, dtype=torch.float64), expected, rtol=0, atol=1e-13 * expected.norm().item())
    assert all(sum(exponents) == l for p in polynomials(l) for exponents in p)


def test_polynomials_are_orthonormal_and_harmonic():
    # Exact moments of monomials on the sphere, (i-1)!! (j-1)!! (k-1)!! / (n+1)!!, check every coefficient without our recurrence.
    def double_factorial(n):
        return math.prod(range(n, 0, -2))

    def mean(i, j, k):
        if i % 2 or j % 2 or k % 2:
            return 0.0
        return double_factorial(i - 1) * double_factorial(j - 1) * double_factorial(k - 1) / double_factorial(i + j + k + 1)

    every = [p for l in range(5) for p in polynomials(l)]
    for (a, p), (b, q) in itertools.product(enumerate(every), repeat=2):
        product = sum(c * d * mean(*(s + t for s, t in zip(e, f))) for e, c in p.items() for f, d in q.items())
        assert product == pytest.approx(float(a == b), abs=1e-14)
    for p in every:
        laplacian = {}
        for exponents, c in p.items():
            for axis, n in enumerate(exponents):
                if n > 1:
                    lower = tuple(e - 2 * (i == axis) for i, e in enumerate(exponents))
                    laplacian[lower] = laplacian.get(lower, 0.0) + c * n * (n - 1)
        assert all(abs(c) < 1e-13 for c in laplacian.values())


def test_recurrence_table():
    diagonal, climb, back = recurrence(30)
    assert len(diagonal) == len(climb) == len(back) == 31
    assert [len(row) for row in climb] == [len(row) for row in back] == list(range(31))
    assert climb[1][0] == pytest.approx(math.sqrt(3), rel=1e-16)
    assert climb[2][1] == pytest.approx(math.sqrt(5), rel=1e-16)
    assert all(row[-1] == 0 for row in back[1:])
    assert pickle.loads(pickle.dumps(recurrence(3))) == recurrence(3)


def test_angles():
    alpha = torch.linspace(-3, 3, 7, dtype=torch.float64).requires_grad_()
    beta = torch.linspace(0.1, 3, 7, dtype=torch.float64).requires_grad_()
    degrees = [0, 1, 4, 4, 7]
    point = torch.stack([beta.sin() * alpha.sin(), beta.cos(), beta.sin() * alpha.cos()], -1)
    for normalization in NORMALIZATIONS:
        actual = spherical_harmonics_alpha_beta(degrees, alpha, beta, normalization=normalization)
        torch.testing.assert_close(actual, spherical_harmonics(degrees, point, False, normalization), rtol=1e-12, atol=1e-13)
        expected = e3nn_o3.spherical_harmonics_alpha_beta(degrees, alpha, beta, normalization=normalization)
        torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(spherical_harmonics_alpha(3, alpha), e3nn_o3.spherical_harmonics_alpha(3, alpha))
    polar = legendre([0, 2, 5], beta.cos(), beta.sin())
    torch.testing.assert_close(polar, e3nn_o3.Legendre([0, 2, 5])(beta.cos(), beta.sin()), rtol=1e-12, atol=1e-13)
    product = legendre(3, beta.cos(), beta.sin()) * spherical_harmonics_alpha(3, alpha)
    torch.testing.assert_close(product, spherical_harmonics_alpha_beta(3, alpha, beta), rtol=1e-12, atol=1e-13)
    assert torch.autograd.gradcheck(lambda a, b: spherical_harmonics_alpha_beta([1, 3], a, b), (alpha, beta))


class Harmonics(torch.nn.Module):
    def __init__(self, l):
        super().__init__()
        self.l = l

    def forward(self, x):
        return spherical_harmonics(self.l, x, True, "component")


@pytest.mark.compile
@pytest.mark.parametrize("l", [2, [0, 1, 3], "2x0e+1o+2e", Irreps("1e+2e")], ids=str)
def test_compiles_without_a_break(l):
    module = Harmonics(l)
    x = vectors(5).requires_grad_()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), module(x))
    torch.testing.assert_close(
        torch.autograd.grad(compiled(x).square().sum(), x),
        torch.autograd.grad(module(x).square().sum(), x),
        atol=1e-12,
        rtol=1e-12,
    )


@pytest.mark.compile
def test_compiles_with_inductor():
    module = Harmonics([0, 1, 2])
    torch.testing.assert_close(torch.compile(module, fullgraph=True)(vectors(5)), module(vectors(5)))


@pytest.mark.compile
def test_exports_with_a_dynamic_batch():
    module = Harmonics("0e+1o+2e+3o")
    program = torch.export.export(module, (vectors(5),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.testing.assert_close(program.module()(vectors(9)), module(vectors(9)))
