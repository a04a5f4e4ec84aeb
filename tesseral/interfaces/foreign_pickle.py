"""Pickled modules of other packages, read as data: nothing of theirs is imported, and nothing in the file is run.

A pickle names classes and functions, and asks for calls of them. Here only a few constructors of torch's tensors and of Python's
containers are what they say; every other name of the packages that models are made of becomes a :class:`Stranger`, which
remembers what it was given and does nothing. Any other name is refused.
"""

from __future__ import annotations

import collections
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor


class ForeignFileError(ValueError):
    """A file of another package that cannot be turned into a model; the message says why, and what to do."""


class Stranger:
    """An object of a class that is not here: ``arguments`` of its construction, and the attributes it was given."""

    package = ""
    name = ""
    arguments: tuple[Any, ...] = ()

    def __new__(cls, *arguments: Any, **_: Any) -> Stranger:
        self = object.__new__(cls)
        self.arguments = arguments
        return self

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.__dict__.update({str(key): value for key, value in part.items()})

    def __setitem__(self, key: Any, value: Any) -> None:
        self.__dict__.setdefault("items", {})[key] = value

    def append(self, value: Any) -> None:
        self.__dict__.setdefault("items", {})[len(self.__dict__.get("items", {}))] = value

    def extend(self, values: Any) -> None:
        for value in values:
            self.append(value)

    def __iter__(self) -> Iterator[Any]:
        inner = self.arguments[0] if len(self.arguments) == 1 and isinstance(self.arguments[0], (tuple, list)) else self.arguments
        return iter(inner)

    def __repr__(self) -> str:
        return f"<{self.package}.{self.name}>"


def load(path: Path) -> Any:
    """The object in a file of ``torch.save``; raises :class:`ForeignFileError` for anything that is not plain data."""
    check(path)
    try:
        return torch.load(path, map_location="cpu", pickle_module=_RESTRICTED, weights_only=False)  # restricted: see above
    except ForeignFileError as error:  # from inside the pickle, where the file's name is not known
        raise ForeignFileError(f"{path}: {error}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, TypeError, KeyError, ValueError) as error:
        raise ForeignFileError(f"{path} cannot be read: {error}; copy the file again, or save it again") from error


def check(path: Path) -> None:
    """Raise :class:`ForeignFileError` for a file that is not what ``torch.save`` writes today."""
    if not path.exists():
        raise ForeignFileError(f"there is no file {path}")
    if path.is_dir():
        raise ForeignFileError(f"{path} is a folder; give the model file in it")
    if not zipfile.is_zipfile(path):
        raise ForeignFileError(f"{path} is not a file that torch.save writes (since torch 1.6): copy or save it again")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith(("constants.pkl", ".debug_pkl")) or "/code/__torch__" in name for name in names):
        raise ForeignFileError(f"{path} is compiled (TorchScript), and its settings are gone: give the file it was compiled from")


def children(module: Any) -> dict[str, Any]:
    """Submodules of a pickled module, by name."""
    return dict(getattr(module, "_modules", {}))


def tensors(module: Any, prefix: str = "") -> dict[str, Tensor]:
    """All parameters and buffers of a pickled module, named as its ``state_dict`` names them."""
    found = {}
    for kind in ("_parameters", "_buffers"):
        for name, value in getattr(module, kind, {}).items():
            if isinstance(value, Tensor):
                found[prefix + name] = value.detach()
    for name, child in children(module).items():
        if child is not None:
            found |= tensors(child, f"{prefix}{name}.")
    return found


def child(module: Any, path: str) -> Any:
    """A submodule by its dotted name; ``None`` where there is none."""
    for name in path.split("."):
        module = children(module).get(name) if module is not None else None
    return module


def _reconstruct(kind: Any, _base: Any, state: Any) -> Any:
    return kind(state) if isinstance(kind, type) and issubclass(kind, Stranger) else state


def _bytes(text: str, _encoding: str) -> bytes:
    return text.encode("latin1")  # how pickles of protocol 2 spell bytes


# Names that may be what they say: they build containers, tensors and numbers, and do nothing else.
_TRUSTED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *_: data,
    ("torch", "Size"): torch.Size,
    ("_codecs", "encode"): _bytes,
    ("copyreg", "_reconstructor"): _reconstruct,
    **{("builtins", kind.__name__): kind for kind in (set, frozenset, list, dict, tuple, slice, int, float, bool, complex, str)},
    **{("torch", str(dtype).removeprefix("torch.")): dtype for dtype in (torch.float32, torch.float64, torch.int64, torch.int32)},
}
_PACKAGES = {
    "mace", "e3nn", "torch", "opt_einsum_fx", "opt_einsum", "numpy", "nequip", "allegro", "copyreg", "omegaconf", "lightning",
    "lightning_fabric", "pytorch_lightning", "typing", "pathlib", "hydra", "torchmetrics", "matscipy", "ase", "functools", "enum",
    "cuequivariance", "cuequivariance_torch",
}  # fmt: skip


def stand_in(module: str, name: str) -> Any:
    """What a pickle gets for a name; raises :class:`ForeignFileError` for one that has no business in a model."""
    module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)  # their names in pickles of protocol 2
    if (module, name) in _TRUSTED:
        return _TRUSTED[module, name]
    if module.partition(".")[0] not in _PACKAGES:
        raise ForeignFileError(
            f"the file asks for {module}.{name}, which no model needs: it is damaged, of another kind, or not to be trusted"
        )
    return type(name.rpartition(".")[2], (Stranger,), {"package": module, "name": name})


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return stand_in(module, name)


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


_RESTRICTED: Any = SimpleNamespace(
    Unpickler=_Unpickler, load=_load, UnpicklingError=pickle.UnpicklingError, __name__="restricted_pickle"
)
