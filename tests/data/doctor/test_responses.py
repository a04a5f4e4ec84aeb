"""Born charges and dipoles with what people do to them, on molecules whose responses are exact."""

import dataclasses

import numpy as np
import pytest
import torch
from ase.build import molecule

from tesseral.data import Frame, FramesInMemory
from tesseral.data.doctor import DoctorSettings, examine
from tesseral.graph import Graph, build_graph
from tesseral.physics.electric import position_derivatives


def moment(graph: Graph) -> torch.Tensor:
    """A dipole whose charges depend on how crowded an atom is, so that no polar tensor is symmetric."""
    crowd = torch.zeros(graph.num_nodes, dtype=torch.float64)
    crowd = crowd.index_add(0, graph.destination, (-graph.edge_vectors().square().sum(1)).exp()).square()
    return ((crowd - crowd.mean())[:, None] * graph.positions).sum(0, keepdim=True)


def frames(charge: float = 0.0, said: float | None = None, **changes) -> FramesInMemory:
    random, found = np.random.default_rng(0), []
    for _ in range(3):
        atoms = molecule("CH3OH")
        atoms.positions += 0.05 * random.normal(size=(6, 3))
        graph = build_graph(atoms, 4.0)
        born = position_derivatives(moment, graph).numpy() + charge / 6 * np.eye(3)
        labels = {"born_charges": born, "dipole": moment(graph)[0].numpy() + charge * atoms.positions.mean(0)}
        frame = Frame(positions=atoms.positions, numbers=atoms.numbers.astype(np.int64), labels=labels, charge=said)
        found.append(dataclasses.replace(frame, **changes))
    return FramesInMemory(found)


def names(data, **settings) -> dict[str, str]:
    return {complaint.name: complaint.severity for complaint in examine(data, DoctorSettings(required=(), **settings))}


@pytest.mark.parametrize("charge", [0.0, 1.0])
def test_sound(charge):
    assert not names(frames(charge, charge)).keys() & {"born-axes", "born-sum-rule", "dipole-of-crystal"}


def test_axes_exchanged():
    data = [
        dataclasses.replace(f, labels=f.labels | {"born_charges": f.labels["born_charges"].transpose(0, 2, 1)}) for f in frames()
    ]
    assert names(data)["born-axes"] == "error"


def test_sum_rule():
    assert names(frames(1.0))["born-sum-rule"] == "warning"


def test_dipole_of_a_crystal():
    boxed = frames(cell=20 * np.eye(3), pbc=np.ones(3, dtype=bool))
    assert "dipole-of-crystal" not in names(boxed)
    found = examine(boxed, DoctorSettings(required=("dipole",)))
    assert {c.severity for c in found if c.name == "dipole-of-crystal"} == {"error"}
