"""Uncertainty: the last layer's features are what the energy is made of, and errors drawn from the covariance are covered."""

import json

import ase
import numpy as np
import pytest
import torch

from tesseral.graph import build_graph, collate
from tesseral.models import NequIPSettings, build
from tesseral.nn.pair import ZBL, Sum
from tesseral.physics.forces import energy_and_forces
from tesseral.physics.uncertainty import LastLayer, auroc, calibrate, coverage, last_features
from tests.physics.toys import ManyBody


def network(channels=4):
    torch.manual_seed(0)
    settings = NequIPSettings(species=(1, 8), num_neighbors=3.0, layers=2, channels=channels, lmax=1, cutoff=3.5)
    return build(settings, atomic_energies={1: -13.0, 8: -2000.0}, scales={1: 1.5, 8: 0.7}, dtype=torch.float64)


def clusters(count, seed):
    rng = np.random.default_rng(seed)
    start = np.array([(0, 0, 0), (0.96, 0, 0), (-0.24, 0.93, 0), (0, 0.2, 2.4), (0.6, 0.8, 2.6)])
    return [ase.Atoms("OH2OH", start + 0.25 * rng.normal(size=(5, 3))) for _ in range(count)]


def graphs(atoms, model, labels=None):
    return [
        build_graph(a, model.cutoff, labels=None if labels is None else {k: v[i] for k, v in labels.items()})
        for i, a in enumerate(atoms)
    ]


@pytest.mark.parametrize("with_zbl", [False, True])
def test_the_energy_is_the_features_times_the_last_weights(with_zbl):
    learned = network()
    model = Sum([learned, ZBL(3.5, (1, 8))]) if with_zbl else learned
    batch = collate(graphs(clusters(3, 0), model))
    weights = learned.readout.weight.flatten() / np.sqrt(4)  # Linear divides by the root of its inputs
    features, slopes = last_features(learned, batch)
    bare = learned(batch) - 3 * -13.0 - 2 * -2000.0
    torch.testing.assert_close(features @ weights, bare.detach())
    torch.testing.assert_close(-slopes @ weights, energy_and_forces(learned, batch).forces)
    torch.testing.assert_close(last_features(model, batch)[0], features)


def test_directions_combine_before_the_derivative():
    model = network()
    batch = collate(graphs(clusters(2, 0), model))
    directions = torch.randn(4, 3, dtype=torch.float64)
    features, slopes = last_features(model, batch)
    same, combined = last_features(model, batch, directions=directions)
    torch.testing.assert_close(combined, slopes @ directions)
    torch.testing.assert_close(same, features)


def test_errors_drawn_from_the_covariance_are_covered():
    """Labels come from last layers drawn from αC: the calibration must find the levels, and the scale of a planted α."""
    model, alpha = network(), 0.3
    training, validation, test = (clusters(n, seed) for n, seed in ((30, 1), (60, 2), (60, 3)))
    slopes = last_features(model, collate(graphs(training, model)))[1].flatten(0, 1)
    information = slopes.T @ slopes
    root = torch.linalg.cholesky(torch.linalg.inv(information + 1e-9 * torch.eye(4)))
    generator = torch.Generator().manual_seed(5)

    def label(atoms):
        batch = collate(graphs(atoms, model))
        features, slopes = last_features(model, batch)
        change = alpha * torch.randn(len(atoms), 4, generator=generator, dtype=torch.float64) @ root.T
        exact = energy_and_forces(model, batch)
        forces = exact.forces - (slopes * change[batch.batch][:, None]).sum(2)
        return {"energy": (exact.energy + (features * change).sum(1)).tolist(), "forces": forces.reshape(-1, 5, 3).numpy()}

    layer = calibrate(model, graphs(training, model), graphs(validation, model, label(validation)))
    assert layer.forces_scale == pytest.approx(alpha, rel=0.3)
    labelled = collate(graphs(test, model, label(test)))
    exact = energy_and_forces(model, labelled)
    sigma = layer.forces(model, labelled)
    found = coverage((exact.forces - labelled.labels["forces"]).numpy(), sigma.numpy())
    assert all(abs(value - level) < 0.1 for level, value in found.items())
    energies = coverage((exact.energy - labelled.labels["energy"]).numpy(), layer.energy(model, labelled).numpy())
    assert abs(energies[0.6827] - 0.6827) < 0.2
    assert layer.threshold > 0
    overconfident = coverage((exact.forces - labelled.labels["forces"]).numpy(), 0.3 * sigma.numpy())
    assert overconfident[0.9] < 0.6  # the check can fail


