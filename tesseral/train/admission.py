"""What must hold before the first step: labels that the loss weighs, and for a resumed run its frames and settings."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tesseral.train.checkpoints import CheckpointError
from tesseral.train.losses import QUANTITIES
from tesseral.train.prediction import Graphs
from tesseral.train.settings import FitSettings, RunSettings

# A resumed run may change how long it goes and what it shows, and nothing that its past depends on.
FREE_TO_CHANGE = {
    "max_epochs", "max_time", "early_stopping", "validation_batch_size", "tensorboard", "accelerator", "devices",
}  # fmt: skip


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to do."""


def fingerprint(frames: Graphs) -> int:
    """A number that tells one set of training frames from another: all of a list, the first and last of anything else."""
    chosen = frames if isinstance(frames, list) else [frames[0], frames[len(frames) - 1]]
    code = zlib.crc32(str(len(frames)).encode())
    for frame in chosen:
        for value in (frame.positions, *(frame.labels[key] for key in sorted(frame.labels))):
            code = zlib.crc32(value.detach().cpu().contiguous().numpy().tobytes(), code)
    return code


def check_labels(frames: Graphs, settings: FitSettings) -> None:
    """The frames must carry every label that the loss weighs, in finite numbers."""
    if len(frames) == 0:
        raise TrainingError("there are no training frames")
    wanted = [name for name in QUANTITIES if getattr(settings.loss, name).weight > 0]
    if not wanted:
        raise TrainingError("every weight of the loss is 0; give loss.energy.weight, loss.forces.weight or another a value")
    if not isinstance(frames, list):
        return
    for name in wanted:
        labelled = 0
        for index, frame in enumerate(frames):
            if name not in frame.labels:
                continue
            mask = frame.masks.get(name)
            values = frame.labels[name] if mask is None else frame.labels[name][mask]
            labelled += values.numel()
            if not bool(torch.isfinite(values).all()):
                raise TrainingError(
                    f"training frame {index} has a {name} that is not a finite number; run 'tesseral doctor' on the file"
                )
        if not labelled:
            found = sorted({key for frame in frames for key in frame.labels}) or "no labels at all"
            raise TrainingError(
                f"loss.{name}.weight is {getattr(settings.loss, name).weight}, but no training frame has {name} "
                f"(found: {found}); "
                f"set loss.{name}.weight=0, or name the key in data.keys"
            )


def check_resume(state: dict[str, Any], settings: RunSettings, frames: Graphs, folder: Path) -> None:
    """A run is continued with the frames and the settings it began with, except for those that may change."""
    now = dict(_leaves(settings.model_dump(mode="json")))
    before = dict(_leaves(state["settings"]))
    # Where the data lie may change; that they are the same is seen by their fingerprint.
    free = FREE_TO_CHANGE | {"data"}
    changed = [key for key in before | now if key.split(".")[0] not in free and now.get(key) != before.get(key)]
    if changed:
        pairs = "; ".join(f"{key}: was {before.get(key)}, is {now.get(key)}" for key in changed)
        raise CheckpointError(
            f"{folder} was begun with other settings ({pairs}); restore them to resume, or start a run in another folder"
        )
    if state["frames"] != fingerprint(frames):
        raise CheckpointError(
            f"{folder} was begun with other training frames; restore them to resume, or start a run in another folder"
        )


def _leaves(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested settings."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
