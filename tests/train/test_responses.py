"""Energies in a field, learned: the loss is what its terms are by themselves; second derivatives only where labelled."""

import pytest
import torch
from ase.build import bulk, molecule

from tesseral.graph import build_graph, collate
from tesseral.physics.electric import RESPONSES, born_charges, dipole, energy_and_responses, polarizability
from tesseral.physics.forces import energy_and_forces
from tesseral.train.admission import TrainingError
from tesseral.train.energies import EnergyTask
from tesseral.train.loop import fit
from tesseral.train.prediction import evaluate, tables
from tesseral.train.responses import ResponseTask, labelled_responses
from tesseral.train.settings import FitSettings
from tests.train.toy import CUTOFF, Polar

WEIGHTS = {"energy": 1.0, "forces": 2.0, "dipole": 3.0, "polarizability": 4.0, "born_charges": 5.0}
NAMES = ("CH3OH", "H2O", "CH4", "HCN", "H2CO", "NH3")
LABELLED = [{"dipole"}, {"polarizability"}, {"born_charges"}, set(), {"dipole", "born_charges"}, set(RESPONSES)]


def settings(**changes):
    return FitSettings.model_validate(
        {"loss": {n: {"weight": w} for n, w in WEIGHTS.items()} | {"energy": {"per_atom": False}}} | changes
    )


def frames(seed=0):
    """Molecules with the responses of the toy, some here and some there."""
    torch.manual_seed(seed)
    found = []
    for name, responses in zip(NAMES, LABELLED, strict=True):
        atoms = molecule(name)
        atoms.positions += 0.05 * torch.randn(len(atoms), 3).numpy()
        graph = build_graph(atoms, CUTOFF)
        answer = energy_and_responses(Polar(), graph, RESPONSES)
        labels = {n: getattr(answer, n) for n in ({"energy", "forces"} | responses)}
        masks = {n: torch.ones(len(value), dtype=torch.bool) for n, value in labels.items()}
        found.append(graph.replace(labels=labels, masks=masks))
    return found


def by_hand(model, graphs):
    """The loss from functions that know of no batch, no mask and no other response."""
    functions = {"dipole": dipole, "polarizability": polarizability, "born_charges": lambda m, g, _: born_charges(m, g)}
    total = 0.0
    for name, weight in WEIGHTS.items():
        squares = []
        for graph in graphs:
            if name in graph.labels:
                plain = energy_and_forces(model, graph)
                value = functions[name](model, graph, True) if name in functions else getattr(plain, name)
                squares.append((value - graph.labels[name]).square().flatten())
        total += weight * torch.cat(squares).mean().item()
    return total


def test_loss_and_its_slope():
    graphs, model = frames(), Polar(2.3, 0.13, 0.04)
    batch, task = collate(graphs), ResponseTask(EnergyTask(settings()))

    def loss():
        sums = task.loss_sums(task.predict(model, batch, create_graph=True), batch)
        assert torch.equal(sums.counts, task.label_counts(batch, torch.device("cpu")))
        return task.combine(sums, sums.counts)

    assert loss().item() == pytest.approx(by_hand(model, graphs), rel=1e-10)
    for parameter in model.parameters():
        (slope,) = torch.autograd.grad(loss(), parameter)
        values = []
        for step in (1e-5, -2e-5):
            with torch.no_grad():
                parameter += step
            values.append(loss().item())
        with torch.no_grad():
            parameter += 1e-5
        assert slope.item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)
        assert slope.abs() > 1e-3


def test_second_derivatives_only_where_they_are_labelled():
    batch, model = collate(frames()), Polar(2.3, 0.13, 0.04)
    everywhere = energy_and_responses(model, batch, RESPONSES)
    found = labelled_responses(model, batch, RESPONSES)
    for name in RESPONSES:
        mask = batch.masks[name]
        torch.testing.assert_close(getattr(found, name)[mask], getattr(everywhere, name)[mask])
    assert found.polarizability[0].abs().max() == 0 < found.polarizability[1].abs().max()
    assert found.born_charges[batch.batch == 3].abs().max() == 0


def test_a_run_finds_the_numbers(tmp_path):
    chosen = {
        "optimizer": {"name": "adam", "lr": 0.03, "weight_decay": 0.0},
        "max_epochs": 80,
        "batch_size": 3,
        "tensorboard": False,
    }
    model = Polar(1.5, 0.05, 0.1)
    task = ResponseTask(EnergyTask(settings(**chosen)))
    result = fit(model, frames(), frames(1), settings(**chosen), tmp_path, task=task, show_progress=False)
    expected = dict(Polar().numbers.items())
    for name, value in model.numbers.items():
        assert value.item() == pytest.approx(expected[name].item(), rel=0.05), name
    assert {"validation_dipole_rmse", "validation_born_charges_mae"} <= result.history[-1].keys()
    table = tables(evaluate(model, frames(2)))["overall"]
    assert table["dipole_rmse"] < 0.05
    assert {"polarizability_mae", "born_charges_rmse", "forces_rmse"} <= table.keys()
    everything = evaluate(model, [build_graph(molecule("CO2"), CUTOFF)], responses=RESPONSES).responses
    assert everything["born_charges"][0].shape == (3, 3, 3)


def test_a_run_goes_on_where_it_was(tmp_path):
    def run(folder, epochs, resume=False):
        chosen = {"schedule": {"name": "constant"}, "max_epochs": epochs, "batch_size": 4, "tensorboard": False}
        model, told = Polar(1.5, 0.05, 0.1), settings(**chosen)
        task = ResponseTask(EnergyTask(told))
        fit(model, frames(), frames(1), told, tmp_path / folder, task=task, resume=resume, show_progress=False)
        return dict(model.numbers.items())

    straight, _ = run("straight", 4), run("again", 2)
    for name, value in run("again", 4, resume=True).items():
        assert torch.equal(value, straight[name]), name


def test_a_crystal_has_no_dipole():
    crystal = build_graph(bulk("NaCl", "rocksalt", a=5.6), CUTOFF)
    known = {"dipole": torch.zeros(1, 3, dtype=torch.float64), "energy": torch.zeros(1, dtype=torch.float64)}
    crystal = crystal.replace(labels=known, masks={name: torch.ones(1, dtype=torch.bool) for name in known})
    weights = {"loss": {"forces": {"weight": 0.0}, "dipole": {"weight": 1.0}}}
    with pytest.raises(TrainingError, match="repeats and has a dipole"):
        ResponseTask(EnergyTask(FitSettings.model_validate(weights))).check([crystal])
    unweighted = ResponseTask(EnergyTask(FitSettings.model_validate({"loss": {"forces": {"weight": 0.0}}})))
    assert unweighted.error_sums(unweighted.predict(Polar(), crystal, create_graph=False), crystal).isfinite().all()
    assert energy_and_responses(Polar(), crystal, ["dipole"]).dipole.isnan().all()
