"""Force constants from one unrolled cell: known dispersion, supercell Hessians, sum rules, derivatives in strain."""

import math

import ase
import ase.build
import numpy as np
import pytest
import torch

from tesseral.graph import build_graph, collate
from tesseral.physics.force_constants import TERAHERTZ, bloch_matrix, force_constant_derivative, force_constants
from tesseral.physics.forces import energy_and_forces
from tesseral.physics.grueneisen import Grueneisen
from tesseral.physics.hessian import hessian
from tesseral.physics.receptive_field import hop_neighbors, receptive_hops
from tesseral.physics.unroll import unroll
from tesseral.physics.vibrations import masses
from tests.physics.toys import LennardJones, ManyBody, PairPotential, graph_of, network


class Springs(PairPotential):
    """Springs of stiffness k and length a: along the axes of a simple cube, whose phonons are textbook."""

    def __init__(self, stiffness=2.0, length=3.0, cutoff=3.5, species=(18,)):
        super().__init__(cutoff, species)
        self.stiffness, self.length = stiffness, length

    def pair(self, r, graph):
        return 0.5 * self.stiffness * (r - self.length) ** 2


def argon(a=5.26):
    return ase.build.bulk("Ar", "fcc", a=a)


def neighbors_argon():
    return LennardJones(sigma=3.4, epsilon=0.0104, cutoff=8.0, smooth=True, species=(18,))


def rattled():
    crystal = ase.build.bulk("NaCl", "rocksalt", a=4.6)
    crystal.numbers[:] = [13, 8]
    crystal.rattle(0.08, seed=1)
    return crystal


class Layers(ManyBody):
    """Two layers: the density of an atom is made of the densities of its neighbours."""

    def node_energies(self, graph):
        vectors = graph.edge_vectors()
        r = torch.linalg.vector_norm(vectors, dim=1)
        weight = torch.exp(-r) * self.envelope(r) * (graph.species[graph.source] / 8.0) ** 0.3

        def gather(x):
            return r.new_zeros(graph.num_nodes).index_add(0, graph.destination, weight * x[graph.source])

        return torch.tanh(gather(torch.sqrt(1 + 5 * gather(torch.ones_like(r.new_ones(graph.num_nodes))))))


MODELS = {"pair": lambda: LennardJones(1.9, 0.3, 3.0, smooth=True, species=(8, 13)), "two layers": lambda: Layers(cutoff=2.6)}


def test_the_chain_of_a_textbook():
    # ω = 2 sqrt(k/m) |sin(q a / 2)|, and the two transverse branches are flat.
    model = Springs()
    phi = force_constants(model, ase.Atoms("Ar", cell=[3.0, 3.0, 3.0], pbc=True))
    q = np.linspace(0, 0.5, 11)
    wave_vectors = torch.tensor(q)[:, None] * torch.tensor([1.0, 0, 0], dtype=torch.float64)
    mass = float(masses(torch.tensor([18])))
    expected = 2 * math.sqrt(model.stiffness / mass) * np.abs(np.sin(np.pi * q)) * TERAHERTZ
    frequencies = phi.frequencies(wave_vectors)
    np.testing.assert_allclose(frequencies[:, 2], expected, atol=1e-6)
    assert frequencies[:, :2].abs().max() < 1e-5
    assert not np.allclose(frequencies[:, 2], 1.01 * expected, atol=1e-3)


