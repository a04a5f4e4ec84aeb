"""Files of models of tensors: safetensors with their settings, never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from tesseral.models.files import write_atomically
from tesseral.models.tensor import TensorModel, TensorSettings

KEY = "tesseral_tensor"


def save_tensors(model: TensorModel, path: str | Path, notes: Mapping[str, Any] | None = None) -> None:
    """Write a model to a safetensors file with its settings and ``notes``, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    description = {"settings": model.settings.model_dump(mode="json"), "notes": dict(notes or {})}
    write_atomically(Path(path), safetensors.torch.save(tensors, {KEY: json.dumps(description)}))


def holds_tensors(path: str | Path) -> bool:
    """Whether a file holds a :class:`TensorModel`; false for whatever else, or unreadable."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def load_tensor_model(
    path: str | Path, *, dtype: torch.dtype = torch.float64, backend: str = "auto"
) -> tuple[TensorModel, dict[str, Any]]:
    """The heads in a file, ready to evaluate, and the notes of its author; ``ValueError`` for another file."""
    if not holds_tensors(path):
        raise ValueError(f"{path} holds no tensor model; `tesseral tensors` trains one")
    with safe_open(str(path), framework="pt") as file:
        description: dict[str, Any] = json.loads(file.metadata()[KEY])
    model = TensorModel(TensorSettings.model_validate(description["settings"]), backend=backend, dtype=dtype)
    model.load_state_dict(safetensors.torch.load_file(str(path)))
    return model.eval().requires_grad_(False), description["notes"]
