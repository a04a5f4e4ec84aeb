"""What `tesseral symmetry` shows: tables and pictures, in a terminal and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import ase
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from tesseral.interfaces.symmetry_pictures import arrows, with_images
from tesseral.train.report import Movie, Report, installed_versions

TENSOR = "Tensor: "
"""How titles of tensors begin; on the page they stand in one section."""


@dataclass(frozen=True)
class Table:
    """A table of what was found; ``note`` says how to read it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A structure, and a mode of it: positions and displacements (n, 3) in Å."""

    title: str
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray | None
    displacements: np.ndarray


@dataclass(frozen=True)
class Analysis:
    """All that the command shows; without ``pictures`` of modes the ``structure`` alone."""

    title: str
    facts: Mapping[str, str]
    tables: tuple[Table, ...]
    structure: Picture
    pictures: tuple[Picture, ...] = ()


def say(console: Console, analysis: Analysis) -> None:
    """The tables in a terminal."""
    console.print(analysis.title, style="bold", highlight=False)
    for key, value in analysis.facts.items():
        console.print(f"  {key}: {value}", highlight=False, soft_wrap=True, markup=False)
    for table in analysis.tables:
        console.print(f"\n{table.title}", style="bold", highlight=False, markup=False)
        drawn = RichTable(box=box.SIMPLE_HEAD)
        for number, column in enumerate(table.columns):
            drawn.add_column(column, no_wrap=number == 0)
        for row in table.rows:
            drawn.add_row(*(cell.replace("[", r"\[") for cell in row))
        console.print(drawn, end="")
        if table.note:
            console.print(table.note, style="dim", highlight=False, markup=False)


def page(analysis: Analysis, source: str) -> Report:
    """The tables and pictures as a report."""
    pictures = "".join(
        f"<h3>{escape(p.title)}</h3>{arrows(p.numbers, p.positions, p.cell, p.displacements, f'mode{i}')}"
        for i, p in enumerate(analysis.pictures)
    )
    facts = Table("Symmetry", ("", ""), tuple((key, str(value)) for key, value in analysis.facts.items()))
    extra = {"Symmetry": _html(facts, head=False)}
    if pictures:
        extra["Distortion modes"] = pictures
    tensors = [table for table in analysis.tables if table.title.startswith(TENSOR)]
    extra |= {table.title: _html(table) for table in analysis.tables if table not in tensors}
    if tensors:
        extra["Tensors"] = "".join(f"<h3>{escape(t.title.removeprefix(TENSOR))}</h3>{_html(t)}" for t in tensors)
    movies = [_movie(picture) for picture in analysis.pictures or (analysis.structure,)]
    return Report(title=analysis.title, subtitle=source, movies=movies, extra=extra, versions=installed_versions())


def _html(table: Table, head: bool = True) -> str:
    titles = "".join(f'<th class="text">{escape(c)}</th>' for c in table.columns)
    body = "".join("<tr>" + "".join(f'<td class="text">{escape(cell)}</td>' for cell in row) + "</tr>" for row in table.rows)
    note = f'<p class="hint">{escape(table.note)}</p>' if table.note else ""
    return f"<table>{f'<thead><tr>{titles}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>{note}"


def _movie(picture: Picture, frames: int = 40, largest: float = 0.5) -> Movie:
    """The mode swung back and forth, drawn with a largest displacement of half an Å; one still of a structure that has none."""
    numbers, positions, displacements = with_images(picture.numbers, picture.positions, picture.cell, picture.displacements)
    symbols = [ase.data.chemical_symbols[z] for z in numbers]
    length = np.linalg.norm(displacements, axis=1).max()
    if not length:
        return Movie(picture.title, symbols, positions[None], picture.cell)
    scale = largest / length
    phases = np.sin(2 * np.pi * np.arange(frames) / frames)
    moving = positions + phases[:, None, None] * scale * displacements
    return Movie(picture.title, symbols, moving, picture.cell, [f"displacements × {phase * scale:+.1f}" for phase in phases])
