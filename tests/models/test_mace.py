"""MACE: the contract of models, its options, heads, and the cases that must be refused."""

import ase
import pytest
import torch
from ase.build import molecule

from tesseral.graph import build_graph, collate
from tesseral.models.mace import MACE, MACESettings
from tests.models.contract import CHECKS

SMALL = {
    "cutoff": 3.5, "hidden": "4x0e+4x1o", "lmax": 2, "correlation": 2, "radial_widths": (8,), "num_basis": 4, "readout_width": 4,
    "species": (1, 6, 8), "num_neighbors": 8.0,
}  # fmt: skip
CASES = {
    "residual": {"correlation": 3},
    "density": {"first_interaction": "density", "interaction": "density_residual", "zbl": True, "transform": "agnesi"},
    "unequal": {
        "hidden": "4x0e+2x1o+1x2e", "edge_irreps": "4x0e+1x1o", "layers": 3, "cutoff_on_weights": True, "transform": "soft",
        "first_interaction": "plain", "interaction": "plain", "shared_product": True, "basis": "gaussian",
    },
    "pseudoscalars": {"hidden": "3x0e+3x0o+3x1e+3x1o", "lmax": 1, "layers": 3, "last_readout_only": True},
}  # fmt: skip
ENERGIES = {1: -13.0, 6: -1000.0, 8: -2000.0}


def small(**changes) -> MACE:
    torch.manual_seed(0)
    return MACE(MACESettings(**(SMALL | changes)), atomic_energies=ENERGIES, dtype=torch.float64)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("case", CASES)
def test_contract(case, check, tmp_path) -> None:
    check(small(**CASES[case]), tmp_path)


def test_a_density_interaction_keeps_the_energies_of_isolated_atoms() -> None:
    assert small(**CASES["density"])(build_graph(ase.Atoms("C"), 3.5)).item() == -1000.0


def test_heads_have_energies_of_their_own() -> None:
    model = small(heads=("pbe", "r2scan"))
    model.head_energies[1] += 5.0
    graph = build_graph(molecule("CH4"), 3.5)
    first, second = (model(graph, torch.tensor([head])).item() for head in (0, 1))
    assert model(graph).item() == first
    assert abs(first - second) > 1e-3
    both = model(collate([graph, graph]), torch.tensor([1, 0])).tolist()
    assert both == pytest.approx([second, first], abs=1e-9)
    other = MACE(model.settings.model_copy(update={"head": "r2scan"}), dtype=torch.float64)
    other.load_state_dict(model.state_dict())
    assert other(graph).item() == second
    assert other.atomic_energies.tolist() == [-8.0, -995.0, -1995.0]


def test_species_matter_in_the_product() -> None:
    model = small()
    graph = build_graph(molecule("CH4"), 3.5)
    before = model(graph).item()
    with torch.no_grad():
        model.layers[1].product.weight[2] += 1.0  # oxygen, which is absent
    assert model(graph).item() == before
    with torch.no_grad():
        model.layers[1].product.weight[1] += 1.0
    assert model(graph).item() != before


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"settings\.species"):
        MACE(MACESettings())
    with pytest.raises(ValueError, match="head 'dft' is not one of"):
        small(head="dft")
    with pytest.raises(ValueError, match="correlation has 3 entries for 2 layers"):
        small(correlation=(3, 2, 1))
    with pytest.raises(ValueError, match="needs even scalars"):
        small(hidden="4x1o")
    with pytest.raises(ValueError, match="unknown to this model"):
        small()(build_graph(ase.Atoms("Au"), 3.5))


@pytest.mark.compile
def test_compiles_in_one_piece() -> None:
    model = small().requires_grad_(False)
    graph = build_graph(molecule("CH4"), 3.5)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(graph), model(graph))
