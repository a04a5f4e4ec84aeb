import itertools
import math
import time

import numpy as np
import pytest
import torch
from e3nn import o3 as e3nn_o3

from tesseral.o3 import clebsch_gordan as cg

from .golden import golden

# Sorted triples up to degree 11 whose sign differs between the two conventions, found by comparing e3nn 0.4.4 and 0.6.0.
FLIPS = """
1.2.2 1.3.3 1.4.4 1.5.5 1.6.6 1.7.7 1.8.8 1.9.9 1.10.10 1.11.11
3.4.6 3.5.7 3.6.8 3.7.9 3.8.10 3.9.11 4.4.5 4.5.6 4.6.7 4.7.8 4.8.9
4.9.10 4.10.11 5.5.5 5.6.6 5.6.10 5.7.7 5.7.11 5.8.8 5.9.9 5.10.10 5.11.11 6.6.9 6.7.10 6.8.11 7.7.9 7.8.10 7.9.11 8.8.9 8.9.10
8.10.11 9.9.9 9.10.10 9.11.11
"""


def triples(lmax):
    degrees = range(lmax + 1)
    return [(a, b, c) for a, b, c in itertools.product(degrees, repeat=3) if abs(a - b) <= c <= a + b]


@pytest.mark.parametrize(("convention", "version"), [("0.6", "0.6.0"), ("0.4", "0.4.4")])
def test_every_triple_equals_both_versions_of_e3nn(convention, version):
    fixture = golden(version)
    ends = np.cumsum(fixture["w3j_counts"])
    assert len(ends) == 175 + 8
    for triple, start, end in zip(fixture["w3j_triples"].tolist(), ends - fixture["w3j_counts"], ends):
        array = cg.wigner_3j_array(*triple, convention).reshape(-1)
        indices = np.flatnonzero(array)
        np.testing.assert_array_equal(indices, fixture["w3j_indices"][start:end], err_msg=str(triple))
        np.testing.assert_allclose(array[indices], fixture["w3j_values"][start:end], rtol=0, atol=2e-14, err_msg=str(triple))


def test_conventions_differ_for_the_known_triples_only():
    flips = []
    for a, b, c in triples(11):
        if a <= b <= c:
            new, old = cg.wigner_3j_array(a, b, c, "0.6"), cg.wigner_3j_array(a, b, c, "0.4")
            assert np.array_equal(new, old) or np.array_equal(new, -old)
            if not np.array_equal(new, old):
                flips.append(f"{a}.{b}.{c}")
            if (a + b + c) % 2:
                assert old[tuple(np.argwhere(old)[0])] > 0
    assert flips == FLIPS.split()


@pytest.mark.parametrize("convention", ["0.6", "0.4"])
def test_permuting_the_irreps_changes_at_most_the_sign(convention):
    for degrees in [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 3, 4), (3, 3, 5), (5, 5, 5), (4, 6, 9)]:
        array = cg.wigner_3j_array(*degrees, convention)
        for order in itertools.permutations(range(3)):
            odd_permutation = np.linalg.det(np.eye(3)[list(order)]) < 0
            sign = -1 if odd_permutation and sum(degrees) % 2 else 1
            permuted = cg.wigner_3j_array(*[degrees[i] for i in order], convention)
            np.testing.assert_array_equal(permuted, sign * array.transpose(order))


