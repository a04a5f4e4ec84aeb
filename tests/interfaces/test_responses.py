"""Models of the energy in a field: their files, and what phonons take from them."""

import ase.build
import numpy as np
import pytest
import torch

from tesseral.data import embedded
from tesseral.graph import build_graph
from tesseral.interfaces.responses import COULOMB, load_field_energy, load_responses, non_analytic
from tesseral.models import files
from tesseral.models.field_energy import FieldEnergy, FieldEnergySettings
from tesseral.nn.pair import ZBL
from tesseral.physics import electric
from tesseral.physics.force_constants import force_constants
from tesseral.physics.phonons import to_phonopy


def salt_of_carbon_and_oxygen():
    crystal = ase.build.bulk("CO", "zincblende", a=3.4)
    crystal.rattle(0.1, seed=0)  # atoms without symmetry, so that no tensor is one of a cube
    return crystal


@pytest.fixture(scope="module")
def ionic():
    torch.manual_seed(0)
    settings = FieldEnergySettings(
        cutoff=2.0, layers=2, lmax=1, channels=4, radial_channels=8, species=(1, 6, 8), num_neighbors=3.0
    )
    model = FieldEnergy(settings, backend="reference", dtype=torch.float64)
    with torch.no_grad():
        model.ionic.copy_(torch.tensor([0.0, 0.7, -0.9]))
        model.readout.weight.mul_(30)  # charges far from symmetric, which tell a row from a column
    return model


def test_longitudinal_modes_rise_by_the_charges(ionic):
    # Lyddane, Sachs, Teller: tr D rises by 4π e²/(V n·ε·n) Σ |Z* n|²/m when k goes to zero along n.
    crystal = salt_of_carbon_and_oxygen()
    crystal.set_masses([12.0, 16.0])
    nac = non_analytic(ionic, crystal)
    n = np.array([0.36, 0.48, 0.8])
    constants = force_constants(ZBL(2.0, (6, 8)), crystal)
    bare, full = (to_phonopy(constants, crystal, (2, 2, 2), nac=x) for x in (None, nac))
    direction = n @ crystal.cell.array.T  # in reciprocal cell vectors
    traces = []
    for phonopy in (bare, full):
        phonopy.run_qpoints([[0, 0, 0]], nac_q_direction=direction, with_dynamical_matrices=True)
        traces.append(np.trace(phonopy.qpoints.dynamical_matrices[0]).real)
    charges = electric.born_charges(ionic, build_graph(crystal, 2.0)).numpy()  # the displacement first, then the field
    assert np.abs(charges - charges.transpose(0, 2, 1)).max() > 0.1
    pull = np.einsum("idf,f->id", charges, n)
    rise = (pull**2).sum(1) @ (1 / crystal.get_masses())
    rise *= 4 * np.pi * COULOMB / (crystal.cell.volume * (n @ nac["dielectric"] @ n))
    assert traces[1] - traces[0] == pytest.approx(rise, rel=1e-6)


def test_a_file_keeps_the_energy_in_a_field(ionic, tmp_path):
    files.save(ionic, tmp_path / "field.safetensors")
    again = load_field_energy(tmp_path / "field.safetensors")
    graph = build_graph(salt_of_carbon_and_oxygen(), 2.0)
    torch.testing.assert_close(electric.born_charges(again, graph), electric.born_charges(ionic, graph))
    responses = load_responses(tmp_path / "field.safetensors")
    molecule = build_graph(embedded.hessians()["trans"].atoms, 2.0)
    torch.testing.assert_close(responses.property("dipole", molecule), electric.dipole(ionic, molecule))
    files.save(ZBL(2.0, (6, 8)), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="zbl, which reads no electric field"):
        load_responses(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not trained on"):
        non_analytic(ionic, ase.build.bulk("NaCl", "rocksalt", a=5.6))
