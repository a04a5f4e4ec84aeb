"""Predicted charges: invariant, of the right sum, and the energy of the ions they are in a crystal that is known."""

import ase
import ase.build
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tesseral.graph import build_graph
from tesseral.nn.pair import COULOMB
from tesseral.physics.forces import energy_and_forces
from tesseral.physics.receptive_field import receptive_hops
from tesseral.physics.selftest import failures, selftest

pytest.importorskip("torchpme", reason="electrostatics needs torch-pme: pip install 'tesseral[electrostatics]'")
from tesseral.models import build, cast, files, parse_settings
from tesseral.models.charges import ChargeModel, ChargeSettings

SETTINGS = ChargeSettings(
    species=(11, 17), num_neighbors=12.0, layers=1, lmax=1, channels=4, cutoff=4.5, reference_charges={"Na": 1.0, "Cl": -1.0}
)


def model():
    torch.manual_seed(0)
    return ChargeModel(SETTINGS, dtype=torch.float64)


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


def test_a_file_keeps_charges(tmp_path):
    net, graph = model(), build_graph(rattled(), 4.5)
    with torch.no_grad():
        net.reference_charges += torch.tensor([0.1, -0.3])
    files.save(net, tmp_path / "ions.safetensors")
    loaded, _ = files.load(tmp_path / "ions.safetensors")
    torch.testing.assert_close(loaded(graph), net(graph).detach(), atol=1e-12, rtol=0)
    single = cast(net, torch.float32)
    assert single.coulomb.ewald.potential.smearing.dtype == torch.float64
    torch.testing.assert_close(single(graph), net(graph), atol=1e-4, rtol=0)
    scaled = build(SETTINGS, atomic_energies={11: -1.0, 17: 2.0}, scales=3.0, dtype=torch.float64)
    scaled.load_state_dict(net.state_dict() | {"atomic_energies": scaled.atomic_energies, "scales": scaled.scales})
    with torch.no_grad():
        bare = net(graph) - net.coulomb(net.charges(graph), graph)
        torch.testing.assert_close(scaled(graph), net(graph) + 2 * bare + 1.0)
    with pytest.raises(ValidationError, match="Xy"):
        parse_settings({"name": "charges", "reference_charges": {"Xy": 1.0}})


def test_self_test_knows_that_molecules_feel_each_other():
    net = model()
    with torch.no_grad():
        net.reference_charges *= 0.2  # nothing repels these ions: whole charges would collapse
    molecule = ase.Atoms("NaClNa", positions=[(0, 0, 0), (0, 0, 2.4), (0, 1.9, 3.9)])
    crystal = ase.build.bulk("NaCl", "rocksalt", a=5.6)
    crystal.rattle(0.02, seed=3)
    checks = selftest(net, [molecule, crystal])
    assert not failures(checks)
    names = [check.name for check in checks]
    assert names.count("extensivity: energy") == 1
    assert names.count("batching: energy") == 2


def test_it_says_that_it_reaches_beyond_its_cutoff():
    with pytest.raises(ValueError, match="long-range"):
        receptive_hops(model())
