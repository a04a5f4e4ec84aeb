"""Healthy frames, and ways to spoil them."""

import dataclasses
import functools

import numpy as np

from tesseral.data import Frame, FramesInMemory, frames_from_atoms
from tesseral.data.doctor import DoctorSettings, examine
from tests.data.made import argon, crystal, ethanol, isolated_atoms


@functools.cache
def molecules():
    return tuple(frames_from_atoms(ethanol(), file="ethanol.xyz"))


@functools.cache
def crystals():
    return tuple(frames_from_atoms(crystal(), file="crystal.xyz"))


@functools.cache
def atoms():
    return tuple(frames_from_atoms(isolated_atoms(), file="atoms.xyz"))


@functools.cache
def trajectory():
    """Crystals at constant volume."""
    return tuple(frames_from_atoms(crystal(strain=0.0, spread=0.1), file="nvt.xyz"))


@functools.cache
def clusters():
    return tuple(frames_from_atoms(argon(), file="argon.xyz"))


def spoil(frames, change, only=None):
    """The frames with ``change(frame) -> fields`` applied to all of them, or to those with the index ``only``."""
    return FramesInMemory(
        dataclasses.replace(frame, **change(frame)) if only is None or frame.index in np.atleast_1d(only) else frame
        for frame in frames
    )


def relabel(frames, only=None, **labels):
    """The frames with labels replaced: by a function of the frame, or None to remove it."""

    def change(frame: Frame):
        new = dict(frame.labels)
        for name, function in labels.items():
            if function is None:
                new.pop(name, None)
            else:
                new[name] = np.array(function(frame), dtype=np.float64)
        return {"labels": new}

    return spoil(frames, change, only)


def complaints(frames, name=None, test=None, **settings):
    found = examine(frames, DoctorSettings(**settings), test=test)
    return [complaint for complaint in found if name is None or complaint.name == name]


def errors(frames, **settings):
    return {complaint.name for complaint in complaints(frames, **settings) if complaint.severity == "error"}
