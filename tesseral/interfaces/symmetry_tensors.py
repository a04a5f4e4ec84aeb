"""The tables of the tensors that a point group allows, in the axes in which they are easiest to read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tesseral.groups import ELASTIC, PIEZO, POLARIZABILITY, PointGroup, TensorKind, tensor_pattern
from tesseral.groups.identify import snapped
from tesseral.interfaces.symmetry_page import TENSOR, Table

NEARLY = 1e-4
"""Axes that differ from simple ones by no more are taken to be those: they are so by rounding in the file."""


def reading_frame(point: PointGroup) -> tuple[PointGroup, str]:
    """The group turned to the axes in which tensors are written, and which these are, in words.

    They are those of the file, unless components are fewer along the axes of the group.

    >>> from tesseral.groups import generate, point_group
    >>> reading_frame(point_group("C4v"))[1]
    'the Cartesian frame of the file'
    >>> turn = np.array([[1, -1, 0], [1, 1, -2], [1, 1, 1]]).T / np.sqrt([2, 6, 3])  # z along [111]
    >>> reading_frame(generate(turn @ point_group("C3v").elements @ turn.T))[1][:50]
    'the axes of the group: z = (0.577 0.577 0.577), x '
    """
    simple = snapped(point.orientation, NEARLY)
    exact = np.abs(simple @ simple.T - np.eye(3)).max() < 1e-9
    here = PointGroup(point.symbol, simple if exact else point.orientation)
    own = PointGroup(point.symbol, np.eye(3))
    if _crowding(here) <= _crowding(own):
        return here, "the Cartesian frame of the file"
    z, x = (direction(point.orientation[:, axis]) for axis in (2, 0))
    return own, f"the axes of the group: z = ({z}), x = ({x}) in the frame of the file"


def direction(vector: np.ndarray) -> str:
    """Components to three digits, without minus zero.

    >>> direction(np.array([-1e-9, 0.70711, 0.70711]))
    '0 0.707 0.707'
    """
    return " ".join(f"{round(float(x), 3) + 0.0:g}" for x in vector)


def tensor_tables(point: PointGroup, kinds: Sequence[TensorKind]) -> tuple[list[Table], list[str]]:
    """A table for each tensor that is not zero by symmetry, and the names of those that are."""
    group, frame = reading_frame(point)
    tables, vanishing = [], []
    for kind in kinds:
        pattern = tensor_pattern(group, kind)
        if not pattern.independent:
            vanishing.append(kind.name)
            continue
        columns = ("xx", "yy", "zz", "yz", "xz", "xy") if len(pattern.entries[0]) == 6 else ("x", "y", "z")
        names = {1: ("",), 3: ("x", "y", "z"), 6: columns}[len(pattern.entries)]
        rows = tuple((name, *entries) for name, entries in zip(names, pattern.entries, strict=True))
        tables.append(Table(f"{TENSOR}{kind.name}", ("", *columns), rows, f"{pattern.independent} independent; in {frame}."))
    return tables, vanishing


def _crowding(group: PointGroup) -> int:
    """How many terms there are in three tensors."""
    patterns = [tensor_pattern(group, kind) for kind in (POLARIZABILITY, PIEZO, ELASTIC)]
    cells = [cell for pattern in patterns for row in pattern.entries for cell in row if cell != "0"]
    return sum(1 + cell.count("+") + cell[1:].count("-") for cell in cells)
