"""Adding elements: the old ones keep their energies, the new ones begin where they were told to."""

import pytest
import torch
from ase.build import molecule

from tesseral.graph import build_graph
from tesseral.models import build, files, parse_settings
from tesseral.models.extend import extend_species
from tesseral.nn.pair import ZBL
from tesseral.physics.forces import energy_and_forces
from tests.train.test_finetune import MODELS, SPECIES

VARIANTS = {name: {"name": name, **settings} for name, settings in MODELS.items()} | {
    "mace_density": MODELS["mace"] | {"name": "mace", "interaction": "density", "first_interaction": "plain", "heads": ["a", "b"],
                                      "head": "b", "zbl": True},
    "mace_shared": MODELS["mace"] | {"name": "mace", "shared_product": True, "transform": "agnesi"},
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_old_elements_keep_their_energies(name: str, tmp_path) -> None:
    torch.manual_seed(0)
    energies = {1: -13.0, 6: -1000.0, 8: -2000.0}
    model = build(parse_settings(SPECIES | VARIANTS[name]), atomic_energies=energies, scales={1: 0.5, 6: 2.0, 8: 1.0},
                  dtype=torch.float64)  # fmt: skip
    larger = extend_species(model, [16, 7], atomic_energies={16: -9000.0}, scales={7: 3.0}, like={7: 6})
    assert larger.species == (1, 6, 8, 16, 7)
    assert larger.atomic_energies.tolist() == [-13.0, -1000.0, -2000.0, -9000.0, -1000.0]
    assert larger.scales.flatten()[-5:].tolist() == [0.5, 2.0, 1.0, 1.0, 3.0]
    for molecules in ("CH3CH2OH", "H2O"):
        graph = build_graph(molecule(molecules), model.cutoff)
        old, new = (energy_and_forces(each, graph) for each in (model, larger))
        torch.testing.assert_close(new.energy, old.energy, rtol=1e-15, atol=1e-12)
        torch.testing.assert_close(new.forces, old.forces, rtol=0, atol=1e-12)
    # What is told to be like carbon interacts as carbon does, where the interaction knows elements only by their weights.
    thiol = molecule("CH3SH")
    assert larger(build_graph(thiol, larger.cutoff)).isfinite()
    files.save(larger, tmp_path / "larger.safetensors")
    assert files.load(tmp_path / "larger.safetensors")[0].species == larger.species


def test_a_new_element_begins_as_its_parent() -> None:
    torch.manual_seed(0)
    model = build(parse_settings(SPECIES | VARIANTS["mace"]), dtype=torch.float64)
    larger = extend_species(model, [7], like={7: 8})
    water = molecule("H2O")
    nitrogen = water.copy()
    nitrogen.numbers[nitrogen.numbers == 8] = 7
    old, new = (larger(build_graph(atoms, larger.cutoff)) for atoms in (water, nitrogen))
    torch.testing.assert_close(new, old, rtol=0, atol=1e-12)


def test_mistakes_are_named() -> None:
    model = build(parse_settings(SPECIES | VARIANTS["nequip"]))
    with pytest.raises(ValueError, match="knows 6 already"):
        extend_species(model, [6, 7])
    with pytest.raises(ValueError, match="no atomic numbers"):
        extend_species(model, [])
    with pytest.raises(ValueError, match=r"like names \[9\]"):
        extend_species(model, [7], like={7: 9})
    with pytest.raises(ValueError, match="less than or equal to 118"):
        extend_species(model, [119])
    with pytest.raises(TypeError, match="learns no elements"):
        extend_species(ZBL(3.0, (1, 8)), [7])
