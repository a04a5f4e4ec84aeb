"""The MPI processes that this program is one of, seen through the MPI library that its host has loaded already.

A model inside LAMMPS has no communicator in Python, and mpi4py may belong to another MPI. What it needs is to end all processes
when it fails in one: the others would wait forever for its ghosts, and LAMMPS's own ``error->all`` waits for them.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MPICH_WORLD = 0x44000000  # MPI_COMM_WORLD of MPICH and of those that share its binary interface: Intel, Cray, MVAPICH


@contextmanager
def failing_together(what: str) -> Iterator[None]:
    """Where an error inside would leave other processes waiting, say why and end all of them; alone, raise it as it is.

    >>> with failing_together("step"):
    ...     raise ValueError("no")
    Traceback (most recent call last):
    ValueError: no
    """
    try:
        yield
    except BaseException as error:
        library, world = _library()
        rank, size = _rank_and_size(library, world)
        if size == 1:
            raise
        sentence = str(error) or type(error).__name__
        sys.stderr.write(f"error on process {rank} of {size}: {what}: {sentence}\n")
        sys.stderr.flush()
        library.MPI_Abort(world, 1)
        os._exit(1)  # an MPI that comes back; the one that started us ends the others when a process leaves like this


def _library() -> tuple[Any, Any]:
    """The symbols of this program, and the handle of all its processes."""
    symbols = ctypes.CDLL(None)
    try:  # a handle of Open MPI is an address
        return symbols, ctypes.c_void_p(ctypes.addressof(ctypes.c_char.in_dll(symbols, "ompi_mpi_comm_world")))
    except ValueError:
        return symbols, ctypes.c_int(MPICH_WORLD)


def _rank_and_size(symbols: Any, world: Any) -> tuple[int, int]:
    """Number of this process and how many there are: 0 of 1 without an MPI or before it has started."""
    if not hasattr(symbols, "MPI_Initialized"):  # LAMMPS's own stand-in for MPI has mangled names
        return 0, 1
    started, rank, size = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(1)
    symbols.MPI_Initialized(ctypes.byref(started))
    if started:
        symbols.MPI_Comm_rank(world, ctypes.byref(rank))
        symbols.MPI_Comm_size(world, ctypes.byref(size))
    return rank.value, size.value
