"""Golden values of two versions of e3nn, see ``make_golden.py``."""

import functools
import pathlib

import numpy as np


@functools.cache
def golden(version: str) -> dict[str, np.ndarray]:
    """All arrays of the fixture of one e3nn version, "0.6.0" or "0.4.4"."""
    with np.load(pathlib.Path(__file__).parent / f"e3nn-{version}.npz") as file:
        return dict(file)
