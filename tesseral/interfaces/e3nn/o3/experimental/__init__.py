"""The products that e3nn calls experimental."""

from tesseral.interfaces.e3nn.o3.experimental._elementwise_tp import ElementwiseTensorProduct as ElementwiseTensorProductv2
from tesseral.interfaces.e3nn.o3.experimental._full_tp import FullTensorProduct as FullTensorProductv2

__all__ = ["ElementwiseTensorProductv2", "FullTensorProductv2"]
