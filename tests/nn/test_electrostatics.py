"""Coulomb energies against Madelung's constants, direct sums and finite differences; charges that add up."""

import ase
import ase.build
import numpy as np
import pytest
import torch

from tesseral.graph import build_graph, collate
from tesseral.nn.pair import COULOMB
from tesseral.physics.forces import energy_and_forces

pytest.importorskip("torchpme", reason="electrostatics needs torch-pme: pip install 'tesseral[electrostatics]'")
from tesseral.nn.electrostatics import Coulomb, neutralized

# Madelung constants for the distance of nearest neighbours: Sakamoto, J. Chem. Phys. 28, 164 (1958).
MADELUNG = {
    "rocksalt": (1.7475645946, 0.5),
    "cesiumchloride": (1.7626747731, np.sqrt(3) / 2),
    "zincblende": (1.6380550534, np.sqrt(3) / 4),
}
CUTOFF = 6.0


def ions(graph):
    return torch.where(graph.species == 11, 1.0, -1.0).to(torch.float64)


@pytest.mark.parametrize("structure", MADELUNG)
@pytest.mark.parametrize("cubic", [False, True])
def test_madelung_constants(structure, cubic):
    constant, fraction = MADELUNG[structure]
    if cubic and structure == "cesiumchloride":
        pytest.skip("the primitive cell is cubic")
    a = 4.3
    graph = build_graph(ase.build.bulk("NaCl", structure, a=a, cubic=cubic), CUTOFF)
    energy = Coulomb(CUTOFF)(ions(graph), graph)
    found = -float(energy) * fraction * a / COULOMB / (graph.num_nodes / 2)
    assert found == pytest.approx(constant, abs=1e-6)


def test_the_split_does_not_matter():
    # The same crystal with other Gaussians, other edges and a cell of another shape.
    crystal = ase.build.bulk("NaCl", "rocksalt", a=4.3)
    skewed = ase.build.make_supercell(crystal, [[1, 1, 0], [0, 1, 0], [1, 0, 2]])
    first, second = build_graph(crystal, 4.0), build_graph(skewed, 7.0)
    small, large = Coulomb(4.0)(ions(first), first), Coulomb(7.0)(ions(second), second)
    torch.testing.assert_close(large, 2 * small, atol=1e-6, rtol=0)
    farther = build_graph(crystal, 5.0)  # edges beyond the cutoff are not its own
    torch.testing.assert_close(Coulomb(4.0)(ions(farther), farther), small, atol=1e-12, rtol=0)


@pytest.mark.parametrize("periodic", [True, False])
def test_forces_and_stress_are_derivatives(periodic):
    crystal = ase.build.bulk("NaCl", "rocksalt", a=4.3)
    crystal.rattle(0.2, seed=2)
    crystal.pbc = periodic
    graph, coulomb = build_graph(crystal, CUTOFF), Coulomb(CUTOFF)

    def energy(g):  # charges that answer to positions, and do not add up to zero
        return coulomb(ions(g) * (1 + 0.05 * g.positions.square().sum(1)), g)

    found = energy_and_forces(energy, graph, stress=periodic)
    step = 1e-4
    assert found.forces.abs().max() > 0.1
    for atom, axis in ((0, 1), (1, 2)):
        d = torch.zeros_like(graph.positions)
        d[atom, axis] = step
        up, down = (energy(graph.replace(positions=graph.positions + s * d)) for s in (1, -1))
        assert float(found.forces[atom, axis]) == pytest.approx(-float(up - down) / (2 * step), abs=1e-6)
    if periodic:
        assert found.stress is not None
        for a, b in ((0, 0), (1, 2)):
            strain = torch.zeros(1, 3, 3, dtype=torch.float64)
            strain[0, a, b] = strain[0, b, a] = step
            up, down = (energy(graph.strained(s * strain)) for s in (1, -1))
            slope = float(up - down) / (2 * step) / float(graph.volume)
            assert float(found.stress[0, a, b]) * (1 if a == b else 2) == pytest.approx(slope, abs=1e-6)


def test_batches_of_crystals_and_molecules():
    coulomb = Coulomb(CUTOFF)
    molecule = ase.Atoms("NaCl", positions=[(0, 0, 0), (0, 0, 2.0)])
    graphs = [build_graph(x, CUTOFF) for x in (ase.build.bulk("NaCl", "rocksalt", a=4.3), molecule, ase.Atoms("Na"))]
    together = collate(graphs)
    torch.testing.assert_close(coulomb(ions(together), together), torch.cat([coulomb(ions(g), g) for g in graphs]))
    assert float(coulomb(ions(graphs[1]), graphs[1])) == pytest.approx(-COULOMB / 2)


def test_second_derivatives():
    crystal = ase.build.bulk("NaCl", "rocksalt", a=4.3)
    graph, coulomb = build_graph(crystal, 4.0), Coulomb(4.0)

    def energy(charges, positions):
        return coulomb(charges, graph.replace(positions=positions))

    inputs = (ions(graph).requires_grad_(), graph.positions.clone().requires_grad_())
    assert torch.autograd.gradcheck(energy, inputs)
    assert torch.autograd.gradgradcheck(energy, inputs)


def test_charges_add_up():
    graph = collate([build_graph(ase.Atoms("NaCl", positions=[(0, 0, 0), (0, 0, 2)]), 3.0, charge=q) for q in (0.0, -2.0)])
    charges = neutralized(torch.tensor([0.3, 0.4, 0.5, 0.1]), graph)
    torch.testing.assert_close(charges, torch.tensor([-0.05, 0.05, -0.8, -1.2], dtype=torch.float64))


def test_slabs_and_bad_cutoffs_are_refused():
    slab = ase.build.bulk("NaCl", "rocksalt", a=4.3)
    slab.pbc = (True, True, False)
    graph = build_graph(slab, CUTOFF)
    with pytest.raises(ValueError, match="with vacuum in the cell"):
        Coulomb(CUTOFF)(ions(graph), graph)
    with pytest.raises(ValueError, match="positive length"):
        Coulomb(0.0)
