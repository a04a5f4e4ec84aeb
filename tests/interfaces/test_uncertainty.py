"""Uncertainty where people meet it: the model file, the calculator, evaluate, and dynamics that are watched."""

import io
import json
import re

import ase.io
import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from rich.console import Console
from typer.testing import CliRunner

from tesseral.data import Graphs, frames_from_atoms
from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.cli import app
from tesseral.interfaces.uncertainty import UncertaintyError, Watch, assess, assess_samples, calibrate_frames, stored
from tesseral.models import files
from tesseral.nn.pair import ZBL
from tesseral.train.prediction import evaluate
from tests.physics.test_uncertainty import clusters, network
from tests.physics.toys import ManyBody


def labelled(count, seed, noise=0.05):
    """Clusters with the network's own labels plus noise."""
    rng = np.random.default_rng(seed)
    result = clusters(count, seed)
    for atoms in result:
        atoms.calc = Calculator(network())
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(
            atoms, energy=energy + noise * rng.normal(), forces=forces + noise * rng.normal(size=(5, 3))
        )
    return result


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A model file with an uncertainty."""
    folder = tmp_path_factory.mktemp("model")
    model = network()
    values = calibrate_frames(
        model, frames_from_atoms(labelled(10, 1)), frames_from_atoms(labelled(10, 2)), model.cutoff, Console(file=io.StringIO())
    )
    files.save(model, folder / "model.safetensors", {"uncertainty": values})
    return folder / "model.safetensors"


def test_the_calculator_gives_it_from_a_file(file):
    atoms = clusters(1, 3)[0]
    atoms.calc = Calculator(file)
    sigma = atoms.calc.get_property("forces_uncertainty", atoms)
    assert sigma.shape == (5, 3)
    assert (sigma > 0).all()
    assert atoms.calc.get_property("energy_uncertainty", atoms) > 0
    assert stored(atoms.calc.metadata).threshold > 0
    atoms.positions[0] += 0.1
    assert not np.allclose(atoms.calc.get_property("forces_uncertainty", atoms), sigma)


def test_a_model_without_one_says_so():
    atoms = clusters(1, 3)[0]
    atoms.calc = Calculator(ManyBody())
    with pytest.raises(PropertyNotImplementedError, match="holds no uncertainty"):
        atoms.calc.get_property("energy_uncertainty", atoms)
    with pytest.raises(UncertaintyError, match="cannot be watched"):
        Watch(atoms.calc, 0.1)
    said = io.StringIO()
    frames = frames_from_atoms(labelled(2, 1))
    assert calibrate_frames(ZBL(3.0, (1, 8)), frames, frames, 3.0, Console(file=said)) is None
    assert "no linear last layer" in said.getvalue()


def test_evaluate_shows_the_calibration(file, tmp_path):
    for name, noise in (("near", 0.05), ("far", 0.5)):
        ase.io.write(tmp_path / f"{name}.xyz", labelled(5, 4, noise), format="extxyz")
    output, page = tmp_path / "errors.json", tmp_path / "page.html"
    arguments = ["evaluate", str(file), str(tmp_path / "near.xyz"), str(tmp_path / "far.xyz"), "-o", str(output)]
    arguments += ["--report", str(page)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    near, far = (entry["uncertainty"] for entry in json.loads(output.read_text()).values())
    assert near["forces"]["coverage"]["0.9"] > 0.7 > far["forces"]["coverage"]["0.9"]
    assert far["auroc_against_first"] == pytest.approx(0.5)  # the same structures
    assert "95 %" in result.output
    assert "strange" in result.output

    for of in (near, far):
        for quantity in ("energy", "forces"):
            curve, bins = of[quantity]["curve"], of[quantity]["bins"]
            assert (curve["observed"][0], curve["observed"][-1], len(curve["nominal"])) == (0.0, 1.0, 51)
            assert curve["observed"][45] == of[quantity]["coverage"]["0.9"]
            assert np.sqrt(np.mean(np.square(bins["error"]))) == pytest.approx(of[quantity]["error_rms"], rel=0.05)
    assert np.mean(near["forces"]["curve"]["observed"]) > np.mean(far["forces"]["curve"]["observed"]) + 0.2
    written = page.read_text()
    assert all(text in written for text in ("near.xyz", "far.xyz", "Calibration, forces", "Forces by element"))
    assert not re.search(r'(src|href)="http', written)
    again = CliRunner().invoke(app, arguments)
    assert "errors.json exists" in str(again.exception)
    same = CliRunner().invoke(app, [*arguments[:-2], "--report", str(output), "--overwrite"])
    assert "name two files" in str(same.exception)


def test_samples_of_sets_have_the_same_curves(file):
    model, metadata = files.load(file)
    sets = {"near": frames_from_atoms(labelled(5, 4)), "bare": frames_from_atoms(clusters(2, 5))}
    found = assess_samples(model, metadata.uncertainty, sets, model.cutoff)
    assert list(found) == ["near"]
    near = sets["near"]
    predictions = evaluate(model, Graphs(near, model.cutoff))
    assert found["near"] == assess(model, stored(metadata), near, model.cutoff, predictions)
    assert assess_samples(model, None, sets, model.cutoff) == {}


@pytest.mark.parametrize("stop", [False, True])
def test_dynamics_are_watched(file, tmp_path, stop):
    ase.io.write(tmp_path / "start.xyz", clusters(1, 3)[0])
    common = ["md", str(file), str(tmp_path / "start.xyz"), "--time", "0.004", "--timestep", "0.1", "--temperature", "10"]
    calm = CliRunner().invoke(app, [*common, "-o", str(tmp_path / "a.extxyz"), "--max-uncertainty", "1e6"])
    assert calm.exit_code == 0, calm.output
    assert "or better in all 3 frames" in calm.stderr
    strict = [*common, "-o", str(tmp_path / "b.extxyz"), "--max-uncertainty", "1e-9", *(["--stop-uncertain"] if stop else [])]
    result = CliRunner().invoke(app, strict)
    if stop:
        assert "the run stopped at step 0: the force on atom" in str(result.exception)
    else:
        assert "in 3 of 3 frames, first at step 0" in result.stderr
