"""Neighbour lists against brute force, ASE and matscipy, and the skin list against a new search at every step."""

import ase
import ase.build
import ase.neighborlist
import matscipy.neighbours
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tesseral.graph import SkinNeighborList, build_graph, find_neighbors, prune
from tesseral.graph import neighbors as module
from tests.graph.structures import awkward_structures, brute_force, triples

STRUCTURES = awkward_structures()


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("cutoff", [0.9, 2.6, 4.1])
def test_against_brute_force(name, cutoff):
    atoms = STRUCTURES[name]
    found = triples(*find_neighbors(atoms.positions, atoms.cell.array, atoms.pbc, cutoff))
    assert found == brute_force(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)


@pytest.mark.parametrize("name", STRUCTURES)
def test_against_ase(name):
    atoms = STRUCTURES[name]
    if len(atoms) == 0:
        pytest.skip("ASE's search needs an atom")
    cell = module.complete_cell(atoms.cell.array, atoms.pbc)
    destination, source, shifts = ase.neighborlist.primitive_neighbor_list("ijS", atoms.pbc, cell, atoms.positions, 3.7)
    expected = sorted(triples([source, destination], shifts))
    assert triples(*find_neighbors(atoms.positions, atoms.cell.array, atoms.pbc, 3.7)) == expected


def test_against_matscipy():
    for atoms in (
        ase.build.bulk("Si", cubic=True),
        ase.build.fcc111("Al", (2, 3, 3), vacuum=6.0),
        ase.build.bulk("Cu") * (3, 2, 1),
    ):
        atoms.rattle(0.2, seed=2)
        destination, source, shifts = matscipy.neighbours.neighbour_list("ijS", atoms, 5.2)
        expected = sorted(triples([source, destination], shifts))
        assert triples(*find_neighbors(atoms.positions, atoms.cell.array, atoms.pbc, 5.2)) == expected


@st.composite
def random_structures(draw):
    seed = draw(st.integers(0, 2**32 - 1))
    nodes = draw(st.integers(0, 6))
    pbc = np.array([draw(st.booleans()) for _ in range(3)])
    wander = draw(st.sampled_from([0.5, 3.0]))
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(1.5, 5.0, 3)) + rng.normal(0, 1.0, (3, 3))
    if abs(np.linalg.det(cell)) < 4.0:
        cell = np.diag(np.linalg.norm(cell, axis=1) + 0.5)
    positions = rng.uniform(-wander, 1 + wander, (nodes, 3)) @ cell
    return positions, cell, pbc, rng.uniform(0.5, 4.5)


@given(random_structures())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_random_cells_against_brute_force(structure):
    positions, cell, pbc, cutoff = structure
    assert triples(*find_neighbors(positions, cell, pbc, cutoff)) == brute_force(positions, cell, pbc, cutoff)


@given(random_structures(), st.integers(0, 1000))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_wrapping_changes_no_vector(structure, seed):
    positions, cell, pbc, cutoff = structure
    hops = np.random.default_rng(seed).integers(-2, 3, positions.shape) * pbc
    one = build_graph(ase.Atoms(f"H{len(positions)}" if len(positions) else "", positions=positions, cell=cell, pbc=pbc), cutoff)
    two = build_graph(
        ase.Atoms(f"H{len(positions)}" if len(positions) else "", positions=positions + hops @ cell, cell=cell, pbc=pbc), cutoff
    )
    assert torch.equal(one.destination_pointers, two.destination_pointers)

    def canonical(graph):
        rows = torch.cat([graph.edge_index.T.double(), graph.edge_vectors()], 1).numpy().round(6) + 0.0
        return rows[np.lexsort(rows.T[::-1])]

    np.testing.assert_allclose(canonical(one), canonical(two), atol=1e-5)


def test_an_atom_is_its_own_neighbour_many_times():
    graph = build_graph(STRUCTURES["tiny"], 3.0)
    assert graph.num_nodes == 1
    assert graph.num_edges == len(brute_force(np.zeros((1, 3)), STRUCTURES["tiny"].cell.array, [True] * 3, 3.0)) > 20
    assert (graph.shifts.abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", STRUCTURES)
def test_graphs_keep_their_invariants(name):
    graph = build_graph(STRUCTURES[name], 3.3).check()
    vectors = graph.edge_vectors()
    # A full list: every edge has its reverse, so the vectors cancel.
    torch.testing.assert_close(vectors.sum(0), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)


def test_order_does_not_depend_on_the_size_of_the_key(monkeypatch):
    edge_index, shifts = find_neighbors(STRUCTURES["skewed"].positions, STRUCTURES["skewed"].cell.array, np.ones(3, bool), 6.0)
    shuffled = np.random.default_rng(0).permutation(edge_index.shape[1])
    for nodes in (2, 2**31):  # the second overflows the single key and takes the other road
        order = module._canonical_order(edge_index[:, shuffled], shifts[shuffled], nodes)
        assert np.array_equal(edge_index[:, shuffled][:, order], edge_index)
        assert np.array_equal(shifts[shuffled][order], shifts)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, np.nan, np.inf])
def test_a_cutoff_must_be_a_length(cutoff):
    with pytest.raises(ValueError, match="cutoff"):
        build_graph(STRUCTURES["cloud"], cutoff)


