"""The object for LAMMPS's ML-IAP, given data as LAMMPS gives them, against ASE; test_mliap_inside.py runs LAMMPS itself."""

import pickle
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import ase.build
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.data import chemical_symbols
from vesin import NeighborList

from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.domain import DomainError
from tesseral.interfaces.mliap import MLIAP, export_mliap
from tesseral.models import MACESettings, NequIPSettings, PaiNNSettings, build, files
from tesseral.nn.pair import ZBL
from tests.interfaces.test_cli import command


class Data:
    """Atoms of one process and their ghosts, which follow them; the plain variant, whose energies can only be written."""

    def __init__(self, atoms, unified, mine=None):
        mine = np.arange(len(atoms)) if mine is None else mine
        i, j, shifts = NeighborList(cutoff=2 * unified.rcutfac, full_list=True).compute(
            atoms.positions, atoms.cell.array, True, "ijS"
        )
        kept = np.isin(i, mine)
        i, j, shifts = i[kept], j[kept], shifts[kept]
        row = {(atom, 0, 0, 0): number for number, atom in enumerate(mine)}
        for place in zip(j, *shifts.T):
            row.setdefault(tuple(int(n) for n in place), len(row))
        self.images = np.array([atom for atom, *_ in row], dtype=int)
        self.nlistatoms, self.ntotal, self.npairs = len(mine), len(row), len(i)
        # LAMMPS's own order is none that a graph would have.
        order = np.random.default_rng(0).permutation(len(i))
        self.pair_i = np.array([row[atom, 0, 0, 0] for atom in i], dtype=np.int32)[order]
        self.pair_j = np.array([row[b, *s] for b, s in zip(j, shifts.tolist())], dtype=np.int32)[order]
        self.rij = (atoms.positions[j] + shifts @ atoms.cell.array - atoms.positions[i])[order]
        numbers = [unified.element_types.index(chemical_symbols[z]) for z in atoms.numbers]
        self.elems = np.array(numbers, dtype=np.int32)[self.images]
        self.f, self.virial, self.energy, self.energies = np.zeros((self.ntotal, 3)), np.zeros((3, 3)), None, None

    eatoms = property(None, lambda self, value: setattr(self, "energies", np.array(value)))

    def update_pair_forces(self, forces):
        assert forces.dtype == np.float64
        np.add.at(self.f, self.pair_i, forces)
        np.add.at(self.f, self.pair_j, -forces)
        self.virial -= self.rij.T @ forces


class KokkosData(Data):
    """The variant that lends its array of energies and talks to the processes of ``world``, each of which runs in a thread."""

    def __init__(self, atoms, unified, mine=None, world=None):
        super().__init__(atoms, unified, mine)
        self.energies = np.zeros(self.nlistatoms)
        self.size, self.world = len(atoms), world or World(1)

    eatoms = property(lambda self: self.energies)

    def forward_exchange(self, source, target, length):
        assert source.shape == target.shape == (self.ntotal, length)
        assert source.is_contiguous()
        whole = self.world.sum(_spread(source[: self.nlistatoms], self.images[: self.nlistatoms], self.size))
        target.copy_(whole[torch.from_numpy(self.images)])

    def reverse_exchange(self, source, target, length):
        assert source.shape == target.shape == (self.ntotal, length)
        assert source.is_contiguous()
        whole = self.world.sum(_spread(source, self.images, self.size))
        target.fill_(torch.nan)  # what is left in the rows of ghosts is nobody's
        target[: self.nlistatoms] = whole[torch.from_numpy(self.images[: self.nlistatoms])]


def _spread(rows, images, size):
    return rows.new_zeros(size, rows.shape[1]).index_add_(0, torch.from_numpy(images), rows)


class World:
    """Processes that add up tensors over all atoms."""

    def __init__(self, processes):
        self.barrier, self.lock, self.total = threading.Barrier(processes, timeout=20), threading.Lock(), None

    def sum(self, part):
        self.barrier.wait()
        self.total = None
        self.barrier.wait()
        with self.lock:
            self.total = part if self.total is None else self.total + part
        self.barrier.wait()
        return self.total


