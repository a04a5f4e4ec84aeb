"""The object for ML-IAP inside a LAMMPS that has it, against ASE; docs/dynamics.md says how such a LAMMPS is built."""

import ase.build
import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms, units

from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.mliap import export_mliap
from tesseral.models import AllegroSettings, MACESettings, NequIPSettings, PaiNNSettings, build, files

SMALL = {"species": (8, 13), "num_neighbors": 10.0}
MODELS = {
    "allegro": AllegroSettings(
        cutoff=3.5, layers=2, lmax=1, scalar_channels=8, tensor_channels=4, embedding_widths=(8,), latent_widths=(8,),
        readout_widths=(8,), **SMALL,
    ),
    "nequip": NequIPSettings(cutoff=3.2, layers=2, lmax=1, channels=4, **SMALL),
    "nequip, 3 layers": NequIPSettings(cutoff=2.9, layers=3, lmax=1, channels=4, **SMALL),
    "mace": MACESettings(cutoff=3.2, layers=2, hidden="4x0e+4x1o", lmax=2, correlation=2, radial_widths=(8,), **SMALL),
    "painn": PaiNNSettings(cutoff=3.2, layers=2, channels=8, **SMALL),
}  # fmt: skip


@pytest.fixture(scope="module")
def engine():
    """A maker of LAMMPS objects, where one has the packages ML-IAP and PYTHON."""
    module = pytest.importorskip("lammps", reason="needs a LAMMPS built with ML-IAP and PYTHON (docs/dynamics.md)")
    arguments = ["-nocite", "-screen", "none", "-log", "none"]
    probe = module.lammps(cmdargs=arguments)
    if not {"ML-IAP", "PYTHON"} <= set(probe.installed_packages):
        pytest.skip("this LAMMPS has no ML-IAP with Python; docs/dynamics.md says how to build one")
    from lammps.mliap import activate_mliappy

    activate_mliappy(probe)
    return lambda: module.lammps(cmdargs=arguments)


def triclinic():
    atoms = ase.build.bulk("Al", "fcc", a=3.9, cubic=True) * (2, 2, 1)  # thinner than what a model of several layers sees
    atoms.numbers[::3] = 8
    atoms.rattle(0.15, seed=0)
    cell = atoms.cell.array.copy()
    cell[1, 0], cell[2, 0], cell[2, 1] = 1.1, 0.6, -0.7
    atoms.set_cell(cell, scale_atoms=True)
    return atoms


def molecule():
    """Two clusters and an atom that sees nobody, in a box."""
    places = [[0, 0, 0], [1.7, 0.2, 0], [0.1, 1.8, 0.3], [9, 9, 9], [10.5, 9.8, 9.2], [5, 14, 3]]
    return Atoms("AlOOOAlAl", places, cell=[16, 17, 18], pbc=True)


SYSTEMS = {"triclinic crystal": triclinic, "molecules in a box": molecule}


def start(engine, folder, atoms, model):
    """LAMMPS with these atoms and ``pair_style mliap unified``, and the atoms as it has them."""
    files.save(model, folder / "model.safetensors")
    export_mliap(folder / "model.safetensors", folder / "model.pickle")
    atoms = atoms.copy()
    atoms.wrap()
    file = folder / "start.data"
    ase.io.write(file, atoms, format="lammps-data", specorder=["Al", "O"], atom_style="atomic", units="metal", masses=True)
    lmp = engine()
    lmp.commands_string(f"""units metal
atom_style atomic
read_data {file}
pair_style mliap unified {folder / "model.pickle"} 0
pair_coeff * * Al O
compute each all pe/atom
thermo_style custom step pe etotal press pxx pyy pzz pyz pxz pxy""")
    return lmp


def read(lmp):
    """Atoms and forces, in the order of their numbers."""
    count = lmp.get_natoms()
    order = np.argsort(lmp.numpy.extract_atom("id")[:count])
    types, x, f = (np.array(lmp.numpy.extract_atom(name)[:count])[order] for name in ("type", "x", "f"))
    low, high, xy, yz, xz, *_ = lmp.extract_box()
    lengths = np.array(high) - np.array(low)
    cell = [[lengths[0], 0, 0], [xy, lengths[1], 0], [xz, yz, lengths[2]]]
    return Atoms(np.array([0, 13, 8])[types], x, cell=cell, pbc=True), f


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", MODELS)
def test_agrees_with_ase(engine, tmp_path, name, system):
    torch.manual_seed(0)
    model = build(MODELS[name], atomic_energies={8: -3.0, 13: -5.0}, scales=2.0, dtype=torch.float64)
    lmp = start(engine, tmp_path, SYSTEMS[system](), model)
    lmp.command("run 0")
    atoms, forces = read(lmp)
    energies = lmp.numpy.extract_compute("each", 1, 1)[: len(atoms)]
    atoms.calc = Calculator(model)
    assert lmp.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    assert energies.sum() == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-8)
    assert np.abs(forces).max() > 0.01
    pressure = np.array([lmp.get_thermo(key) for key in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")])
    np.testing.assert_allclose(-pressure * units.bar, atoms.get_stress(), rtol=1e-6, atol=1e-8)
    lmp.close()


@pytest.mark.parametrize("name", ["allegro", "nequip"])
def test_energy_is_conserved(engine, tmp_path, name):
    torch.manual_seed(0)
    model = build(MODELS[name], atomic_energies={8: -3.0, 13: -5.0}, scales=2.0, dtype=torch.float64)
    lmp = start(engine, tmp_path, triclinic(), model)
    lmp.commands_string("velocity all create 600 1 mom yes\nfix 1 all nve\nrun 0")
    total, potential = [], []
    for _ in range(10):
        lmp.command("run 10")
        total.append(lmp.get_thermo("etotal"))
        potential.append(lmp.get_thermo("pe"))
    assert np.ptp(total) < 0.02 * np.ptp(potential)
    atoms, forces = read(lmp)
    atoms.calc = Calculator(model)
    np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-8)
    lmp.close()
