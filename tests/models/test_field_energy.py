"""An energy in a field: as an ordinary potential, and in a field."""

import pytest
import torch
from ase.build import molecule

from tesseral.graph import build_graph
from tesseral.models import NequIPSettings, build, cast
from tesseral.models.field_energy import FieldEnergy, FieldEnergySettings
from tesseral.nn.pair import ZBL, Sum
from tesseral.physics.electric import dipole, reads_field
from tests.models import contract

SHAPE = {"cutoff": 3.5, "layers": 2, "lmax": 1, "channels": 4, "radial_channels": 8, "species": (1, 6, 8), "num_neighbors": 8.0}


def model(**changes) -> FieldEnergy:
    torch.manual_seed(0)
    settings = FieldEnergySettings(**SHAPE | changes)
    return FieldEnergy(settings, atomic_energies={1: -13.0, 6: -1000.0, 8: -2000.0}, scales=2.0, dtype=torch.float64)


@pytest.mark.parametrize(
    "check",
    [c for c in contract.CHECKS if c is not contract.check_training],
    ids=lambda check: check.__name__.removeprefix("check_"),
)
def test_contract(check, tmp_path):
    check(model(), tmp_path)


def test_zbl_repels():
    graph = build_graph(molecule("H2O"), 3.5)
    bare, repelled = (model(zbl=zbl) for zbl in (False, True))
    torch.testing.assert_close(repelled(graph) - bare(graph), ZBL(3.5, (1, 6, 8))(graph), rtol=0, atol=1e-8)


def test_energies_of_the_atoms_in_a_field_add_up():
    net = model()
    graph = build_graph(molecule("CH3OH"), 3.5).replace(field=torch.tensor([[0.1, -0.2, 0.3]], dtype=torch.float64))
    torch.testing.assert_close(net.node_energies(graph).sum(0, keepdim=True), net(graph))
    assert abs(net(graph) - net(graph.replace(field=None))).item() > 1e-3


def test_parts_have_their_own_share_of_the_dipole():
    net = model()
    graph = build_graph(molecule("CH3OH"), 3.5)
    with torch.no_grad():
        whole = dipole(net, graph)
        for part in (net.charges, net.dipoles):
            part.weight.zero_()
            assert (dipole(net, graph) - whole).abs().max() > 1e-3
            whole = dipole(net, graph)
        net.ionic[0] += 0.5
        hydrogen = (graph.species == 1).double()
        moved = 0.5 * (hydrogen - hydrogen.mean())  # what all have is shared, so that the molecule stays neutral
        torch.testing.assert_close(dipole(net, graph) - whole, (moved[:, None] * graph.positions).sum(0, keepdim=True))


def test_what_reads_a_field():
    net = model()
    assert reads_field(net)
    assert reads_field(Sum([ZBL(3.5, (1, 6, 8)), net]))
    assert not reads_field(build(NequIPSettings(**SHAPE)))
    assert cast(net, torch.float32).dtype == torch.float32
