"""What the command prints: tables, and errors as sentences."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from tesseral.data import DataError
from tesseral.data.doctor import Complaint
from tesseral.kernels.dispatch import BackendError
from tesseral.models.files import ModelFileError
from tesseral.physics.dynamics import DynamicsError
from tesseral.physics.relaxation import RelaxationError
from tesseral.physics.selftest import Check
from tesseral.physics.trajectory import TrajectoryError
from tesseral.train.checkpoints import CheckpointError, RunFolderError
from tesseral.train.loop import TrainingError
from tesseral.train.settings_file import SettingsError

USER_ERRORS = (
    BackendError, CheckpointError, DataError, DynamicsError, ModelFileError, OSError, RelaxationError, RunFolderError,
    SettingsError, TrainingError, TrajectoryError, ValidationError, ValueError,
)  # fmt: skip
"""What a user can cause: shown as sentences, without a traceback."""


def run(command: Callable[[], Any]) -> None:
    """Run a command; user errors are printed as sentences and end it with status 1. TESSERAL_DEBUG=1 shows the traceback."""
    try:
        command()
    except USER_ERRORS as error:
        if os.environ.get("TESSERAL_DEBUG"):
            raise
        console = Console(stderr=True)
        for line in str(error).splitlines() or [type(error).__name__]:
            console.print("[bold red]error:[/bold red] ", end="")
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


def say_complaints(console: Console, complaints: Iterable[Complaint]) -> None:
    """One line a complaint: what is wrong and what to do."""
    for complaint in complaints:
        colour = "red" if complaint.severity == "error" else "yellow"
        console.print(f"[bold {colour}]{complaint.severity}:[/bold {colour}] ", end="")
        console.print(complaint.sentence, markup=False, highlight=False, soft_wrap=True)


def say_errors(console: Console, errors: dict[str, dict[str, Any]]) -> None:
    """A table of errors: a row a set, and a row a kind of frame where there are several."""
    table = Table(box=None, pad_edge=False)
    for column in (
        "set",
        "frames",
        "E RMSE meV",
        "E RMSE meV/atom",
        "E MAE meV/atom",
        "F RMSE meV/Å",
        "F MAE meV/Å",
        "% of F",
        "stress RMSE meV/Å³",
    ):
        table.add_column(column, justify="left" if column == "set" else "right")
    for name, content in errors.items():
        for kind, row in [("", content["overall"]), *content["per_config_type"].items()]:
            share = 100 * row["forces_rmse"] / row["forces_rms"] if row.get("forces_rms") and "forces_rmse" in row else None
            cells = [row.get("energy_rmse"), row.get("energy_per_atom_rmse"), row.get("energy_per_atom_mae")]
            cells += [row.get("forces_rmse"), row.get("forces_mae"), share, row.get("stress_rmse")]
            table.add_row(f"  {kind}" if kind else name, str(row["frames"]), *("" if c is None else f"{c:.3g}" for c in cells))
    console.print(table)


def say_selftest(console: Console, checks: Iterable[Check]) -> None:
    """A line a check."""
    table = Table(box=None, pad_edge=False)
    for column in ("check", "value", "limit", "unit", ""):
        table.add_column(column, justify="right" if column in ("value", "limit") else "left")
    for check in checks:
        verdict = "[green]passed[/green]" if check.passed else "[bold red]failed[/bold red]"
        table.add_row(check.name, f"{check.value:.2e}", f"{check.threshold:.0e}", check.unit, verdict)
        if not check.passed:
            table.add_row(f"  {check.sentence}", "", "", "", "")
    console.print(table)
