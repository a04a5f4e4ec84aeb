"""Commands that hand models to other programs, and take theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tesseral.interfaces.commands.options import Model, check_outputs


def lammps(
    script: Annotated[Path, typer.Argument(help="an input script with the line `pair_style tesseral model.safetensors`")],
    arguments: Annotated[list[str] | None, typer.Argument(help="for LAMMPS, as in -var T 300")] = None,
    ranks: Annotated[int, typer.Option(help="processes, each with a part of space")] = 1,
    threads: Annotated[int, typer.Option(help="threads of each process")] = 1,
) -> None:
    """Run a LAMMPS script with a model, over any number of processes."""
    from tesseral.interfaces.lammps import launch

    launch(script, ranks, threads, arguments or ())


def export(
    target: Annotated[str, typer.Argument(help="mliap: LAMMPS's `pair_style mliap unified`; aotinductor: a compiled package")],
    model: Model,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="file to write: model.pickle, model.pt2")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the output file")] = False,
) -> None:
    """Write a model for another program: LAMMPS builds with ML-IAP and Python, or Python without the model's code."""
    if target not in ("mliap", "aotinductor"):
        raise ValueError(f"a model is written for mliap (LAMMPS's `pair_style mliap unified`) or aotinductor, not for {target}")
    path = output or Path("model.pickle" if target == "mliap" else "model.pt2")
    check_outputs(path, model, overwrite=overwrite)
    if target == "mliap":
        from tesseral.interfaces.mliap import export_mliap

        elements = " ".join(export_mliap(model, path, overwrite=overwrite).element_types)
        typer.echo(f"{path}: pair_style mliap unified {path} 0, with pair_coeff * * and elements among {elements}")
    else:
        from tesseral.interfaces.ahead_of_time import export_ahead

        typer.echo("compiling, which takes a minute or two ...")
        export_ahead(model, path, overwrite=overwrite)
        typer.echo(f"{path}: tesseral.interfaces.ahead_of_time.load({str(path)!r})")


def import_(
    source: Annotated[str, typer.Argument(help="mace (a .model file) or nequip (a .ckpt or .nequip.zip file, of Allegro, too)")],
    file: Annotated[Path, typer.Argument(help="the trained model of that package, which need not be installed")],
    output: Annotated[Path, typer.Option("--output", "-o", help="model file to write")] = Path("model.safetensors"),
    head: Annotated[str, typer.Option(help="of a model of several heads: the energy that it is to give")] = "",
    level_of_theory: Annotated[str, typer.Option(help="what its energies are, as in PBE+U; kept in the model file")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the output file")] = False,
) -> None:
    """Turn a model trained with mace-torch or nequip into a model file of tesseral, with the same energies and forces."""
    from tesseral.interfaces.import_weights import import_model

    check_outputs(output, file, overwrite=overwrite)
    metadata = import_model(source, file, output, head=head, level_of_theory=level_of_theory)
    settings = metadata.settings
    typer.echo(
        f"{output}: {settings['name']}, {len(metadata.species)} species, cutoff {metadata.cutoff} Å, {metadata.dtype}, "
        f"heads {', '.join(settings.get('heads', ['one']))}"
    )
