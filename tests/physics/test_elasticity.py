"""Elastic constants against pair sums, strained and relaxed cells, and the speed of the phonons."""

import ase
import ase.build
import numpy as np
import pytest
import torch
from ase import units

from tesseral.graph import build_graph
from tesseral.interfaces.ase import Calculator
from tesseral.physics.elasticity import elasticity, strain_tensor
from tesseral.physics.eos import birch_murnaghan, equation_of_state
from tesseral.physics.force_constants import force_constants
from tesseral.physics.forces import energies, energy_and_forces
from tesseral.physics.hessian import hessian
from tesseral.physics.moduli import moduli, softest, sound_velocities, young_modulus
from tesseral.physics.relaxation import relax
from tesseral.physics.sparse_hessian import color, sparse_hessian
from tesseral.physics.third_order import cubic_force_constants, hessian_derivative
from tests.physics.test_force_constants import Springs, argon, neighbors_argon
from tests.physics.test_forces import molecule
from tests.physics.toys import LennardJones, ManyBody, graph_of, network


def relaxed(model, atoms):
    atoms = atoms.copy()
    atoms.calc = Calculator(model)
    assert relax(atoms, fmax=1e-5, cell="full", optimizer="bfgs", steps=300).converged
    return atoms


def test_a_fcc_crystal_of_pairs_is_a_sum_over_pairs():
    # At rest C_ijkl = 1/2V Σ (φ'' - φ'/r) r_i r_j r_k r_l / r², symmetric in all indices: C12 = C44 (Cauchy).
    model = neighbors_argon()
    crystal = relaxed(model, argon())
    result = elasticity(model, graph_of(crystal, model))
    graph = graph_of(crystal, model)
    r = graph.edge_vectors()
    length = torch.linalg.vector_norm(r, dim=1).requires_grad_()
    (first,) = torch.autograd.grad(model.pair(length, graph).sum(), length, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), length)
    factor = ((second - first / length) / length**2).detach()
    volume = float(graph.volume)

    def constant(i, j, k, l):
        return float((factor * r[:, i] * r[:, j] * r[:, k] * r[:, l]).sum()) / (2 * volume) / units.GPa

    c = result.relaxed
    assert float(c[0, 0]) == pytest.approx(constant(0, 0, 0, 0), rel=1e-6)
    assert float(c[0, 1]) == pytest.approx(constant(0, 0, 1, 1), rel=1e-6)
    assert float(c[3, 3]) == pytest.approx(constant(1, 2, 1, 2), rel=1e-6)
    assert float(c[0, 1]) == pytest.approx(float(c[3, 3]), rel=1e-5)
    torch.testing.assert_close(result.clamped, result.relaxed, atol=1e-9, rtol=0)
    assert result.stress.abs().max() < 1e-4


def hexagonal():
    """Two atoms that a strain in the basal plane moves against each other."""
    model = neighbors_argon()
    return model, relaxed(model, ase.build.bulk("Ar", "hcp", a=3.72, c=6.07))


def test_relaxed_constants_are_those_of_relaxed_strained_cells():
    model, crystal = hexagonal()
    result = elasticity(model, graph_of(crystal, model))
    assert (result.clamped - result.relaxed).abs().max() > 0.1
    h = 1e-4
    for n in (0, 5):
        stresses, places = [], []
        for sign in (1, -1):
            strained = crystal.copy()
            voigt = torch.zeros(6, dtype=torch.float64)
            voigt[n] = sign * h
            strained.set_cell(crystal.cell.array @ (np.eye(3) + strain_tensor(voigt).numpy()), scale_atoms=True)
            affine = strained.positions.copy()
            strained.calc = Calculator(model)
            assert relax(strained, fmax=1e-6, optimizer="bfgs", steps=300).converged
            stresses.append(strained.get_stress() / units.GPa)
            places.append(strained.positions - affine)
        numerical = (stresses[0] - stresses[1]) / (2 * h)
        np.testing.assert_allclose(result.relaxed[:, n], numerical, atol=2e-4 * np.abs(numerical).max())
        moved = (places[0] - places[1]) / (2 * h)
        np.testing.assert_allclose(result.internal_strain[:, :, n], moved - moved.mean(0), atol=1e-3 * np.abs(moved).max())


