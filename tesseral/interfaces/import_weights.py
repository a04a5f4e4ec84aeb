"""Models trained with other packages, turned into model files of tesseral: `tesseral import mace|nequip FILE`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tesseral.interfaces.import_mace import read_mace
from tesseral.interfaces.import_nequip import read_nequip
from tesseral.models import files

SOURCES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "mace": (read_mace, "a .model file of mace-torch 0.3"),
    "nequip": (read_nequip, "a .ckpt or .nequip.zip file of nequip 0.19 or nequip-allegro 0.8"),
}


def import_model(source: str, path: Path, output: Path, *, head: str = "", level_of_theory: str = "") -> files.Metadata:
    """Write the model in ``path`` as a tesseral model file; returns what the file says.

    ``head`` chooses the energy that a model of several heads gives when called. Raises ``ValueError`` for an unknown ``source``,
    an unreadable or unsupported file, and an unknown head.
    """
    if source not in SOURCES:
        raise ValueError(
            f"unknown source {source!r}: expected {' or '.join(f'{name} ({what})' for name, (_, what) in SOURCES.items())}"
        )
    model = SOURCES[source][0](path)
    if head:
        model = with_head(model, head)
    metadata = {"notes": f"imported from {path.name}, {SOURCES[source][1]}", "level_of_theory": level_of_theory}
    return files.save(model, output, metadata)


def with_head(model: Any, head: str) -> Any:
    """The same model, giving the energies of another of its heads; ``ValueError`` where it has none of that name."""
    heads = getattr(model.settings, "heads", ())
    if head not in heads:
        raise ValueError(f"there is no head {head!r} in this model: it has {', '.join(heads) or 'one energy only'}")
    chosen = type(model)(model.settings.model_copy(update={"head": head}), dtype=model.dtype)
    chosen.load_state_dict(model.state_dict())
    return chosen
