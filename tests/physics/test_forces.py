"""Forces and stress against finite differences, against ASE's Lennard-Jones, and under every way of differentiating."""

import ase
import ase.build
import numpy as np
import pytest
import torch
from ase.calculators.lj import LennardJones as AseLennardJones
from torch.fx.experimental.proxy_tensor import make_fx

from tesseral.graph import collate
from tesseral.physics.forces import energies, energy_and_forces, forces_of, stress, virial
from tests.physics.toys import LennardJones, ManyBody, graph_of, network


def crystal(seed=0):
    atoms = ase.build.bulk("Ar", "fcc", a=1.6) * (2, 2, 1)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * np.random.default_rng(seed).normal(size=(3, 3))), scale_atoms=True)
    atoms.rattle(0.05, seed=seed)
    return atoms


def molecule(seed=1):
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=seed)
    return atoms


def oxide(seed=2):
    atoms = ase.build.bulk("NaCl", "rocksalt", a=4.1)
    atoms.numbers[:] = [13, 8]
    atoms.rattle(0.1, seed=seed)
    return atoms


def numerical_forces(model, atoms, step=1e-4):
    forces = np.zeros((len(atoms), 3))
    for i, c in np.ndindex(forces.shape):
        values = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, c] += sign * step
            values.append(energies(model, graph_of(moved, model)).item())
        forces[i, c] = -(values[0] - values[1]) / (2 * step)
    return forces


def numerical_stress(model, atoms, step=1e-5):
    result = np.zeros((3, 3))
    for a, b in np.ndindex(3, 3):
        values = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[a, b] += sign * step / 2
            strain[b, a] += sign * step / 2
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            values.append(energies(model, graph_of(moved, model)).item())
        result[a, b] = (values[0] - values[1]) / (2 * step) / atoms.get_volume()
    return result


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("make", [crystal, lambda: ase.Atoms("Ar3", positions=[(0, 0, 0), (1.1, 0, 0), (0.3, 1.2, 0.4)])])
def test_agrees_with_ase_lennard_jones(make, smooth):
    atoms = make()
    model = LennardJones(sigma=1.0, epsilon=0.01, cutoff=2.6, species=(18,))
    atoms.calc = AseLennardJones(sigma=1.0, epsilon=0.01, rc=2.6, smooth=False)
    if smooth:  # our own switch: only forces from finite differences can be compared
        model.smooth = True
        expected = numerical_forces(model, atoms, 1e-5)
    else:
        expected = atoms.get_forces()
    prediction = energy_and_forces(model, graph_of(atoms, model), stress=True)
    np.testing.assert_allclose(prediction.forces.numpy(), expected, atol=1e-8)
    if not smooth:
        assert prediction.energy.item() == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
        if atoms.pbc.any():
            np.testing.assert_allclose(prediction.stress[0].numpy(), atoms.get_stress(voigt=False), atol=1e-12)


@pytest.mark.parametrize("make", [molecule, oxide])
def test_forces_are_minus_the_slope_of_the_energy(make):
    model, atoms = ManyBody(), make()
    forces = energy_and_forces(model, graph_of(atoms, model)).forces
    assert forces.abs().max() > 0.1
    np.testing.assert_allclose(forces.numpy(), numerical_forces(model, atoms), atol=1e-6)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True)])
def test_stress_is_the_slope_along_strain(pbc):
    model, atoms = ManyBody(), oxide()
    atoms.pbc = pbc
    predicted = stress(model, graph_of(atoms, model))[0]
    assert predicted.abs().max() > 1e-3
    np.testing.assert_allclose(predicted.numpy(), numerical_stress(model, atoms), atol=1e-7)
    assert torch.equal(predicted, predicted.T)


def test_stress_is_positive_under_tension():
    model = LennardJones(cutoff=3.0, smooth=True)
    for a, sign in ((1.7, 1), (1.45, -1)):
        atoms = ase.build.bulk("Ar", "fcc", a=a)
        assert sign * stress(model, graph_of(atoms, model))[0].trace() > 0.1


def test_stress_needs_a_volume():
    model = ManyBody()
    with pytest.raises(ValueError, match="structure 1 of 2"):
        stress(model, collate([graph_of(oxide(), model), graph_of(molecule(), model)]))
    boxed = molecule()
    boxed.center(vacuum=5)
    with pytest.raises(ValueError, match="repeats in no direction"):
        stress(model, graph_of(boxed, model))


def test_virial_is_the_first_moment_of_pair_forces():
    model = LennardJones(cutoff=3.0, smooth=True)
    graph = graph_of(ase.Atoms("Ar3", positions=[(0, 0, 0), (1.1, 0, 0), (0.3, 1.2, 0.4)]), model)
    forces = energy_and_forces(model, graph).forces
    torch.testing.assert_close(virial(model, graph)[0], graph.positions.T @ forces)  # W = Σ r ⊗ F when no image counts


def test_a_mixed_batch_gives_what_each_structure_gives_alone():
    model = ManyBody()
    graphs = [graph_of(atoms, model) for atoms in (oxide(), molecule(), oxide(5), ase.Atoms("H"), ase.Atoms())]
    together = energy_and_forces(model, collate(graphs), stress=True)
    alone = [energy_and_forces(model, graph, stress=True) for graph in graphs]
    torch.testing.assert_close(together.energy, torch.cat([p.energy for p in alone]))
    torch.testing.assert_close(together.forces, torch.cat([p.forces for p in alone]))
    torch.testing.assert_close(together.stress, torch.cat([p.stress for p in alone]), equal_nan=True)
    assert together.stress.isnan().all(dim=(1, 2)).tolist() == [False, True, False, True, True]


