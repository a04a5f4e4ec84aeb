"""Dispersion added to a model file, once: refused where the training labels hold it already."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import torch

from tesseral.models import cast, files
from tesseral.nn.dispersion import D3
from tesseral.nn.pair import Sum

# What names of methods say when their energies contain dispersion.
CONTAINED = re.compile(
    r"(?<![a-z])(d2|d3|d4|dftd\d|mbd|vv10|rvv10|nl|xdm|tkatchenko|ts|vdw-?df\d?|dispersion|gfn\d?|ccsd|mp2|rpa)(?![a-z])|b97m|-d\b|-v\b|d3bj|3c\b",
    re.IGNORECASE,
)


class DispersionError(ValueError):
    """Dispersion that would be counted twice, or of an unknown level; the message says what to do."""


def contained_dispersion(level_of_theory: str) -> str:
    """The part of a level of theory that says its energies contain dispersion; empty when nothing does.

    >>> contained_dispersion("PBE+D3/def2-SVP"), contained_dispersion("wB97M-D3BJ"), contained_dispersion("PBE/def2-SVP")
    ('D3', 'B97M', '')
    """
    found = CONTAINED.search(level_of_theory)
    return found.group(0) if found else ""


def add_dispersion(source: Path, output: Path, functional: str, without_dispersion: bool = False) -> str:
    """Write the model of ``source`` plus D3(BJ) to ``output``; returns a sentence about it.

    Raises :class:`DispersionError` when the file says that its labels hold dispersion, when it has dispersion already, or when it
    does not say what its labels are and ``without_dispersion`` does not vouch for them.
    """
    model, metadata = files.load(source)
    if getattr(metadata, "dispersion", None) or any(isinstance(module, D3) for module in model.modules()):
        raise DispersionError(f"{source} has dispersion already")
    level = metadata.level_of_theory
    found = contained_dispersion(level)
    if found and not without_dispersion:
        raise DispersionError(
            f"{source} was trained on {level}, which contains dispersion ({found}): a second one would count it twice. "
            "If its labels hold none, say --data-without-dispersion"
        )
    if not level and not without_dispersion:
        raise DispersionError(
            f"{source} does not say what its labels are, so they may contain dispersion: give --level-of-theory when training, "
            "or say --data-without-dispersion"
        )
    if level and not without_dispersion and functional.lower().replace("-", "") not in level.lower().replace("-", ""):
        raise DispersionError(
            f"{source} was trained on {level}, but the dispersion is for {functional}: give the functional of the labels"
        )
    try:
        term = D3(functional, tuple(z for z in model.species if z <= 103))
    except ImportError as error:
        raise DispersionError(str(error)) from None
    total = Sum([model, term])
    about = metadata.model_dump() | {
        "dispersion": {"method": "D3(BJ)", "functional": functional, "dftd3": importlib.metadata.version("dftd3")},
        "atomic_energies": metadata.atomic_energies,
    }
    files.save(total, output, about)
    check, _ = files.load(output)
    assert isinstance(cast(check, torch.float64), Sum)
    return f"{output}: {metadata.settings['name']} and D3(BJ) for {functional}; recorded in the file"
