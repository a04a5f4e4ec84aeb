"""Responses to a field: point charges and induced dipoles, whose answers are Silberstein's, and networks that read a field."""

import copy

import ase
import ase.build
import pytest
import torch

from tesseral.data import embedded
from tesseral.graph import build_graph
from tesseral.models.field_energy import FieldEnergy, FieldEnergySettings
from tesseral.physics import electric
from tesseral.physics.forces import energy_and_forces, stress

ALPHA = {1: 0.5, 17: 2.2}
"""Polarizabilities of the atoms in Å³."""


class InducedDipoles(torch.nn.Module):
    """Charges and point dipoles that polarise each other: E = -Σ q r·F - ½ (F + F₀)·A⁻¹·(F + F₀), in eV, Å, e."""

    def __init__(self, charges):
        super().__init__()
        self.charges = torch.tensor(charges, dtype=torch.float64)

    def forward(self, graph):
        r = graph.positions
        n = len(r)
        alpha = torch.tensor([ALPHA[int(z)] for z in graph.species], dtype=torch.float64)
        d = r[:, None] - r[None]
        eye = torch.eye(n, dtype=torch.float64)
        length = (d.square().sum(-1) + eye).sqrt()
        off = (1 - eye)[..., None, None]
        field_tensor = off * (3 * d[..., :, None] * d[..., None, :] / length[..., None, None] ** 5
                              - torch.eye(3, dtype=torch.float64) / length[..., None, None] ** 3)  # fmt: skip
        matrix = (torch.diag(1 / alpha)[..., None, None] * torch.eye(3, dtype=torch.float64) - field_tensor).permute(0, 2, 1, 3)
        own = ((1 - eye)[..., None] * d / length[..., None] ** 3 * self.charges[None, :, None]).sum(1)  # e/Å²
        outer = torch.zeros(3, dtype=torch.float64) if graph.field is None else graph.field[0]
        total = (own + outer / electric.VOLUME).reshape(-1)
        energy = -0.5 * electric.VOLUME * total @ torch.linalg.solve(matrix.reshape(3 * n, 3 * n), total)
        return (energy - (self.charges[:, None] * r).sum(0) @ outer).reshape(1)


def chloride(charge=0.0):
    graph = build_graph(ase.Atoms("HCl", positions=[(0, 0, -0.6), (0, 0, 1.4)]), 3.0)
    return graph.replace(charge=torch.tensor([charge], dtype=torch.float64))


def test_silberstein():
    model, r = InducedDipoles([0.0, 0.0]), 2.0
    a, b = ALPHA[1], ALPHA[17]
    found = electric.polarizability(model, chloride())[0]
    along = (a + b + 4 * a * b / r**3) / (1 - 4 * a * b / r**6)
    across = (a + b - 2 * a * b / r**3) / (1 - a * b / r**6)
    torch.testing.assert_close(
        found, torch.diag(torch.tensor([across, across, along], dtype=torch.float64)), rtol=1e-10, atol=1e-12
    )


def test_dipole_of_an_ion_on_an_atom():
    # A charge q at distance r induces αq/r² on a neutral atom, pointing away from it; the ion's own dipole grows in turn.
    model, r = InducedDipoles([0.4, 0.0]), 2.0
    a, b = ALPHA[1], ALPHA[17]
    on_b = b * 0.4 / r**2 / (1 - 4 * a * b / r**6)
    on_a = 2 * a * on_b / r**3
    assert electric.dipole(model, chloride()).tolist()[0] == pytest.approx([0, 0, 0.4 * -0.6 + on_b + on_a], abs=1e-12)


@pytest.mark.parametrize("total", [0.0, 1.0])
def test_born_charges(total):
    model, graph = InducedDipoles([0.3, total - 0.3]), chloride(total)
    charges = electric.born_charges(model, graph)
    assert electric.charge_sum_error(charges, graph).item() < 1e-12
    step, moved = 1e-4, graph.positions.clone()
    moved[1, 2] += step
    there = electric.dipole(model, graph.replace(positions=moved))
    moved[1, 2] -= 2 * step
    slope = (there - electric.dipole(model, graph.replace(positions=moved)))[0] / (2 * step)
    torch.testing.assert_close(charges[1, 2], slope, rtol=1e-6, atol=1e-8)
    assert electric.charge_sum_error(charges, graph, torch.tensor([total + 1.0])).item() == pytest.approx(1.0)  # a wrong total


