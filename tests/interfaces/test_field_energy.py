"""An energy in a field from labelled frames to a model file, and what that file is good for, as the commands do it."""

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError

from tesseral.data import DataError, frames_from_atoms, read_frames
from tesseral.graph import build_graph
from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.evaluation import evaluate_files
from tesseral.interfaces.responses import start_responses
from tesseral.interfaces.simulation import predict_file
from tesseral.interfaces.spectrum import spectrum_file
from tesseral.interfaces.training import train
from tesseral.interfaces.training_settings import read_training_settings
from tesseral.models import FieldEnergy, FieldEnergySettings, files
from tesseral.physics.electric import RESPONSES, dipole, energy_and_responses
from tesseral.train.settings_file import SettingsError
from tests.train.toy import CUTOFF, Polar

SETTINGS = """\
data: {train: frames.xyz, split: {valid: 6}}
model: {name: field_energy, cutoff: 4.0, layers: 1, lmax: 2, channels: 6, radial_channels: 8, parity: false}
precision: float64
loss: {dipole: {weight: 100.0}, polarizability: {weight: 100.0}}
batch_size: 8
max_epochs: 10
optimizer: {lr: 0.02}
tensorboard: false
"""


@pytest.fixture
def settings(tmp_path):
    """Water of the toy's springs; dipoles everywhere, Born charges and polarizabilities of every third."""
    generator, found = np.random.default_rng(0), []
    for number in range(30):
        atoms = molecule("H2O")
        atoms.positions += 0.04 * generator.normal(size=(3, 3))
        answer = energy_and_responses(Polar(8.0), build_graph(atoms, CUTOFF), RESPONSES)
        atoms.info |= {"REF_energy": answer.energy.item(), "mu": answer.dipole[0].numpy()}
        atoms.arrays["REF_forces"] = answer.forces.numpy()
        if number % 3 == 0:
            atoms.info["alpha"] = answer.polarizability[0].numpy()
            atoms.arrays["becs"] = answer.born_charges.numpy().transpose(0, 2, 1).reshape(3, 9)
        found.append(atoms)
    ase.io.write(tmp_path / "frames.xyz", found)
    keys = "keys: {energy: REF_energy, forces: REF_forces, dipole: mu, polarizability: alpha, born_charges: becs}"
    text = SETTINGS.replace("valid: 6}", f"valid: 6}}, {keys}, units: {{born_axes: field displacement}}")
    (tmp_path / "settings.yaml").write_text(text)
    return tmp_path / "settings.yaml"


