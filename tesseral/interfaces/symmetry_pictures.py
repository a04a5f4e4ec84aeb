"""A picture of a distortion: atoms and arrows along two of the three axes."""

from __future__ import annotations

import itertools

import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.axes import Axes

from tesseral.train.figures import INK, new_figure, to_svg

VIEWS = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
LONGEST = 1.0
"""Å on paper of the longest arrow."""


def arrows(numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray | None, displacements: np.ndarray, name: str) -> str:
    """An SVG with the views along z, y and x; arrows are scaled to a longest of 1 Å, atoms on the faces of a cell are repeated.

    ``positions`` and ``displacements`` (n, 3) in Å.
    """
    numbers, positions, displacements = with_images(numbers, positions, cell, displacements)
    scale = LONGEST / max(float(np.linalg.norm(displacements, axis=1).max()), 1e-12)
    figure, panels = new_figure(3, height=3.6)
    for panel, (across, up, along) in zip(panels, VIEWS, strict=True):
        _view(panel, numbers, positions, displacements * scale, cell, (across, up, along))
        panel.set_title(f"along {'xyz'[along]}; arrows × {scale:.3g}", fontsize=9, color=INK)
    return to_svg(figure, name)


def _view(
    panel: Axes,
    numbers: np.ndarray,
    positions: np.ndarray,
    vectors: np.ndarray,
    cell: np.ndarray | None,
    axes: tuple[int, int, int],
) -> None:
    across, up, along = axes
    if cell is not None:
        for start, end in _edges(cell):
            panel.plot([start[across], end[across]], [start[up], end[up]], color="0.6", lw=0.7, zorder=0)
    depth = positions[:, along] * (-1 if along == 1 else 1)
    for rank, i in enumerate(np.argsort(depth)):
        colour = tuple(float(c) for c in jmol_colors[numbers[i]])
        radius = 0.45 * float(covalent_radii[numbers[i]])
        circle = _circle(positions[i, across], positions[i, up], radius)
        panel.fill(*circle, facecolor=colour, edgecolor="0.3", lw=0.6, zorder=1 + rank / len(depth))
    for x, v in zip(positions, vectors, strict=True):
        if np.hypot(v[across], v[up]) > 0.05:
            panel.annotate(
                "", (x[across] + v[across], x[up] + v[up]), (x[across], x[up]),
                arrowprops={"arrowstyle": "-|>", "color": "#c2185b", "lw": 1.4, "shrinkA": 0, "shrinkB": 0}, zorder=3,
            )  # fmt: skip
    ends = np.concatenate([positions, positions + vectors])
    for setter, axis in ((panel.set_xlim, across), (panel.set_ylim, up)):
        setter(ends[:, axis].min() - 0.9, ends[:, axis].max() + 0.9)
    panel.set_aspect("equal")
    panel.set_axis_off()


def _circle(x: float, y: float, radius: float) -> tuple[np.ndarray, np.ndarray]:
    angle = np.linspace(0, 2 * np.pi, 40)
    return x + radius * np.cos(angle), y + radius * np.sin(angle)


def _edges(cell: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    corners = [np.array(c) for c in itertools.product((0, 1), repeat=3)]
    return [(a @ cell, b @ cell) for a, b in itertools.combinations(corners, 2) if np.abs(a - b).sum() == 1]


def with_images(
    numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray | None, displacements: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atoms in the cell, those on its faces, edges and corners with their images on the opposite ones."""
    if cell is None:
        return numbers, positions, displacements
    scaled = positions @ np.linalg.inv(cell)
    scaled = scaled - np.floor(scaled + 1e-6)
    chosen, places = [], []
    for i, s in enumerate(scaled):
        for shift in itertools.product(*[(0, 1) if abs(x) < 1e-5 else (0,) for x in s]):
            chosen.append(i)
            places.append((s + shift) @ cell)
    return numbers[chosen], np.array(places), displacements[chosen]
