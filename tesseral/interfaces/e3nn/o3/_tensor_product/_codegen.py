"""e3nn generates the code of a product here; tesseral's products are data for its kernels, and nothing is generated.

The names of e3nn's module are kept for code that imports them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def _sum_tensors(xs: Sequence[Tensor], shape: torch.Size, like: Tensor) -> Tensor:
    """The sum of some tensors, zeros of ``shape`` without any."""
    return sum(xs[1:], xs[0]) if len(xs) else like.new_zeros(shape)


def codegen_tensor_product_left_right(*args: object, **kwargs: object) -> None:
    """None: no code for this product; e3nn's own meaning of None in its list of providers."""


def codegen_tensor_product_right(*args: object, **kwargs: object) -> None:
    """None, as above."""
