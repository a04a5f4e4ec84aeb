"""What the command prints: tables, and errors as sentences."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
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


COLUMNS = (
    ("energy_rmse", "E RMSE", "meV"),
    ("energy_per_atom_rmse", "E RMSE", "meV/atom"),
    ("energy_per_atom_mae", "E MAE", "meV/atom"),
    ("forces_rmse", "F RMSE", "meV/Å"),
    ("forces_mae", "F MAE", "meV/Å"),
    ("share", "F RMSE", "% of RMS"),
    ("stress_rmse", "S RMSE", "meV/Å³"),
    ("dipole_rmse", "μ RMSE", "e·Å"),
    ("polarizability_rmse", "α RMSE", "Å³"),
    ("born_charges_rmse", "Z* RMSE", "e"),
)


def say_errors(console: Console, errors: dict[str, dict[str, Any]]) -> None:
    """A table of errors: a row a set, and a row a kind of frame where there are several."""
    rows: list[tuple[str, dict[str, Any]]] = []
    for name, content in errors.items():
        rows.append((name, content["overall"]))
        rows += [(f"  {kind}", row) for kind, row in content["per_config_type"].items()]
    cells = [(name, row | _share(row)) for name, row in rows]
    columns = [column for column in COLUMNS if any(column[0] in row for _, row in cells)]
    table = Table(box=None, pad_edge=False)
    table.add_column("set", no_wrap=True)
    table.add_column("frames", justify="right")
    for _, title, unit in columns:
        table.add_column(f"{title}\n{unit}", justify="right", no_wrap=True)
    for name, row in cells:
        table.add_row(name, str(row["frames"]), *(f"{row[key]:.3g}" if key in row else "" for key, *_ in columns))
    console.print(table)


def _share(row: dict[str, Any]) -> dict[str, float]:
    """The error of the forces as a part of their size."""
    return {"share": 100 * row["forces_rmse"] / row["forces_rms"]} if row.get("forces_rms") and "forces_rmse" in row else {}


def say_selftest(console: Console, checks: Sequence[Check]) -> None:
    """A line a check, by structure, and the sentence of each that failed."""
    table = Table(box=None, pad_edge=False)
    for column in ("check", "value", "limit", "unit", ""):
        table.add_column(column, justify="right" if column in ("value", "limit") else "left", no_wrap=True)
    for structure in dict.fromkeys(check.structure for check in checks):
        table.add_row(f"[bold]{structure}[/bold]")
        for check in checks:
            if check.structure == structure:
                verdict = "[green]passed[/green]" if check.passed else "[bold red]failed[/bold red]"
                table.add_row(f"  {check.name}", f"{check.value:.1e}", f"{check.threshold:.0e}", check.unit, verdict)
    console.print(table)
    for check in checks:
        if not check.passed:
            console.print("[bold red]failed:[/bold red] ", end="")
            console.print(f"{check.name} ({check.structure}): {check.sentence}", markup=False, highlight=False, soft_wrap=True)
    passed = sum(check.passed for check in checks)
    console.print(f"{passed} of {len(checks)} checks passed", highlight=False)
