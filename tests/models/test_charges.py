"""Predicted charges: invariant, of the right sum, and the energy of the ions they are in a crystal that is known."""

import ase.build
import numpy as np
import pytest
import torch

from tesseral.graph import build_graph
from tesseral.models.nequip import NequIPSettings
from tesseral.nn.pair import COULOMB
from tesseral.physics.forces import energy_and_forces
from tesseral.physics.receptive_field import receptive_hops

pytest.importorskip("torchpme", reason="electrostatics needs torch-pme: pip install 'tesseral[electrostatics]'")
from tesseral.models.charges import ChargeModel


def model():
    torch.manual_seed(0)
    settings = NequIPSettings(species=(11, 17), num_neighbors=12.0, layers=1, lmax=1, channels=4, cutoff=4.5)
    return ChargeModel(settings, reference_charges={11: 1.0, 17: -1.0}, dtype=torch.float64)


def rattled():
    crystal = ase.build.bulk("NaCl", "rocksalt", a=5.2)
    crystal.rattle(0.2, seed=3)
    return crystal


def test_a_network_without_charges_leaves_ions():
    net = model()
    with torch.no_grad():
        for parameter in (*net.readout.parameters(), *net.charge_readout.parameters()):
            parameter.zero_()
    crystal = ase.build.bulk("NaCl", "rocksalt", a=5.2)
    energy = float(net(build_graph(crystal, net.cutoff)).detach())
    assert energy == pytest.approx(-1.7475645946 * COULOMB / 2.6, abs=1e-4)


def test_charges_and_energies_turn_with_the_crystal():
    net, crystal = model(), rattled()
    graph = build_graph(crystal, net.cutoff, charge=0.5)
    charges = net.charges(graph).detach()
    assert float(charges.sum()) == pytest.approx(0.5)
    assert (charges - 0.25).abs().max() > 0.05
    turned = crystal.copy()
    turned.rotate(50, (1, 2, 3), rotate_cell=True)
    turned.set_cell(-turned.cell.array)
    turned.positions *= -1
    other = build_graph(turned, net.cutoff, charge=0.5)
    torch.testing.assert_close(net.charges(other).detach(), charges, atol=1e-8, rtol=0)
    torch.testing.assert_close(net(other), net(graph), atol=1e-7, rtol=0)


def test_forces_and_stress_are_derivatives():
    net = model()
    graph = build_graph(rattled(), net.cutoff)
    found, step = energy_and_forces(net, graph, stress=True), 1e-4
    d = torch.zeros_like(graph.positions)
    d[1, 0] = step
    up, down = (float(net(graph.replace(positions=graph.positions + s * d)).detach()) for s in (1, -1))
    assert float(found.forces[1, 0]) == pytest.approx(-(up - down) / (2 * step), abs=1e-6)
    strain = step * torch.eye(3, dtype=torch.float64)[None]
    up, down = (float(net(graph.strained(s * strain)).detach()) for s in (1, -1))
    assert found.stress is not None
    assert float(found.stress[0].trace() * graph.volume) == pytest.approx((up - down) / (2 * step), abs=1e-5)


def test_charges_can_be_learned_from_forces():
    net, graph = model(), build_graph(rattled(), 4.5)
    prediction = energy_and_forces(net, graph, create_graph=True)
    prediction.forces.square().sum().backward()
    slope = net.reference_charges.grad
    assert slope is not None
    assert np.abs(slope.numpy()).max() > 1e-3


def test_it_says_that_it_reaches_beyond_its_cutoff():
    with pytest.raises(ValueError, match="long-range"):
        receptive_hops(model())
