"""What every energy model owes: a list of checks, each a function of a model; `test_contract.py` plants a fault for each."""

import ase
import numpy as np
import torch
from ase.build import bulk, molecule

from tesseral.graph import build_graph, collate
from tesseral.groups.equivariance import Positions, equivariance_error
from tesseral.models import files
from tesseral.physics.forces import energy_and_forces
from tesseral.physics.selftest import failures, selftest


def disturbed(atoms: ase.Atoms, seed: int = 0) -> ase.Atoms:
    atoms = atoms.copy()
    atoms.positions += 0.05 * np.random.default_rng(seed).standard_normal(atoms.positions.shape)
    return atoms


def graph_of(model, atoms):
    return build_graph(atoms, model.cutoff)


def check_invariance(model, folder) -> None:
    """Rotations, reflections and translations leave the energy alone; E0s are left out, which would hide the rest."""
    graph = graph_of(model, disturbed(molecule("CH3CH2OH")))
    offset = sum(model.atomic_energies[model.species.index(z)].item() for z in graph.species.tolist())
    error = equivariance_error(
        lambda r: model(graph.replace(positions=r)) - offset, Positions(), None, "E(3)", inputs=[graph.positions]
    )
    print(error)
    assert float(error) < 1e-9


def check_forces(model, folder) -> None:
    """Forces are the derivative of the energy."""
    atoms = disturbed(molecule("CH3OH"))
    forces = energy_and_forces(model, graph_of(model, atoms)).forces
    direction, step = np.random.default_rng(1).standard_normal(forces.shape), 1e-4
    energies = []
    for steps in (1, -1, 2, -2):
        moved = atoms.copy()
        moved.positions += steps * step * direction
        energies.append(model(graph_of(model, moved)).item())
    slope = -(8 * (energies[0] - energies[1]) - (energies[2] - energies[3])) / (12 * step)
    assert abs(slope - float((forces * torch.from_numpy(direction)).sum())) < 1e-5 * max(1.0, abs(slope))
    assert forces.abs().max() > 1e-4


def check_batch(model, folder) -> None:
    """A batch gives what its structures give alone: extensivity of what does not touch."""
    frames = (molecule("CH4"), bulk("C"), ase.Atoms("O"), molecule("H2O"))
    graphs = [graph_of(model, atoms) for atoms in frames]
    together = energy_and_forces(model, collate(graphs))
    apart = [energy_and_forces(model, graph) for graph in graphs]
    torch.testing.assert_close(together.energy, torch.cat([p.energy for p in apart]), rtol=0, atol=1e-8)
    torch.testing.assert_close(together.forces, torch.cat([p.forces for p in apart]), rtol=0, atol=1e-8)


def check_supercell(model, folder) -> None:
    """Twice the crystal has twice the energy."""
    crystal = disturbed(bulk("C", "diamond", a=3.6))
    once, twice = (model(graph_of(model, atoms)).item() for atoms in (crystal, crystal.repeat((2, 1, 1))))
    assert abs(2 * once - twice) < 1e-8 * max(1.0, abs(twice))


def check_smoothness(model, folder) -> None:
    """Neither the energy nor the force jumps where an atom leaves the neighbourhood."""
    found = []
    for distance in (model.cutoff - 1e-5, model.cutoff + 1e-5):
        atoms = ase.Atoms("COH", positions=[(0, 0, 0), (0, 0.3, 1.2), (distance, 0, 0)])
        prediction = energy_and_forces(model, graph_of(model, atoms))
        found.append((prediction.energy.item(), prediction.forces))
    assert abs(found[0][0] - found[1][0]) < 1e-7
    assert (found[0][1] - found[1][1]).abs().max() < 1e-6


def check_second_derivatives(model, folder) -> None:
    """No jumps, of second derivatives either, where a pair crosses the cutoff: among neighbours, or as the last one."""
    pair = ase.Atoms("CO", positions=[(0, 0, 0), (0.9 * model.cutoff, 0.2, 0.1)])
    for atoms in (disturbed(molecule("CH3CH2OH")), pair):
        checks = selftest(model, [atoms], only=["smooth cutoff"])
        assert {check.name for check in checks} == {f"smooth cutoff: {k}" for k in ("energy", "forces", "second derivatives")}
        assert not failures(checks), failures(checks)


def check_training(model, folder) -> None:
    """Forces can be trained: every parameter that matters to them gets a finite gradient of a force loss."""
    prediction = energy_and_forces(model, graph_of(model, disturbed(molecule("CH3OH"))), create_graph=True)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(
        prediction.forces.square().sum() + prediction.energy.sum(), parameters, allow_unused=True, materialize_grads=True
    )
    assert all(bool(g.isfinite().all()) for g in gradients)
    assert sum(bool(g.abs().max() > 0) for g in gradients if g.numel()) > 0.8 * len(parameters)


def check_file(model, folder) -> None:
    """A saved model is the same model."""
    path = folder / "model.safetensors"
    files.save(model, path)
    loaded, metadata = files.load(path)
    graph = graph_of(model, molecule("CH3CH2OH"))
    assert torch.equal(loaded(graph), model(graph).detach())
    assert metadata.cutoff == model.cutoff
    assert metadata.species == model.species


def check_precision(model, folder) -> None:
    """A network in float32 gives nearly the same energies, in float64, and keeps the energies of isolated atoms exact."""
    graph = graph_of(model, molecule("CH3OH"))
    expected, energies = model(graph).item(), model.atomic_energies.clone()
    path = folder / "double.safetensors"
    files.save(model, path)
    single, _ = files.load(path, dtype=torch.float32)
    assert single.dtype == torch.float32
    assert single(graph).dtype == torch.float64
    assert abs(single(graph).item() - expected) < 1e-3
    assert torch.equal(single.atomic_energies, energies)


CHECKS = [
    check_invariance,
    check_forces,
    check_batch,
    check_supercell,
    check_smoothness,
    check_second_derivatives,
    check_training,
    check_file,
    check_precision,
]
