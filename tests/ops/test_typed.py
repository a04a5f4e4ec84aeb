"""Products of typed tensors against the layers, and their equivariance."""

import pytest
import torch

from tesseral.nn import ElementwiseTensorProduct, FullTensorProduct, TensorSquare
from tesseral.o3 import IrrepsTensor, rand_matrix, to_layout
from tesseral.ops import typed


def randn(irreps, layout="mul_ir"):
    return IrrepsTensor.randn(irreps, (4,), layout, dtype=torch.float64)


PRODUCTS = {
    "full": (lambda x, y: typed.tensor_product(x, y), FullTensorProduct, "2x0e+3x1o+1x1o", "1x1o+2x2e"),
    "filtered": (
        lambda x, y: typed.tensor_product(x, y, ["1o"]),
        lambda a, b: FullTensorProduct(a, b, ["1o"]),
        "2x0e+3x1o",
        "1o",
    ),
    "elementwise": (typed.elementwise_tensor_product, ElementwiseTensorProduct, "2x0e+3x1o", "4x1o+1x2e"),
    "cross": (typed.cross, None, "2x1o+1x1e", "3x1o"),
}


@pytest.mark.parametrize("layout", ["mul_ir", "ir_mul"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_equal_to_the_layers_and_equivariant(name, layout):
    function, layer, a, b = PRODUCTS[name]
    x, y = randn(a, layout), randn(b)
    z = function(x, y)
    assert z.layout == layout
    assert z.irreps == z.irreps.regroup()
    R = -rand_matrix(dtype=torch.float64)
    turned = function(x.transform_by_matrix(R), y.transform_by_matrix(R))
    torch.testing.assert_close(turned.array, z.transform_by_matrix(R).array)
    if layer is not None:
        built = layer(a, b)
        flat = built(*(to_layout(t.array, t.irreps, t.layout, "ir_mul") for t in (x, y)))
        expected = IrrepsTensor(built.irreps_out, flat, "ir_mul").regroup()
        torch.testing.assert_close(z.to_layout("ir_mul").array, expected.array)


def test_cross_product_is_that_of_vectors():
    x, y = torch.randn(2, 5, 3, dtype=torch.float64)
    z = typed.cross(IrrepsTensor("1o", x), IrrepsTensor("1o", y))
    torch.testing.assert_close(z.array, torch.linalg.cross(x, y))


def test_square():
    x = randn("2x0e+2x1o")
    layer = TensorSquare("2x0e+2x1o")
    expected = IrrepsTensor(layer.irreps_out, layer(x.to_layout("ir_mul").array), "ir_mul").regroup().to_layout("mul_ir")
    torch.testing.assert_close(typed.tensor_square(x).array, expected.array)


def test_harmonics_carry_their_irreps():
    v = randn("1e")
    assert str(typed.spherical_harmonics("0e+1e+2e", v, normalize=True).irreps) == "1x0e+1x1e+1x2e"
    with pytest.raises(ValueError, match="parities"):
        typed.spherical_harmonics("0e+1o", v, normalize=True)
    with pytest.raises(ValueError, match="functions of one vector"):
        typed.spherical_harmonics("0e", randn("2e"), normalize=True)
    with pytest.raises(ValueError, match="of vectors"):
        typed.cross(v, randn("0e"))
