"""Labelled structures: read, examined, counted and split.

======================== ==================================================================
``read``                 :func:`read_frames` from extended XYZ, ASE databases, archives, anything ASE reads
``keys``, ``units``      under which keys and in which units a file keeps its labels
``frame``, ``frames``    one :class:`Frame` in eV and Å, and sequences of them, in memory or not
``archive``              frames larger than memory, in one LMDB file
======================== ==================================================================
"""

from tesseral.data.archive import Archive, write_archive
from tesseral.data.errors import DataError
from tesseral.data.frame import Frame, frame_from_atoms
from tesseral.data.frames import Frames, FramesInMemory, Graphs
from tesseral.data.keys import Keys
from tesseral.data.read import frames_from_atoms, read_frames
from tesseral.data.units import Units

__all__ = [
    "Archive",
    "DataError",
    "Frame",
    "Frames",
    "FramesInMemory",
    "Graphs",
    "Keys",
    "Units",
    "frame_from_atoms",
    "frames_from_atoms",
    "read_frames",
    "write_archive",
]
