"""The small models: the contract of all models, isolated atoms, and what each paper says of its architecture."""

import ase
import pytest
import torch
from ase.build import molecule

from tesseral.graph import build_graph
from tesseral.models import build, parse_settings
from tests.models.contract import CHECKS

ENERGIES = {1: -13.0, 6: -1000.0, 8: -2000.0}
COMMON = {"cutoff": 3.5, "layers": 2, "channels": 8, "num_basis": 6, "species": [1, 6, 8], "num_neighbors": 8.0}
CASES = {
    "egnn": {"name": "egnn", "layers": 3},
    "painn": {"name": "painn"},
    "tensor_field": {"name": "tensor_field", "lmax": 2, "layers": 3},
    "tensor_field, both parities": {"name": "tensor_field", "lmax": 1, "parity": True, "layers": 3},
    "se3_transformer": {"name": "se3_transformer", "lmax": 1, "heads": 2},
}


def small(case: str, **changes) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(parse_settings(COMMON | CASES[case] | changes), atomic_energies=ENERGIES, dtype=torch.float64)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("case", CASES)
def test_contract(case: str, check, tmp_path) -> None:
    check(small(case), tmp_path)


@pytest.mark.parametrize("case", CASES)
def test_a_lone_atom_has_its_energy(case: str) -> None:
    model = small(case)
    for symbol, energy in (("H", -13.0), ("C", -1000.0), ("O", -2000.0)):
        assert model(build_graph(ase.Atoms(symbol), model.cutoff)).item() == pytest.approx(energy, abs=1e-12)


def angle_matters(model: torch.nn.Module) -> bool:
    """Whether the energies of two chains that differ in an angle differ; their neighbours are at the same distances."""
    found = []
    for positions in ([(1.5, 0, 0), (0, 1.5, 0)], [(1.5, 0, 0), (-1.5, 0, 0)]):
        atoms = ase.Atoms("OHH", positions=[(0, 0, 0), *positions])
        found.append(model(build_graph(atoms, 2.0)).item())
    return abs(found[0] - found[1]) > 1e-8


def test_what_an_angle_needs() -> None:
    """Within a cutoff that hides H from H, invariant messages see no angle; vectors, harmonics and moving points do."""
    assert not angle_matters(small("egnn", cutoff=2.0, moves=False))
    assert not angle_matters(small("tensor_field", cutoff=2.0, lmax=0))
    for case in CASES:
        assert angle_matters(small(case, cutoff=2.0, layers=3)), case


def test_attention_is_a_mean() -> None:
    """Logits that are all equal make the SE(3)-Transformer an average over neighbours: no query, no difference."""
    model = small("se3_transformer")
    graph = build_graph(molecule("CH3CH2OH"), model.cutoff)
    before = model(graph)
    with torch.no_grad():
        for layer in model.layers:
            layer.query.weight.zero_()
    flat = model(graph)
    assert (flat - before).abs() > 1e-4
    with torch.no_grad():
        for layer in model.layers:
            layer.key.weight.normal_()
    torch.testing.assert_close(model(graph), flat, rtol=0, atol=1e-12)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="do not divide channels=8"):
        small("se3_transformer", heads=3)
    with pytest.raises(ValueError, match="PaiNN needs settings"):
        small("painn", species=[])
