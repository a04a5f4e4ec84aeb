"""Real data that ships with the library: ethanol at B3LYP/def2-SVP, made by ``recipes/make_embedded_data.py``.

Frames of GFN2-xTB dynamics at 300, 500 and 700 K, labelled with DFT; isolated atoms; the relaxed conformers with their Hessians.
``README.md`` beside this file says how each was made.
"""

import gzip
import json
from dataclasses import dataclass
from importlib.resources import files

import ase
import ase.io
import numpy as np
from jaxtyping import Float

__all__ = ["Minimum", "hessians", "load"]


@dataclass(frozen=True)
class Minimum:
    r"""A relaxed conformer and what its labels do around it.

    ``hessian`` is :math:`\partial^2 E/\partial r_{ia}\,\partial r_{jb}` in eV/Å², analytic. ``dipole_derivatives`` is
    :math:`\partial\mu_b/\partial r_{ia}` in e and ``polarizability_derivatives`` is :math:`\partial\alpha_{bc}/\partial r_{ia}`
    in Å², both from the forces in an electric field; the displaced coordinate (atom, axis) comes first.
    """

    atoms: ase.Atoms
    split: str
    hessian: Float[np.ndarray, "atoms 3 atoms 3"]
    dipole_derivatives: Float[np.ndarray, "atoms 3 3"]
    polarizability_derivatives: Float[np.ndarray, "atoms 3 3 3"]


def load(name: str = "ethanol", split: str | None = None) -> list[ase.Atoms]:
    r"""Frames of an embedded data set, all of them or those of one split.

    Energies (eV), forces (eV/Å) and dipoles (e·Å) are in the attached calculator. ``info`` holds

    - ``split``: train, valid or test. A trajectory belongs to one split as a whole, and all of 700 K is test;
    - ``config_type``: ``300K``, ``500K``, ``700K``, ``isolated_atom`` (train) or ``minimum`` (trans: train, gauche: test);
    - ``trajectory``, ``temperature`` (K), ``time_fs``, and ``conformer``, the well in which the frame lies;
    - ``polarizability`` of about every tenth frame: 3 x 3, the volume :math:`\alpha/4\pi\varepsilon_0` in Å³, so that a field of
      1 e/Å² (14.4 V/Å) induces a dipole of :math:`\alpha` e·Å;
    - ``method``, ``units``, ``seed``.

    Molecules are centred, without a cell. Raises ``ValueError`` for an unknown name or split.

    >>> frame = load("ethanol", split="valid")[0]
    >>> frame.get_chemical_formula(), frame.info["config_type"], frame.get_forces().shape
    ('C2H6O', '300K', (9, 3))
    """
    with gzip.open(_path(name, ".extxyz.gz"), "rt") as text:
        frames = list(ase.io.iread(text, ":", format="extxyz"))
    for frame in frames:
        if "polarizability" in frame.info:
            frame.info["polarizability"] = frame.info["polarizability"].reshape(3, 3)  # nine numbers in the file
    if split is None:
        return frames
    chosen = [frame for frame in frames if frame.info["split"] == split]
    if not chosen:
        raise ValueError(f"split {split!r} is not in {name!r}; it has {sorted({frame.info['split'] for frame in frames})}")
    return chosen


def hessians(name: str = "ethanol") -> dict[str, Minimum]:
    """The minima of an embedded data set by conformer: trans (train) and gauche+ (held out; gauche- is its mirror image).

    Raises ``ValueError`` for an unknown name.

    >>> hessians()["gauche+"].hessian.shape
    (9, 3, 9, 3)
    """
    with np.load(_path(name, "_minima.npz")) as arrays:
        splits = json.loads(str(arrays["metadata"]))["splits"]
        return {
            conformer: Minimum(
                atoms=ase.Atoms(arrays[f"{conformer}/numbers"], arrays[f"{conformer}/positions"]),
                split=split,
                hessian=arrays[f"{conformer}/hessian"],
                dipole_derivatives=arrays[f"{conformer}/dipole_derivatives"],
                polarizability_derivatives=arrays[f"{conformer}/polarizability_derivatives"],
            )
            for conformer, split in splits.items()
        }


def _path(name: str, ending: str):
    path = files(__package__) / f"{name}{ending}"
    if not path.is_file():
        raise ValueError(f"there is no embedded data set {name!r}; the only one is 'ethanol'")
    return path