def test_one_file_for_everything(tmp_path, settings, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained = train(read_training_settings(settings), tmp_path / "run")
    assert "training frames have born_charges, but loss.born_charges.weight is 0" in " ".join(capsys.readouterr().err.split())
    errors = trained.metrics["errors"]["validation"]["overall"]
    labels = read_frames("frames.xyz", read_training_settings(settings).data.keys)
    assert errors["dipole_rmse"] < 0.5 * np.std([frame.labels["dipole"] for frame in labels], axis=0).max()
    assert {"forces_rmse", "polarizability_mae", "born_charges_rmse"} <= errors.keys()
    assert all(check["passed"] for check in trained.metrics["selftest"])
    assert "born_charges" in (tmp_path / "run/report.html").read_text()

    file, frames = tmp_path / "run/model.safetensors", tmp_path / "frames.xyz"
    model, metadata = files.load(file)
    found = spectrum_file(model, frames, tmp_path / "spectrum", tensors=None, trajectory=None, interval=None, fmax=1e-3)
    assert len(found.modes.modes) == 3
    again = spectrum_file(model, frames, tmp_path / "again", tensors=file, trajectory=None, interval=None, fmax=1e-3)
    for one, other in zip(found.modes.modes, again.modes.modes, strict=True):
        assert one.infrared_intensity == pytest.approx(other.infrared_intensity, rel=1e-9)
        assert one.raman_activity == pytest.approx(other.raman_activity, rel=1e-9)
    assert max(mode.infrared_intensity for mode in found.modes.modes) > 1

    predict_file(model, frames, tmp_path / "out.xyz")
    predicted = ase.io.read(tmp_path / "out.xyz", 3)
    expected = energy_and_responses(model, build_graph(ase.io.read(frames, 3), CUTOFF), RESPONSES)
    np.testing.assert_allclose(predicted.info["polarizability"], expected.polarizability[0], atol=1e-7)
    np.testing.assert_allclose(predicted.arrays["born_charges"].reshape(3, 3, 3), expected.born_charges, atol=1e-7)
    predicted.calc = Calculator(file)
    np.testing.assert_allclose(predicted.get_dipole_moment(), expected.dipole[0], atol=1e-6)
    predicted.pbc, predicted.cell = True, 20 * np.eye(3)
    with pytest.raises(PropertyNotImplementedError):
        predicted.get_dipole_moment()

    keys, units = "{energy: null, forces: null, dipole: mu, born_charges: becs}", "{born_axes: field displacement}"
    evaluated = evaluate_files(model, metadata, [frames], keys=keys, units=units, uncertainty=False)["frames.xyz"]["overall"]
    assert evaluated["dipole_rmse"] == pytest.approx(errors["dipole_rmse"], rel=1.0)
    assert evaluated["born_charges_rmse"] == pytest.approx(errors["born_charges_rmse"], rel=1.0)


def test_training_starts_at_the_mean_of_the_labels(tmp_path, settings):
    chosen = read_training_settings(settings)
    frames = read_frames(tmp_path / "frames.xyz", chosen.data.keys, chosen.data.units)
    model = FieldEnergy(FieldEnergySettings(cutoff=4.0, layers=1, channels=4, species=(1, 8), num_neighbors=2.0))
    start_responses(model, frames, chosen.loss)  # Born charges have no weight, and so no say
    charges = np.array([0.5, -1.0]) * (model.ionic[0] - model.ionic[1]).item() * 2 / 3
    waters = [(np.where(frame.numbers == 1, *charges) @ frame.positions, frame.labels["dipole"]) for frame in frames]
    own, theirs = np.transpose(waters, (1, 0, 2))
    assert np.sqrt(np.mean((own - theirs) ** 2)) < 0.3 * np.sqrt(np.mean(theirs**2))
    start_responses(model, frames, read_training_settings(settings, ["loss.born_charges.weight=1.0"]).loss)
    hydrogen, oxygen = model.ionic.tolist()
    assert oxygen == pytest.approx(-2 * hydrogen, abs=1e-4)  # the sum rule of the labels
    assert abs(oxygen) > 0.1
    traces = [np.trace(frame.labels["polarizability"]) / 3 for frame in frames if "polarizability" in frame.labels]
    assert 2 * model.isotropic[0].item() + model.isotropic[1].item() == pytest.approx(np.mean(traces), rel=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("model.name=nequip", "reads no electric field: set model.name=field_energy"),
        ("loss={dipole: {weight: 0.0}, polarizability: {weight: 0.0}}", "the weights of all of them are 0"),
        ("compile=true", "leave compile=true out"),
        ("loss={dipole: {wieght: 1.0}}", "did you mean"),
    ],
)
def test_mistakes_in_the_settings(settings, change, words):
    with pytest.raises(SettingsError, match=words):
        read_training_settings(settings, [change])


def test_crystals_have_no_dipole_to_learn(tmp_path, settings, capsys, monkeypatch):
    images = ase.io.read(tmp_path / "frames.xyz", ":6")
    for image in images:
        image.pbc, image.cell = True, 10 * np.eye(3)
    ase.io.write(tmp_path / "frames.xyz", images)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="1 error"):
        train(read_training_settings(settings, ["data.split.valid=2"]), tmp_path / "run")
    assert "a dipole has no meaning; set pbc to false" in " ".join(capsys.readouterr().err.split())


def test_a_crystal_learns_its_born_charges(tmp_path):
    found = []
    for seed in range(4):
        crystal = bulk("NaCl", "rocksalt", a=5.2)
        crystal.rattle(0.1, seed=seed)
        answer = energy_and_responses(Polar(), build_graph(crystal, CUTOFF), RESPONSES)
        crystal.info |= {"energy": answer.energy.item(), "polarizability": answer.polarizability[0].numpy()}
        crystal.arrays |= {"forces": answer.forces.numpy(), "born_charges": answer.born_charges.numpy().reshape(2, 9)}
        found.append(crystal)
    ase.io.write(tmp_path / "frames.xyz", found)
    text = (
        SETTINGS.replace("dipole", "born_charges")
        .replace("valid: 6", "valid: 1")
        .replace("frames.xyz", str(tmp_path / "frames.xyz"))
    )
    (tmp_path / "settings.yaml").write_text(text)
    chosen = ["max_epochs=12", "model.channels=4", "batch_size=3"]
    trained = train(read_training_settings(tmp_path / "settings.yaml", chosen), tmp_path / "run")
    assert trained.metrics["errors"]["validation"]["overall"]["born_charges_rmse"] < 0.1
    frame = frames_from_atoms(found)[0]
    assert np.abs(frame.labels["born_charges"]).max() > 0.3
    assert dipole(trained.model, build_graph(molecule("H2"), 4.0).replace(species=torch.tensor([11, 17]))).shape == (1, 3)
