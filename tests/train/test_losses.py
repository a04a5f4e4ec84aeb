"""Losses against numbers worked out by hand."""

import numpy as np
import pytest
import torch

from tesseral.graph import collate
from tesseral.physics.forces import Prediction
from tesseral.train.losses import EnergyOnly, combine, label_counts, loss_sums
from tesseral.train.settings import LossSettings
from tests.train.toy import frames


def settings(**terms):
    off = {"weight": 0.0}
    return LossSettings.model_validate({"energy": off, "forces": off, "stress": off} | terms)


@pytest.fixture
def batch():
    """Two frames of 4 and 5 atoms; labels set to zero, so that predictions are errors."""
    graph = collate(frames(2, labels=("energy", "forces", "stress")))
    return graph.replace(labels={name: torch.zeros_like(value) for name, value in graph.labels.items()})


def prediction(energy=(0.0, 0.0), force=None, stress=None, nodes=9):
    forces = torch.zeros(nodes, 3, dtype=torch.float64) if force is None else force
    return Prediction(torch.tensor(energy, dtype=torch.float64), forces, stress)


def value(prediction, graph, chosen):
    sums = loss_sums(prediction, graph, chosen)
    torch.testing.assert_close(sums.counts, label_counts(graph, chosen, torch.device("cpu")))
    return combine(sums, sums.counts, chosen).item()


def test_energy(batch):
    errors = prediction(energy=(0.4, -1.0))
    assert value(errors, batch, settings(energy={"per_atom": False})) == pytest.approx((0.16 + 1.0) / 2)
    assert value(errors, batch, settings(energy={"per_atom": True, "weight": 3.0})) == pytest.approx(3 * (0.1**2 + 0.2**2) / 2)
    assert value(errors, batch, settings(energy={"kind": "mae", "per_atom": False})) == pytest.approx(0.7)
    assert value(errors, batch, settings(energy={"kind": "l2", "per_atom": False})) == pytest.approx(0.7)
    huber = settings(energy={"kind": "huber", "delta": 0.5, "per_atom": False})
    assert value(errors, batch, huber) == pytest.approx((0.5 * 0.16 + 0.5 * (1.0 - 0.25)) / 2)


def test_forces(batch):
    force = torch.zeros(9, 3, dtype=torch.float64)
    force[0] = torch.tensor([3.0, 0.0, 4.0])
    errors = prediction(force=force)
    assert value(errors, batch, settings(forces={})) == pytest.approx(25 / 27)
    assert value(errors, batch, settings(forces={"kind": "l2"})) == pytest.approx(5 / 9)
    assert value(errors, batch, settings(forces={"kind": "mae"})) == pytest.approx(7 / 27)


def test_stress(batch):
    stress = torch.zeros(2, 3, 3, dtype=torch.float64)
    stress[1, 0, 2] = stress[1, 2, 0] = 0.3
    assert value(prediction(stress=stress), batch, settings(stress={"weight": 2.0})) == pytest.approx(2 * 0.18 / 18)


def test_masked_labels_do_not_count_even_when_they_are_nan(batch):
    force = torch.full((9, 3), 2.0, dtype=torch.float64, requires_grad=True)
    labels, masks = dict(batch.labels), dict(batch.masks)
    labels["forces"] = torch.where(torch.arange(9)[:, None] < 4, 0.0, torch.nan).expand(9, 3).to(torch.float64)
    masks["forces"] = torch.arange(9) < 4
    labels["energy"], masks["energy"] = torch.tensor([0.0, torch.nan], dtype=torch.float64), torch.tensor([True, False])
    graph = batch.replace(labels=labels, masks=masks)
    chosen = settings(forces={}, energy={"per_atom": False})
    errors = prediction(energy=(0.5, 7.0), force=force)
    sums = loss_sums(errors, graph, chosen)
    assert sums.counts.tolist() == [1, 12, 0, 0, 0, 0]
    loss = combine(sums, sums.counts, chosen)
    assert loss.item() == pytest.approx(0.25 + 4.0)
    loss.backward()
    assert torch.isfinite(force.grad).all()
    assert force.grad[4:].abs().max() == 0
    assert force.grad[0, 0].item() == pytest.approx(2 * 2.0 / 12)


def test_predictions_that_are_nan_where_nothing_is_known_leave_gradients_finite(batch):
    stress = torch.ones(2, 3, 3, dtype=torch.float64, requires_grad=True)
    undefined = torch.where(torch.tensor([True, False])[:, None, None], stress, torch.nan)
    graph = batch.replace(masks=batch.masks | {"stress": torch.tensor([True, False])})
    chosen = settings(stress={})
    sums = loss_sums(prediction(stress=undefined), graph, chosen)
    combine(sums, sums.counts, chosen).backward()
    assert torch.isfinite(stress.grad).all()


def test_frame_weights_act_even_in_a_batch_of_one():
    (frame,) = frames(1)
    chosen = settings(energy={"per_atom": False}, forces={})
    zero = {name: torch.zeros_like(value) for name, value in frame.labels.items()}
    errors = prediction(energy=(2.0,), force=torch.ones(4, 3, dtype=torch.float64), nodes=4)
    plain = value(errors, frame.replace(labels=zero), chosen)
    weighted = value(errors, frame.replace(labels=zero, weight=torch.tensor([0.25], dtype=torch.float64)), chosen)
    assert plain == pytest.approx(5.0)
    assert weighted == pytest.approx(1.25)


def test_frame_weights_reach_the_atoms_of_their_frame(batch):
    graph = batch.replace(weight=torch.tensor([0.0, 3.0], dtype=torch.float64))
    force = torch.ones(9, 3, dtype=torch.float64)
    assert value(prediction(force=force), graph, settings(forces={})) == pytest.approx(3 * 15 / 27)


def test_an_unlabelled_batch_has_loss_zero(batch):
    graph = batch.replace(labels={}, masks={})
    assert value(prediction(energy=(1.0, 1.0)), graph, settings(energy={}, forces={})) == 0.0


def test_energies_alone(batch):
    chosen = settings(energy={"per_atom": False}, forces={})
    sums = loss_sums(EnergyOnly(torch.ones(2, dtype=torch.float64)), batch, chosen)
    assert sums.counts.tolist() == [2, 0, 0, 0, 0, 0]


def test_a_batch_in_parts_has_the_loss_of_the_whole():
    """Sums of unequal parts with the counts of all give the loss of all: what several processes rely on."""
    chosen = settings(energy={"kind": "mae"}, forces={"kind": "l2", "weight": 5.0})
    random = np.random.default_rng(0)
    graphs = frames(5)
    for graph in graphs[:2]:
        graph.masks["forces"][:2] = False
    whole = collate(graphs)
    energy = torch.from_numpy(random.normal(size=5))
    force = torch.from_numpy(random.normal(size=(whole.num_nodes, 3)))
    full = loss_sums(Prediction(energy, force), whole, chosen)
    expected = combine(full, full.counts, chosen).item()
    total = 0.0
    for part in ([0], [1, 2, 3, 4]):
        nodes = torch.isin(whole.batch, torch.tensor(part))
        sums = loss_sums(Prediction(energy[part], force[nodes]), collate([graphs[index] for index in part]), chosen)
        total += combine(sums, full.counts, chosen).item()
    assert total == pytest.approx(expected, rel=1e-12)
