"""Products of irreps."""

from tesseral.interfaces.e3nn.o3._tensor_product._instruction import Instruction
from tesseral.interfaces.e3nn.o3._tensor_product._sub import (
    ElementwiseTensorProduct,
    FullTensorProduct,
    FullyConnectedTensorProduct,
    TensorSquare,
)
from tesseral.interfaces.e3nn.o3._tensor_product._tensor_product import TensorProduct

__all__ = [
    "ElementwiseTensorProduct",
    "FullTensorProduct",
    "FullyConnectedTensorProduct",
    "Instruction",
    "TensorProduct",
    "TensorSquare",
]