def test_origin():
    model, graph = InducedDipoles([0.3, 0.7]), chloride(1.0)
    shift = torch.tensor([[0.3, -1.0, 2.0]], dtype=torch.float64)
    moved = electric.dipole(model, graph.replace(positions=graph.positions + shift))
    torch.testing.assert_close(electric.about(moved, graph.charge, shift), electric.dipole(model, graph))


def test_dielectric_tensor():
    atoms = ase.Atoms("H", cell=[4.0, 5.0, 6.0], pbc=True)
    graph = build_graph(atoms, 2.0)

    def model(g):
        return -0.5 * 2.0 / electric.VOLUME * g.field.square().sum(1)

    expected = (1 + 4 * torch.pi * 2.0 / 120) * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(electric.dielectric_tensor(model, graph)[0], expected)
    with pytest.raises(ValueError, match="crystal"):
        electric.dielectric_tensor(model, chloride())


def test_model_without_a_field():
    def model(g):
        return g.positions.square().sum().reshape(1)

    assert electric.dipole(model, chloride()).tolist() == [[0.0, 0.0, 0.0]]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    settings = FieldEnergySettings(
        cutoff=2.0, layers=2, lmax=1, channels=4, radial_channels=8, species=(1, 6, 8), num_neighbors=3.0
    )
    return FieldEnergy(settings, backend="reference", dtype=torch.float64)


