"""O(2): its irreps against those of O(3), couplings, and layers on edge frames."""

import itertools

import numpy as np
import pytest
import torch

from tesseral.groups import Matrices, equivariance_error
from tesseral.groups.o2 import REFLECTION, O2Irrep, O2Irreps, coupling, restrict, restriction_of
from tesseral.nn import O2Linear, O2TensorProduct
from tesseral.o3 import Irreps, matrix_y

ELEMENTS = [(torch.tensor(a, dtype=torch.float64), r) for a, r in itertools.product((0.0, 0.4, -2.2), (False, True))]


def of(irreps):
    return Matrices(lambda element: O2Irreps(irreps).D(*element))


@pytest.mark.parametrize("irreps", ["0e+0o+1o+1e", "2x2e+3x3o+1x2o", "1x4e+2x4o"])
def test_o3_restricted_to_the_axis_is_o2(irreps):
    """The matrix of each element of O(2) in the irreps of O(3) is that in the irreps of O(2), after the permutation."""
    restriction = restriction_of(irreps)
    assert restriction.irreps_out.dim == Irreps(irreps).dim
    x = torch.randn(5, Irreps(irreps).dim, dtype=torch.float64)
    torch.testing.assert_close(restriction.back(restriction(x)), x)
    for alpha, reflected in ELEMENTS:
        R = matrix_y(alpha) @ (REFLECTION if reflected else torch.eye(3, dtype=torch.float64))
        turned = x @ Irreps(irreps).D_from_matrix(R, layout="ir_mul").T
        torch.testing.assert_close(restriction(turned), restriction(x) @ restriction.irreps_out.D(alpha, reflected).T)


def test_matrices_are_a_representation():
    irreps = O2Irreps("2x0e+1x0o+2x1+1x3")
    a, b = ELEMENTS[3], ELEMENTS[5]  # both reflected: a s b s = a b^-1
    product = irreps.D(a[0] - b[0], False)
    torch.testing.assert_close(irreps.D(*a) @ irreps.D(*b), product)


@pytest.mark.parametrize("a", ["0e", "0o", "1", "2"])
@pytest.mark.parametrize("b", ["0e", "0o", "1", "3"])
def test_products_fall_into_irreps_with_invariant_couplings(a, b):
    a, b = O2Irrep.parse(a), O2Irrep.parse(b)
    assert sum(c.dim for c in a * b) == a.dim * b.dim
    for c in a * b:
        tensor = coupling(a, b, c)
        assert np.linalg.norm(tensor) == pytest.approx(1)
        for element in ELEMENTS:
            moved = np.einsum("abc,ia,jb,kc->ijk", tensor, *(ir.D(*element).numpy() for ir in (a, b, c)))
            np.testing.assert_allclose(moved, tensor, atol=1e-12)
    assert not coupling(a, b, O2Irrep(9)).any()


@pytest.mark.parametrize("irreps", ["2x0e+3x0o+4x1+2x2"])
def test_linear_maps_commute(irreps):
    layer = O2Linear(irreps, "3x1+2x0e+1x0o+1x5", dtype=torch.float64)
    x = torch.randn(4, O2Irreps(irreps).dim, dtype=torch.float64)
    error = equivariance_error(layer, [of(irreps)], of("3x1+2x0e+1x0o+1x5"), ELEMENTS, inputs=[x])
    print(error)
    assert float(error) < 1e-12
    assert not layer(x)[:, -2:].any()  # nothing reaches m = 5
    rotations_only = O2Linear(irreps, "3x1+2x0e+1x0o", reflection=False, dtype=torch.float64)
    proper = [element for element in ELEMENTS if not element[1]]
    assert float(equivariance_error(rotations_only, [of(irreps)], of("3x1+2x0e+1x0o"), proper, inputs=[x])) < 1e-12
    assert float(equivariance_error(rotations_only, [of(irreps)], of("3x1+2x0e+1x0o"), ELEMENTS, inputs=[x])) > 1e-2


def test_products_commute_and_keep_the_variance():
    layer = O2TensorProduct("8x0e+8x1+8x0o", "8x1+8x2")
    x, y = torch.randn(500, 32, dtype=torch.float64), torch.randn(500, 32, dtype=torch.float64)
    reps = [of("8x0e+8x1+8x0o"), of("8x1+8x2")]
    assert float(equivariance_error(layer, reps, of(layer.irreps_out), ELEMENTS, inputs=[x, y])) < 1e-12
    for place in layer.irreps_out.slices():
        assert layer(x, y)[:, place].square().mean().item() == pytest.approx(1.0, rel=0.15)


def test_restriction_of_harmonics():
    assert restrict("3o") == (O2Irrep(0, 1), O2Irrep(1), O2Irrep(2), O2Irrep(3))
    assert str(restriction_of("4x0e+4x1o+4x2e").irreps_out) == "12x0e+8x1+4x2"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: O2Irrep.parse("1e"), "unable to read '1e'"),
        (lambda: O2Irreps("ax1"), "unable to read 'ax1'"),
        (lambda: O2Irrep(1, -1), "an irrep of O\\(2\\)"),
        (lambda: O2TensorProduct("2x1", "3x1"), "one multiplicity"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
