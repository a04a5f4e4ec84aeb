"""The measurements of the self-test: each yields numbers with their thresholds, and sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import ase
import numpy as np
import torch
from ase import units
from torch import Tensor

from tesseral.graph import SkinNeighborList, build_graph, collate
from tesseral.groups.equivariance import Cartesian, Element, PerNode, Positions, equivariance_error
from tesseral.physics.forces import Prediction, energies, energy_and_forces
from tesseral.physics.hessian import hessian_vector_products
from tesseral.physics.selftest_subjects import (
    Lone,
    Nothing,
    Subject,
    dtype_of,
    generator_of,
    moved,
    pair_near_cutoff,
    strained,
    tolerance_of,
)
from tesseral.physics.vibrations import masses

# What a check yields: name, value, threshold, unit, sentence.
Found = Iterator[tuple[str, float, float, str, str]]


def equivariance(subject: Subject) -> Found:
    """Rotations, reflections and translations of E(3), of positions and cell together, with neighbours searched anew."""
    yield from _meter(subject, "equivariance", "E(3)", "under rotation, reflection, inversion and translation")


def permutation(subject: Subject) -> Found:
    """A random order of the atoms, and another among atoms of the same element only."""
    count, random = len(subject.atoms), subject.random
    any_order = np.roll(np.arange(count), 1)[random.permutation(count)] if count > 2 else np.arange(count)[::-1].copy()
    same_element = np.arange(count)
    for z in np.unique(subject.atoms.numbers):
        where = np.flatnonzero(subject.atoms.numbers == z)
        same_element[where] = random.permutation(where)
    unit = torch.eye(3, dtype=torch.float64)
    elements = [Element(unit, permutation=torch.from_numpy(order), name="permutation") for order in (any_order, same_element)]
    yield from _meter(subject, "permutation", elements, "when the atoms are listed in another order")


def _meter(subject: Subject, name: str, group: Any, what: str) -> Found:
    model, atoms = subject.model, subject.atoms
    periodic = bool(atoms.pbc.all())

    def predict(positions: Tensor, cell: Tensor, species: Tensor) -> Prediction:
        moved = ase.Atoms(species.numpy(), positions=positions.numpy(), cell=cell.numpy(), pbc=atoms.pbc)
        return energy_and_forces(model, subject.graph(moved), stress=periodic)

    inputs = (torch.from_numpy(atoms.positions), torch.from_numpy(atoms.cell.array), torch.from_numpy(atoms.numbers))
    each_in = [PerNode(Positions()), Cartesian(1), PerNode(None)]
    tolerance, scale = tolerance_of(model), subject.forces_scale()
    quantities: list[tuple[str, Any, Any, float, float, str]] = [
        ("energy", lambda p: p.energy / max(len(atoms), 1), None, tolerance.energy, 1.0, "eV/atom"),
        ("forces", lambda p: p.forces, PerNode(Cartesian(1)), tolerance.forces, scale, "eV/Å"),
    ]
    if periodic:
        virial = len(atoms) / atoms.get_volume()
        quantities.append(("stress", lambda p: p.stress, Cartesian(2), 10 * tolerance.forces * virial, scale, "eV/Å³"))
    for quantity, pick, each_out, limit, size, unit in quantities:
        error = equivariance_error(
            lambda *x, pick=pick: pick(predict(*x)),
            each_in,
            each_out,
            group,
            inputs=inputs,
            samples=2,
            generator=generator_of(subject),
        )
        verb = "change" if quantity == "forces" else "changes"
        found = f"{quantity} {verb} by at most {error.absolute:.1e} {unit} {what} (worst: {error.worst})"
        yield f"{name}: {quantity}", error.absolute, limit * size, unit, found


def derivatives(subject: Subject) -> Found:
    """Forces, stress and second derivatives along random directions against finite differences of energies and forces."""
    model, atoms, random = subject.exact, subject.atoms, subject.random
    if len(atoms) == 0:
        return
    sharp = dtype_of(model) == torch.float64
    step, relative = (1e-3, 1e-5) if sharp else (2e-2, 1e-2)
    scale = subject.forces_scale()
    prediction = energy_and_forces(model, subject.graph(), stress=bool(atoms.pbc.any()) and bool(atoms.cell.rank == 3))

    def slope(displaced: Callable[[float], ase.Atoms]) -> float:
        def energy(t: float) -> float:
            return float(energies(model, subject.graph(displaced(t)))[0])

        return (8 * (energy(step) - energy(-step)) - (energy(2 * step) - energy(-2 * step))) / (12 * step)

    worst = 0.0
    for _ in range(3):
        direction = random.normal(size=(len(atoms), 3))
        direction /= np.linalg.norm(direction)
        expected = -slope(lambda t, direction=direction: moved(atoms, t * direction))  # type: ignore[misc]
        worst = max(worst, abs(expected - float((prediction.forces.numpy() * direction).sum())))
    rounding = 1e-15 * float(prediction.energy.abs().max()) / step
    found = f"forces differ from minus the slope of the energy by at most {worst:.1e} eV/Å"
    yield "forces", worst, relative * scale + rounding, "eV/Å", found
    if prediction.stress is not None:
        worst = 0.0
        for _ in range(2):
            strain = random.normal(size=(3, 3))
            strain = (strain + strain.T) / np.linalg.norm(strain + strain.T)
            expected = slope(lambda t, strain=strain: strained(atoms, t * strain)) / atoms.get_volume()  # type: ignore[misc]
            worst = max(worst, abs(expected - float((prediction.stress[0].numpy() * strain).sum())))
        limit = (relative * scale * len(atoms) + rounding) / atoms.get_volume()
        yield "stress", worst, limit, "eV/Å³", f"stress differs from the slope along strains by at most {worst:.1e} eV/Å³"

    graph = subject.graph()
    u, v = (torch.from_numpy(random.normal(size=(len(atoms), 3)) / math.sqrt(3 * len(atoms))) for _ in range(2))
    hu, hv = hessian_vector_products(model, graph, torch.stack([u, v])).to(torch.float64)
    asymmetry = float(((u * hv).sum() - (v * hu).sum()).abs())
    ahead, behind = (energy_and_forces(model, subject.graph(moved(atoms, t * v.numpy()))).forces for t in (step, -step))
    numerical = -(ahead - behind).to(torch.float64) / (2 * step)
    error = max(asymmetry, float((numerical - hv).abs().max()))
    curvature = 1.0 + float(torch.maximum(hu.abs().max(), hv.abs().max()))
    limit = 1e-4 * curvature if sharp else 2e-2 * curvature
    found = f"second derivatives are symmetric to {asymmetry:.1e} and match differences of forces to {error:.1e} eV/Å²"
    yield "second derivatives", error, limit, "eV/Å²", found


def smooth_cutoff(subject: Subject) -> Found:
    r"""Jumps of the energy and its derivatives while the pair of atoms nearest to the cutoff crosses it.

    The difference over the crossing is :math:`j(δ) = J + a δ + b δ^3 + …`; :math:`(16 j(δ/4) - 10 j(δ/2) + j(δ))/7` has neither a
    linear nor a cubic term, which is large where a force is rough but smooth: what is left is the jump J.
    """
    model, atoms, order = subject.exact, subject.atoms, subject.smoothness
    pair = pair_near_cutoff(atoms, model.cutoff)
    if pair is None:
        return
    atom, towards, distance = pair
    direction = np.zeros((len(atoms), 3))
    direction[atom] = -towards
    delta = 1e-3 if dtype_of(model) == torch.float64 else 1e-2
    tolerance, scale = tolerance_of(model), subject.forces_scale()

    def at(offset: float) -> tuple[float, Tensor, Tensor]:
        graph = subject.graph(moved(atoms, (model.cutoff - distance + offset) * direction))
        prediction = energy_and_forces(model, graph)
        v = torch.from_numpy(direction)
        curvature = hessian_vector_products(model, graph, v[None])[0] if order > 1 else torch.zeros_like(v)
        return float(prediction.energy[0]), prediction.forces, curvature

    differences = []
    for size in (delta, delta / 2, delta / 4):
        outside, inside = at(size), at(-size)
        differences.append([torch.as_tensor(outside[k] - inside[k]) for k in range(3)])
    jumps = [float((16 * nearest - 10 * near + far).abs().max()) / 7 for far, near, nearest in zip(*differences)]
    rounding = 10 * tolerance.forces * scale
    sharpest = 1e-3 if dtype_of(model) == torch.float64 else 5e-2
    limits = [10 * tolerance.energy * max(len(atoms), 1), rounding, sharpest * scale]
    names = ["energy", "forces", "second derivatives"]
    for k, unit in zip(range(min(order, 2) + 1), ["eV", "eV/Å", "eV/Å²"]):
        found = f"the {names[k]} of the model jump by {jumps[k]:.1e} {unit} where an atom crosses the cutoff of {model.cutoff} Å"
        yield (
            f"smooth cutoff: {names[k]}",
            jumps[k],
            limits[k],
            unit,
            found.replace("the energy of the model jump ", "the energy jumps "),
        )


def extensivity(subject: Subject) -> Found:
    """Two copies, far apart or as a supercell, and a batch of two, against twice one."""
    model, atoms = subject.model, subject.atoms
    if len(atoms) == 0:
        return
    tolerance, scale = tolerance_of(model), subject.forces_scale()
    one = energy_and_forces(model, subject.graph())
    if atoms.pbc.any():
        axis = int(np.flatnonzero(atoms.pbc)[0])
        double = atoms.repeat([2 if k == axis else 1 for k in range(3)])
        what = "a doubled cell"
    else:
        double = atoms + moved(atoms, np.array([np.ptp(atoms.positions[:, 0]) + 1.5 * model.cutoff + 1.0, 0, 0]))
        what = "two copies far apart"
    two = energy_and_forces(model, subject.graph(double))
    # The companion differs, so that averages over the batch show.
    companion = moved(double, subject.random.normal(scale=0.05, size=(len(double), 3)))
    batch = energy_and_forces(model, collate([subject.graph(), subject.graph(companion)]))
    # Ions of two molecules feel each other at any distance: then only crystals tell.
    told = atoms.pbc.any() or not getattr(model, "long_range", False)
    for name, energy, forces, reference, thing in (
        ("extensivity", two.energy[0], two.forces, 2, what),
        ("batching", batch.energy[0], batch.forces[: len(atoms)], 1, "the structure in a batch"),
    )[0 if told else 1 :]:
        error = float((energy - reference * one.energy[0]).abs()) / len(double)
        difference = float((forces - one.forces.repeat(reference, 1)).abs().max())
        yield (
            f"{name}: energy",
            error,
            tolerance.energy,
            "eV/atom",
            f"{thing}: energy differs from {reference} × that of one by {error:.1e} eV/atom",
        )
        yield f"{name}: forces", difference, tolerance.forces * scale, "eV/Å", f"{thing}: forces differ by {difference:.1e} eV/Å"


def conservation(subject: Subject) -> Found:
    """Total energy along velocity Verlet with two timesteps, which shares its error out as dt² if and only if forces are true."""
    if subject.dynamics is None or len(subject.atoms) < 2:
        return
    settings = subject.dynamics
    timestep, steps = settings["timestep"], max(int(settings["duration"] / settings["timestep"]), 4)
    coarse = _total_energies(subject, timestep, steps)
    fine = _total_energies(subject, timestep / 2, 2 * steps)[::2]
    if not (np.isfinite(coarse).all() and np.isfinite(fine).all()):
        raise ValueError("the trajectory exploded; start from a structure that the model was trained on, or shorten the timestep")
    per_atom = 1000 / len(subject.atoms)
    errors = [(run - run[0]) * per_atom for run in (coarse, fine)]
    # The error of Verlet is c(t) dt² + O(dt⁴), so this combination is the energy of an exact integrator.
    drift = (4 * errors[1] - errors[0]) / 3
    picoseconds = timestep * 1e-3 * np.arange(len(drift))
    slope = abs(float(np.polyfit(picoseconds, drift, 1)[0]))
    fluctuations = [float(np.sqrt(np.mean(error**2))) for error in errors]
    noise = 1000 * tolerance_of(subject.exact).energy
    ratio = fluctuations[0] / max(fluctuations[1], 1e-300)
    deviation = abs(ratio - 4) if fluctuations[0] > 20 * noise else 0.0
    # With an error c dt² (1 + k dt²), (ratio - 4)/3 of the finer fluctuation is left behind; 0.005 meV/atom is negligible.
    remainder = fluctuations[1] * max(0.1, deviation / 2 if deviation < 1 else 0)
    limit = max(0.1, max(0.005, 2 * noise, remainder) / picoseconds[-1])
    found = f"the energy drifts by {slope:.2g} meV/atom/ps once the error of the integrator is taken out"
    yield "NVE drift", slope, limit, "meV/atom/ps", found
    sizes = f"{fluctuations[0]:.2g} and {fluctuations[1]:.2g} meV/atom"
    found = f"fluctuations are {sizes} at {timestep} and {timestep / 2} fs: ratio {ratio:.2f}"
    yield "NVE error ∝ dt²", deviation, 1.0, "from 4", found


def _total_energies(subject: Subject, timestep: float, steps: int) -> np.ndarray:
    """Total energy in eV after each step of velocity Verlet (timestep in fs) from a thermal start."""
    model, atoms = subject.exact, subject.atoms.copy()
    assert subject.dynamics is not None
    neighbors = SkinNeighborList(model.cutoff, 0.3)
    mass = masses(torch.from_numpy(atoms.numbers)).numpy()[:, None]
    velocities = subject.random.normal(size=(len(atoms), 3)) * np.sqrt(units.kB * subject.dynamics["temperature"] / mass)
    velocities -= (mass * velocities).sum(0) / mass.sum()
    dt = timestep * units.fs
    result = np.empty(steps + 1)
    prediction = energy_and_forces(model, neighbors(atoms))
    for step in range(steps + 1):
        result[step] = float(prediction.energy[0]) + 0.5 * float((mass * velocities**2).sum())
        if step == steps or not np.isfinite(result[step]):
            result[step:] = result[step]
            break
        velocities += 0.5 * dt * prediction.forces.numpy() / mass
        atoms.positions += dt * velocities
        prediction = energy_and_forces(model, neighbors(atoms))
        velocities += 0.5 * dt * prediction.forces.numpy() / mass
    return result


def precision(subject: Subject) -> Found:
    """The model and its twin in another precision."""
    other = subject.other
    if other is None:
        return
    one, two = (energy_and_forces(m, subject.graph()) for m in (subject.model, other))
    lower = min(subject.model, other, key=lambda m: dtype_of(m).itemsize)
    tolerance, count = tolerance_of(lower), max(len(subject.atoms), 1)
    names = " and ".join(str(dtype_of(m)).removeprefix("torch.") for m in (subject.model, other))
    error = float((one.energy - two.energy).abs().max()) / count
    yield "precision: energy", error, tolerance.energy, "eV/atom", f"energies in {names} differ by {error:.1e} eV/atom"
    error = float((one.forces - two.forces).abs().max()) if len(subject.atoms) else 0.0
    limit = tolerance.forces * subject.forces_scale()
    yield "precision: forces", error, limit, "eV/Å", f"forces in {names} differ by at most {error:.1e} eV/Å"


def empty(case: Nothing) -> Found:
    prediction = energy_and_forces(case.model, build_graph(ase.Atoms(), case.model.cutoff))
    fits = prediction.energy.shape == (1,) and prediction.forces.shape == (0, 3)
    value = float(prediction.energy.abs().max()) if fits else math.nan
    yield "empty structure", value, 0.0, "eV", f"a structure without atoms has the energy {value:g} eV"


def isolated(case: Lone) -> Found:
    atoms = ase.Atoms([case.z], positions=[(0.3, -0.2, 0.1)])
    energy = float(energies(case.model, build_graph(atoms, case.model.cutoff))[0])
    found = f"a lone {case.label} has {energy:.6f} eV, expected {case.energy:.6f} eV"
    yield "isolated atom", abs(energy - case.energy), 1e-9 * (1 + abs(case.energy)), "eV", found