def test_sound_is_the_slope_of_the_acoustic_branches():
    model, crystal = hexagonal()
    result = elasticity(model, graph_of(crystal, model))
    density = crystal.get_masses().sum() * units._amu * 1e3 / (crystal.cell.volume * 1e-24)
    direction = torch.tensor([0.3, 0.5, -0.8], dtype=torch.float64)
    direction /= direction.norm()
    q = 1e-3  # 1/Å
    k = q * direction @ torch.tensor(crystal.cell.array.T)
    slopes = force_constants(model, crystal).frequencies(k[None])[0, :3] / q * 0.1  # THz Å to km/s
    torch.testing.assert_close(sound_velocities(result.relaxed, density, direction), slopes, rtol=1e-4, atol=0)
    assert not torch.allclose(sound_velocities(result.clamped, density, direction), slopes, rtol=1e-3, atol=0)


def test_what_has_no_elastic_constants():
    model = ManyBody()
    with pytest.raises(ValueError, match="three directions"):
        elasticity(model, graph_of(molecule(), model))
    unstable = build_graph(ase.Atoms("Ar2", positions=[(0, 0, 0), (1.6, 0.4, 0)], cell=[3.4, 3.4, 3.4], pbc=True), 3.0)
    with pytest.raises(ValueError, match="not at a minimum"):
        elasticity(LennardJones(2.0, 1.0, 3.0, species=(18,)), unstable)


def test_moduli_of_an_isotropic_solid():
    lam, mu = 50.0, 30.0
    c = torch.zeros(6, 6, dtype=torch.float64)
    c[:3, :3] = lam
    c += torch.diag(torch.tensor([2 * mu] * 3 + [mu] * 3, dtype=torch.float64))
    m = moduli(c)
    assert m.bulk == pytest.approx(lam + 2 * mu / 3)
    assert m.shear == pytest.approx(mu)
    assert m.poisson == pytest.approx(lam / (2 * (lam + mu)))
    assert m.young == pytest.approx(mu * (3 * lam + 2 * mu) / (lam + mu))
    assert m.anisotropy == pytest.approx(0, abs=1e-12)
    assert softest(c) == pytest.approx(mu)
    with pytest.raises(ValueError, match="not stable"):
        moduli(-c)


def test_young_modulus_of_a_cubic_crystal():
    # Nye, Physical Properties of Crystals (1957), p. 145: 1/E = s11 - 2 (s11 - s12 - s44/2)(n1²n2² + n2²n3² + n3²n1²).
    c11, c12, c44 = 160.0, 60.0, 75.0
    c = torch.diag(torch.tensor([c11 - c12] * 3 + [c44] * 3, dtype=torch.float64))
    c[:3, :3] += c12
    s11, s12 = (c11 + c12) / ((c11 - c12) * (c11 + 2 * c12)), -c12 / ((c11 - c12) * (c11 + 2 * c12))
    n = torch.nn.functional.normalize(torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 1, 1], [1, 2, 3]], dtype=torch.float64))
    squares = n**2
    mixed = squares[:, 0] * squares[:, 1] + squares[:, 1] * squares[:, 2] + squares[:, 2] * squares[:, 0]
    torch.testing.assert_close(young_modulus(c, n), 1 / (s11 - 2 * (s11 - s12 - 0.5 / c44) * mixed))