def test_energies_are_told_apart_where_what_they_share_is_known():
    """Where energies are known much better than forces, their σ must not be that of the part which all structures share."""
    model, weight = network(), 1e6
    training, validation, test = (clusters(n, seed) for n, seed in ((30, 1), (60, 2), (30, 3)))
    features, slopes = last_features(model, collate(graphs(training, model)))
    rows = slopes.flatten(0, 1)
    root = torch.linalg.cholesky(torch.linalg.inv(weight * features.T @ features / 25 + rows.T @ rows))
    generator = torch.Generator().manual_seed(5)
    batch = collate(graphs(validation, model))
    exact = energy_and_forces(model, batch)
    features, slopes = last_features(model, batch)
    change = torch.randn(60, 4, generator=generator, dtype=torch.float64) @ root.T
    labels = {
        "energy": (exact.energy + (features * change).sum(1)).tolist(),
        "forces": (exact.forces - (slopes * change[batch.batch][:, None]).sum(2)).reshape(-1, 5, 3).numpy(),
    }
    layer = calibrate(model, graphs(training, model), graphs(validation, model, labels))
    batch = collate(graphs(test, model))
    planted = torch.linalg.vector_norm(last_features(model, batch)[0] @ root, dim=1)
    found = layer.energy(model, batch)
    torch.testing.assert_close(found, planted, rtol=0.35, atol=0.0)
    assert np.corrcoef(found, planted)[0, 1] > 0.95


def calibrated(model, **without):
    atoms = clusters(12, 1)
    rng = np.random.default_rng(0)
    labels = {"energy": rng.normal(size=12), "forces": rng.normal(size=(12, 5, 3))}
    return calibrate(model, graphs(atoms, model), graphs(atoms, model, {k: v for k, v in labels.items() if k not in without}))


def test_the_strange_is_less_sure_than_the_known():
    model = network()
    layer = calibrated(model)
    pressed = clusters(20, 7)
    for atoms in pressed:
        atoms.positions *= 0.75
    known, strange = (collate(graphs(atoms, model)) for atoms in (clusters(20, 8), pressed))
    scores = [
        torch.linalg.vector_norm(layer.forces(model, batch), dim=1).reshape(-1, 5).amax(1).numpy() for batch in (known, strange)
    ]
    assert auroc(*scores) > 0.8


def test_invariance_and_sampling():
    model = network()
    layer = calibrated(model)
    atoms = clusters(1, 9)[0]
    before = layer.forces(model, build_graph(atoms, model.cutoff))
    energy = layer.energy(model, build_graph(atoms, model.cutoff))
    turned = atoms.copy()
    turned.rotate(50, (1, 2, 3))
    turned.positions *= -1
    after = layer.forces(model, build_graph(turned, model.cutoff))
    torch.testing.assert_close(torch.linalg.vector_norm(before, dim=1), torch.linalg.vector_norm(after, dim=1))
    torch.testing.assert_close(energy, layer.energy(model, build_graph(turned, model.cutoff)))
    # Three random directions of four: within a few of its standard errors.
    sampled = layer.forces(model, build_graph(atoms, model.cutoff), members=3)
    assert 0.3 < float(sampled.norm() / before.norm()) < 2.0


def test_plain_data_and_back():
    model = network()
    layer = calibrated(model)
    again = LastLayer.of(json.loads(json.dumps(layer.plain())))
    graph = build_graph(clusters(1, 4)[0], model.cutoff)
    assert torch.equal(again.forces(model, graph), layer.forces(model, graph))
    with pytest.raises(ValueError, match="update tesseral"):
        LastLayer.of({"method": "oracle"})


def test_labels_may_be_absent():
    model = network()
    only_forces = calibrated(model, energy=None)
    assert only_forces.energy_scale == only_forces.forces_scale
    with pytest.raises(ValueError, match="neither energies nor forces"):
        calibrated(model, energy=None, forces=None)
    with pytest.raises(ValueError, match="got none"):
        calibrate(model, [], [])


def test_a_model_without_a_last_layer_is_refused():
    with pytest.raises(ValueError, match="no linear last layer"):
        last_features(ManyBody(), build_graph(clusters(1, 0)[0], 3.0))
