"""Irreps by name: ``from e3nn.o3.irrep import l1o``."""

import re

from tesseral.interfaces.e3nn.o3._irreps import Irrep


def __getattr__(name: str) -> Irrep:
    if re.fullmatch(r"l\d+[eoy]", name) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}: irreps are named like l1o")
    return Irrep(name[1:])
