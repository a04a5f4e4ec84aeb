"""Shared fixtures: a fixed seed per test and the folder of external data."""

import os
import pathlib

import pytest
import torch

# Inductor forks a pool of compile workers that outlives small tests; one process is enough here.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def external_data() -> pathlib.Path:
    """The folder named by TESSERAL_DATA; tests that need it skip without it."""
    folder = os.environ.get("TESSERAL_DATA")
    if not folder or not pathlib.Path(folder).is_dir():
        pytest.skip("set TESSERAL_DATA to the folder of external data sets (see docs/data.md)")
    return pathlib.Path(folder)
