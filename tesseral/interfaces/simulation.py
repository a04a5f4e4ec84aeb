"""What a model is used for on the command line: predictions, relaxation, dynamics, the self-test, the list of its kernels."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ase
import ase.data
import ase.io
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tesseral.data import DataError, frames_from_atoms
from tesseral.graph import find_neighbors
from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.training import evaluate_frames
from tesseral.interfaces.uncertainty import Watch
from tesseral.kernels.inventory import describe
from tesseral.models import build, cast, files, parse_settings
from tesseral.physics.dynamics import Settings, run
from tesseral.physics.electric import RESPONSES
from tesseral.physics.relaxation import relax
from tesseral.physics.selftest import Check, selftest
from tesseral.physics.uncertainty import LastLayer
from tesseral.train.checkpoints import write_atomically
from tesseral.train.report import Movie
from tesseral.train.settings_file import SettingsError, validate


def read_structures(path: Path) -> list[ase.Atoms]:
    """All structures of a file in any format that ASE reads; ``DataError`` for one that it cannot read."""
    if not path.is_file():
        raise DataError(f"{path} is a folder; name a file in it" if path.is_dir() else f"{path} does not exist")
    try:
        structures = list(ase.io.iread(str(path), index=":"))
    except KeyError as error:
        raise DataError(f"{path}: {error} is not a chemical element, or a key that is missing; correct the file") from error
    except Exception as error:  # each of ASE's parsers raises whatever it likes
        raise DataError(f"{path} cannot be read as a structure ({type(error).__name__}: {error})") from error
    if not structures:
        raise DataError(f"{path} holds no structure: it is empty")
    for index, atoms in enumerate(structures):
        check_structure(atoms, f"frame {index} of {path}")
    return structures


def check_species(model: torch.nn.Module, atoms: ase.Atoms, path: Path) -> None:
    """``DataError`` for an element that the model does not know."""
    known: tuple[int, ...] = model.species  # type: ignore[assignment]
    unknown = sorted(set(atoms.numbers.tolist()) - set(known))
    if unknown:
        names, have = (", ".join(ase.data.chemical_symbols[z] for z in numbers) for numbers in (unknown, known))
        raise DataError(f"{path}: the model was not trained on {names}, only on {have}; train one on frames that hold {names}")


def check_structure(atoms: ase.Atoms, place: str) -> None:
    """``DataError`` for a structure of which no potential has an energy: without atoms, not finite, flat, or collapsed."""
    if len(atoms) == 0:
        raise DataError(f"{place} has no atoms; remove the frame")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise DataError(f"{place}: positions or cell hold NaN or inf; remove the frame")
    try:
        (source, destination), shifts = find_neighbors(atoms.positions, atoms.cell.array, atoms.pbc, 1.5)
    except ValueError as error:
        raise DataError(f"{place}: {error}") from error
    vectors = atoms.positions[source] + shifts @ atoms.cell.array - atoms.positions[destination]
    lengths = np.linalg.norm(vectors, axis=1)
    if len(lengths) and lengths.min() < 1e-3:
        pair = int(lengths.argmin())
        raise DataError(
            f"{place}: the atoms {source[pair]} and {destination[pair]} are {lengths[pair]:.3f} Å apart; correct the positions"
        )


def read_structure(path: Path) -> ase.Atoms:
    """The last structure of a file."""
    return read_structures(path)[-1]


def predict_file(model: torch.nn.Module, path: Path, output: Path) -> None:
    """Energies, forces, stresses and responses to a field of the structures of ``path`` as extended XYZ in ``output``."""
    structures = read_structures(path)
    bare = [ase.Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in structures]
    frames, cutoff = frames_from_atoms(bare, file=str(path)), float(model.cutoff)  # type: ignore[arg-type]
    predictions = evaluate_frames(model, frames, cutoff, responses=RESPONSES, show_progress=True)
    for index, (atoms, original) in enumerate(zip(bare, structures, strict=True)):
        results: dict[str, Any] = {
            "energy": float(predictions.energy[index]),
            "forces": predictions.forces[predictions.frame == index],
        }
        if atoms.pbc.any() and atoms.cell.rank == 3:
            results["stress"] = predictions.stress[index]
        atoms.info = {key: value for key, value in original.info.items() if isinstance(value, str | int | float)}
        for name, (values, _) in predictions.responses.items():
            if name == "born_charges":
                atoms.arrays[name] = values[predictions.frame == index].reshape(len(atoms), 9)
            elif np.isfinite(values[index]).all():
                atoms.info[name] = values[index]
        atoms.calc = SinglePointCalculator(atoms, **results)
    text = io.StringIO()
    ase.io.write(text, bare, format="extxyz")
    write_atomically(output, text.getvalue().encode())
    Console(stderr=True).print(f"{len(bare)} structures in {output}", highlight=False)


def relax_file(model: torch.nn.Module, path: Path, output: Path, *, fmax: float, steps: int, cell: bool) -> None:
    """Relax the last structure of ``path`` and write it to ``output``, converged or not; says which."""
    atoms = read_structure(path)
    check_species(model, atoms, path)
    if not 0 < fmax < math.inf or steps < 1:
        raise ValueError(f"--fmax is {fmax} and --steps {steps}, expected positive numbers")
    if cell and not atoms.pbc.any():
        raise ValueError(f"{path}: pbc is F F F, so there is no cell to relax; leave --cell away, or set pbc in the file")
    atoms.calc = Calculator(model)
    with progress_bar("relaxing") as bar:
        task = bar.add_task("relaxing", total=steps, note="")
        result = relax(
            atoms, fmax=fmax, steps=steps, cell="full" if cell else "fixed",
            progress=lambda step, energy, force: bar.update(task, completed=step, note=f"{energy:.4f} eV, {force:.3f} eV/Å"),
        )  # fmt: skip
    write_structure(atoms, output)
    Console(stderr=True).print(result.sentence, highlight=False, soft_wrap=True)


def md_file(
    model: torch.nn.Module, path: Path, output: Path, *, time: float, resume: bool, overwrite: bool = False,
    uncertainty: LastLayer | None = None, max_uncertainty: float | None = None, stop_uncertain: bool = False, **settings: Any
) -> None:  # fmt: skip
    """Move the last structure of ``path`` for ``time`` ps; ``settings`` as in :class:`tesseral.physics.dynamics.Settings`.

    With ``uncertainty``, kept frames with a force less sure than ``max_uncertainty`` (eV/Å; that of the model file when left out)
    are counted, or end the run. ``overwrite`` removes an earlier ``output`` when everything has been checked and the run begins.
    """
    try:
        chosen = validate(Settings, settings, "md")
    except SettingsError as error:
        raise SettingsError(str(error).replace("'interval'", "'every'")) from None
    if chosen.pressure and chosen.ensemble != "npt":
        raise ValueError(f"--pressure is {chosen.pressure} GPa, but {chosen.ensemble} keeps the cell; give --ensemble npt")
    atoms = read_structure(path)
    check_species(model, atoms, path)
    atoms.calc = Calculator(model, uncertainty=uncertainty)
    watch = Watch(atoms.calc, max_uncertainty, stop_uncertain)
    if not 1 <= 1000 * time / chosen.timestep < math.inf:
        raise ValueError(f"a run of {time} ps is not one step of {chosen.timestep} fs or more; correct --time or --timestep")
    steps = round(1000 * time / chosen.timestep)
    lightest = int(np.argmin(atoms.get_masses()))
    # Hydrogen's bonds swing in 10 fs, those of heavier atoms more slowly by the root of their mass.
    usual = 2.0 * math.sqrt(atoms.get_masses()[lightest])
    if chosen.timestep > usual:
        Console(stderr=True).print(
            f"warning: a timestep of {chosen.timestep} fs is long for {atoms.symbols[lightest]}; the energy will drift or "
            f"explode. Below {usual / 2:.1f} fs is usual",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    atoms.get_potential_energy()  # what is wrong with the structure is said before a file is touched
    if overwrite:
        for earlier in (output, output.with_suffix(".csv")):
            earlier.unlink(missing_ok=True)
    with progress_bar("moving") as bar:
        task = bar.add_task("moving", total=steps, note="")

        def show(step: int, _: int, sample: dict[str, float]) -> None:
            watch(step)
            bar.update(task, completed=step, note=f"{sample['temperature_K']:.0f} K")

        sampled = run(atoms, steps, chosen, trajectory=output, resume=resume, progress=show)
    console = Console(stderr=True)
    if watch.sentence:
        console.print(watch.sentence, highlight=False, soft_wrap=True)
    console.print(
        f"{len(sampled.time)} frames in {output}, energies in {output.with_suffix('.csv')}", highlight=False, soft_wrap=True
    )
    if chosen.ensemble == "nve" and len(sampled.time) >= 3:
        drift = sampled.drift()
        console.print(
            f"drift {drift.slope:+.4f} ± {drift.slope_error:.4f} meV/atom/ps, fluctuation {drift.fluctuation:.4f} meV/atom",
            highlight=False, soft_wrap=True,
        )  # fmt: skip


def run_selftest(model: torch.nn.Module | None, examples: Sequence[ase.Atoms]) -> list[Check]:
    """The self-test of a model (or of a new one) on structures, by default on a cluster and a crystal of its elements."""
    if model is None:
        torch.manual_seed(0)
        settings = parse_settings(
            {"name": "nequip", "layers": 2, "lmax": 2, "channels": 8, "species": (1, 6, 8), "num_neighbors": 10.0}
        )
        model = build(settings, atomic_energies={1: -13.6, 6: -1029.0, 8: -2042.0})
    structures = list(examples) or representative_structures(model.species)  # type: ignore[arg-type]
    double = cast(model, torch.float64) if getattr(model, "dtype", None) == torch.float32 else None
    with progress_bar("self-test") as bar:
        bar.add_task("self-test", total=None, note="")
        return selftest(model, structures, other=double)


def representative_structures(species: Iterable[int]) -> list[ase.Atoms]:
    """A small cluster of the elements at ordinary distances, and a crystal of them."""
    from ase.build import bulk
    from ase.data import covalent_radii

    numbers = list(species)[:6]
    radius = max(float(covalent_radii[z]) for z in numbers)
    positions = (
        2.1
        * radius
        * torch.tensor([(0, 0, 0), (1, 0, 0.1), (0.1, 1, 0), (0, 0.2, 1), (1, 1.1, 0), (1, 0, 1.2)], dtype=torch.float64)
    )
    cluster = ase.Atoms([numbers[i % len(numbers)] for i in range(6)], positions.numpy())
    crystal = bulk("X", "fcc", a=3.4 * radius, cubic=True)
    crystal.numbers[:] = [numbers[i % len(numbers)] for i in range(4)]
    crystal.rattle(0.05, seed=0)
    return [cluster, crystal]


def describe_kernels(path: Path) -> list[str]:
    """The kernels of a model file: a line a program with its backend and the reason."""
    model, metadata = files.load(path)
    lines = [
        f"{metadata.settings['name']}, cutoff {metadata.cutoff} Å, {metadata.dtype}, of tesseral {metadata.tesseral_version}"
    ]
    return lines + describe(model, next(model.parameters()).device, model.dtype)


def write_structure(atoms: ase.Atoms, output: Path) -> None:
    """Write a structure with its energy and forces atomically as extended XYZ."""
    kept = atoms.copy()
    kept.calc = SinglePointCalculator(kept, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    text = io.StringIO()
    ase.io.write(text, kept, format="extxyz")
    write_atomically(output, text.getvalue().encode())


def crystal_formula(atoms: ase.Atoms) -> str:
    """The formula of a crystal as one writes it, metals first and reduced.

    >>> import ase.build
    >>> crystal_formula(ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    'NaCl'
    """
    return atoms.symbols.formula.reduce()[0].format("metal")


def crystal_picture(atoms: ase.Atoms, title: str) -> Movie:
    """A cell to look at: atoms in its faces, edges and corners are drawn on all of them."""
    shown, inside = atoms.copy(), atoms.get_scaled_positions() % 1.0
    inside[inside > 1 - 1e-4] = 0.0
    images, symbols = [], []
    for shift in np.ndindex(2, 2, 2):
        there = (inside < 1e-4) | (np.array(shift) == 0)
        images.append((inside + shift)[there.all(1)])
        symbols += list(np.array(shown.get_chemical_symbols())[there.all(1)])
    return Movie(title, symbols, (np.concatenate(images) @ atoms.cell.array)[None], atoms.cell.array)


def fingerprint(model: torch.nn.Module, atoms: ase.Atoms) -> str:
    """What a resumed run compares: the weights of a model and a structure."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    for array in (atoms.numbers, atoms.positions, atoms.cell.array):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def progress_bar(name: str) -> Progress:
    """A bar with the time left on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