def test_the_diatomic_chain_of_a_textbook():
    # ω² = k (1/m + 1/M) ± k sqrt((1/m + 1/M)² - 4 sin²(q a / 2) / (m M))
    model = Springs(length=2.0, cutoff=2.5, species=(11, 17))
    chain = ase.Atoms("NaCl", positions=[(0, 0, 0), (2, 0, 0)], cell=[4.0, 9, 9], pbc=(True, False, False))
    m, M = masses(torch.tensor([11, 17])).tolist()
    q = 0.3
    root = math.sqrt((1 / m + 1 / M) ** 2 - 4 * math.sin(math.pi * q) ** 2 / (m * M))
    expected = [TERAHERTZ * math.sqrt(model.stiffness * (1 / m + 1 / M + sign * root)) for sign in (-1, 1)]
    frequencies = force_constants(model, chain).frequencies(torch.tensor([[q, 0, 0]], dtype=torch.float64))
    np.testing.assert_allclose(frequencies[0, -2:], expected, rtol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_wave_vectors_that_fit_a_supercell_are_its_gamma_point(name):
    model, crystal = MODELS[name](), rattled()
    phi = force_constants(model, crystal)
    assert phi.sum_rule_error() < 1e-9
    assert phi.asymmetry() < 1e-10
    assert phi.values.abs().max() > 0.1
    size = (3, 2, 1)
    whole = hessian(model, graph_of(crystal * size, model)).reshape(36, 36)
    k = torch.tensor([[i / 3, j / 2, 0] for i in range(3) for j in range(2)], dtype=torch.float64)
    squares = torch.linalg.eigvalsh(phi.dynamical_matrix(k, torch.ones(2, dtype=torch.float64))).flatten().sort().values
    torch.testing.assert_close(squares, torch.linalg.eigvalsh(whole), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_agree_with_displacements(name):
    model, crystal = MODELS[name](), rattled()
    phi = force_constants(model, crystal)
    size = 8  # more than twice the receptive field of two layers
    large = crystal * size
    step, atom, axis = 1e-3, 1, 2
    forces = []
    for sign in (1, -1):
        moved = large.copy()
        moved.positions[atom, axis] += sign * step
        forces.append(energy_and_forces(model, graph_of(moved, model)).forces)
    numerical = -(forces[0] - forces[1]) / (2 * step)
    folded = torch.zeros(len(large), 3, dtype=torch.float64)
    cells = phi.shifts % size
    images = ((cells[:, 0] * size + cells[:, 1]) * size + cells[:, 2]) * 2 + phi.atoms
    folded.index_add_(0, images, phi.values[atom, axis])
    assert (folded - numerical).abs().max() < 1e-5 * folded.abs().max()
    assert (folded - numerical).abs().max() > 0


def test_bloch_waves_give_the_same_matrix():
    model, crystal = MODELS["two layers"](), rattled()
    k = torch.tensor([0.13, 0.21, 0.37], dtype=torch.float64)
    direct = bloch_matrix(model, crystal, k)
    expected = force_constants(model, crystal).dynamical_matrix(k[None], torch.ones(2, dtype=torch.float64))[0]
    torch.testing.assert_close(direct, expected, atol=1e-12, rtol=1e-12)
    assert (direct - direct.mH).abs().max() < 1e-12


def test_a_network_and_its_receptive_field():
    model = network()
    phi = force_constants(model, rattled())
    assert phi.sum_rule_error() < 1e-9
    assert phi.asymmetry() < 1e-10
    k = torch.tensor([[0.5, 0.0, 0.0]], dtype=torch.float64)
    whole = hessian(model, graph_of(rattled() * (2, 1, 1), model)).reshape(12, 12)
    gamma = torch.linalg.eigvalsh(phi.dynamical_matrix(torch.cat([0 * k, k]), torch.ones(2, dtype=torch.float64)))
    torch.testing.assert_close(gamma.flatten().sort().values, torch.linalg.eigvalsh(whole), atol=1e-10, rtol=1e-10)


def test_receptive_fields_are_measured():
    assert receptive_hops(LennardJones()) == 1
    assert receptive_hops(ManyBody()) == 1
    assert receptive_hops(Layers()) == 2
    assert receptive_hops(network()) == 2

    class Everything(LennardJones):
        def node_energies(self, graph):
            return super().node_energies(graph) + graph.positions.square().sum()

    with pytest.raises(ValueError, match="cannot be unrolled"):
        receptive_hops(Everything())


def test_too_few_hops_are_seen_in_the_sum_rule():
    assert force_constants(Layers(cutoff=2.6), rattled(), hops=1).asymmetry() > 1e-6


def test_energies_of_the_cell_are_those_of_the_crystal():
    model = Layers(cutoff=2.6)
    crystal = graph_of(rattled(), model)
    cluster = unroll(crystal, 2)
    torch.testing.assert_close(model.node_energies(cluster.graph)[:2], model.node_energies(crystal))
    assert not torch.allclose(model.node_energies(unroll(crystal, 1).graph)[:2], model.node_energies(crystal))
    cluster.graph.check()
    assert not bool(cluster.graph.pbc.any())
    with pytest.raises(ValueError, match="one structure"):
        unroll(collate([crystal, crystal]), 1)
    molecule = unroll(build_graph(ase.Atoms("H3", positions=[(0, 0, 0), (1, 0, 0), (2, 0, 0)]), 1.5), 3)
    assert molecule.graph.num_nodes == 3
    assert molecule.graph.num_edges == 4
    assert unroll(crystal, 0).graph.num_edges == 0


def test_hop_neighbors_of_a_ring():
    ring = build_graph(ase.Atoms("H6", positions=[(x, 0, 0) for x in range(6)], cell=[6, 9, 9], pbc=(1, 0, 0)), 1.2)
    assert hop_neighbors(ring, 1)[1, :3].tolist() == [0, 1, 5]
    assert hop_neighbors(ring, 3).shape[1] == 36


def test_strain_derivatives_are_those_of_strained_crystals():
    model, crystal = MODELS["two layers"](), rattled()
    generator = torch.Generator().manual_seed(0)
    strain = torch.randn(3, 3, dtype=torch.float64, generator=generator)
    strain = 0.5 * (strain + strain.T)
    moves = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    graph = graph_of(crystal, model)

    def at(t):
        placed = graph.strained(t * strain[None])
        return force_constants(model, placed.replace(positions=placed.positions + t * moves)).values

    exact = force_constant_derivative(model, graph, strain, moves).values
    h = 1e-4
    torch.testing.assert_close(exact, (at(h) - at(-h)) / (2 * h), atol=1e-5, rtol=1e-5)
    assert exact.abs().max() > 0.1


def test_grueneisen_parameters():
    # Springs under no load: every frequency is sqrt(k/m) times a number, whatever the volume ... of an inverse power law
    # E ~ r^-n every frequency goes as V^-(n+2)/6.
    class Power(PairPotential):
        def pair(self, r, graph):
            return torch.where(r < 4.2, 50.0 * r**-12.0, 0.0)

    gammas = Grueneisen(Power(4.2, (18,)), argon(5.0))(torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.3, 0.2]], dtype=torch.float64))[1]
    np.testing.assert_allclose(gammas, 14 / 6, rtol=1e-10)  # nearest neighbours only: a power law throughout

    model = neighbors_argon()
    k = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.1, 0.4]], dtype=torch.float64)
    frequencies, exact = Grueneisen(model, argon())(k)
    d = 1e-4
    shifted = [force_constants(model, argon(5.26 * (1 + s * d) ** (1 / 3))).frequencies(k) for s in (1, -1)]
    numerical = -(shifted[0].log() - shifted[1].log()) / (2 * d)
    torch.testing.assert_close(exact.sort().values, numerical.sort().values, atol=1e-5, rtol=1e-5)
    assert (exact > 2).all()
    assert (frequencies > 0).all()
