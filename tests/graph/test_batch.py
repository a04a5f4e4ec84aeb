"""Batches: nothing leaks between structures, nothing is lost on the way back."""

import ase
import ase.build
import numpy as np
import pytest
import torch

from tesseral.graph import build_graph, collate, split
from tests.graph.structures import awkward_structures
from tests.graph.test_graph import assert_equal


def labelled(atoms, cutoff=3.0, **extra):
    rng = np.random.default_rng(len(atoms))
    labels = {"energy": rng.normal(), "forces": rng.normal(size=(len(atoms), 3)), "stress": rng.normal(size=(3, 3))}
    return build_graph(atoms, cutoff, labels=labels, **extra)


def test_round_trip_of_awkward_structures():
    parts = [labelled(atoms, charge=1.0, spin=2.0, field=(0, 0, 1), weight=0.5) for atoms in awkward_structures().values()]
    batch = collate(parts).check()
    assert batch.num_graphs == len(parts)
    for part, original in zip(split(batch), parts):
        assert_equal(part.check(), original)


def test_batches_of_batches():
    parts = [labelled(atoms) for atoms in awkward_structures().values()]
    nested = collate([collate(parts[:3]), collate(parts[3:4]), collate(parts[4:])]).check()
    assert_equal(nested, collate(parts))


def test_missing_labels_are_masked_zeros():
    water, crystal = ase.build.molecule("H2O"), ase.build.bulk("Cu")
    full = build_graph(crystal, 3.0, labels={"energy": 1.0, "forces": np.ones((1, 3)), "stress": np.eye(3), "dipole": np.ones(3)})
    half = build_graph(water, 3.0, labels={"energy": 2.0})
    for order in ([full, half, full], [half, full, full]):
        batch = collate(order).check()
        has = torch.tensor([graph is full for graph in order])
        assert batch.masks["energy"].all()
        assert torch.equal(batch.masks["stress"], has)
        assert torch.equal(batch.masks["dipole"], has)
        assert torch.equal(batch.masks["forces"], has[batch.batch])
        assert batch.labels["forces"].shape == (5, 3)
        assert torch.equal(batch.labels["forces"].sum(1), 3.0 * has[batch.batch])


def test_missing_states_take_their_defaults():
    plain, special = (
        build_graph(ase.Atoms("H"), 2.0),
        build_graph(ase.Atoms("H"), 2.0, charge=1, spin=1, field=(1, 2, 3), weight=5),
    )
    batch = collate([plain, special])
    assert batch.charge.tolist() == [0, 1]
    assert batch.spin.tolist() == [0, 1]
    assert batch.field.tolist() == [[0, 0, 0], [1, 2, 3]]
    assert batch.weight.tolist() == [1, 5]
    assert collate([plain, plain]).charge is None


def test_collate_does_not_write_into_its_arguments():
    one, two = labelled(ase.build.molecule("H2O")), labelled(ase.build.molecule("CH4"))
    before = [x.clone() for x in (one.edge_index, two.edge_index, two.batch, two.source_order, two.destination_pointers)]
    collate([one, two])
    after = [one.edge_index, two.edge_index, two.batch, two.source_order, two.destination_pointers]
    assert all(torch.equal(a, b) for a, b in zip(before, after))


def test_gradients_flow_through_collate():
    parts = [build_graph(ase.build.molecule(name), 3.0) for name in ("H2O", "CH4")]
    leaves = [part.positions.clone().requires_grad_() for part in parts]
    batch = collate([part.replace(positions=leaf) for part, leaf in zip(parts, leaves)])
    gradients = torch.autograd.grad(batch.edge_vectors().square().sum(), leaves)
    for part, leaf, gradient in zip(parts, leaves, gradients):
        (expected,) = torch.autograd.grad(part.replace(positions=leaf).edge_vectors().square().sum(), leaf)
        torch.testing.assert_close(gradient, expected)


def test_nothing_to_collate():
    with pytest.raises(ValueError, match="empty list"):
        collate([])


def test_labels_of_different_shapes():
    one = build_graph(ase.Atoms("H"), 2.0, labels={"spectrum": np.zeros(5)})
    two = build_graph(ase.Atoms("H"), 2.0, labels={"spectrum": np.zeros(6)})
    with pytest.raises(ValueError, match="'spectrum'"):
        collate([one, two])
