"""What commands share: options of the same name mean the same, models are loaded and outputs guarded in one way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Output = Annotated[Path, typer.Option("--output", "-o", help="folder for everything that is written")]
Model = Annotated[Path, typer.Argument(help="a model file, model.safetensors")]
Structure = Annotated[Path, typer.Argument(help="a structure in any format that ASE reads; the last frame is taken")]
Resume = Annotated[bool, typer.Option("--resume", help="continue the run in the output folder")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="discard the run in the output folder")]
Precision = Annotated[str, typer.Option(help="inside the network: float32 or float64; empty: as in the file")]
Backend = Annotated[str, typer.Option(help="kernels: auto, reference, cpu or triton")]


def load_model(path: Path, precision: str, backend: str) -> tuple[Any, Any]:
    """The model of a file and its metadata; ``precision`` is empty for that of the file."""
    import torch

    from tesseral.models import files

    if precision not in ("", "float32", "float64"):
        raise ValueError(f"precision is {precision!r}, expected float32 or float64")
    return files.load(path, dtype=getattr(torch, precision) if precision else None, backend=backend)


def check_outputs(output: Path | None, *inputs: Path, overwrite: bool = False) -> None:
    """Before any work: the output can be written and nothing is lost by it."""
    if output is None:
        return
    if output.exists() and any(path.exists() and path.samefile(output) for path in inputs):
        raise ValueError(f"{output} is the input; name another file for the output")
    if output.is_dir():
        raise ValueError(f"{output} is a folder; name a file")
    if output.exists() and not overwrite and output.stat().st_size:
        raise ValueError(f"{output} exists; name another file, or give --overwrite to replace it")
    if not output.parent.is_dir():
        raise ValueError(f"there is no folder {output.parent} for {output.name}; make it first")
