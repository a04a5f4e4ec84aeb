"""Files of models of tensors, direct heads or an energy that reads a field: safetensors with their settings, never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from tesseral.models.files import write_atomically
from tesseral.models.nequip import NequIPSettings
from tesseral.models.tensor import FieldEnergy, TensorModel, TensorSettings

KEYS: Mapping[Literal["heads", "field"], str] = {"heads": "tesseral_tensor", "field": "tesseral_field"}


def save_tensors(model: TensorModel | FieldEnergy, path: str | Path, notes: Mapping[str, Any] | None = None) -> None:
    """Write a model to a safetensors file with its settings and ``notes``, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    description = {"settings": model.settings.model_dump(mode="json"), "notes": dict(notes or {})}
    key = KEYS["field" if isinstance(model, FieldEnergy) else "heads"]
    write_atomically(Path(path), safetensors.torch.save(tensors, {key: json.dumps(description)}))


def kind_of_tensors(path: str | Path) -> Literal["heads", "field"] | None:
    """What a file holds, a :class:`TensorModel` ("heads") or a :class:`FieldEnergy`; None for whatever else, or unreadable."""
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
    except (SafetensorError, OSError):
        return None
    return next((kind for kind, key in KEYS.items() if key in header), None)


def load_tensor_model(
    path: str | Path, *, dtype: torch.dtype = torch.float64, backend: str = "auto"
) -> tuple[TensorModel, dict[str, Any]]:
    """The heads in a file, ready to evaluate, and the notes of its author; ``ValueError`` for another file."""
    description = _description(path, "heads", "no tensor model; `tesseral tensors` trains one")
    model = TensorModel(TensorSettings.model_validate(description["settings"]), backend=backend, dtype=dtype)
    model.load_state_dict(safetensors.torch.load_file(str(path)))
    return model.eval().requires_grad_(False), description["notes"]


def load_field_energy(
    path: str | Path, *, dtype: torch.dtype = torch.float64, backend: str = "auto"
) -> tuple[FieldEnergy, dict[str, Any]]:
    """The energy in a file, ready to evaluate, and the notes of its author; ``ValueError`` for another file."""
    description = _description(path, "field", "no energy that reads a field; save one with tesseral.models.tensor_files")
    model = FieldEnergy(NequIPSettings.model_validate(description["settings"]), backend=backend, dtype=dtype)
    model.load_state_dict(safetensors.torch.load_file(str(path)))
    return model.eval().requires_grad_(False), description["notes"]


def _description(path: str | Path, kind: Literal["heads", "field"], lacks: str) -> dict[str, Any]:
    if kind_of_tensors(path) != kind:
        raise ValueError(f"{path} holds {lacks}")
    with safe_open(str(path), framework="pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()[KEYS[kind]])
    return found
