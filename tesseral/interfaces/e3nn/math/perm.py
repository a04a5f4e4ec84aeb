"""Permutations: tesseral's functions, with e3nn's names of arguments."""

from collections.abc import Iterable

from tesseral.o3 import permutations
from tesseral.o3.permutations import (
    germinate,
    group,
    identity,
    inverse,
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

TY_PERM = tuple[int, ...]


def compose(p1: TY_PERM, p2: TY_PERM) -> TY_PERM:
    """First ``p2``, then ``p1``."""
    return permutations.compose(p1, p2)


def from_int(i: int, n: int) -> TY_PERM:
    """The permutation of ``n`` with the number ``i``."""
    return permutations.from_int(i, n)


def is_group(g: Iterable[TY_PERM]) -> bool:
    """Whether the permutations are a group."""
    return permutations.is_group(g)
