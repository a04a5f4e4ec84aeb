"""ZBL against its formula written out, its limits, its smooth end; sums of models."""

import ase
import numpy as np
import pytest
import torch
from ase.data import covalent_radii

from tesseral.graph import build_graph, collate
from tesseral.nn.pair import ZBL, Sum


def dimer(r, symbols="CO"):
    return build_graph(ase.Atoms(symbols, positions=[(0, 0, 0), (0, 0, r)]), 5.0)


def textbook(r, z1, z2):
    """J. F. Ziegler's formula with the Bohr radius and the Rydberg, not the rounded length of the implementation."""
    x = r / (0.8854 * 0.529177 / (z1**0.23 + z2**0.23))
    phi = 0.1818 * np.exp(-3.2 * x) + 0.5099 * np.exp(-0.9423 * x) + 0.2802 * np.exp(-0.4029 * x) + 0.02817 * np.exp(-0.2016 * x)
    return 14.3996 * z1 * z2 / r * phi


@pytest.mark.parametrize(("symbols", "z1", "z2"), [("CO", 6, 8), ("HH", 1, 1), ("Au2", 79, 79)])
def test_is_the_textbook_repulsion_at_short_distance(symbols, z1, z2):
    # The tables round the coefficients differently; 1e-3 is their agreement.
    r = 0.05
    assert ZBL(5.0)(dimer(r, symbols)).item() == pytest.approx(textbook(r, z1, z2), rel=1e-3)


def test_becomes_the_bare_nuclei():
    r = 1e-5
    assert ZBL(5.0)(dimer(r)).item() == pytest.approx(14.3996 * 48 / r, rel=1e-3)


def test_ends_smoothly_at_the_sum_of_covalent_radii():
    reach = covalent_radii[6] + covalent_radii[8]
    r = torch.tensor(reach - 1e-3, dtype=torch.float64, requires_grad=True)
    graph = dimer(1.0).replace(positions=torch.stack([torch.zeros(3, dtype=torch.float64), torch.stack([0 * r, 0 * r, r])]))
    energy = ZBL(5.0)(graph)[0]
    slope = torch.autograd.grad(energy, r, create_graph=True)[0]
    curvature = torch.autograd.grad(slope, r)[0]
    assert 0 < energy < 1e-5
    assert -1e-2 < slope < 0
    assert 0 < curvature < 20
    assert ZBL(5.0)(dimer(reach + 1e-9)).item() == 0
    assert ZBL(0.9)(dimer(1.0)).item() == 0
    assert ZBL(5.0)(dimer(1.0)).item() > 1


def test_repels_without_a_minimum():
    energies = [ZBL(5.0)(dimer(r)).item() for r in np.linspace(0.1, 1.5, 40)]
    assert (np.diff(energies) <= 0).all()


def test_node_energies_add_up_and_periodic_images_count():
    wire = build_graph(ase.Atoms("C", cell=[0.9, 9, 9], pbc=(True, False, False)), 1.0)
    zbl = ZBL(5.0)
    assert zbl(wire).item() == pytest.approx(zbl(dimer(0.9, "C2")).item(), rel=1e-12)  # two half bonds per atom
    batch = collate([dimer(0.5), wire, build_graph(ase.Atoms(), 1.0)])
    torch.testing.assert_close(zbl(batch), torch.cat([zbl(dimer(0.5)), zbl(wire), torch.zeros(1, dtype=torch.float64)]))
    torch.testing.assert_close(zbl.node_energies(batch).sum(), zbl(batch).sum())


def test_gradients():
    zbl, graph = ZBL(5.0), dimer(0.6, "CO")
    x = graph.positions.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: zbl(graph.replace(positions=x)), x, eps=1e-7, rtol=1e-4)
    assert torch.autograd.gradgradcheck(lambda x: zbl(graph.replace(positions=x)), x, eps=1e-7, rtol=1e-3)


def test_precision_never_changes():
    zbl = ZBL(5.0).to(torch.float32).half()
    assert zbl.dtype == torch.float64
    assert zbl(dimer(0.5)).item() == ZBL(5.0)(dimer(0.5)).item()


def test_sum():
    total = Sum([ZBL(5.0, (1, 6, 8)), ZBL(0.9, (6, 8, 79))])
    assert (total.cutoff, total.species) == (5.0, (6, 8))
    torch.testing.assert_close(total(dimer(0.5)), ZBL(5.0)(dimer(0.5)) + ZBL(0.9)(dimer(0.5)))
    torch.testing.assert_close(total.node_energies(dimer(0.5)).sum(), total(dimer(0.5))[0])
    with pytest.raises(ValueError, match="at least one"):
        Sum([])
    with pytest.raises(ValueError, match="known to all"):
        Sum([ZBL(5.0, (1,)), ZBL(5.0, (2,))])
