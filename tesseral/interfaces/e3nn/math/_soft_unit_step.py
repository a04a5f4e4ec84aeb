"""The smooth step."""

from tesseral.nn.cutoff import soft_unit_step

__all__ = ["soft_unit_step"]
