"""Frequencies of molecules whose spectra can be written down, and ASE's on the same Hessian."""

import ase
import ase.build
import numpy as np
import pytest
import torch
from ase import units
from ase.vibrations import VibrationsData

from tesseral.graph import build_graph
from tesseral.physics.hessian import hessian
from tesseral.physics.vibrations import masses, rigid_motions, vibrations
from tests.physics.test_forces import molecule, oxide
from tests.physics.toys import ManyBody, Morse, PairPotential, graph_of


def wavenumber(k, mass):
    return np.sqrt(k * units._e * 1e20 / (mass * units._amu)) / (2 * np.pi * units._c * 100)


def test_morse_diatomic():
    model = Morse()
    graph = graph_of(ase.Atoms("H2", positions=[(0, 0, 0), np.array([1, 2, 2]) * 0.74 / 3]), model)
    result = vibrations(hessian(model, graph), graph)
    k, mass = 2 * model.depth * model.width**2, 1.008 / 2
    assert result.frequencies.tolist() == pytest.approx([wavenumber(k, mass)], rel=1e-12)
    # A displacement of unit norm stretches the bond by √2 (and Gaussian, too, prints the mass of one atom).
    assert result.reduced_masses.tolist() == pytest.approx([2 * mass])
    assert result.force_constants.tolist() == pytest.approx([2 * k])
    assert result.zero_point_energy == pytest.approx(0.5 * wavenumber(k, mass) * units.invcm)


class Chain(PairPotential):
    """Springs of 1 Å between neighbours."""

    def pair(self, r, graph):
        return 0.5 * 30.0 * (r - 1.16) ** 2


def test_linear_triatomic():
    model = Chain(1.5)
    atoms = ase.Atoms("OCO", positions=[(-1.16, 0, 0), (0, 0, 0), (1.16, 0, 0)])
    atoms.rotate(33, (1, 2, 3))
    graph = graph_of(atoms, model)
    result = vibrations(hessian(model, graph), graph)
    mo, mc = 15.999, 12.011
    expected = [0, 0, wavenumber(30, mo), wavenumber(30 * (1 + 2 * mo / mc), mo)]  # two bends that cost nothing
    np.testing.assert_allclose(result.frequencies, expected, atol=1e-2)
    symmetric = result.modes[2]
    assert symmetric[1].abs().max() < 1e-7  # carbon rests
    torch.testing.assert_close(symmetric[0], -symmetric[2])


def test_isotopes():
    model = Morse()
    graph = graph_of(ase.Atoms("H2", positions=[(0, 0, 0), (0, 0, 0.74)]), model)
    h = hessian(model, graph)
    light, heavy = (vibrations(h, graph, mass=torch.full((2,), m, dtype=torch.float64)).frequencies for m in (1.0, 4.0))
    torch.testing.assert_close(light, 2 * heavy)


@pytest.mark.parametrize("make", [molecule, oxide])
def test_agrees_with_ase_when_nothing_is_projected(make):
    model, atoms = ManyBody(), make()
    graph = graph_of(atoms, model)
    h = hessian(model, graph)
    ours = vibrations(h, graph, project="none")
    theirs = VibrationsData(atoms, h.numpy()).get_frequencies()
    np.testing.assert_allclose(ours.frequencies, np.sort(theirs.real - theirs.imag), atol=2e-2, rtol=1e-6)


def test_projection_leaves_the_other_frequencies_at_a_minimum():
    from ase.optimize import BFGS

    from tesseral.interfaces.ase import Calculator

    model = ManyBody()
    atoms = ase.build.molecule("H2O")
    atoms.calc = Calculator(model)
    BFGS(atoms, logfile=None).run(fmax=1e-7, steps=300)
    graph = graph_of(atoms, model)
    h = hessian(model, graph)
    free, projected = vibrations(h, graph, project="none"), vibrations(h, graph)
    assert len(projected.frequencies) == 3
    assert projected.frequencies.min() > 10
    np.testing.assert_allclose(projected.frequencies, free.frequencies[6:], rtol=1e-6)


def test_modes_solve_the_equation_of_motion():
    model = ManyBody()
    graph = graph_of(oxide(), model)
    h = hessian(model, graph)
    result = vibrations(h, graph)
    assert len(result.frequencies) == 3 * graph.num_nodes - 3
    left = torch.einsum("iajb,mjb->mia", h, result.modes)
    eigenvalue = result.force_constants / result.reduced_masses
    torch.testing.assert_close(
        left, eigenvalue[:, None, None] * result.modes * masses(graph.species)[:, None], atol=1e-9, rtol=1e-7
    )
    torch.testing.assert_close(result.modes.square().sum((1, 2)), torch.ones(3, dtype=torch.float64))


def test_a_saddle_point_has_a_negative_frequency():
    model = Morse(cutoff=12.0)
    graph = graph_of(ase.Atoms("H3", positions=[(0, 0, z) for z in (-1.0, 0, 1.0)]), model)
    assert vibrations(hessian(model, graph), graph).frequencies[0] < -100


def test_small_and_empty_structures():
    for atoms, modes in ((ase.Atoms("H"), 0), (ase.Atoms("H2", positions=[(0, 0, 0), (0, 1, 0)]), 1), (ase.Atoms(), 0)):
        graph = build_graph(atoms, 3.0)
        assert len(vibrations(hessian(ManyBody(), graph), graph).frequencies) == modes
    graph = build_graph(molecule(), 3.0)
    with pytest.raises(ValueError, match="does not belong"):
        vibrations(torch.zeros(2, 3, 2, 3, dtype=torch.float64), graph)


def test_rigid_motions_are_orthonormal_and_cost_nothing():
    model = ManyBody()
    atoms = molecule()
    graph = graph_of(atoms, model)
    mass = masses(graph.species)
    motions = rigid_motions(graph.positions, mass)
    torch.testing.assert_close(motions @ motions.T, torch.eye(6, dtype=torch.float64), atol=1e-12, rtol=0)
    displacements = motions.reshape(6, -1, 3) / mass.sqrt()[:, None]
    costs = [(model(graph.replace(positions=graph.positions + 1e-5 * d)) - model(graph)).abs().item() for d in displacements]
    other = torch.randn_like(displacements[0]) / mass.sqrt()[:, None]
    assert max(costs) < 0.01 * (model(graph.replace(positions=graph.positions + 1e-5 * other)) - model(graph)).abs().item()
