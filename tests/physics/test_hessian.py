"""Hessians against finite differences and torch.func, their symmetry and sum rule, in batches and with vectors."""

import ase
import ase.build
import pytest
import torch

from tesseral.graph import build_graph, collate
from tesseral.physics.forces import energy_and_forces, forces_of
from tesseral.physics.hessian import (
    asymmetry,
    hessian,
    hessian_vector_products,
    hessians,
    impose_sum_rule,
    rotation_rule_error,
    sum_rule_error,
)
from tests.physics.test_forces import molecule, oxide
from tests.physics.toys import LennardJones, ManyBody, graph_of, network


def numerical(model, graph, step=1e-4):
    rows = []
    for k in range(3 * graph.num_nodes):
        d = torch.zeros(3 * graph.num_nodes, dtype=torch.float64)
        d[k] = step
        d = d.reshape(-1, 3)
        f = [energy_and_forces(model, graph.replace(positions=graph.positions + s * d)).forces for s in (1, -1)]
        rows.append(-(f[0] - f[1]) / (2 * step))
    return torch.stack(rows).reshape(graph.num_nodes, 3, graph.num_nodes, 3)


@pytest.mark.parametrize("make", [molecule, oxide, lambda: ase.build.bulk("Al") * (2, 1, 1)])
@pytest.mark.parametrize("chunk", [1, 4, None])
def test_is_the_slope_of_the_forces(make, chunk):
    model = ManyBody()
    graph = graph_of(make(), model)
    result = hessian(model, graph, chunk)
    torch.testing.assert_close(result, numerical(model, graph), atol=1e-6, rtol=1e-6)
    assert result.abs().max() > 0.1
    assert asymmetry(result) < 1e-10
    assert sum_rule_error(result) < 1e-10


def test_agrees_with_torch_func():
    model = ManyBody()
    graph = graph_of(molecule(), model)
    expected = torch.func.hessian(lambda x: model(graph.replace(positions=x)).sum())(graph.positions)
    torch.testing.assert_close(hessian(model, graph), expected)
    torch.testing.assert_close(hessian(model, graph), -torch.func.jacfwd(forces_of(model, graph))(graph.positions))


def test_a_batch_gives_the_blocks():
    model = ManyBody()
    graphs = [graph_of(atoms, model) for atoms in (molecule(), ase.Atoms("H"), oxide(), ase.Atoms(), molecule(7))]
    for chunk in (1, 5, None):
        for block, graph in zip(hessians(model, collate(graphs), chunk), graphs, strict=True):
            torch.testing.assert_close(block, hessian(model, graph))
    with pytest.raises(ValueError, match="use hessians"):
        hessian(model, collate(graphs))


@pytest.mark.parametrize("chunk", [1, 2, None])
def test_products_with_vectors(chunk):
    model = ManyBody()
    graph = graph_of(molecule(), model)
    vectors = torch.randn(3, graph.num_nodes, 3, dtype=torch.float64)
    expected = torch.einsum("iajb,pjb->pia", hessian(model, graph), vectors)
    torch.testing.assert_close(hessian_vector_products(model, graph, vectors, chunk=chunk), expected)
    assert hessian_vector_products(model, graph, vectors[:0]).shape == (0, graph.num_nodes, 3)


def test_products_can_be_trained_on():
    base, scale = ManyBody(), torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    graph = graph_of(molecule(), base)
    v = torch.randn(1, graph.num_nodes, 3, dtype=torch.float64)
    loss = hessian_vector_products(lambda g: scale**2 * base(g), graph, v, create_graph=True).square().sum()
    loss.backward()
    assert scale.grad.item() == pytest.approx(4 * loss.item() / 1.5, rel=1e-10)  # loss ~ scale⁴


def test_works_without_gradients_and_without_interactions():
    model = ManyBody()
    with torch.no_grad():
        assert hessian(model, graph_of(oxide(), model)).abs().max() > 0.1
    assert hessian(model, graph_of(ase.Atoms("H"), model)).abs().max() == 0
    assert hessian(lambda g: 0 * g.positions.sum() + torch.zeros(1), graph_of(ase.Atoms("H2"), LennardJones())).abs().max() == 0


def test_sum_rule_is_imposed():
    graph = build_graph(molecule(), 4.0)
    exact = hessian(ManyBody(), graph)
    noisy = exact + 1e-3 * torch.randn_like(exact)
    assert sum_rule_error(noisy) > 1e-3
    assert asymmetry(noisy) > 1e-3
    repaired = impose_sum_rule(noisy)
    assert sum_rule_error(repaired) < 1e-13
    assert asymmetry(repaired) < 1e-13
    torch.testing.assert_close(impose_sum_rule(exact), exact)
    assert (repaired - exact).norm() < (noisy - exact).norm()


def test_turning_a_molecule_turns_its_forces():
    # Away from rest, where the forces do not vanish and the rule needs its second term.
    model, graph = ManyBody(), graph_of(molecule(), ManyBody())
    matrix, forces = hessian(model, graph), energy_and_forces(model, graph).forces
    assert forces.abs().max() > 0.1
    assert rotation_rule_error(matrix, graph.positions, forces) < 1e-10
    assert rotation_rule_error(matrix, graph.positions + 7.0, forces) < 1e-10  # about any origin
    assert rotation_rule_error(matrix, graph.positions, 0 * forces) > 0.1
    assert rotation_rule_error(matrix, graph.positions, -forces) > 0.1

    def in_a_field(g):  # of a wall, which knows directions
        return model(g) + 0.5 * g.positions[:, 0].square().sum()

    outside, pushed = hessian(in_a_field, graph), energy_and_forces(in_a_field, graph).forces
    assert rotation_rule_error(outside, graph.positions, pushed) > 0.1


@pytest.mark.parametrize("chunk", [1, 5])
def test_a_network(chunk):
    model = network()
    graph = graph_of(molecule(), model)
    result = hessian(model, graph, chunk)
    torch.testing.assert_close(result, numerical(model, graph), atol=1e-6, rtol=1e-6)
    assert asymmetry(result) < 1e-10
    assert sum_rule_error(result) < 1e-10
