"""Training that starts from a model file: its architecture, its elements, its energies, and what of it is trained."""

from __future__ import annotations

import numpy as np
import torch
from ase.data import chemical_symbols
from rich.console import Console

from tesseral.data import DataError, Frames, Graphs, Statistics, read_frames
from tesseral.data.statistics import is_isolated_atom
from tesseral.graph import collate
from tesseral.interfaces.training_settings import TrainingSettings
from tesseral.models import EnergyModel, files
from tesseral.models.extend import extend_species
from tesseral.physics.forces import energies
from tesseral.physics.precision import dtype_of
from tesseral.train.finetune import choose_parameters
from tesseral.train.replay import Replaying, energies_of_atoms
from tesseral.train.settings_file import SettingsError

ENOUGH = 200
"""Frames from which the shift of the energies of atoms is determined."""


def starting_model(settings: TrainingSettings, frames: Frames, statistics: Statistics, backend: str) -> EnergyModel:
    """The model of ``settings.start_from`` with the elements of the data, ready to be trained.

    Elements that it lacks are added with ``add_elements``, and else refused with a ``DataError``.
    """
    assert settings.start_from is not None
    torch.manual_seed(settings.seed)
    model, _ = files.load(settings.start_from, dtype=dtype_of(settings.precision), backend=backend)
    unknown = sorted(set(statistics.species) - set(model.species))
    if unknown:
        names = ", ".join(chemical_symbols[z] for z in unknown)
        if not settings.add_elements:
            raise DataError(
                f"the training data contain {names}, which {settings.start_from} does not know; set add_elements=true to extend "
                "the model, or leave such frames out"
            )
        wanted = {z: statistics.atomic_energies[z] for z in unknown if z in statistics.atomic_energies}
        scales = {z: statistics.force_rms_by_species[z] for z in unknown if statistics.force_rms_by_species.get(z)}
        model = extend_species(model, unknown, atomic_energies=wanted, scales=scales, backend=backend)
    return model.train()


def align_energies(model: EnergyModel, frames: Frames, cutoff: float, console: Console | None = None) -> dict[int, float]:
    """Shift the energies of the isolated atoms until the mean error on the frames vanishes, and return the shifts in eV.

    Another level of theory mostly differs by a constant for each atom. The smallest shifts that explain the differences best are
    found from at most 200 frames; they are zero for elements that the frames lack.
    """
    labelled = [i for i, frame in enumerate(frames) if "energy" in frame.labels]
    chosen = [labelled[i] for i in np.unique(np.linspace(0, len(labelled) - 1, min(ENOUGH, len(labelled))).round().astype(int))]
    if not chosen:
        return {}
    graphs, training = Graphs(frames, cutoff), model.training
    model.eval()
    found = [
        energies(model, collate([graphs[i] for i in chosen[start : start + 16]])).double() for start in range(0, len(chosen), 16)
    ]
    model.train(training)
    species = list(model.species)
    counts = np.array([[np.sum(frames[i].numbers == z) for z in species] for i in chosen], dtype=float)
    errors = np.array([float(frames[i].labels["energy"]) for i in chosen]) - torch.cat(found).cpu().numpy()
    atoms = counts.sum(1)
    shifts = np.linalg.lstsq(counts / atoms[:, None], errors / atoms, rcond=1e-6)[0]
    with torch.no_grad():
        model.atomic_energies.add_(torch.from_numpy(shifts).to(model.atomic_energies))  # type: ignore[union-attr,operator,arg-type]
    if console is not None:
        named = ", ".join(f"{chemical_symbols[z]} {shift:+.4f}" for z, shift in zip(species, shifts, strict=True) if shift)
        console.print(f"energies of the atoms shifted to those of the data (eV): {named}", highlight=False, soft_wrap=True)
    return dict(zip(species, shifts.tolist(), strict=True))


def prepare(
    settings: TrainingSettings, frames: Frames, statistics: Statistics, backend: str, console: Console
) -> EnergyModel | Replaying:
    """The starting model with the energies of the data and only the chosen part trainable; with ``replay``, a second head."""
    if settings.train_only == "lora" and (settings.devices > 1 or settings.compile):
        raise SettingsError("train_only is lora, which runs in one process and uncompiled: set devices=1 and compile=false")
    model = starting_model(settings, frames, statistics, backend)
    energies_before = energies_of_atoms(model)
    align_energies(model, frames, settings.model.cutoff, console)
    count = choose_parameters(model, settings.train_only, rank=settings.lora_rank)
    console.print(
        f"starting from {settings.start_from}; {count:,} parameters are trained ({settings.train_only})",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    return model if settings.replay is None else Replaying(model, energies_before)


def replayed_frames(settings: TrainingSettings, model: Replaying, console: Console) -> Frames:
    """The frames of ``settings.replay``; ``DataError`` for elements that the model does not know."""
    assert settings.replay is not None
    frames = read_frames(settings.replay.frames, settings.replay.keys, settings.replay.units)
    frames = frames.subset([i for i, frame in enumerate(frames) if not is_isolated_atom(frame)])
    limit = settings.replay.limit
    if limit is not None and limit < len(frames):
        frames = frames.subset(sorted(np.random.default_rng(settings.seed).permutation(len(frames))[:limit].tolist()))
    known = set(model.model.species)  # type: ignore[arg-type]
    unknown = sorted({int(z) for frame in frames for z in frame.numbers} - known)
    where = f"replay.frames ({', '.join(map(str, settings.replay.frames))})"
    if unknown:
        names = ", ".join(chemical_symbols[z] for z in unknown)
        raise DataError(f"{where} contain {names}, which {settings.start_from} does not know: name frames that it was trained on")
    if not len(frames):
        raise DataError(f"{where} hold no structures: name frames that {settings.start_from} was trained on")
    console.print(f"{len(frames)} frames are replayed, each with weight {settings.replay.weight:g}", highlight=False)
    return frames
