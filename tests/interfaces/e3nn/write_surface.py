"""Writes ``surface_VERSION.json``, the names and parameters of the e3nn that is installed: ``python write_surface.py``.

Run by the interpreter of an environment with that version, not with tesseral's e3nn. For each module every name that it
defines or lists as public; for functions and classes their parameters, for classes those of their public methods, too.
"""

import importlib
import inspect
import json
import os
import pkgutil
import sys
import warnings
from pathlib import Path
from types import ModuleType

STAND_INS = ("torch_scatter", "torch_cluster", "torch_geometric", "torch_geometric.data")
"""Packages of which the example networks import a function or a class."""

os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # e3nn 0.4 keeps its constants in a pickle


def stand_in(key):
    """A class by any public name."""
    if key.startswith("_"):
        raise AttributeError(key)
    return type(key, (), {})


def parameters(value):
    """[[name, kind, default], ...]; None where there is no signature."""
    try:
        found = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return None
    return [[p.name, p.kind.name, None if p.default is p.empty else default(p.default)] for p in found]


def default(value):
    """A default as text, as far as it is one."""
    return repr(value) if value is None or isinstance(value, bool | int | float | str | tuple | list) else type(value).__name__


def methods(value):
    """Parameters of what a class itself defines under a public name; None for attributes."""
    found = {}
    for name, member in vars(value).items():
        if not name.startswith("_"):
            plain = member.__func__ if isinstance(member, staticmethod | classmethod) else member
            found[name] = parameters(plain) if inspect.isfunction(plain) else None
    return found


def surface(package):
    """By module, by name: the parameters, and for classes the methods."""
    names = [package.__name__, *(m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + "."))]
    modules = {}
    for name in names:
        module = importlib.import_module(name)
        public = set(getattr(module, "__all__", ()))
        entries = {}
        for key, value in vars(module).items():
            defined = key.isupper() or getattr(value, "__module__", None) == name
            if key.startswith("__") or not (defined or key in public) or inspect.ismodule(value):
                continue
            entries[key] = {"parameters": parameters(value)}
            if inspect.isclass(value):
                entries[key]["methods"] = methods(value)
        modules[name] = entries
    return modules


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    import e3nn

    for place in STAND_INS:
        sys.modules[place] = ModuleType(place)
        sys.modules[place].__getattr__ = stand_in
    target = Path(__file__).with_name(f"surface_{e3nn.__version__}.json")
    target.write_text(json.dumps(surface(e3nn), indent=0, sort_keys=True))
    print(target)
