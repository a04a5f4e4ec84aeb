"""What every energy model owes: lists of checks, each a function of a model; `test_contract.py` plants a fault for each.

`CHECKS` run in every test of a model; `COMPILED_CHECKS` trace and export, and run where tests are marked `compile`.
"""

import copy
import dataclasses

import ase
import numpy as np
import torch
from ase.build import bulk, molecule

from tesseral.graph import build_graph, collate
from tesseral.groups.equivariance import Positions, equivariance_error
from tesseral.interfaces.ahead_of_time import FIELDS, exported
from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.domain import layers_of
from tesseral.models import files
from tesseral.physics.forces import energy_and_forces
from tesseral.physics.selftest import failures, selftest
from tesseral.train.compiled import CompiledPrediction
from tests.devices import OneDevice


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
    """Forces can be trained: the gradient of a force loss is its slope, and nearly every parameter has one."""
    graph, parameters = graph_of(model, disturbed(molecule("CH3OH"))), list(model.parameters())

    def loss() -> torch.Tensor:
        prediction = energy_and_forces(model, graph, create_graph=True)
        return prediction.forces.square().sum() + prediction.energy.sum()

    gradients = torch.autograd.grad(loss(), parameters, allow_unused=True, materialize_grads=True)
    assert all(bool(g.isfinite().all()) for g in gradients)
    assert sum(bool(g.abs().max() > 0) for g in gradients if g.numel()) > 0.8 * len(parameters)
    generator = torch.Generator().manual_seed(0)
    directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    losses = []
    with torch.no_grad():
        for step in (1e-5, -2e-5):
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.add_(direction, alpha=step)
            with torch.enable_grad():
                losses.append(loss().item())
        for parameter, direction in zip(parameters, directions, strict=True):
            parameter.add_(direction, alpha=1e-5)
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    assert abs((losses[0] - losses[1]) / 2e-5 - slope) < 1e-4 * max(1.0, abs(slope))


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


def check_calculator(model, folder) -> None:
    """In ASE a saved model gives its energy, forces, and a stress that is their derivative; images are the same atom."""
    files.save(model, folder / "model.safetensors")
    crystal = disturbed(bulk("C", "diamond", a=3.6)).repeat((2, 1, 1))
    crystal.calc = Calculator(folder / "model.safetensors")
    before = crystal.get_potential_energy()
    assert abs(before - model(graph_of(model, crystal)).item()) < 1e-8
    crystal.positions[0] += crystal.cell[0]
    assert abs(crystal.get_potential_energy() - before) < 1e-8
    crystal.positions += 0.02 * np.random.default_rng(1).standard_normal(crystal.positions.shape)  # the same neighbour list
    expected = energy_and_forces(model, graph_of(model, crystal)).forces.detach().numpy()
    np.testing.assert_allclose(crystal.get_forces(), expected, rtol=0, atol=1e-8)
    stress, energies, strain = crystal.get_stress(voigt=False), [], 1e-4
    for sign in (1, -1):
        strained = crystal.copy()
        strained.set_cell(crystal.cell.array @ (np.eye(3) + sign * strain * SHEAR), scale_atoms=True)
        energies.append(model(graph_of(model, strained)).item())
    slope = (energies[0] - energies[1]) / (2 * strain * crystal.get_volume())
    assert abs(slope - (stress * SHEAR).sum()) < 1e-5 * max(1.0, abs(slope))


SHEAR = np.array([[1.0, 0.2, 0.0], [0.2, -0.5, 0.1], [0.0, 0.1, 0.3]])


def check_division(model, folder) -> None:
    """What an atom's energy depends on ends as many edges away as LAMMPS is told: the rest of the structure may be elsewhere."""
    hops, step = layers_of(model), 0.6 * model.cutoff
    count = hops + 4
    turn = 0.7 * np.arange(count)
    chain = ase.Atoms(f"{'COH' * count}"[:count], positions=np.stack([step * np.arange(count), np.cos(turn), np.sin(turn)], 1))
    found = []
    for atoms in (chain, chain[: hops + 1]):
        graph = graph_of(model, atoms)
        positions = graph.positions.requires_grad_()
        energy = model.node_energies(graph.replace(positions=positions))[0]
        found.append((energy.item(), torch.autograd.grad(energy, positions)[0]))
    (whole, forces), (part, of_part) = found
    assert abs(whole - part) < 1e-9
    torch.testing.assert_close(forces[: hops + 1], of_part, rtol=0, atol=1e-8)
    assert forces[hops].abs().max() > 0 or hops == 1
    assert forces[hops + 1 :].abs().max() == 0


def check_compiled(model, folder) -> None:
    """Energies, forces, and the gradient of a force loss survive being traced into one graph, for batches of any size."""
    compiled, parameters = CompiledPrediction(model, backend="eager"), list(model.parameters())
    for names in (("CH3OH", "H2O"), ("CH3CH2OH", "CH4", "H2O2")):
        graph = collate([graph_of(model, disturbed(molecule(name))) for name in names])
        found = []
        for prediction in (compiled(graph), energy_and_forces(model, graph, create_graph=True)):
            loss = prediction.forces.square().sum() + prediction.energy.sum()
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            found.append([prediction.energy.detach(), prediction.forces.detach(), *gradients])
        torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-8)
    assert compiled.traces == 1


def check_export(model, folder) -> None:
    """Energies, forces and stress are one exported program, for structures of another size than that it was made with."""
    program = exported(model).module()
    graph = graph_of(model, disturbed(bulk("C", "diamond", a=3.6)).repeat((2, 1, 1)))
    energy, forces, stress = program(*(getattr(graph, name) for name in FIELDS))
    expected = energy_and_forces(model, graph, stress=True)
    for one, other in zip((energy, forces, stress), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-8)


def check_device(model, folder) -> None:
    """Energies, forces, stress and their training stay on one device, and ask for no number: that of tensors without any."""
    graph = collate([graph_of(model, disturbed(atoms)) for atoms in (molecule("CH3OH"), bulk("C"))])
    tensors = {f.name: v for f in dataclasses.fields(graph) if isinstance(v := getattr(graph, f.name), torch.Tensor)}
    graph = graph.replace(**{name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()})
    moved = copy.deepcopy(model).to("meta")
    with OneDevice():
        found = energy_and_forces(moved, graph, stress=True, create_graph=True)
        loss = found.energy.sum() + found.forces.square().sum() + found.stress.square().sum()
        gradients = torch.autograd.grad(loss, list(moved.parameters()), allow_unused=True, materialize_grads=True)
    assert {t.device.type for t in (*found, *gradients)} == {"meta"}


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
    check_calculator,
    check_division,
    check_device,
]
COMPILED_CHECKS = [check_compiled, check_export]