def test_field_network(network):
    atoms = embedded.hessians()["gauche+"].atoms
    graph = build_graph(atoms, 2.0).replace(charge=torch.ones(1, dtype=torch.float64))
    moment, alpha = electric.dipole(network, graph), electric.polarizability(network, graph)
    assert alpha.abs().max() > 1e-4  # the field is seen beyond first order
    assert (alpha - alpha.mT).abs().max() < 1e-12
    field = torch.tensor([[1e-4, 2e-4, -1e-4]], dtype=torch.float64)
    up, down = (network(graph.replace(field=s * field)).item() for s in (1, -1))
    assert (up - down) / 2 == pytest.approx(-(moment * field).sum().item(), rel=1e-6)
    charges = electric.born_charges(network, graph)
    assert electric.charge_sum_error(charges, graph).item() < 1e-10
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    turned = graph.replace(positions=graph.positions @ rotation.T)
    torch.testing.assert_close(electric.dipole(network, turned), moment @ rotation.T, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(electric.polarizability(network, turned), rotation @ alpha @ rotation.T, rtol=1e-9, atol=1e-11)


def test_a_field_across_what_is_flat_polarises_it(network):
    """CO2 has no bond across its axis, an ion none at all: their polarizability there is that of the atoms."""
    carbon_dioxide = electric.polarizability(network, build_graph(ase.build.molecule("CO2"), 2.0))[0]
    assert abs(carbon_dioxide[0, 0]) > 1e-3
    assert abs(carbon_dioxide[2, 2] - carbon_dioxide[0, 0]) > 1e-4
    network = copy.deepcopy(network)
    with torch.no_grad():
        network.isotropic += torch.tensor([0.1, 0.2, 0.7])
    one = torch.eye(3, dtype=torch.float64)
    raised = electric.polarizability(network, build_graph(ase.build.molecule("CO2"), 2.0))[0]
    torch.testing.assert_close(raised - carbon_dioxide, 1.6 * one)
    alone = electric.polarizability(network, build_graph(ase.Atoms("O"), 2.0))[0]
    torch.testing.assert_close(alone, alone[0, 0] * one, rtol=1e-9, atol=1e-12)
    assert alone[0, 0] > 0.5


@pytest.mark.parametrize("names", [("dipole",), ("polarizability",), ("born_charges",), electric.RESPONSES])
def test_all_at_once(network, names):
    graph = build_graph(embedded.hessians()["gauche+"].atoms, 2.0)
    alone = {"dipole": electric.dipole, "polarizability": electric.polarizability, "born_charges": electric.born_charges}
    for create_graph in (True, False):
        found = electric.energy_and_responses(network, graph, names, create_graph=create_graph)
        torch.testing.assert_close(found.forces, energy_and_forces(network, graph).forces, rtol=1e-9, atol=1e-12)
        for name, function in alone.items():
            value = getattr(found, name)
            assert (value is None) == (name not in names)
            if value is not None:
                assert value.requires_grad == create_graph
                torch.testing.assert_close(value, function(network, graph), rtol=1e-9, atol=1e-12)
    strained = electric.energy_and_responses(network, build_graph(salt(), 2.0), names, stress=True)
    torch.testing.assert_close(strained.stress, stress(network, build_graph(salt(), 2.0)), rtol=1e-9, atol=1e-12)


def test_mixed_derivatives_commute(network):
    # Z* is the derivative of the dipole by positions, and of the forces by the field.
    atoms = embedded.hessians()["trans"].atoms
    graph = build_graph(atoms, 2.0)
    charges = electric.born_charges(network, graph)
    forces = []
    for sign in (1, -1):
        positions = graph.positions.clone().requires_grad_()
        field = torch.tensor([[0.0, sign * 1e-4, 0.0]], dtype=torch.float64)
        energy = network(graph.replace(positions=positions, field=field))
        forces.append(-torch.autograd.grad(energy.sum(), positions)[0])
    torch.testing.assert_close(charges[:, :, 1], (forces[0] - forces[1]) / 2e-4, rtol=1e-5, atol=1e-7)


def salt():
    crystal = ase.build.bulk("CO", "zincblende", a=3.4)
    crystal.rattle(0.1, seed=0)  # atoms without symmetry, so that no tensor is one of a cube
    return crystal


@pytest.fixture(scope="module")
def ionic(network):
    model = copy.deepcopy(network)
    with torch.no_grad():
        model.ionic.copy_(torch.tensor([0.0, 0.7, -0.9]))
    return model


def test_born_charges_of_a_crystal(ionic):
    graph = build_graph(salt(), 2.0)
    charges = electric.born_charges(ionic, graph)
    assert electric.charge_sum_error(charges, graph).item() < 1e-10
    assert (charges[0] - 0.8 * torch.eye(3)).abs().max() > 1e-3  # the network has its part
    # Any image of an atom serves as well, and so does another origin.
    moved = salt()
    moved.positions += [[3, -2, 1] @ moved.cell.array, [0.3, 0.2, 0.1]]
    moved.positions -= [[0, 0, 0], [0.3, 0.2, 0.1]]
    torch.testing.assert_close(electric.born_charges(ionic, build_graph(moved, 2.0)), charges, rtol=0, atol=1e-10)
    # The field pulls at the atoms with their Born charges.
    forces = []
    for sign in (1, -1):
        positions = graph.positions.clone().requires_grad_()
        field = torch.tensor([[0.0, sign * 1e-4, 0.0]], dtype=torch.float64)
        energy = ionic(graph.replace(positions=positions, field=field))
        forces.append(-torch.autograd.grad(energy.sum(), positions)[0])
    torch.testing.assert_close(charges[:, :, 1], (forces[0] - forces[1]) / 2e-4, rtol=1e-5, atol=1e-7)


def test_dielectric_tensor_of_a_crystal(ionic):
    graph = build_graph(salt(), 2.0)
    tensor = electric.dielectric_tensor(ionic, graph)[0]
    assert (tensor - tensor.T).abs().max() < 1e-12
    twice = build_graph(salt() * (2, 1, 1), 2.0)
    torch.testing.assert_close(electric.dielectric_tensor(ionic, twice)[0], tensor, rtol=1e-10, atol=1e-12)
