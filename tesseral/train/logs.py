"""What a run writes while it goes: a CSV table, TensorBoard, and a progress bar with the time left."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tesseral.train.checkpoints import HISTORY, write_atomically

COLUMNS = ("epoch", "step", "seconds", "lr", "train_loss", "validation_loss")


class Table:
    """``history.csv``: a row per epoch, flushed at once; a resumed run starts from the rows of its checkpoint."""

    def __init__(self, folder: Path, rows: list[dict[str, float | int]], errors: Iterable[str]) -> None:
        """``errors`` are the names of the errors of the validation."""
        self.path = folder / HISTORY
        self.columns = (*COLUMNS, *(f"validation_{name}" for name in errors))
        lines = "".join(_line(row, self.columns) for row in rows)
        write_atomically(self.path, (",".join(self.columns) + "\n" + lines).encode())

    def add(self, row: dict[str, float | int]) -> None:
        """Appends a row."""
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(_line(row, self.columns))


def _line(row: dict[str, float | int], columns: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.DictWriter(buffer, columns, lineterminator="\n").writerow(row)
    return buffer.getvalue()


def read_history(path: Path) -> list[dict[str, float | int]]:
    """The rows of ``history.csv``, without empty columns."""
    with open(path, encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


class Scalars:
    """TensorBoard events; those after ``step`` that an interrupted run left behind are hidden."""

    def __init__(self, folder: Path, step: int, enabled: bool) -> None:
        self.writer: Any = None
        if enabled:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def add(self, row: dict[str, float | int]) -> None:
        """One point of every curve."""
        if self.writer is not None:
            for key, value in row.items():
                if key not in ("epoch", "step"):
                    self.writer.add_scalar(
                        key.replace("validation_", "validation/").replace("train_", "train/"), value, int(row["step"])
                    )

    def close(self) -> None:
        """Writes what is pending."""
        if self.writer is not None:
            self.writer.close()


def duration(seconds: float | int) -> str:
    """
    >>> duration(42), duration(190), duration(7300)
    ('42 s', '3:10', '2:01:40')
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


class Bar:
    """A bar for the run, one for the epoch, and a line now and then; lines only where there is no terminal."""

    INTERVAL = 10.0
    """Seconds between lines."""

    def __init__(self, enabled: bool, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.enabled = enabled
        self.live = enabled and self.console.is_terminal and not os.environ.get("NO_PROGRESS")
        self.spoken = time.monotonic()
        self.progress: Progress | None = None
        if self.live:
            self.progress = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
                console=self.console, transient=True, refresh_per_second=4,
            )  # fmt: skip
            self.run = self.progress.add_task("run  ", total=1000, note="")
            self.epoch = self.progress.add_task("epoch", total=1, note="")
            self.progress.start()

    def step(self, step: int, steps: int, fraction: float, left: float) -> None:
        """After every step."""
        if self.progress is not None:
            self.progress.update(self.run, completed=int(1000 * fraction), note=f"{duration(left)} left")
            self.progress.update(self.epoch, completed=step, total=steps)

    def row(self, row: dict[str, float | int], left: float, always: bool = False) -> None:
        """After every epoch."""
        if not self.enabled:
            return
        text = describe(row)
        if self.progress is not None:
            self.progress.update(self.epoch, note=text)
        now = time.monotonic()
        if always or now - self.spoken >= self.INTERVAL:
            self.spoken = now
            self.console.print(f"{text}   {duration(left)} left", highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """A line of its own."""
        if self.enabled:
            self.console.print(text, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self.progress is not None:
            self.progress.stop()


def describe(row: dict[str, float | int]) -> str:
    """An epoch in a line.

    >>> describe({"epoch": 3, "step": 270, "seconds": 4.0, "lr": 0.01, "train_loss": 0.25, "validation_forces_rmse": 81.23})
    'epoch    3   loss 2.50e-01   lr 1.0e-02   F 81.2 meV/Å'
    """
    text = f"epoch {int(row['epoch']):4d}   loss {row['train_loss']:.2e}   lr {row['lr']:.1e}"
    for key, value in row.items():
        if not key.endswith("_rmse") or key == "validation_energy_rmse":
            continue
        name, unit = SHORT.get(key, (key.removeprefix("validation_").removesuffix("_rmse"), ""))
        text += f"   {name} {value:.3g} {unit}" if value < 10 else f"   {name} {value:.1f} {unit}"
    return text.rstrip()


SHORT = {
    "validation_energy_per_atom_rmse": ("E", "meV/atom"),
    "validation_forces_rmse": ("F", "meV/Å"),
    "validation_stress_rmse": ("S", "meV/Å³"),
}
