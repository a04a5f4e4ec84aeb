"""Which sign convention of the Clebsch-Gordan coefficients a layer gets when it is built.

e3nn's signatures do not say it, so it follows from who builds: :func:`~tesseral.interfaces.e3nn.install` gives the default of the
process and those of packages, :func:`using` those of a block of code. It attaches to the layer then and never changes, except by
loading a state dict, whose ``_w3j_*`` buffers tell.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

from tesseral.o3.clebsch_gordan import Convention

_here: ContextVar[Convention | None] = ContextVar("convention", default=None)
_of_packages: dict[str, Convention] = {}  # "" is everyone else
CONVENTIONS = ("0.6", "0.4")


def convention() -> Convention:
    """The convention of a layer that is built now.

    That of the innermost :func:`using`, else that of the package nearest in the stack of calls that has one, else the default.

    >>> convention()
    '0.6'
    >>> with using("0.4"):
    ...     convention()
    '0.4'
    """
    here = _here.get()
    if here is not None:
        return here
    default = _of_packages.get("", "0.6")
    frame = sys._getframe(1) if len(_of_packages) > 1 else None
    while frame is not None:
        for name in ("__name__", "__package__"):  # a module that runs as a script has only its package
            package = str(frame.f_globals.get(name) or "").partition(".")[0]
            if package and package in _of_packages:
                return _of_packages[package]
        frame = frame.f_back
    return default


@contextlib.contextmanager
def using(convention: str) -> Iterator[None]:
    """Layers built in this block have this convention. Raises ``ValueError`` for an unknown one."""
    token = _here.set(check(convention))
    try:
        yield
    finally:
        _here.reset(token)


def choose(conventions: str | Mapping[str, str]) -> None:
    """Set the default of the process, and those of packages: one convention, or a mapping from importing package.

    In a mapping the empty name ``""`` stands for everyone else, "0.6" if it is absent. Raises ``ValueError`` as :func:`check`.
    """
    checked = by_package(conventions)
    _of_packages.clear()
    _of_packages.update(checked)


def by_package(conventions: str | Mapping[str, str]) -> dict[str, Convention]:
    """The conventions of packages, and under ``""`` that of everyone else."""
    given = conventions if isinstance(conventions, Mapping) else {"": conventions}
    return {"": "0.6", **{package: check(value) for package, value in given.items()}}


def check(convention: str) -> Convention:
    """The convention itself. Raises ``ValueError`` for an unknown one."""
    if convention not in CONVENTIONS:
        raise ValueError(
            f"unknown convention {convention!r}: expected '0.6' (e3nn 0.5 and later, NequIP) or '0.4' (e3nn 0.4, MACE), "
            "or a mapping from package to one of them"
        )
    return "0.4" if convention == "0.4" else "0.6"
