"""Packages of nequip (``.nequip.zip``): what is in them as data, without running the program code that they carry.

``nequip-package build`` writes the modules' code, the settings of the training as YAML, the model as a pickle, and its numbers
beside it. The settings and the numbers are enough.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from tesseral.interfaces import foreign_pickle
from tesseral.interfaces.foreign_pickle import ForeignFileError

CURE = "give the checkpoint (.ckpt) that it was made from"


def is_package(path: Path) -> bool:
    """Whether a zip file carries program code."""
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".py") for name in archive.namelist())


def read_package(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The settings of the model in a package, and its tensors, named as in the state dict of the training.

    Raises :class:`~tesseral.interfaces.foreign_pickle.ForeignFileError` for packages of other programs, and for damaged ones.
    """
    with zipfile.ZipFile(path) as archive:
        top = archive.namelist()[0].partition("/")[0]
        try:
            config, pickled = archive.read(f"{top}/model/config.yaml"), archive.read(f"{top}/model/eager_model.pkl")
            settings = yaml.safe_load(config)["training_module"]["model"]
            model = _Unpickler(io.BytesIO(pickled), archive, f"{top}/.data").load()
        except ForeignFileError as error:
            raise ForeignFileError(f"{path}: {error}") from None
        except (KeyError, TypeError, ValueError, yaml.YAMLError, foreign_pickle.pickle.UnpicklingError) as error:
            raise ForeignFileError(f"{path} is not a package of nequip 0.19 ({error}): {CURE}") from error
    if not isinstance(settings, dict) or str(settings.get("_target_", "")).rpartition(".")[2].startswith(("ModelFrom", "modify")):
        raise ForeignFileError(f"{path} was trained from another model file, where the settings of its model are: {CURE}")
    return settings, {f"model.{name}": value for name, value in foreign_pickle.tensors(model).items()}


class _Unpickler(foreign_pickle._Unpickler):
    """The restricted one, whose numbers are in files of the archive: ``("storage", kind, name, device, size)``."""

    def __init__(self, file: io.BytesIO, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self._archive, self._folder = archive, folder
        self._known: dict[str, torch.storage.TypedStorage] = {}

    def persistent_load(self, pid: Any) -> torch.storage.TypedStorage:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage"):
            raise ForeignFileError(f"the package refers to {pid!r}, expected the numbers of a tensor")
        name, kind = str(pid[2]), getattr(pid[1], "name", "")
        if kind not in _DTYPES:
            raise ForeignFileError(f"the package holds numbers of the kind {kind!r}, expected one of {', '.join(_DTYPES)}")
        if name not in self._known:
            data = bytearray(self._archive.read(f"{self._folder}/{name}.storage"))
            raw = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
            storage = raw.untyped_storage()
            self._known[name] = torch.storage.TypedStorage(wrap_storage=storage, dtype=_DTYPES[kind], _internal=True)
        return self._known[name]


_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}