@pytest.fixture
def double_default():
    """e3nn computes Wigner matrices with the accuracy of the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (1, 1, 1), (1, 2, 2), (2, 4, 3), (6, 6, 6), (8, 5, 9), (11, 11, 11)])
def test_invariant_under_rotations(degrees, double_default):
    angles = torch.tensor([0.3, 1.1, -2.0], dtype=torch.float64)
    D = [e3nn_o3.wigner_D(l, *angles).numpy() for l in degrees]
    array = cg.wigner_3j_array(*degrees)
    rotated = np.einsum("ijk,ai,bj,ck->abc", array, *D, optimize=True)
    np.testing.assert_allclose(rotated, array, atol=1e-12)


def test_normalised_and_orthogonal():
    for a, b, c in triples(5):
        array = cg.wigner_3j_array(a, b, c)
        gram = np.einsum("ijk,ijl->kl", array, array)
        np.testing.assert_allclose(gram, np.eye(2 * c + 1) / (2 * c + 1), atol=1e-15)


def test_elements_are_exact_to_the_last_place():
    # Squares of real Clebsch-Gordan coefficients are rational: against sympy's exact 3j symbols in 50 digits.
    from sympy import N, Rational
    from sympy.physics.wigner import wigner_3j as sympy_3j

    for l1, l2, l3, m1, m2 in [(1, 1, 2, 1, 1), (3, 4, 5, 2, 1), (8, 8, 8, 3, 4), (11, 11, 11, 5, 6), (20, 17, 13, 2, 4)]:
        exact = N(abs(sympy_3j(l1, l2, l3, m1, m2, -m1 - m2)) / (Rational(2) ** Rational(1, 2)), 50)
        value = cg.wigner_3j_array(l1, l2, l3)
        block = abs(value[[l1 + m1, l1 - m1]][:, [l2 + m2, l2 - m2]][:, :, l3 + m1 + m2])
        assert abs(float((block.max() - exact) / exact)) < 2.3e-16


def test_even_sums_are_gaunt_integrals():
    # Quadrature with e3nn's harmonics: Gauss-Legendre along the axis times a uniform grid around it, exact to degree 18.
    nodes, weights = np.polynomial.legendre.leggauss(10)
    azimuth = np.arange(20) * 2 * np.pi / 20
    y, phi = (a.reshape(-1) for a in np.meshgrid(nodes, azimuth, indexing="ij"))
    sine = np.sqrt(1 - y * y)
    points = torch.from_numpy(np.stack([sine * np.sin(phi), y, sine * np.cos(phi)], -1))
    w = np.repeat(weights, 20) * 2 * np.pi / 20
    Y = [e3nn_o3.spherical_harmonics(l, points, False).numpy() for l in range(7)]
    for a, b, c in triples(6):
        integral = np.einsum("n,ni,nj,nk->ijk", w, Y[a], Y[b], Y[c], optimize=True)
        np.testing.assert_allclose(cg.gaunt_array(a, b, c), integral, atol=1e-14)
        if (a + b + c) % 2 == 0:
            np.testing.assert_allclose(cg.wigner_3j_array(a, b, c), integral / np.linalg.norm(integral), atol=1e-13)


def test_sparse_form_is_the_dense_one_without_zeros():
    for degrees in [(0, 0, 0), (1, 1, 1), (2, 3, 4), (6, 6, 6)]:
        for convention in ("0.6", "0.4"):
            indices, values = cg.wigner_3j_sparse(*degrees, convention)
            dense = np.zeros([2 * l + 1 for l in degrees])
            dense[tuple(indices.T)] = values
            np.testing.assert_array_equal(dense, cg.wigner_3j_array(*degrees, convention))
            assert np.abs(values).min() > 1e-6
            assert np.all(np.diff(np.ravel_multi_index(tuple(indices.T), dense.shape)) > 0)


def test_arrays_are_read_only_and_tensors_are_fresh():
    with pytest.raises(ValueError, match="read-only"):
        cg.wigner_3j_array(1, 1, 1)[0, 0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        cg.wigner_3j_sparse(1, 1, 1)[1][0] = 1.0
    cg.wigner_3j(1, 1, 1).zero_()
    assert cg.wigner_3j(1, 1, 1).norm() == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_tensor_has_the_dtype_asked_for(dtype):
    w = cg.wigner_3j(2, 2, 1, dtype=dtype)
    assert w.dtype == dtype
    torch.testing.assert_close(w, torch.from_numpy(cg.wigner_3j_array(2, 2, 1).copy()).to(dtype))


def test_independent_of_default_dtype_and_device():
    cg._sorted.cache_clear(), cg._ordered.cache_clear()
    with torch.device("meta"):
        built = cg.wigner_3j(3, 3, 2)
        assert cg.wigner_3j(3, 3, 2, device="meta").is_meta
    assert built.device.type == "cpu"
    assert built.dtype == torch.float64
    np.testing.assert_array_equal(built.numpy(), cg.wigner_3j_array(3, 3, 2))


def test_bad_arguments_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"\(1, 1, 3\) violate the triangle"):
        cg.wigner_3j_array(1, 1, 3)
    with pytest.raises(ValueError, match="triangle"):
        cg.wigner_3j_array(-1, 1, 1)
    with pytest.raises(ValueError, match="triangle"):
        cg.gaunt_array(1, 1, 3)


@pytest.mark.compile  # the shape checker would be most of the time
def test_fast_when_cold():
    times = []
    for _ in range(5):
        cg._sorted.cache_clear(), cg._ordered.cache_clear()
        start = time.process_time()
        cg.wigner_3j_array(8, 8, 8)
        times.append(time.process_time() - start)
    assert min(times) < 0.01  # e3nn 0.6.0: 0.025 s on the same machine


def test_zero_m_elements_agree_with_the_closed_form():
    # (l l 0; m -m 0) = +-1 / sqrt(2l+1): the identity, in every convention.
    for l in range(12):
        np.testing.assert_allclose(cg.wigner_3j_array(0, l, l)[0], np.eye(2 * l + 1) / math.sqrt(2 * l + 1), rtol=1e-15)