def test_equation_of_state_has_the_bulk_modulus_of_the_elastic_constants():
    model = neighbors_argon()
    crystal = relaxed(model, argon())
    seen = []
    curve = equation_of_state(crystal, width=0.02, points=9, progress=lambda *point: seen.append(point[1:]))
    result = elasticity(model, graph_of(crystal, model))
    assert curve.volume == pytest.approx(crystal.cell.volume, rel=1e-4)
    assert curve.bulk_modulus == pytest.approx(moduli(result.relaxed).bulk, rel=2e-3)
    assert 7 < curve.derivative < 10
    assert curve.residual < 1e-6
    again = equation_of_state(crystal, width=0.02, points=9, known=seen, progress=None)
    assert again.bulk_modulus == curve.bulk_modulus
    with pytest.raises(ValueError, match="no minimum"):
        birch_murnaghan([20, 21, 22, 23], [0, 1, 2, 3])
    with pytest.raises(ValueError, match="at least four"):
        birch_murnaghan([20, 21, 22], [1, 0, 1])
    with pytest.raises(ValueError, match="three directions"):
        equation_of_state(molecule())


@pytest.mark.parametrize("periodic", [False, True])
def test_sparse_hessian(periodic):
    model = Springs(length=1.1, cutoff=1.6)
    positions = np.stack([np.arange(24), 0.3 * np.sin(np.arange(24)), 0.2 * np.cos(np.arange(24))], 1)
    graph = graph_of(ase.Atoms("Ar24", positions, cell=[24, 9, 9], pbc=(periodic, False, False)), model)
    seen = []
    sparse = sparse_hessian(model, graph, progress=lambda done, total: seen.append((done, total)))
    torch.testing.assert_close(sparse.to_dense(), hessian(model, graph).reshape(72, 72), atol=1e-12, rtol=0)
    assert seen[-1][0] == seen[-1][1] < 12
    wrong = sparse_hessian(model, graph, hops=0).to_dense()  # atoms that meet are probed together
    assert not torch.allclose(wrong, hessian(model, graph).reshape(72, 72))
    assert int(color(graph, 2).max()) < 5


def test_cubic_force_constants():
    model = ManyBody()
    graph = graph_of(molecule()[:4], model)
    psi = cubic_force_constants(model, graph)
    size = 3 * graph.num_nodes
    cube = psi.reshape(size, size, size)
    assert (cube - cube.permute(0, 2, 1)).abs().max() < 1e-10
    assert (cube - cube.permute(2, 1, 0)).abs().max() < 1e-10
    assert psi.sum(4).abs().max() < 1e-10
    d = torch.randn(graph.num_nodes, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h = 1e-5
    at = [hessian(model, graph.replace(positions=graph.positions + s * h * d)) for s in (1, -1)]
    numerical = (at[0] - at[1]) / (2 * h)
    torch.testing.assert_close(torch.einsum("iajbkc,kc->iajb", psi, d), numerical, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(hessian_derivative(model, graph, d), numerical, atol=1e-6, rtol=1e-6)
    assert psi.abs().max() > 0.1


def test_a_network_has_elastic_constants_and_third_derivatives():
    model = network()
    crystal = ase.build.bulk("Al", a=3.8)
    result = elasticity(model, graph_of(crystal, model))
    volume, h = crystal.cell.volume, 1e-3
    pulled = []
    for sign in (1, 0, -1):
        strained = crystal.copy()
        strained.set_cell(crystal.cell.array * (1 + np.array([sign * h, 0, 0])), scale_atoms=True)
        pulled.append(float(energies(model, graph_of(strained, model))))
    numerical = (pulled[0] - 2 * pulled[1] + pulled[2]) / h**2 / volume / units.GPa
    assert float(result.clamped[0, 0]) == pytest.approx(numerical, rel=1e-4)
    graph = graph_of(molecule()[:3], model)
    d = torch.ones(3, 3, dtype=torch.float64) * torch.tensor([[1.0], [0.0], [0.0]], dtype=torch.float64)
    at = [hessian(model, graph.replace(positions=graph.positions + s * 1e-4 * d)) for s in (1, -1)]
    torch.testing.assert_close(hessian_derivative(model, graph, d), (at[0] - at[1]) / 2e-4, atol=1e-5, rtol=1e-5)
    assert energy_and_forces(model, graph).forces.abs().max() > 0
