"""Products and harmonics of :class:`~tesseral.o3.IrrepsTensor`: functions whose irreps follow from those of their arguments.

The results are sorted and simplified, and in the layout of the first argument.
"""

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor

from tesseral.o3 import Irreps, IrrepsTensor
from tesseral.ops import spherical_harmonics as harmonics
from tesseral.ops.product_plans import elementwise_product, full_product, square, wanted


def tensor_product(
    x: IrrepsTensor,
    y: IrrepsTensor,
    filter_ir_out: Iterable[object] | None = None,
    irrep_normalization: str = "component",
    convention: str = "0.6",
) -> IrrepsTensor:
    """All products of the irreps of x and y, as :class:`~tesseral.nn.FullTensorProduct`; leading axes broadcast.

    >>> import torch
    >>> x, y = IrrepsTensor("1o", torch.tensor([1.0, 0.0, 0.0])), IrrepsTensor("1o", torch.tensor([0.0, 1.0, 0.0]))
    >>> tensor_product(x, y, ["0e", "1e"])
    1x0e+1x1e (mul_ir) tensor([0.0000, 0.0000, 0.0000, 0.7071])
    """
    product = full_product(x.irreps, y.irreps, wanted(filter_ir_out), irrep_normalization, convention)
    z = product(x.to_layout("ir_mul").array, y.to_layout("ir_mul").array)
    return _typed(product.plan.irreps_out, z, x.layout)


def elementwise_tensor_product(
    x: IrrepsTensor,
    y: IrrepsTensor,
    filter_ir_out: Iterable[object] | None = None,
    irrep_normalization: str = "component",
    convention: str = "0.6",
) -> IrrepsTensor:
    """Irrep i of x times irrep i of y, for all i; there must be as many. Raises ``ValueError`` otherwise."""
    product = elementwise_product(x.irreps, y.irreps, wanted(filter_ir_out), irrep_normalization, convention)
    z = product(x.to_layout("ir_mul").array, y.to_layout("ir_mul").array)
    return _typed(product.plan.irreps_out, z, x.layout)


def tensor_square(
    x: IrrepsTensor,
    filter_ir_out: Iterable[object] | None = None,
    irrep_normalization: str = "component",
    convention: str = "0.6",
) -> IrrepsTensor:
    """The product of x with itself, each pair of channels once.

    >>> import torch
    >>> tensor_square(IrrepsTensor("1o", torch.ones(3))).irreps
    1x0e+1x2e
    """
    product = square(x.irreps, None, wanted(filter_ir_out), irrep_normalization, convention)
    flat = x.to_layout("ir_mul").array
    return _typed(product.plan.irreps_out, product(flat, flat), x.layout)


def spherical_harmonics(
    irreps_out: object, x: IrrepsTensor | Float[Tensor, "*batch 3"], normalize: bool, normalization: str = "component"
) -> IrrepsTensor:
    """The harmonics of vectors, a plain tensor or one of irreps 1o or 1e. Raises ``ValueError`` for other irreps.

    >>> import torch
    >>> spherical_harmonics("0e+1o+2e", torch.randn(7, 3), normalize=True).shape
    torch.Size([7, 9])
    """
    irreps = Irreps(irreps_out)
    parity = -1
    if isinstance(x, IrrepsTensor):
        if x.irreps not in (Irreps("1o"), Irreps("1e")):
            raise ValueError(f"harmonics are functions of one vector, 1o or 1e, got {x.irreps}")
        parity, x = x.irreps[0].ir.p, x.array
    if any(ir.p != parity**ir.l for _, ir in irreps):
        raise ValueError(f"the harmonics of 1{'o' if parity < 0 else 'e'} do not have the parities of {irreps}")
    return IrrepsTensor(irreps, harmonics(irreps.ls, x, normalize, normalization), "mul_ir")


def cross(x: IrrepsTensor, y: IrrepsTensor) -> IrrepsTensor:
    """The vector product of each vector of x with the same of y. Raises ``ValueError`` for irreps other than l = 1, or unlike
    numbers.

    >>> import torch
    >>> cross(IrrepsTensor("1o", torch.eye(3)[0]), IrrepsTensor("1o", torch.eye(3)[1]))
    1x1e (mul_ir) tensor([0., 0., 1.])
    """
    if any(ir.l != 1 for _, ir in x.irreps + y.irreps):
        raise ValueError(f"the vector product is of vectors (l = 1), got {x.irreps} and {y.irreps}")
    z = elementwise_tensor_product(x, y, ["1e", "1o"], irrep_normalization="none")
    return z * 6**0.5


def _typed(irreps: Irreps, z: Tensor, layout: str) -> IrrepsTensor:
    return IrrepsTensor(irreps, z, "ir_mul").to_layout(layout).regroup()
