"""TorchSim: batches against the ASE calculator, its own validation, and dynamics of many molecules."""

import ase.build
import numpy as np
import pytest
import torch

from tesseral.interfaces.ase import Calculator
from tests.physics.test_forces import oxide
from tests.physics.test_uncertainty import clusters, network
from tests.physics.toys import ManyBody

ts = pytest.importorskip("torch_sim", reason="needs the extra: pip install 'tesseral[torchsim]'")

from torch_sim.models.interface import validate_model_outputs  # noqa: E402

from tesseral.interfaces.torchsim import Model  # noqa: E402


def state_of(structures):
    return ts.io.atoms_to_state(structures, torch.device("cpu"), torch.float64)


def agree(model, structures, energy_model):
    result = model(state_of(structures))
    forces = []
    for index, atoms in enumerate(structures):
        atoms.calc = Calculator(energy_model)
        assert result["energy"][index].item() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        forces.append(atoms.get_forces())
        if atoms.pbc.all():
            np.testing.assert_allclose(result["stress"][index], atoms.get_stress(voigt=False), atol=1e-10)
    np.testing.assert_allclose(result["forces"], np.concatenate(forces), atol=1e-10)
    return result


def test_agrees_with_ase_for_molecules_and_crystals():
    learned = network()
    molecules = clusters(5, 0)
    result = agree(Model(learned), molecules, learned)
    assert torch.isnan(result["stress"]).all()
    crystals = [oxide(), ase.build.bulk("Al", cubic=True), ase.build.bulk("Cu")]
    agree(Model(ManyBody()), crystals, ManyBody())


def test_the_list_lasts_and_is_searched_again_in_time():
    model, energy_model = Model(ManyBody(), skin=0.4), ManyBody()
    molecules = clusters(3, 0)
    agree(model, molecules, energy_model)
    for atoms in molecules:
        atoms.positions += 0.1
    agree(model, molecules, energy_model)
    assert model.searches == 1
    molecules[1].positions[2] += 0.3
    agree(model, molecules, energy_model)
    assert model.searches == 2
    agree(model, molecules[:2], energy_model)
    assert model.searches == 3


def test_passes_the_validation_of_torchsim():
    toy = ManyBody(species=(14, 26))
    validate_model_outputs(Model(toy), torch.device("cpu"), torch.float64)


def test_moves_many_molecules_at_constant_energy():
    molecules = clusters(4, 1)
    for atoms in molecules:
        atoms.positions *= 1.1
    model = Model(ManyBody(), compute_stress=False)
    start = model(state_of(molecules))["energy"]
    final = ts.integrate(system=molecules, model=model, integrator=ts.nve, n_steps=30, timestep=0.0002, temperature=50)
    kinetic = 0.5 * (final.momenta.square().sum(1) / final.masses)
    total = final.energy + torch.zeros(4, dtype=torch.float64).index_add(0, final.system_idx, kinetic)
    assert (total - start).abs().max() < 0.1
    assert (final.energy - start).abs().max() > 1e-4


def test_an_unknown_element_gets_a_sentence():
    with pytest.raises(ValueError, match="not trained on U; it knows H, C, O, Al, Cu"):
        Model(ManyBody())(state_of([ase.build.bulk("U", "fcc", a=4.0)]))
