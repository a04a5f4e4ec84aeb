"""Allegro: the same numbers as nequip-allegro 0.8.3, the contract of models, and strict locality."""

from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase.build import molecule

from tesseral.graph import build_graph
from tesseral.interfaces.import_nequip import from_settings
from tesseral.models.allegro import Allegro, AllegroSettings
from tesseral.ops import scatter
from tesseral.physics.forces import energy_and_forces
from tests.models.contract import CHECKS
from tests.models.golden.make_allegro import CASES as THEIRS

GOLDEN = np.load(Path(__file__).parent / "golden" / "allegro.npz")
CASES = {
    "parity": {"layers": 3, "lmax": 2, "tensor_channels": 3},
    "natural": {"layers": 2, "lmax": 1, "parity": False, "coupled_paths": False, "embedding_channels": 6},
}


def small(**changes) -> Allegro:
    torch.manual_seed(0)
    settings = {
        "cutoff": 3.5, "lmax": 1, "scalar_channels": 8, "tensor_channels": 4, "embedding_widths": (8,), "latent_widths": (8,),
        "readout_widths": (8,), "species": (1, 6, 8), "num_neighbors": 8.0,
    }  # fmt: skip
    energies = {1: -13.0, 6: -1000.0, 8: -2000.0}
    return Allegro(AllegroSettings(**(settings | changes)), atomic_energies=energies, dtype=torch.float64)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("case", CASES)
def test_contract(case, check, tmp_path) -> None:
    check(small(**CASES[case]), tmp_path)


@pytest.mark.parametrize("case", THEIRS)
@pytest.mark.parametrize("structure", ["molecule", "crystal"])
def test_equals_nequip_allegro(case: str, structure: str) -> None:
    weights = {n.removeprefix(f"{case}/"): torch.from_numpy(GOLDEN[n]) for n in GOLDEN.files if n.startswith(case)}
    weights["per_type_energy_scale_shift.scales"] = torch.tensor([1.5, 2.0, 0.5], dtype=torch.float64)
    weights["per_type_energy_scale_shift.shifts"] = torch.tensor([-13.6, -1000.0, -2000.0], dtype=torch.float64)
    settings = {
        "_target_": "allegro.model.AllegroModel", "model_dtype": "float64", "r_max": 4.0, "type_names": ["H", "C", "O"],
        "avg_num_neighbors": 11.0,
        "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 5}, **THEIRS[case],
    }  # fmt: skip
    model = from_settings(settings, weights)
    known = {name: GOLDEN[f"{case}/{structure}/{name}"] for name in ("numbers", "positions", "cell", "pbc", "energy", "forces")}
    atoms = ase.Atoms(known["numbers"], known["positions"], cell=known["cell"], pbc=known["pbc"])
    prediction = energy_and_forces(model, build_graph(atoms, model.cutoff), stress=structure == "crystal")
    assert prediction.energy.item() == pytest.approx(known["energy"].item(), abs=1e-9)
    np.testing.assert_allclose(prediction.forces, known["forces"], atol=1e-10)
    assert np.abs(known["forces"]).max() > 0.05
    if structure == "crystal":
        np.testing.assert_allclose(prediction.stress, GOLDEN[f"{case}/{structure}/stress"], atol=1e-11)


def test_an_atom_feels_nothing_beyond_the_cutoff() -> None:
    model = small(layers=3)
    chain = [(1.5 * n, 0.2 * (n % 2), 0.1 * n) for n in range(8)]
    atoms = ase.Atoms("CHOCHOCH", positions=chain)
    before = model.node_energies(build_graph(atoms, model.cutoff))
    atoms.positions[-1] += (0.3, 0.2, -0.1)
    after = model.node_energies(build_graph(atoms, model.cutoff))
    far = np.linalg.norm(np.array(chain) - chain[-1], axis=1) > model.cutoff + 0.5
    assert far.sum() >= 4
    assert torch.equal(before[far], after[far])
    assert (before[~far] - after[~far]).abs().max() > 1e-4


def test_the_energy_is_a_sum_over_edges() -> None:
    model = small()
    graph = build_graph(molecule("CH3CH2OH"), model.cutoff)
    species = model.center.index(graph.species)
    edges = model.edge_energies(graph)
    total = (scatter(edges, graph.destination, graph.num_nodes) * model.scales[species] + model.atomic_energies[species]).sum()
    assert edges.shape == (graph.num_edges,)
    assert total.item() == pytest.approx(model(graph).item(), abs=1e-9)
    assert model(build_graph(ase.Atoms("C"), 3.5)).item() == -1000.0  # no edges, no energy


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"settings\.species"):
        Allegro(AllegroSettings())
    with pytest.raises(ValueError, match="give an even number"):
        small(embedding_channels=7)


@pytest.mark.compile
def test_compiles_in_one_piece() -> None:
    model = small().requires_grad_(False)
    graph = build_graph(molecule("CH4"), 3.5)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(graph), model(graph))
