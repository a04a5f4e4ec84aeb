"""The compiled step: the eager numbers, one graph for batches of any size."""

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from torch._dynamo.testing import CompileCounterWithBackend

from tesseral.graph import Graph, build_graph, collate
from tesseral.models.nequip import NequIP, NequIPSettings
from tesseral.physics.forces import Prediction, energy_and_forces
from tesseral.train.compiled import CompiledPrediction

CUTOFF = 3.0


def small(**changes) -> NequIP:
    torch.manual_seed(0)
    values = {
        "layers": 2,
        "lmax": 1,
        "channels": 4,
        "radial_channels": 8,
        "radial_layers": 1,
        "species": (1, 6, 8),
        "num_neighbors": 6.0,
    }
    return NequIP(NequIPSettings(cutoff=CUTOFF, **{**values, **changes}), dtype=torch.float64)


def batch(random: np.random.Generator, size: int) -> Graph:
    names = random.choice(["H2O", "CH4", "CH3CH2OH", "C6H6", "CO2"], size=size)
    frames = [molecule(name) for name in names]
    for atoms in frames:
        atoms.rattle(0.1, rng=random)
    return collate([build_graph(atoms, CUTOFF) for atoms in frames])


def loss(prediction: Prediction) -> torch.Tensor:
    value = prediction.energy.square().mean() + prediction.forces.square().mean()
    return value if prediction.stress is None else value + prediction.stress.square().mean()


def value_and_gradients(model: NequIP, prediction: Prediction) -> tuple[float, list[torch.Tensor]]:
    parameters = list(model.parameters())
    value = loss(prediction)
    return value.item(), list(torch.autograd.grad(value, parameters, materialize_grads=True))


def compare(model: NequIP, compiled: CompiledPrediction, graph: Graph) -> None:
    expected, gradients = value_and_gradients(model, energy_and_forces(model, graph, stress=compiled.stress, create_graph=True))
    actual, others = value_and_gradients(model, compiled(graph))
    assert actual == pytest.approx(expected, rel=1e-9)
    scale = max(float(g.abs().max()) for g in gradients)
    for a, b in zip(others, gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9 * scale)


@pytest.mark.compile
def test_a_hundred_batches_of_any_size_share_one_graph() -> None:
    model, random = small(), np.random.default_rng(0)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = CompiledPrediction(model, backend=counter)
    for step in range(100):
        graph = batch(random, 2 + step % 5)
        if step % 10:
            compiled(graph)
        else:
            compare(model, compiled, graph)
    assert compiled.traces == 1
    assert counter.frame_count <= 2


@pytest.mark.compile
def test_weights_are_read_at_every_call() -> None:
    model = small(layers=1)
    compiled = CompiledPrediction(model, backend="aot_eager")
    graph = batch(np.random.default_rng(1), 3)
    before = compiled(graph).energy
    with torch.no_grad():
        model.readout.weight.mul_(2.0)
    assert not torch.allclose(compiled(graph).energy, before)
    compare(model, compiled, graph)


@pytest.mark.compile
def test_stress_of_crystals() -> None:
    model = small(layers=1)
    frames = []
    for scale in (1.0, 1.03):
        crystal = bulk("C", "diamond", a=3.567 * scale, cubic=True)
        crystal.rattle(0.05, seed=3)
        frames.append(build_graph(crystal, CUTOFF))
    compare(model, CompiledPrediction(model, stress=True, backend="aot_eager"), collate(frames))


@pytest.mark.compile
def test_one_structure_and_none_of_its_neighbours_are_traced_apart() -> None:
    model = small(layers=1)
    compiled = CompiledPrediction(model, backend="aot_eager")
    compare(model, compiled, build_graph(molecule("CH4"), CUTOFF))
    compare(model, compiled, batch(np.random.default_rng(2), 2))
    assert compiled.traces == 2
    alone = build_graph(ase.Atoms("H"), CUTOFF)
    assert compiled(alone).forces.abs().max() == 0


@pytest.mark.compile
@pytest.mark.slow
def test_inductor_runs_it() -> None:
    model = small(layers=1, lmax=0, radial_layers=0, channels=2)
    compare(model, CompiledPrediction(model), batch(np.random.default_rng(3), 3))
