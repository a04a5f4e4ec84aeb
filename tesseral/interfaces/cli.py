"""The command ``tesseral``: from DFT frames to a potential, and what the potential is good for."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tesseral.interfaces.commands import derive, exchange, learn

app = typer.Typer(
    name="tesseral", no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False,
    help="Euclidean neural networks: from DFT frames to a potential that you can trust.",
)  # fmt: skip


def _say_version(wanted: bool | None) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"tesseral {version('tesseral')}, torch {version('torch')}, Python {sys.version.split()[0]}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the versions and exit.")
    ] = None,
) -> None:
    pass


for command in (
    learn.demo, learn.train, learn.tensors, learn.config, learn.evaluate, learn.predict, learn.selftest, learn.doctor,
    derive.relax, derive.md, derive.phonons, derive.spectrum, derive.elastic, derive.eos, derive.symmetry, learn.dispersion,
):  # fmt: skip
    app.command()(command)
app.command(context_settings={"ignore_unknown_options": True})(exchange.lammps)
app.command()(exchange.export)
app.command(name="import")(exchange.import_)


def main() -> None:
    """The entry point."""
    from tesseral.interfaces.console import run

    run(app)


if __name__ == "__main__":
    main()
