"""Domains: parts of a structure whose energies and forces, brought together, are those of the whole."""

import threading
from concurrent.futures import ThreadPoolExecutor

import ase.build
import numpy as np
import pytest
import torch

from tesseral.graph import build_graph
from tesseral.interfaces.domain import Domain, DomainError, Exchange, layers_of
from tesseral.models import NequIPSettings, build
from tesseral.nn.pair import ZBL, Sum
from tesseral.physics.forces import energy_and_forces, virial
from tests.physics.toys import ManyBody


def network(layers=2):
    torch.manual_seed(0)
    settings = NequIPSettings(species=(8, 13), num_neighbors=12.0, layers=layers, channels=4, lmax=1, cutoff=3.0)
    return build(settings, scales=2.0, dtype=torch.float64)


def crystal(pbc=True):
    atoms = ase.build.bulk("Al", "fcc", a=3.9, cubic=True) * (6, 2, 2)
    atoms.numbers[::5] = 8
    atoms.rattle(0.15, seed=0)
    cell = atoms.cell.array.copy()
    cell[1, 0], cell[2, 1] = 1.1, -0.7
    atoms.set_cell(cell, scale_atoms=True)
    atoms.pbc = pbc
    return atoms


def rows_of(atoms, mine, reach):
    """What LAMMPS gives to one process: its atoms, then the images of all atoms within reach of one of them."""
    tags, places = [np.flatnonzero(mine)], [atoms.positions[mine]]
    shifts = np.array([(i, j, k) for i in range(-2, 3) for j in range(-4, 5) for k in range(-4, 5)]) * atoms.pbc
    for shift in np.unique(shifts, axis=0):
        images = atoms.positions + shift @ atoms.cell.array
        near = np.linalg.norm(images[:, None] - atoms.positions[mine][None], axis=2).min(1, initial=np.inf) < reach
        chosen = np.flatnonzero(near & ~mine) if not shift.any() else np.flatnonzero(near)
        tags.append(chosen)
        places.append(images[chosen])
    return np.concatenate(tags) + 1, np.concatenate(places)


class Rank:
    """A communicator of threads: what mpi4py promises of the three collective calls that are used."""

    def __init__(self, rank, size, board, barrier):
        self.rank, self.size, self.board, self.barrier = rank, size, board, barrier

    def allgather(self, value):
        self.board[self.rank] = value
        self.barrier.wait(10)
        values = [self.board[rank] for rank in range(self.size)]
        self.barrier.wait(10)
        return values

    def alltoall(self, values):
        return [part[self.rank] for part in self.allgather(values)]

    def Alltoallv(self, outgoing, incoming):
        buffer, counts = outgoing
        parts = self.alltoall(np.split(buffer.ravel(), np.cumsum(counts)[:-1]))
        assert [len(part) for part in parts] == incoming[1].tolist()
        incoming[0][:] = np.concatenate(parts).reshape(incoming[0].shape)


def in_parallel(function, size):
    board, barrier = {}, threading.Barrier(size)
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: function(Rank(rank, size, board, barrier)), range(size)))


@pytest.mark.parametrize("pbc", [True, (False, True, True), False])
@pytest.mark.parametrize("skin", [0.0, 0.4])
def test_parts_add_up_to_the_whole(pbc, skin):
    model, atoms, layers = network(), crystal(pbc), 2
    owner = (np.arange(len(atoms)) * 7 % len(atoms) > 40).astype(int)
    owner[atoms.positions[:, 0] > 9] = 2
    owner[-1] = 0
    parts = []
    for rank in range(4):  # the last owns nothing
        mine = owner == rank
        tags, places = rows_of(atoms, mine, layers * (model.cutoff + skin))
        domain = Domain(
            model,
            tags,
            atoms.numbers[tags - 1],
            places,
            atoms.cell.array,
            atoms.pbc,
            owned=int(mine.sum()),
            skin=skin,
            layers=layers,
        )
        parts.append((tags, places, domain))
    moved = 0.02 * np.random.default_rng(1).normal(size=(len(atoms), 3)) * (skin > 0)
    results = [domain.evaluate(places + moved[tags - 1], atoms.cell.array) for tags, places, domain in parts]
    atoms.positions += moved
    graph = build_graph(atoms, model.cutoff)
    whole = energy_and_forces(model, graph)
    assert sum(energy for energy, _, _ in results) == pytest.approx(whole.energy.item(), abs=1e-10)
    np.testing.assert_allclose(sum(w for _, _, w in results), virial(model, graph)[0], atol=1e-10)

    def bring_home(comm):
        (tags, _, domain), (_, gradient, _) = parts[comm.rank], results[comm.rank]
        exchange = Exchange(comm, tags[: domain.owned], tags[domain.halo])
        mine = gradient[: domain.owned].copy()
        exchange.add_home(mine, gradient[domain.owned :])
        return mine

    forces = np.zeros((len(atoms), 3))
    for (tags, _, domain), mine in zip(parts, in_parallel(bring_home, 4)):
        forces[tags[: domain.owned] - 1] = mine
    np.testing.assert_allclose(forces, whole.forces.numpy(), atol=1e-10)


def test_an_undivided_direction_has_no_halo():
    atoms = crystal()
    mine = np.ones(len(atoms), dtype=bool)
    tags, places = rows_of(atoms, mine, 6.0)
    domain = Domain(network(), tags, atoms.numbers[tags - 1], places, atoms.cell.array, atoms.pbc, owned=len(atoms), skin=0.0)
    assert len(tags) > len(atoms)
    assert len(domain.halo) == 0


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_layers_are_found_by_differentiation(layers):
    assert layers_of(network(layers)) == layers
    assert layers_of(Sum([network(layers), ZBL(4.0, (8, 13))])) == layers
    assert layers_of(ManyBody()) == 1


def test_a_model_without_an_end_is_refused():
    class Coulomb(ManyBody):
        def node_energies(self, graph):
            return graph.positions.square().sum() + 0 * graph.positions[:, 0]

    with pytest.raises(ValueError, match="cannot be divided"):
        layers_of(Coulomb())


def test_atoms_that_outran_the_search_are_an_error():
    atoms = crystal()
    tags, places = rows_of(atoms, np.ones(len(atoms), dtype=bool), 7.0)
    domain = Domain(ManyBody(cutoff=3.0), tags, atoms.numbers[tags - 1], places, atoms.cell.array, atoms.pbc, owned=96, skin=0.5)
    places[3] += (0, 0, 0.3)
    with pytest.raises(DomainError, match=r"moved by 0.30 Å.*neigh_modify"):
        domain.evaluate(places, atoms.cell.array)
    places[3] = np.nan
    with pytest.raises(DomainError):
        domain.evaluate(places, atoms.cell.array)


def test_a_lost_atom_is_an_error():
    def ask(comm):
        with pytest.raises(DomainError, match="lost"):
            Exchange(comm, np.array([1 + comm.rank]), np.array([2 - comm.rank, 4]))

    in_parallel(ask, 2)
