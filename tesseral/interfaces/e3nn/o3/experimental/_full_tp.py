"""The full product that compiles; here the classic one does."""

from typing import Any

from tesseral.interfaces.e3nn.o3._irreps import Irrep
from tesseral.interfaces.e3nn.o3._tensor_product._sub import FullTensorProduct as _Classic


class FullTensorProduct(_Classic):
    """The classic :class:`~tesseral.interfaces.e3nn.o3.FullTensorProduct`, which is right for unsorted inputs too.

    ``regroup_output`` has no effect: the inputs are what was given, and the output is sorted.
    """

    def __init__(
        self,
        irreps_in1: Any,
        irreps_in2: Any,
        *,
        filter_ir_out: Any = None,
        irrep_normalization: str = "component",
        regroup_output: bool = True,
    ) -> None:
        super().__init__(irreps_in1, irreps_in2, wanted(filter_ir_out), irrep_normalization)


def wanted(irreps: Any) -> Any:
    """The irreps of a filter, which may be Irreps or a list."""
    return None if irreps is None else [block.ir if hasattr(block, "ir") else Irrep(block) for block in irreps]
