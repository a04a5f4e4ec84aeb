"""What a model is used for on the command line: predictions, relaxation, dynamics, the self-test, the list of its kernels."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import ase
import ase.io
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tesseral.data import DataError, frames_from_atoms
from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.training import evaluate_frames
from tesseral.kernels.dispatch import explain
from tesseral.models import build, cast, files, parse_settings
from tesseral.nn import Convolution
from tesseral.physics.dynamics import Settings, run
from tesseral.physics.relaxation import relax
from tesseral.physics.selftest import Check, selftest
from tesseral.train.checkpoints import write_atomically


def read_structures(path: Path) -> list[ase.Atoms]:
    """All structures of a file in any format that ASE reads; ``DataError`` for one that it cannot read."""
    if not path.is_file():
        raise DataError(f"{path} is a folder; name a file in it" if path.is_dir() else f"{path} does not exist")
    try:
        structures = list(ase.io.iread(str(path), index=":"))
    except Exception as error:  # each of ASE's parsers raises whatever it likes
        raise DataError(f"{path} cannot be read as a structure ({type(error).__name__}: {error})") from error
    if not structures:
        raise DataError(f"{path} holds no structure: it is empty")
    return structures


def read_structure(path: Path) -> ase.Atoms:
    """The last structure of a file."""
    return read_structures(path)[-1]


def predict_file(model: torch.nn.Module, path: Path, output: Path) -> None:
    """Energies, forces and stresses of the structures of ``path`` as extended XYZ in ``output``."""
    structures = read_structures(path)
    bare = [ase.Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in structures]
    predictions = evaluate_frames(model, frames_from_atoms(bare, file=str(path)), model.cutoff, stress=None, show_progress=True)  # type: ignore[arg-type]
    for index, (atoms, original) in enumerate(zip(bare, structures, strict=True)):
        results: dict[str, Any] = {
            "energy": float(predictions.energy[index]),
            "forces": predictions.forces[predictions.frame == index],
        }
        if atoms.pbc.any() and atoms.cell.rank == 3:
            results["stress"] = predictions.stress[index]
        atoms.info = {key: value for key, value in original.info.items() if isinstance(value, str | int | float)}
        atoms.calc = SinglePointCalculator(atoms, **results)
    text = io.StringIO()
    ase.io.write(text, bare, format="extxyz")
    write_atomically(output, text.getvalue().encode())
    Console(stderr=True).print(f"{len(bare)} structures in {output}", highlight=False)


def relax_file(model: torch.nn.Module, path: Path, output: Path, *, fmax: float, steps: int, cell: bool) -> None:
    """Relax the last structure of ``path`` and write it to ``output``, converged or not; says which."""
    atoms = read_structure(path)
    atoms.calc = Calculator(model)
    with progress_bar("relaxing") as bar:
        task = bar.add_task("relaxing", total=steps, note="")
        result = relax(
            atoms, fmax=fmax, steps=steps, cell="full" if cell else "fixed",
            progress=lambda step, energy, force: bar.update(task, completed=step, note=f"{energy:.4f} eV, {force:.3f} eV/Å"),
        )  # fmt: skip
    write_structure(atoms, output)
    Console(stderr=True).print(result.sentence, highlight=False, soft_wrap=True)


def md_file(model: torch.nn.Module, path: Path, output: Path, *, time: float, resume: bool, **settings: Any) -> None:
    """Move the last structure of ``path`` for ``time`` ps; ``settings`` as in :class:`tesseral.physics.dynamics.Settings`."""
    chosen = Settings(interval=settings.pop("every"), **settings)
    atoms = read_structure(path)
    atoms.calc = Calculator(model)
    steps = round(1000 * time / chosen.timestep)
    if steps < 1:
        raise ValueError(f"a run of {time} ps is shorter than one step of {chosen.timestep} fs; ask for more time")
    with progress_bar("moving") as bar:
        task = bar.add_task("moving", total=steps, note="")
        sampled = run(
            atoms, steps, chosen, trajectory=output, resume=resume,
            progress=lambda step, _, sample: bar.update(task, completed=step, note=f"{sample['temperature_K']:.0f} K"),
        )  # fmt: skip
    console = Console(stderr=True)
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
    for name, module in model.named_modules():
        if isinstance(module, Convolution):
            device = next(model.parameters()).device
            lines.append(f"{name}: {explain(module.plan.program, device, model.dtype, module.backend)}")
    return lines


def write_structure(atoms: ase.Atoms, output: Path) -> None:
    """Write a structure with its energy and forces atomically as extended XYZ."""
    kept = atoms.copy()
    kept.calc = SinglePointCalculator(kept, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    text = io.StringIO()
    ase.io.write(text, kept, format="extxyz")
    write_atomically(output, text.getvalue().encode())


def progress_bar(name: str) -> Progress:
    """A bar with the time left on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