SMALL = {"species": (8, 13), "num_neighbors": 8.0, "layers": 2, "cutoff": 3.0}
NETWORKS = {
    "nequip": NequIPSettings(lmax=1, channels=4, **SMALL),
    "mace": MACESettings(hidden="4x0e+4x1o", lmax=2, correlation=2, radial_widths=(8,), **SMALL),
    "painn": PaiNNSettings(channels=8, **SMALL),
}


def network(name="nequip"):
    torch.manual_seed(0)
    return build(NETWORKS[name], atomic_energies={8: -3.0, 13: -5.0}, scales=2.0, dtype=torch.float64)


def unify(model, tmp_path, kind=Data):
    """The object as LAMMPS has it once it has said who it is."""
    files.save(model, tmp_path / "model.safetensors")
    unified = MLIAP((tmp_path / "model.safetensors").read_bytes())
    module = types.ModuleType(f"couple_{kind.__name__}")
    module.data, module.Interface = kind, type("Interface", (), {"__module__": module.__name__})
    sys.modules[module.__name__] = module
    unified.interface = module.Interface()
    return unified


@pytest.fixture
def crystal():
    atoms = ase.build.bulk("NaCl", "rocksalt", a=4.2, cubic=False) * (2, 1, 1)
    atoms.numbers = [13, 8, 13, 8]
    atoms.rattle(0.1, seed=4)
    return atoms


def check(parts, model, atoms):
    """Forces, energies and the virial of all processes together, against ASE."""
    forces, virial = np.zeros((len(atoms), 3)), sum(data.virial for data in parts)
    for data in parts:
        np.add.at(forces, data.images, data.f)
        assert data.energies.sum() == pytest.approx(data.energy, abs=1e-10)
    atoms.calc = Calculator(model)
    np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-10)
    assert sum(data.energy for data in parts) == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    np.testing.assert_allclose(-virial / atoms.cell.volume, atoms.get_stress(voigt=False), atol=1e-10)
    assert np.abs(atoms.get_forces()).max() > 0.01


@pytest.mark.parametrize("kind", [Data, KokkosData])
def test_one_layer_with_ghosts(crystal, tmp_path, kind):
    model = ZBL(3.0, (8, 13))
    crystal.set_cell(0.5 * crystal.cell, scale_atoms=True)  # so that the nuclei feel each other
    files.save(model, tmp_path / "zbl.safetensors")
    export_mliap(tmp_path / "zbl.safetensors", tmp_path / "zbl.pickle")
    unified = pickle.loads((tmp_path / "zbl.pickle").read_bytes())
    unified.interface = threading.Lock()  # LAMMPS's own cannot be saved, either
    assert unified.element_types == ["O", "Al"]
    assert unified.layers == 1
    data = kind(crystal, unified)
    unified.compute_descriptors(data)
    unified.compute_gradients(data)
    unified.compute_forces(data)
    check([data], model, crystal)
    assert pickle.loads(pickle.dumps(unified)).interface is None


@pytest.mark.parametrize("kind", [Data, KokkosData])
@pytest.mark.parametrize("name", ["nequip", "mace", "painn"])
def test_several_layers_in_one_process(crystal, tmp_path, name, kind):
    model = network(name)
    unified = unify(model, tmp_path, kind)
    assert unified.layers == 2
    # Only convolutions can be brought what ghosts know; what cannot be brought has to be seen.
    brings = kind is KokkosData and name != "painn"
    assert 2 * unified.rcutfac == pytest.approx(model.cutoff * (1 if brings else 2))
    data = kind(crystal, unified)
    unified.compute_forces(data)
    check([data], model, crystal)


SHARES = pytest.mark.parametrize("shares", [([0, 1], [2, 3]), ([3, 0, 2], [], [1])], ids=["two", "one of three owns nothing"])


