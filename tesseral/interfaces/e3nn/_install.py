"""``import e3nn`` means tesseral: an importer that answers for the name e3nn and everything below it.

It answers for ``openequivariance``, too, where that is not installed, so that programs which know it can use it.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from tesseral.interfaces.e3nn import _convention

OURS = "tesseral.interfaces.e3nn"
_NAMES = {"e3nn": OURS, "openequivariance": "tesseral.interfaces.openequivariance"}


def install(convention: str | Mapping[str, str] = "0.6") -> None:
    """Make ``import e3nn`` mean :mod:`tesseral.interfaces.e3nn` in this process; call it before anything imports e3nn.

    ``convention`` is the sign convention of the layers that will be built: "0.6", "0.4" (what MACE needs), or a mapping by
    importing package, ``{"mace": "0.4"}``, with "0.6" for the others. Calling it again changes that of layers built later.
    Raises ``RuntimeError`` if another e3nn is imported already, ``ValueError`` for an unknown convention.
    """
    conventions = _convention.by_package(convention)
    present = sys.modules.get("e3nn")
    if present is not None and present is not sys.modules.get(OURS):
        raise RuntimeError(
            f"e3nn is already imported from {getattr(present, '__file__', 'somewhere')}: "
            "call tesseral.interfaces.e3nn.install() before the first import of e3nn or of a package that uses it"
        )
    _convention.choose(conventions)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        installed = importlib.util.find_spec("openequivariance") is not None
        sys.meta_path.insert(0, _Finder({"e3nn"} if installed else set(_NAMES)))
    importlib.import_module("e3nn")


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``e3nn.X`` as ``tesseral.interfaces.e3nn.X``: the same module object under both names."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in self.names:
            return None
        ours = importlib.util.find_spec(_ours(fullname))
        if ours is None:
            return None
        spec = importlib.machinery.ModuleSpec(
            fullname, self, origin=ours.origin, is_package=ours.submodule_search_locations is not None
        )
        if ours.submodule_search_locations is not None:
            spec.submodule_search_locations = list(ours.submodule_search_locations)
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(_ours(spec.name))
        self._specs = getattr(self, "_specs", {})
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run; the module gets back the spec by which it was loaded."""
        assert module.__spec__ is not None
        module.__spec__ = self._specs.pop(module.__spec__.name)


def _ours(name: str) -> str:
    package, _, rest = name.partition(".")
    return f"{_NAMES[package]}.{rest}".rstrip(".")