def test_periodic_without_a_cell():
    with pytest.raises(ValueError, match="spans no volume"):
        build_graph(ase.Atoms("H", pbc=True), 3.0)
    with pytest.raises(ValueError, match="spans no volume"):
        build_graph(ase.Atoms("H", cell=[[1, 0, 0], [2, 0, 0], [0, 0, 1]], pbc=(True, True, False)), 3.0)


def test_positions_must_be_finite():
    with pytest.raises(ValueError, match="NaN"):
        build_graph(ase.Atoms("H", positions=[(0, np.nan, 0)]), 3.0)


def test_complete_cell_has_full_rank():
    for pbc in np.ndindex(2, 2, 2):
        pbc = np.array(pbc, dtype=bool)
        cell = np.array([[3.0, 1, 0], [0, 4, 1], [1, 0, 5]])
        completed = module.complete_cell(cell, pbc)
        assert np.array_equal(completed[pbc], cell[pbc])
        assert abs(np.linalg.det(completed)) > 0.5
        outside = completed[~pbc]
        np.testing.assert_allclose(outside @ cell[pbc].T, 0, atol=1e-12)
        np.testing.assert_allclose(outside @ outside.T, np.eye(len(outside)), atol=1e-12)


def test_labels_with_gaps_become_masked_zeros():
    forces = np.ones((2, 3))
    forces[1, 2] = np.nan
    atoms = ase.Atoms("H2", positions=[(0, 0, 0), (0, 0, 1)])
    graph = build_graph(atoms, 2.0, labels={"energy": np.nan, "forces": forces, "stress": np.eye(3)}).check()
    assert graph.labels["energy"].tolist() == [0.0]
    assert graph.masks["energy"].tolist() == [False]
    assert graph.masks["forces"].tolist() == [True, False]
    assert graph.labels["forces"].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert graph.labels["stress"].shape == (1, 3, 3)
    assert graph.masks["stress"].tolist() == [True]


def test_forces_need_a_row_per_atom():
    with pytest.raises(ValueError, match=r"'forces' has shape \(2, 3\).*3 atoms"):
        build_graph(ase.Atoms("H3"), 2.0, labels={"forces": np.zeros((2, 3))})


def test_the_graph_does_not_share_memory_with_the_atoms():
    atoms = ase.Atoms("H2", positions=[(0, 0, 0), (0, 0, 1)])
    graph = build_graph(atoms, 2.0)
    atoms.positions += 1
    assert graph.positions[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", STRUCTURES)
def test_prune_equals_a_shorter_search(name):
    short, pruned = build_graph(STRUCTURES[name], 2.6), prune(build_graph(STRUCTURES[name], 4.0), 2.6).check()
    for field in ("edge_index", "shifts", "source_order", "destination_pointers"):
        assert torch.equal(getattr(short, field), getattr(pruned, field)), field


@pytest.mark.parametrize("pbc", [True, False, (True, False, True)])
@pytest.mark.parametrize("strained", [False, True])
def test_skin_list_never_misses_an_edge(pbc, strained):
    rng = np.random.default_rng(3)
    atoms = ase.build.bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.pbc = pbc
    neighbors = SkinNeighborList(3.0, skin=0.6)
    steps = 60
    for _ in range(steps):
        atoms.positions += rng.normal(0, 0.03, atoms.positions.shape)
        if strained:
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.003, (3, 3))), scale_atoms=True)
        got, expected = neighbors(atoms).check(), build_graph(atoms, 3.0)
        assert torch.equal(got.edge_index, expected.edge_index)
        assert torch.equal(got.shifts, expected.shifts)
        torch.testing.assert_close(got.edge_vectors(), expected.edge_vectors())
    assert 1 < neighbors.searches < steps / 2


def test_skin_list_sees_compression_of_the_cell():
    # No atom moves relative to the cell, yet neighbours come closer than the cutoff.
    atoms = ase.build.bulk("Po", "sc", a=3.3)
    neighbors = SkinNeighborList(3.0, skin=0.2)
    assert neighbors(atoms).num_edges == 0
    atoms.set_cell(np.eye(3) * 2.9, scale_atoms=True)
    assert neighbors(atoms).num_edges == 6


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms.set_atomic_numbers([8, 29, 29, 29]),
        lambda atoms: atoms.append(ase.Atom("H", (0, 0, 1))),
        lambda atoms: atoms.set_pbc(False),
    ],
)
def test_skin_list_searches_anew_for_another_structure(change):
    atoms = ase.build.bulk("Cu", cubic=True)
    neighbors = SkinNeighborList(3.0, skin=0.5)
    neighbors(atoms)
    change(atoms)
    got, expected = neighbors(atoms), build_graph(atoms, 3.0)
    assert neighbors.searches == 2
    assert torch.equal(got.edge_index, expected.edge_index)
    assert torch.equal(got.species, expected.species)


def test_skin_list_without_exact_keeps_the_longer_edges():
    atoms = ase.build.bulk("Cu", cubic=True)
    exact, loose = SkinNeighborList(2.0, skin=1.0), SkinNeighborList(2.0, skin=1.0, exact=False)
    assert exact(atoms).num_edges == 0
    assert loose(atoms).num_edges == 48


def test_skin_must_not_be_negative():
    with pytest.raises(ValueError, match="skin"):
        SkinNeighborList(3.0, skin=-0.1)
