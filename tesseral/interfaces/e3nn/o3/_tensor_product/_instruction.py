"""A path of a product."""

from tesseral.ops.tensor_product import Instruction

__all__ = ["Instruction"]
