"""The repulsion of screened nuclei with MACE's constants: Coulomb's law at first, and exactly zero at bonds."""

import ase
import pytest
import torch

from tesseral.graph import build_graph
from tesseral.nn.pair import ZBL
from tesseral.nn.screened_repulsion import ScreenedRepulsion


def dimer(r: float):
    return build_graph(ase.Atoms("CO", positions=[(0, 0, 0), (0, 0, r)]), 5.0)


def test_is_coulombs_law_at_short_distance() -> None:
    assert ScreenedRepulsion()(dimer(1e-6)).sum().item() == pytest.approx(14.3996 * 48 / 1e-6, rel=1e-3)


def test_screens_more_than_the_universal_potential() -> None:
    ratios = [ScreenedRepulsion()(dimer(r)).sum().item() / ZBL(5.0, (6, 8))(dimer(r)).item() for r in (0.01, 0.1, 0.3, 0.6)]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] == pytest.approx(0.915, abs=0.01)
    assert ratios[2] == pytest.approx(0.295, abs=0.01)


def test_ends_at_the_covalent_radii() -> None:
    assert ScreenedRepulsion()(dimer(1.43)).abs().max() == 0
    assert ScreenedRepulsion()(dimer(1.41)).min() > 0


def test_stays_in_double_precision() -> None:
    layer = ScreenedRepulsion().float()
    assert layer.radii.dtype == torch.float64
    assert layer(dimer(0.5)).dtype == torch.float64