@SHARES
@pytest.mark.parametrize("name", ["nequip", "mace"])
def test_features_of_ghosts_are_brought_from_other_processes(crystal, tmp_path, name, shares):
    model, world = network(name), World(len(shares))
    objects = [unify(model, tmp_path, KokkosData) for _ in shares]
    parts = [KokkosData(crystal, o, np.array(mine, dtype=int), world) for o, mine in zip(objects, shares, strict=True)]
    with ThreadPoolExecutor(len(shares)) as pool:
        list(pool.map(lambda o, data: o.compute_forces(data), objects, parts))
    owning = [data for data in parts if data.nlistatoms]
    check(owning, model, crystal)


@SHARES
@pytest.mark.parametrize("layers", [2, 3])
def test_ghosts_are_computed_where_nothing_is_brought(crystal, tmp_path, shares, layers):
    torch.manual_seed(0)
    settings = {**SMALL, "layers": layers, "cutoff": 2.6}
    model = build(NequIPSettings(lmax=1, channels=4, **settings), scales=2.0, dtype=torch.float64)
    unified = unify(model, tmp_path)
    parts = [Data(crystal, unified, np.array(mine, dtype=int)) for mine in shares]
    for data in parts:
        unified.compute_forces(data)
    assert [data.energy for data in parts if not data.nlistatoms] == [0.0] * shares.count([])
    check([data for data in parts if data.nlistatoms], model, crystal)


def test_atoms_without_neighbors_have_an_energy(tmp_path):
    model, atoms = network(), Atoms("OAl", [[0, 0, 0], [9, 9, 9]], cell=[20, 20, 20], pbc=True)
    unified = unify(model, tmp_path)
    data = Data(atoms, unified)
    data.rij = data.pair_i = data.pair_j = None
    data.nlistatoms = data.ntotal = 2
    data.elems = np.array([0, 1], dtype=np.int32)
    unified.compute_forces(data)
    atoms.calc = Calculator(model)
    assert data.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)


def test_a_type_without_an_element_is_refused(crystal, tmp_path):
    unified = unify(network(), tmp_path)
    data = Data(crystal, unified)
    data.elems[-1] = -1
    with pytest.raises(DomainError, match="name an element"):
        unified.compute_forces(data)


def leave_out(data, left):
    for name in ("pair_i", "pair_j", "rij"):
        setattr(data, name, getattr(data, name)[~left])
    data.npairs = len(data.pair_i)


@pytest.mark.parametrize("kind", [Data, KokkosData])
def test_pairs_that_are_left_out_are_refused(crystal, tmp_path, kind):
    """As bonded atoms are, unless `special_bonds` says otherwise, and what `neigh_modify exclude` names."""
    unified = unify(network(), tmp_path, kind)
    data = kind(crystal, unified)
    left = np.isclose(np.linalg.norm(data.rij, axis=1), np.linalg.norm(data.rij, axis=1).min())
    assert left.sum() == 2
    leave_out(data, left)
    with pytest.raises(DomainError, match=r"a pair of atoms 1\.\d\d Å apart.*special_bonds lj/coul 1 1 1"):
        unified.compute_forces(data)


def test_neighbours_of_ghosts_are_refused(crystal, tmp_path):
    unified = unify(network(), tmp_path)
    data = Data(crystal, unified)
    data.pair_i[-1] = len(crystal)
    with pytest.raises(DomainError, match="write 0"):
        unified.compute_forces(data)


def test_what_cannot_be_exported_is_a_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.save(ZBL(3.0, (8, 13)), tmp_path / "model.safetensors")
    for words, sentence in (
        (("gromacs", "model.safetensors"), "mliap"),
        (("mliap", "absent.safetensors"), "absent.safetensors"),
        (("mliap", "model.safetensors", "-o", "model.pt"), "model.pickle"),
        (("mliap", "model.safetensors", "-o", "model.safetensors"), "model.safetensors"),
    ):
        assert command("export", *words) == 1
        assert sentence in " ".join(capsys.readouterr().err.split())
    assert command("export", "mliap", "model.safetensors") == 0
    assert (tmp_path / "model.pickle").exists()
    assert command("export", "mliap", "model.safetensors") == 1
    assert "--overwrite" in capsys.readouterr().err
