"""Labelled structures: read, examined, counted and split.

======================== ==================================================================
``read``                 :func:`read_frames` from extended XYZ, ASE databases, archives, arrays, anything ASE reads
``keys``, ``units``      under which keys and in which units a file keeps its labels
``frame``, ``frames``    one :class:`Frame` in eV and Å, and sequences of them, in memory or not
``arrays``               structures of ``.npz`` files and of DeePMD-kit
``archive``              frames larger than memory, in one LMDB file
``statistics``           energies of isolated atoms, scales, neighbours: :func:`compute_statistics`
``split``                which frames train, validate and test, written to disk
``doctor``               what is wrong with the data, in sentences: :func:`examine`
``embedded``             data that ship with the library
======================== ==================================================================
"""

from tesseral.data.archive import Archive, write_archive
from tesseral.data.errors import DataError
from tesseral.data.frame import Frame, frame_from_atoms
from tesseral.data.frames import Frames, FramesInMemory, Graphs
from tesseral.data.keys import Keys
from tesseral.data.read import frames_from_atoms, read_frames
from tesseral.data.split import Split, SplitSettings, make_split, split_or_read
from tesseral.data.statistics import AtomicEnergies, Statistics, compute_statistics
from tesseral.data.units import Units

__all__ = [
    "Archive",
    "AtomicEnergies",
    "DataError",
    "Frame",
    "Frames",
    "FramesInMemory",
    "Graphs",
    "Keys",
    "Split",
    "SplitSettings",
    "Statistics",
    "Units",
    "compute_statistics",
    "frame_from_atoms",
    "frames_from_atoms",
    "make_split",
    "read_frames",
    "split_or_read",
    "write_archive",
]
