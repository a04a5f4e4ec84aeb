"""The data structure: geometry, invariants, and its passage through PyTorch's machinery."""

import copy
import io
import pickle

import ase
import ase.build
import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

from tesseral.graph import build_graph, collate
from tesseral.graph.graph import FIELDS, empty_graph
from tests.graph.structures import awkward_structures


def crystal(cutoff=4.0, **extra):
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    return build_graph(atoms, cutoff, labels={"energy": -14.0, "forces": np.ones((4, 3))}, **extra)


def batch():
    molecule = ase.build.molecule("CH3OH")
    return collate([crystal(charge=1.0), build_graph(molecule, 3.0), build_graph(ase.Atoms("He"), 3.0)])


def inverse_sixth(graph):
    r2 = graph.edge_vectors().square().sum(1)
    return (r2**-3).sum()


def test_edge_vectors_point_from_destination_to_source():
    atoms = ase.Atoms("HO", positions=[(0.5, 0, 0), (3.5, 0, 0)], cell=[4, 9, 9], pbc=(True, False, False))
    graph = build_graph(atoms, 1.5)
    # The oxygen's image at -0.5 is the neighbour of the hydrogen at 0.5.
    assert graph.edge_index.tolist() == [[1, 0], [0, 1]]
    assert graph.shifts.tolist() == [[-1, 0, 0], [1, 0, 0]]
    torch.testing.assert_close(graph.edge_vectors(), torch.tensor([[-1.0, 0, 0], [1.0, 0, 0]], dtype=torch.float64))


def test_edge_vectors_agree_with_ase():
    for name, atoms in awkward_structures().items():
        graph = build_graph(atoms, 3.0)
        vectors = graph.edge_vectors().numpy()
        expected = atoms.positions[graph.source] + graph.shifts.numpy() @ atoms.cell.array - atoms.positions[graph.destination]
        np.testing.assert_allclose(vectors, expected, atol=1e-12, err_msg=name)


def test_batched_edge_vectors_are_those_of_the_parts():
    parts = [crystal(), build_graph(ase.build.molecule("H2O"), 3.0), crystal(5.0)]
    together = collate(parts).edge_vectors()
    torch.testing.assert_close(together, torch.cat([part.edge_vectors() for part in parts]), rtol=0, atol=1e-13)


def test_edge_vectors_are_differentiable_in_positions_and_cell():
    graph = batch()
    graph = graph.replace(positions=graph.positions[:4], cell=graph.cell[:1]) if graph.num_graphs == 1 else graph

    def energy(positions, cell):
        return inverse_sixth(graph.replace(positions=positions, cell=cell))

    arguments = [graph.positions.clone().requires_grad_(), graph.cell.clone().requires_grad_()]
    assert torch.autograd.gradcheck(energy, arguments)
    few = crystal(3.0)
    arguments = [few.positions.clone().requires_grad_(), few.cell.clone().requires_grad_()]
    assert torch.autograd.gradgradcheck(lambda p, c: inverse_sixth(few.replace(positions=p, cell=c)), arguments)


@pytest.mark.parametrize("make", [crystal, batch])
def test_strain_scales_every_vector(make):
    graph = make()
    strain = torch.randn(graph.num_graphs, 3, 3, dtype=torch.float64) * 0.05
    symmetric = torch.eye(3, dtype=torch.float64) + (strain + strain.mT) / 2
    expected = torch.einsum("ei,eij->ej", graph.edge_vectors(), symmetric[graph.batch[graph.destination]])
    torch.testing.assert_close(graph.strained(strain).edge_vectors(), expected)
    torch.testing.assert_close(graph.strained(strain).volume, graph.volume * torch.linalg.det(symmetric))


def test_strain_has_no_antisymmetric_part():
    graph = crystal()
    rotation = torch.tensor([[[0.0, 1, 0], [-1, 0, 0], [0, 0, 0]]], dtype=torch.float64)
    torch.testing.assert_close(graph.strained(rotation).positions, graph.positions)


def test_volume_of_ase():
    for name, atoms in awkward_structures().items():
        expected = abs(np.linalg.det(atoms.cell.array))
        assert build_graph(atoms, 2.0).volume.item() == pytest.approx(expected, abs=1e-9), name


def test_counts():
    graph = batch()
    assert (graph.num_nodes, graph.num_graphs) == (11, 3)
    assert graph.nodes_per_graph().tolist() == [4, 6, 1]
    assert graph.num_edges == graph.edge_index.shape[1] == int(graph.destination_pointers[-1])


def test_to_changes_only_floating_point():
    graph = batch().to("cpu", torch.float32)
    for name in ("positions", "cell", "shifts", "charge"):
        assert getattr(graph, name).dtype == torch.float32, name
    for name in ("species", "edge_index", "batch", "source_order", "destination_pointers"):
        assert getattr(graph, name).dtype == torch.int64, name
    assert graph.pbc.dtype == torch.bool
    assert graph.labels["forces"].dtype == torch.float32
    assert graph.masks["forces"].dtype == torch.bool
    assert graph.spin is None


def test_to_reaches_every_tensor():
    graph = batch().to("meta")
    assert all(leaf.device.type == "meta" for leaf in pytree.tree_leaves(graph))


def test_frozen():
    with pytest.raises(AttributeError):
        batch().positions = torch.zeros(1, 3)
    with pytest.raises(TypeError, match="colour"):
        batch().replace(colour=torch.zeros(1))