def test_an_undefined_stress_poisons_no_gradient():
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    base = ManyBody()
    graph = collate([graph_of(oxide(), base), graph_of(molecule(), base)])
    prediction = energy_and_forces(lambda g: scale * base(g), graph, stress=True, create_graph=True)
    torch.where(torch.tensor([True, False])[:, None, None], prediction.stress, 0.0).square().sum().backward()
    assert scale.grad.isfinite()
    assert scale.grad != 0


def test_results_are_detached_unless_asked_for():
    model, graph = ManyBody(), graph_of(molecule(), ManyBody())
    assert not any(x.requires_grad for x in energy_and_forces(model, graph)[:2])
    assert all(x.requires_grad for x in energy_and_forces(model, graph, create_graph=True)[:2])
    assert not energies(model, graph).requires_grad
    assert not graph.positions.requires_grad  # the input is left alone


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_switched_off(mode):
    model = ManyBody()
    expected = energy_and_forces(model, graph_of(molecule(), model)).forces
    with mode():
        torch.testing.assert_close(energy_and_forces(model, graph_of(molecule(), model)).forces, expected)


def test_a_model_that_ignores_positions_has_no_forces():
    graph = graph_of(oxide(), ManyBody())
    prediction = energy_and_forces(lambda g: torch.ones(g.num_graphs, dtype=torch.float64), graph, stress=True)
    assert prediction.forces.abs().max() == 0
    assert prediction.stress.abs().max() == 0


def test_positions_that_depend_on_something_pass_the_gradient_on():
    model, graph = ManyBody(), graph_of(molecule(), ManyBody())
    s = torch.ones((), dtype=torch.float64, requires_grad=True)
    forces = energy_and_forces(model, graph.replace(positions=s * graph.positions), create_graph=True).forces
    forces[0, 0].backward()
    step = 1e-5
    moved = [energy_and_forces(model, graph.replace(positions=(1 + d) * graph.positions)).forces[0, 0] for d in (step, -step)]
    assert s.grad.item() == pytest.approx(((moved[0] - moved[1]) / (2 * step)).item(), rel=1e-6)


def test_transformations_of_torch_func():
    model, graph = ManyBody(), graph_of(molecule(), ManyBody())
    force, x = forces_of(model, graph), graph.positions
    expected = energy_and_forces(model, graph).forces
    torch.testing.assert_close(torch.func.vmap(force)(torch.stack([x, x]))[1], expected)
    v = torch.randn_like(x)
    step = 1e-5
    slope = (force(x + step * v) - force(x - step * v)) / (2 * step)
    torch.testing.assert_close(torch.func.jvp(force, (x,), (v,))[1], slope, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(torch.func.vjp(force, x)[1](v)[0], slope, atol=1e-7, rtol=1e-6)


def test_stress_under_torch_func():
    model, graph = ManyBody(), graph_of(oxide(), ManyBody())

    def tension(positions):
        return energy_and_forces(model, graph.replace(positions=positions), stress=True).stress

    torch.testing.assert_close(torch.func.vmap(tension)(graph.positions[None])[0], stress(model, graph))


def test_a_training_step_can_be_traced():
    base = ManyBody()
    graph = collate([graph_of(oxide(), base), graph_of(oxide(4), base)])

    def step(scale, positions):
        here = graph.replace(positions=positions)
        prediction = energy_and_forces(lambda g: base(g) * scale.tanh(), here, stress=True, create_graph=True)
        loss = prediction.energy.square().sum() + prediction.forces.square().sum() + prediction.stress.square().sum()
        return torch.autograd.grad(loss, scale)[0]

    scale = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    traced = make_fx(step)(scale, graph.positions)
    elsewhere = graph.positions + 0.01 * torch.randn_like(graph.positions)
    other = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(traced(other, elsewhere), step(other, elsewhere))


@pytest.mark.parametrize("make", [molecule, oxide])
def test_a_network(make):
    model, atoms = network(), make()
    graph = graph_of(atoms, model)
    prediction = energy_and_forces(model, graph, stress=True)
    np.testing.assert_allclose(prediction.forces.numpy(), numerical_forces(model, atoms), atol=1e-6)
    if atoms.pbc.any():
        np.testing.assert_allclose(prediction.stress[0].numpy(), numerical_stress(model, atoms), atol=1e-7)
    force = forces_of(model, graph)
    torch.testing.assert_close(torch.func.vmap(force)(torch.stack([graph.positions] * 2))[1], prediction.forces)


@pytest.mark.compile
def test_a_training_step_of_a_network_can_be_traced():
    """Forces traced into the graph by make_fx with free numbers of nodes and edges, as compiled training does."""
    model = network()
    parameters = dict(model.named_parameters())
    graph = graph_of(molecule(), model)

    def step(parameters, graph):
        def energy(g):
            return torch.func.functional_call(model, parameters, (g,))

        prediction = energy_and_forces(energy, graph, create_graph=True)
        loss = prediction.energy.square().sum() * 1e-6 + prediction.forces.square().sum()
        return torch.autograd.grad(loss, list(parameters.values()))

    traced = make_fx(step, tracing_mode="symbolic", _allow_non_fake_inputs=True)(parameters, graph)
    elsewhere = graph_of(molecule(5)[1:], model)  # another size
    for ours, expected in zip(traced(parameters, elsewhere), step(parameters, elsewhere), strict=True):
        torch.testing.assert_close(ours, expected)
