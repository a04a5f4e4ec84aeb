"""Reference Hessians in files, for ``loss.hessian``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ase
import numpy as np
import torch

from tesseral.data import DataError
from tesseral.graph import build_graph
from tesseral.train.hessians import HessianFrame


def read_hessians(paths: Sequence[Path], cutoff: float) -> list[HessianFrame]:
    """The frames of npz files with numbers (n,), positions (n, 3) in Å and hessian (n, 3, n, 3) in eV/Å².

    A leading axis of positions and hessian holds several frames of one molecule; a Hessian may be (3n, 3n). Raises ``DataError``
    for a file that is absent, lacks an array, or whose shapes do not fit.
    """
    frames = []
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path} does not exist; data.hessians names npz files with numbers, positions and hessian")
        with np.load(path) as arrays:
            absent = [name for name in ("numbers", "positions", "hessian") if name not in arrays]
            if absent:
                raise DataError(
                    f"{path} holds no {', '.join(absent)}; expected arrays numbers, positions (Å) and hessian (eV/Å²)"
                )
            numbers, positions, hessian = (arrays[name] for name in ("numbers", "positions", "hessian"))
        n = len(numbers)
        if positions.size % (3 * n) or hessian.size != positions.size * 3 * n:
            raise DataError(
                f"{path}: numbers {numbers.shape}, positions {positions.shape} and hessian {hessian.shape} do not fit together"
            )
        matrices = hessian.reshape(-1, n, 3, n, 3)
        for place, matrix in zip(positions.reshape(-1, n, 3), matrices, strict=True):
            try:
                frames.append(
                    HessianFrame(build_graph(ase.Atoms(numbers, place), cutoff), torch.tensor(matrix, dtype=torch.float64))
                )
            except ValueError as error:
                raise DataError(f"{path}: {error}") from error
    return frames