@pytest.mark.parametrize(
    ("field", "change", "sentence"),
    [
        ("edge_index", lambda x: x.flip(1), "sorted by destination"),
        ("edge_index", lambda x: x + 100, "does not exist"),
        ("source_order", lambda x: x.flip(0), "source_order"),
        ("destination_pointers", lambda x: x.clamp(max=3), "destination_pointers"),
        ("batch", lambda x: x.flip(0), "batch is not sorted"),
        ("batch", lambda x: x + 1, "graph that does not exist"),
        ("shifts", lambda x: x + 0.5, "whole numbers"),
        ("masks", lambda x: {}, "no mask"),
    ],
)
def test_check_finds_planted_faults(field, change, sentence):
    graph = batch().check()
    with pytest.raises(ValueError, match=sentence):
        graph.replace(**{field: change(getattr(graph, field))}).check()


def test_check_finds_edges_between_structures():
    graph = build_graph(ase.Atoms("H2", positions=[(0, 0, 0), (0, 0, 1)]), 2.0)
    torn = graph.replace(batch=torch.tensor([0, 1]), cell=graph.cell.expand(2, 3, 3), pbc=graph.pbc.expand(2, 3))
    with pytest.raises(ValueError, match="two different structures"):
        torn.check()


def assert_equal(a, b):
    for name in FIELDS:
        left, right = getattr(a, name), getattr(b, name)
        if isinstance(left, dict):
            assert left.keys() == right.keys()
            assert all(torch.equal(left[key], right[key]) for key in left), name
        elif left is None:
            assert right is None
        else:
            assert torch.equal(left, right), name
            assert left.dtype == right.dtype, name


def test_pickle_and_copy():
    graph = batch()
    assert_equal(graph, pickle.loads(pickle.dumps(graph)))
    assert_equal(graph, copy.deepcopy(graph))


def test_torch_save():
    graph, buffer = batch(), io.BytesIO()
    torch.save(graph, buffer)
    buffer.seek(0)
    assert_equal(graph, torch.load(buffer, weights_only=True))


def test_pytree_round_trip():
    graph = batch()
    leaves, spec = pytree.tree_flatten(graph)
    assert all(isinstance(leaf, torch.Tensor) for leaf in leaves)
    assert_equal(graph, pytree.tree_unflatten(leaves, spec))
    restored = pytree.treespec_loads(pytree.treespec_dumps(spec))
    assert_equal(graph, pytree.tree_unflatten(leaves, restored))
    names = {pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path(graph)[0]}
    assert {".positions", ".charge", ".labels['forces']", ".masks['energy']"} <= names
    assert ".spin" not in names


def test_func_grad_and_hessian():
    graph = build_graph(ase.build.molecule("H2O"), 3.0)

    def energy(positions):
        return inverse_sixth(graph.replace(positions=positions))

    positions = graph.positions.clone().requires_grad_()
    (expected,) = torch.autograd.grad(energy(positions), positions)
    torch.testing.assert_close(torch.func.grad(energy)(graph.positions), expected)
    hessian = torch.func.hessian(energy)(graph.positions).reshape(9, 9)
    torch.testing.assert_close(hessian, hessian.T)
    torch.testing.assert_close(hessian.reshape(9, 3, 3).sum(1), torch.zeros(9, 3, dtype=torch.float64), atol=1e-9, rtol=0)


def test_vmap_over_strains():
    graph = crystal()
    strains = torch.randn(5, 1, 3, 3, dtype=torch.float64) * 0.01
    vectorised = torch.func.vmap(lambda strain: inverse_sixth(graph.strained(strain)))(strains)
    torch.testing.assert_close(vectorised, torch.stack([inverse_sixth(graph.strained(strain)) for strain in strains]))


def test_graph_as_argument_of_vmap():
    graphs = [crystal() for _ in range(3)]
    graphs = [graph.replace(positions=graph.positions + 0.01 * torch.randn_like(graph.positions)) for graph in graphs]
    stacked = pytree.tree_map(lambda *x: torch.stack(x), *graphs)
    result = torch.func.vmap(inverse_sixth)(stacked)
    torch.testing.assert_close(result, torch.stack([inverse_sixth(graph) for graph in graphs]))


def test_empty_graph_has_derivatives():
    graph = empty_graph()
    strain = torch.zeros(1, 3, 3, dtype=torch.float64, requires_grad=True)
    energy = graph.strained(strain).edge_vectors().sum()
    (gradient,) = torch.autograd.grad(energy, strain)
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.compile
def test_compile_without_graph_break():
    def forces(graph, strain):
        return inverse_sixth(graph.strained(strain)), graph.replace(positions=graph.positions * 2).edge_vectors()

    compiled = torch.compile(forces, fullgraph=True, dynamic=True, backend="aot_eager")
    for graph in (batch(), collate([crystal(), crystal(5.0)])):
        strain = torch.randn(graph.num_graphs, 3, 3, dtype=torch.float64) * 0.01
        for got, expected in zip(compiled(graph, strain), forces(graph, strain)):
            torch.testing.assert_close(got, expected)


@pytest.mark.compile
@pytest.mark.parametrize("strict", [False, True])
def test_export_and_save(strict):
    class Energy(torch.nn.Module):
        def forward(self, graph):
            return inverse_sixth(graph)

    graph = crystal()
    program = torch.export.export(Energy(), (graph,), strict=strict)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    torch.testing.assert_close(torch.export.load(buffer).module()(graph), inverse_sixth(graph))
