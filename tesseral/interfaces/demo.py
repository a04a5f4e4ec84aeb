"""The main job on embedded data, in minutes: a potential for ethanol from DFT, and what it is good for."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import ase
import numpy as np
import torch
from rich.console import Console

from tesseral.data import Frames, Keys, embedded, frames_from_atoms
from tesseral.interfaces.ase import Calculator
from tesseral.interfaces.simulation import progress_bar, write_structure
from tesseral.interfaces.training import METRICS, REPORT, Data, Trained, TrainingSettings, train
from tesseral.models import cast
from tesseral.physics.dynamics import Run, Settings, run
from tesseral.physics.relaxation import Relaxation, relax
from tesseral.train.checkpoints import write_atomically
from tesseral.train.report import Movie, write_report
from tesseral.train.settings_file import read_settings

SETTINGS = Path(__file__).with_name("demo.yaml")
RELAXED, TRAJECTORY = "relaxed.xyz", "nve.extxyz"


def demonstrate(
    output: Path,
    *,
    minutes: float,
    picoseconds: float = 2.0,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> Trained:
    """Train for ``minutes``, score on held-out trajectories, relax a molecule, run it at constant energy for ``picoseconds``.

    Leaves ``model.safetensors``, ``metrics.json``, ``report.html``, ``relaxed.xyz`` and ``nve.extxyz`` in ``output``.
    """
    console = console or Console(stderr=True)
    settings = read_settings(TrainingSettings, SETTINGS, [f"max_time={60 * minutes}", f"seed={seed}"])
    trained = train(
        settings, output, data=_data(), resume=resume, overwrite=overwrite, console=console, level_of_theory=_method()
    )
    console.rule("using it", align="left")
    start = next(atoms for atoms in embedded.load(split="test") if atoms.info["config_type"] == "300K")
    calculator = Calculator(cast(trained.model, torch.float64))
    relaxed = start.copy()
    relaxed.calc = calculator
    relaxation = relax(relaxed, fmax=0.005)
    write_structure(relaxed, output / RELAXED)
    console.print(relaxation.sentence, highlight=False, soft_wrap=True)
    sampled, movie = _move(start, trained, output / TRAJECTORY, picoseconds)
    drift = sampled.drift()
    sentence = f"{sampled.time[-1]:.1f} ps at constant energy: drift {drift.slope:+.4f} ± {drift.slope_error:.4f} meV/atom/ps"
    console.print(f"{sentence}, fluctuation {drift.fluctuation:.4f} meV/atom", highlight=False, soft_wrap=True)
    _add_to_metrics(output / METRICS, relaxation, sampled)
    report = dataclasses.replace(
        trained.report,
        title="tesseral demo: a potential for ethanol",
        movies=[movie, *trained.report.movies],
        facts={**trained.report.facts, "relaxation": relaxation.sentence, "dynamics": sentence},
    )
    write_report(report, output / REPORT)
    console.print(f"everything is in [bold]{output}[/bold]; open {output / REPORT} in a browser", highlight=False, soft_wrap=True)
    return trained


def _move(start: ase.Atoms, trained: Trained, path: Path, picoseconds: float) -> tuple[Run, Movie]:
    """Constant energy from a frame of a held-out trajectory."""
    atoms = start.copy()
    atoms.calc = Calculator(trained.model)
    steps, frames, notes = round(1000 * picoseconds / 0.5), [], []
    path.unlink(missing_ok=True)
    with progress_bar("moving") as bar:
        task = bar.add_task("moving", total=steps, note="")

        def progress(step: int, _: int, sample: dict[str, float]) -> None:
            bar.update(task, completed=step, note=f"{sample['temperature_K']:.0f} K")
            frames.append(atoms.get_positions())
            notes.append(f"{1000 * sample['time_ps']:.0f} fs, {sample['temperature_K']:.0f} K")

        sampled = run(atoms, steps, Settings(timestep=0.5, temperature=300.0, interval=20), trajectory=path, progress=progress)
    return sampled, Movie(f"{picoseconds:g} ps at constant energy", atoms.get_chemical_symbols(), np.stack(frames), notes=notes)


def _add_to_metrics(path: Path, relaxation: Relaxation, sampled: Run) -> None:
    metrics = json.loads(path.read_text())
    metrics["relaxation"] = dataclasses.asdict(relaxation)
    metrics["dynamics"] = {"ps": float(sampled.time[-1]), **dataclasses.asdict(sampled.drift())}
    write_atomically(path, json.dumps(metrics, indent=1).encode())


def _method() -> str:
    return str(embedded.load()[0].info["method"])


def _data() -> Data:
    keys = Keys(group="trajectory")

    def part(split: str, *kinds: str) -> Frames:
        chosen = [a for a in embedded.load(split=split) if a.info["config_type"] in kinds]  # type: ignore[arg-type]
        return frames_from_atoms(chosen, keys, file=f"ethanol, {split}")

    isolated = [a for a in embedded.load() if a.info["config_type"] == "isolated_atom"]
    tests = {
        "held-out 300 K": part("test", "300K"),
        "held-out 500 K": part("test", "500K"),
        "held-out 700 K": part("test", "700K"),
    }
    return Data(
        part("train", "300K", "500K"), part("valid", "300K", "500K"), tests, frames_from_atoms(isolated, file="ethanol"), None
    )
