"""The object for ML-IAP over several MPI processes of a LAMMPS built for them (docs/dynamics.md), against ASE.

The executable is named by TESSERAL_LAMMPS, its ``mpiexec`` is the one in PATH, and PYTHONPATH has LAMMPS's ``python``.
"""

import os
import re
import shutil
import subprocess
import sys

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms, units

from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.mliap import export_mliap
from tesseral.models import build, files
from tests.interfaces.test_mliap_inside import MODELS, molecule, triclinic

HEAD = """clear
units metal
atom_style atomic
atom_modify map yes
read_data {name}.data
pair_style mliap unified {name}.pickle 0
pair_coeff * * Al O
thermo_style custom step pe etotal pxx pyy pzz pyz pxz pxy
thermo_modify format float %.12f
"""
DUMP = "write_dump all custom {name}.dump id type x y z fx fy fz proc modify sort id format float %.14f\n"


@pytest.fixture(scope="module")
def launch():
    """A function that runs a script on several processes and gives back what they said; one that hangs fails."""
    executable, starter = os.environ.get("TESSERAL_LAMMPS"), shutil.which("mpiexec")
    if executable is None or starter is None:
        pytest.skip("set TESSERAL_LAMMPS to a LAMMPS built with MPI, ML-IAP and PYTHON, its mpiexec in PATH (docs/dynamics.md)")
    said = subprocess.run([executable, "-h"], capture_output=True, text=True, timeout=60).stdout
    if "ML-IAP" not in said or "PYTHON" not in said or "MPI STUBS" in said:
        pytest.skip(f"{executable} was built without MPI, ML-IAP or PYTHON (docs/dynamics.md)")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        "MPIR_CVAR_ENABLE_HEAVY_YIELD": "1",  # MPICH waits by spinning, and here there may be fewer cores than processes
    }

    def run(folder, text, ranks):
        (folder / "in.lammps").write_text(text)
        line = [starter, "-n", str(ranks), executable, "-nocite", "-in", "in.lammps"]
        return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)

    return run


def prepare(folder, name, atoms, model):
    """Write model and structure, and give back the atoms as the file has them, with the model's calculator."""
    files.save(model, folder / f"{name}.safetensors")
    export_mliap(folder / f"{name}.safetensors", folder / f"{name}.pickle", overwrite=True)
    atoms = atoms.copy()
    atoms.wrap()
    file = folder / f"{name}.data"
    ase.io.write(file, atoms, format="lammps-data", specorder=["Al", "O"], atom_style="atomic", units="metal", masses=True)
    atoms = ase.io.read(file, format="lammps-data", atom_style="atomic", units="metal", sort_by_id=True)
    atoms.calc = Calculator(model)
    return atoms


def network(name):
    torch.manual_seed(0)
    return build(MODELS[name], atomic_energies={8: -3.0, 13: -5.0}, scales=2.0, dtype=torch.float64)


def thermo(text):
    """Rows of step, potential and total energy, and six components of the pressure."""
    words = (line.split() for line in text.splitlines())
    return np.array([[float(word) for word in row] for row in words if len(row) == 9 and row[0].isdigit()])


def end(folder, name, cell):
    table = np.loadtxt(folder / f"{name}.dump", skiprows=9)
    return Atoms(np.array([0, 13, 8])[table[:, 1].astype(int)], table[:, 2:5], cell=cell, pbc=True), table[:, 5:8]


@pytest.fixture(scope="module")
def crystals(tmp_path_factory, launch):
    """What is run on each number of processes, in one go, since each of them has to import torch."""
    folder = tmp_path_factory.mktemp("crystals")
    cases = {name: triclinic() * (1, 1, 3) for name in ("allegro", "nequip", "mace")} | {"painn": molecule()}
    return folder, {name: prepare(folder, name, atoms, network(name)) for name, atoms in cases.items()}


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_agrees_with_ase(launch, crystals, ranks):
    """A strictly local model and three that see farther than their cutoff; of four processes some own no molecule."""
    folder, cases = crystals
    # LAMMPS raises a cutoff of ghosts that is too small for the pairs that were asked for.
    text = "".join((HEAD + "comm_modify cutoff 1.0\nrun 0\n" + DUMP).format(name=name) for name in cases)
    done = launch(folder, text, ranks)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Communication cutoff adjusted" in done.stdout
    grid = re.search(r"(\d+) by (\d+) by (\d+) MPI processor grid", done.stdout).groups()
    assert np.prod([int(side) for side in grid]) == ranks
    energies = thermo(done.stdout)
    for (name, atoms), row in zip(cases.items(), energies, strict=True):
        _, forces = end(folder, name, atoms.cell)
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-9, err_msg=name)
        assert np.abs(forces).max() > 0.01
        assert row[1] == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(-row[3:] * units.bar, atoms.get_stress(), rtol=1e-6, atol=1e-9, err_msg=name)


def test_energy_is_conserved_while_atoms_change_their_process(launch, tmp_path):
    names = ("allegro", "nequip", "mace")
    cells = {name: prepare(tmp_path, name, triclinic() * (1, 1, 2), network(name)).cell for name in names}
    run = "velocity all create 600 1 mom yes\nfix 1 all nve\nneighbor 0.3 bin\nneigh_modify every 1 delay 0\nthermo 10\nrun 100\n"
    start = "run 0\n" + DUMP.replace(".dump", ".start")
    done = launch(tmp_path, "".join((HEAD + start + run + DUMP).format(name=name) for name in names), 2)
    assert done.returncode == 0, done.stdout + done.stderr
    for name, rows in zip(names, np.split(thermo(done.stdout), 3), strict=True):
        before, after = (np.loadtxt(tmp_path / f"{name}.{part}", skiprows=9)[:, 8] for part in ("start", "dump"))
        assert (before != after).any()
        assert len(rows) == 12
        rows = rows[1:]
        assert np.ptp(rows[:, 2]) < 0.02 * np.ptp(rows[:, 1])
        atoms, forces = end(tmp_path, name, cells[name])
        atoms.calc = Calculator(network(name))
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-8, err_msg=name)


def test_an_error_on_one_process_ends_all(launch, tmp_path):
    """Of two processes one has oxygens, whose pairs are left out."""
    atoms = Atoms("Al3O2", [[5, 5, 5], [7, 5, 5], [35, 5, 5], [36.5, 5, 5], [35, 6.5, 5]], cell=[50, 10, 10], pbc=True)
    prepare(tmp_path, "nequip", atoms, network("nequip"))
    text = (HEAD + "neigh_modify exclude type 2 2\nrun 0\n").format(name="nequip")
    done = launch(tmp_path, text.replace("atom_modify", "processors 2 1 1\natom_modify"), 2)
    assert done.returncode != 0
    assert "error on process 1 of 2: pair_style mliap: LAMMPS leaves out a pair of atoms 2.12 Å apart" in done.stderr
    assert "take `neigh_modify exclude` out of the script" in done.stderr
    assert "error on process 0" not in done.stderr


def test_a_killed_process_ends_all(launch, tmp_path):
    prepare(tmp_path, "allegro", triclinic(), network("allegro"))
    die = '''python die here """
def die():
    import os, signal
    if "1" in (os.environ.get("PMI_RANK"), os.environ.get("OMPI_COMM_WORLD_RANK")):
        os.kill(os.getpid(), signal.SIGKILL)
"""
'''
    done = launch(tmp_path, (HEAD + "run 0\n").format(name="allegro") + die + "python die invoke\nrun 100\n", 2)
    assert done.returncode != 0
    assert len(thermo(done.stdout)) <= 2
