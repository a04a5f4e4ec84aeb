"""Permutations: tesseral's functions."""

from tesseral.o3.permutations import (
    compose,
    from_int,
    germinate,
    group,
    identity,
    inverse,
    is_group,
    is_perm,
    natural_representation,
    rand,
    sign,
    standard_representation,
    to_cycles,
    to_int,
)

__all__ = [
    "compose",
    "from_int",
    "germinate",
    "group",
    "identity",
    "inverse",
    "is_group",
    "is_perm",
    "natural_representation",
    "rand",
    "sign",
    "standard_representation",
    "to_cycles",
    "to_int",
]
