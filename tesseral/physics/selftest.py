"""What every potential owes to physics, measured on one model: symmetry, true derivatives, smoothness, extensivity, conservation.

Each check is a number with a threshold and a sentence. A check that cannot be measured has failed, and its sentence says why.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import ase
import numpy as np
import torch
from ase import units
from ase.data import chemical_symbols
from torch import Tensor

from tesseral.graph import Graph, SkinNeighborList, build_graph, collate
from tesseral.groups.equivariance import Cartesian, Element, PerNode, Positions, equivariance_error
from tesseral.physics.forces import Prediction, energies, energy_and_forces
from tesseral.physics.hessian import hessian_vector_products
from tesseral.physics.vibrations import masses


@dataclasses.dataclass(frozen=True)
class Check:
    """One measurement on a structure, passed when ``value`` (in ``unit``) is at most ``threshold``.

    ``sentence`` says what was found.
    """

    name: str
    structure: str
    value: float
    threshold: float
    unit: str
    sentence: str

    @property
    def passed(self) -> bool:
        """False for a value above the threshold, and for NaN."""
        return self.value <= self.threshold


# What a check yields: name, value, threshold, unit, sentence.
Found = Iterator[tuple[str, float, float, str, str]]


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """What rounding may do in one precision: to energies in eV/atom, and to forces relative to 1 eV/Å plus their size."""

    energy: float
    forces: float


TOLERANCES = {torch.float64: Tolerance(1e-8, 1e-7), torch.float32: Tolerance(2e-5, 2e-4)}
COARSE = Tolerance(1e-2, 5e-2)  # float16, bfloat16


@dataclasses.dataclass(frozen=True)
class _Subject:
    """A model with the structure it is measured on."""

    model: Any
    exact: Any  # the same model in float64, or the model itself
    other: Any  # the same model in another precision, or None
    atoms: ase.Atoms
    seed: int
    smoothness: int
    dynamics: Mapping[str, float] | None

    def graph(self, atoms: ase.Atoms | None = None) -> Graph:
        return build_graph(self.atoms if atoms is None else atoms, self.model.cutoff)

    @property
    def label(self) -> str:
        return f"{self.atoms.get_chemical_formula()}{' (periodic)' if self.atoms.pbc.any() else ''}"

    @property
    def random(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def forces_scale(self) -> float:
        forces = energy_and_forces(self.model, self.graph()).forces
        return 1.0 + float(forces.square().mean().sqrt()) if len(forces) else 1.0


@dataclasses.dataclass(frozen=True)
class _Nothing:
    """A model with no atoms at all."""

    model: Any
    label: str = "no atoms"


@dataclasses.dataclass(frozen=True)
class _Lone:
    """A model with one atom of an element."""

    model: Any
    z: int
    energy: float

    @property
    def label(self) -> str:
        return chemical_symbols[self.z]


def selftest(
    model: Any,
    structures: Sequence[ase.Atoms],
    *,
    other: Any = None,
    atomic_energies: Mapping[int, float] | None = None,
    smoothness: int = 2,
    temperature: float = 300.0,
    timestep: float = 0.5,
    duration: float = 40.0,
    seed: int = 0,
    only: Collection[str] | None = None,
    progress: Callable[[Check], None] | None = None,
) -> list[Check]:
    """Measure a model on structures like those it was made for: molecules, crystals, or (better) both.

    The first molecule also serves as a periodic structure when none is given, and the first crystal as a molecule. ``other`` is
    the same model in another precision (float64 for a float32 model): the two are compared, and derivatives are measured on the
    sharper one. ``atomic_energies`` (eV, those of the model when left out) are the energies of the isolated atoms. ``smoothness``
    is the highest derivative of the energy that is continuous where an atom crosses the cutoff. Dynamics runs on one molecule and
    one crystal of ``structures`` at ``temperature`` (K) for ``duration`` (fs), with ``timestep`` (fs) and half of it.
    ``only`` names the kinds to measure (of ``KINDS``; all when left out); ``progress`` is called with each check as it is done.
    Raises ``ValueError`` without structures, or for an unknown kind.

    >>> import ase.build
    >>> from tesseral.nn.pair import ZBL
    >>> checks = selftest(ZBL(3.0, (6,)), [ase.build.bulk("C", "diamond", a=2.9)], duration=2.0)
    >>> failures(checks), checks[0].sentence
    ([], 'a structure without atoms has the energy 0 eV')
    """
    if not structures:
        raise ValueError("the selftest needs at least one structure, such as a frame of the training data")
    unknown = set(only or ()) - set(KINDS)
    if unknown:
        raise ValueError(f"unknown checks {sorted(unknown)}; choose from {', '.join(KINDS)}")
    exact = next((m for m in (model, other) if m is not None and _dtype(m) == torch.float64), model)
    dynamics = {"temperature": temperature, "timestep": timestep, "duration": duration}
    moving = {bool(atoms.pbc.any()): index for index, atoms in reversed(list(enumerate(structures)))}
    subjects = []
    for index, atoms in enumerate(_molecules_and_crystals(structures)):
        runs = index < len(structures) and moving[bool(atoms.pbc.any())] == index
        subjects.append(_Subject(model, exact, other, atoms, seed, smoothness, dynamics if runs else None))
    known = dict(atomic_energies) if atomic_energies is not None else _atomic_energies(model)
    lone = [_Lone(model, z, known[z]) for z in sorted({int(z) for atoms in structures for z in atoms.numbers}) if z in known]
    done = []
    for kind, check in KINDS.items():
        cases = [_Nothing(model)] if check is _empty else lone if check is _isolated else subjects
        for case in cases if only is None or kind in only else ():
            for found in _guarded(kind, case.label, functools.partial(check, case)):
                done.append(found)
                if progress is not None:
                    progress(found)
    return done


def failures(checks: Iterable[Check]) -> list[Check]:
    """The checks that did not pass."""
    return [check for check in checks if not check.passed]


def _guarded(name: str, label: str, check: Callable[[], Found]) -> Iterator[Check]:
    try:
        for title, value, threshold, unit, sentence in check():
            yield Check(title, label, float(value), float(threshold), unit, sentence)
    except Exception as error:
        yield Check(
            name, label, math.nan, 0.0, "", f"could not be measured: {type(error).__name__}: {str(error).splitlines()[0]}"
        )


def _equivariance(subject: _Subject) -> Found:
    """Rotations, reflections and translations of E(3), of positions and cell together, with neighbours searched anew."""
    yield from _meter(subject, "equivariance", "E(3)", "under rotation, reflection, inversion and translation")


def _permutation(subject: _Subject) -> Found:
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


def _meter(subject: _Subject, name: str, group: Any, what: str) -> Found:
    model, atoms = subject.model, subject.atoms
    periodic = bool(atoms.pbc.all())

    def predict(positions: Tensor, cell: Tensor, species: Tensor) -> Prediction:
        moved = ase.Atoms(species.numpy(), positions=positions.numpy(), cell=cell.numpy(), pbc=atoms.pbc)
        return energy_and_forces(model, subject.graph(moved), stress=periodic)

    inputs = (torch.from_numpy(atoms.positions), torch.from_numpy(atoms.cell.array), torch.from_numpy(atoms.numbers))
    each_in = [PerNode(Positions()), Cartesian(1), PerNode(None)]
    tolerance, scale = _tolerance(model), subject.forces_scale()
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
            generator=_generator(subject),
        )
        verb = "change" if quantity == "forces" else "changes"
        found = f"{quantity} {verb} by at most {error.absolute:.1e} {unit} {what} (worst: {error.worst})"
        yield f"{name}: {quantity}", error.absolute, limit * size, unit, found


def _derivatives(subject: _Subject) -> Found:
    """Forces, stress and second derivatives along random directions against finite differences of energies and forces."""
    model, atoms, random = subject.exact, subject.atoms, subject.random
    if len(atoms) == 0:
        return
    sharp = _dtype(model) == torch.float64
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
        expected = -slope(lambda t, direction=direction: _moved(atoms, t * direction))  # type: ignore[misc]
        worst = max(worst, abs(expected - float((prediction.forces.numpy() * direction).sum())))
    rounding = 1e-15 * float(prediction.energy.abs().max()) / step
    found = f"forces differ from minus the slope of the energy by at most {worst:.1e} eV/Å"
    yield "forces", worst, relative * scale + rounding, "eV/Å", found
    if prediction.stress is not None:
        worst = 0.0
        for _ in range(2):
            strain = random.normal(size=(3, 3))
            strain = (strain + strain.T) / np.linalg.norm(strain + strain.T)
            expected = slope(lambda t, strain=strain: _strained(atoms, t * strain)) / atoms.get_volume()  # type: ignore[misc]
            worst = max(worst, abs(expected - float((prediction.stress[0].numpy() * strain).sum())))
        limit = (relative * scale * len(atoms) + rounding) / atoms.get_volume()
        yield "stress", worst, limit, "eV/Å³", f"stress differs from the slope along strains by at most {worst:.1e} eV/Å³"

    graph = subject.graph()
    u, v = (torch.from_numpy(random.normal(size=(len(atoms), 3)) / math.sqrt(3 * len(atoms))) for _ in range(2))
    hu, hv = hessian_vector_products(model, graph, torch.stack([u, v])).to(torch.float64)
    asymmetry = float(((u * hv).sum() - (v * hu).sum()).abs())
    ahead, behind = (energy_and_forces(model, subject.graph(_moved(atoms, t * v.numpy()))).forces for t in (step, -step))
    numerical = -(ahead - behind).to(torch.float64) / (2 * step)
    error = max(asymmetry, float((numerical - hv).abs().max()))
    curvature = 1.0 + float(torch.maximum(hu.abs().max(), hv.abs().max()))
    limit = 1e-4 * curvature if sharp else 2e-2 * curvature
    found = f"second derivatives are symmetric to {asymmetry:.1e} and match differences of forces to {error:.1e} eV/Å²"
    yield "second derivatives", error, limit, "eV/Å²", found


def _smooth_cutoff(subject: _Subject) -> Found:
    r"""Jumps of the energy and its derivatives while the pair of atoms nearest to the cutoff crosses it.

    The difference over the crossing is :math:`j(δ) = J + a δ + b δ^3 + …`; :math:`(16 j(δ/4) - 10 j(δ/2) + j(δ))/7` has neither a
    linear nor a cubic term, which is large where a force is rough but smooth: what is left is the jump J.
    """
    model, atoms, order = subject.exact, subject.atoms, subject.smoothness
    pair = _pair_near_cutoff(atoms, model.cutoff)
    if pair is None:
        return
    atom, towards, distance = pair
    direction = np.zeros((len(atoms), 3))
    direction[atom] = -towards
    delta = 1e-3 if _dtype(model) == torch.float64 else 1e-2
    tolerance, scale = _tolerance(model), subject.forces_scale()

    def at(offset: float) -> tuple[float, Tensor, Tensor]:
        graph = subject.graph(_moved(atoms, (model.cutoff - distance + offset) * direction))
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
    sharpest = 1e-3 if _dtype(model) == torch.float64 else 5e-2
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


def _extensivity(subject: _Subject) -> Found:
    """Two copies, far apart or as a supercell, and a batch of two, against twice one."""
    model, atoms = subject.model, subject.atoms
    if len(atoms) == 0:
        return
    tolerance, scale = _tolerance(model), subject.forces_scale()
    one = energy_and_forces(model, subject.graph())
    if atoms.pbc.any():
        axis = int(np.flatnonzero(atoms.pbc)[0])
        double = atoms.repeat([2 if k == axis else 1 for k in range(3)])
        what = "a doubled cell"
    else:
        double = atoms + _moved(atoms, np.array([np.ptp(atoms.positions[:, 0]) + 1.5 * model.cutoff + 1.0, 0, 0]))
        what = "two copies far apart"
    two = energy_and_forces(model, subject.graph(double))
    # The companion differs, so that averages over the batch show.
    companion = _moved(double, subject.random.normal(scale=0.05, size=(len(double), 3)))
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


def _conservation(subject: _Subject) -> Found:
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
    noise = 1000 * _tolerance(subject.exact).energy
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


def _total_energies(subject: _Subject, timestep: float, steps: int) -> np.ndarray:
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


def _precision(subject: _Subject) -> Found:
    """The model and its twin in another precision."""
    other = subject.other
    if other is None:
        return
    one, two = (energy_and_forces(m, subject.graph()) for m in (subject.model, other))
    lower = min(subject.model, other, key=lambda m: _dtype(m).itemsize)
    tolerance, count = _tolerance(lower), max(len(subject.atoms), 1)
    names = " and ".join(str(_dtype(m)).removeprefix("torch.") for m in (subject.model, other))
    error = float((one.energy - two.energy).abs().max()) / count
    yield "precision: energy", error, tolerance.energy, "eV/atom", f"energies in {names} differ by {error:.1e} eV/atom"
    error = float((one.forces - two.forces).abs().max()) if len(subject.atoms) else 0.0
    limit = tolerance.forces * subject.forces_scale()
    yield "precision: forces", error, limit, "eV/Å", f"forces in {names} differ by at most {error:.1e} eV/Å"


def _empty(case: _Nothing) -> Found:
    prediction = energy_and_forces(case.model, build_graph(ase.Atoms(), case.model.cutoff))
    fits = prediction.energy.shape == (1,) and prediction.forces.shape == (0, 3)
    value = float(prediction.energy.abs().max()) if fits else math.nan
    yield "empty structure", value, 0.0, "eV", f"a structure without atoms has the energy {value:g} eV"


def _isolated(case: _Lone) -> Found:
    atoms = ase.Atoms([case.z], positions=[(0.3, -0.2, 0.1)])
    energy = float(energies(case.model, build_graph(atoms, case.model.cutoff))[0])
    found = f"a lone {case.label} has {energy:.6f} eV, expected {case.energy:.6f} eV"
    yield "isolated atom", abs(energy - case.energy), 1e-9 * (1 + abs(case.energy)), "eV", found


def _atomic_energies(model: Any) -> dict[int, float]:
    values = getattr(model, "atomic_energies", None)
    if isinstance(values, Mapping):
        return {int(z): float(e) for z, e in values.items()}
    if isinstance(values, Tensor) and len(values) == len(model.species):
        return dict(zip(map(int, model.species), values.tolist()))
    return {}


def _molecules_and_crystals(structures: Sequence[ase.Atoms]) -> list[ase.Atoms]:
    result = [atoms.copy() for atoms in structures]
    for atoms in result:
        atoms.calc = None
        atoms.set_constraint()
    first = max(result, key=lambda atoms: len(atoms) > 1)
    if not any(atoms.pbc.any() for atoms in result):
        crystal = first.copy()
        extent = np.ptp(crystal.positions, axis=0) if len(crystal) else np.zeros(3)
        lattice = np.diag(extent + 2.3)
        lattice[0, 1], lattice[2, 0] = 0.4, -0.3  # skewed, so that no symmetry hides an error
        crystal.set_cell(lattice)
        crystal.pbc = True
        result.append(crystal)
    if all(atoms.pbc.any() for atoms in result):
        molecule = first.copy()
        molecule.pbc = False
        molecule.cell[:] = 0
        result.append(molecule)
    return result


def _pair_near_cutoff(atoms: ase.Atoms, cutoff: float) -> tuple[int, np.ndarray, float] | None:
    """An atom, the unit vector to a neighbour, and their distance, which is as near the cutoff as any between different atoms."""
    graph = build_graph(atoms, 1.5 * cutoff)
    source, destination = graph.edge_index.numpy()
    vectors = graph.edge_vectors().numpy()
    others = source != destination
    if not others.any():
        return None
    lengths = np.linalg.norm(vectors, axis=1)
    edge = int(np.argmin(np.where(others, np.abs(lengths - cutoff), np.inf)))
    return int(destination[edge]), vectors[edge] / lengths[edge], float(lengths[edge])


def _moved(atoms: ase.Atoms, displacement: np.ndarray) -> ase.Atoms:
    copy = atoms.copy()
    copy.positions += displacement
    return copy


def _strained(atoms: ase.Atoms, strain: np.ndarray) -> ase.Atoms:
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=False)
    copy.positions = atoms.positions @ (np.eye(3) + strain)
    return copy


def _dtype(model: Any) -> torch.dtype:
    return getattr(model, "dtype", torch.float64)


def _tolerance(model: Any) -> Tolerance:
    return TOLERANCES.get(_dtype(model), COARSE)


def _generator(subject: _Subject) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(subject.seed)


KINDS: dict[str, Callable[..., Found]] = {
    "empty structure": _empty,
    "isolated atom": _isolated,
    "equivariance": _equivariance,
    "permutation": _permutation,
    "derivatives": _derivatives,
    "smooth cutoff": _smooth_cutoff,
    "extensivity": _extensivity,
    "precision": _precision,
    "dynamics": _conservation,
}
