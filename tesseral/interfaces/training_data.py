"""The frames of a training: read, split and examined; and the folder for what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from tesseral.data import DataError, Frames, make_split, read_frames
from tesseral.data.doctor import Complaint, DoctorSettings, examine
from tesseral.data.doctor.structure import Duplicates
from tesseral.data.split import Split
from tesseral.data.statistics import AtomicEnergies, find_isolated_atoms, is_isolated_atom
from tesseral.train.checkpoints import LAST, RunFolderError
from tesseral.train.settings import DataSettings


@dataclass(frozen=True)
class Data:
    """Frames by their use: training, validation, and named test sets."""

    training: Frames
    validation: Frames
    tests: dict[str, Frames]
    isolated: Frames | None
    split: Split | None


def read_data(wanted: DataSettings, energies: AtomicEnergies, console: Console) -> Data:
    """The frames that the settings name, split, and isolated atoms as far as ``energies`` asks for them.

    ``DataError`` says what is wrong with a file.
    """

    def read(paths: Sequence[Path]) -> Frames:
        return read_frames(list(paths), wanted.keys, wanted.units)

    training = read(wanted.train)
    alone = [i for i, frame in enumerate(training) if is_isolated_atom(frame)]
    isolated = training.subset(alone) if alone else None
    if wanted.isolated_atoms:
        isolated = read(wanted.isolated_atoms)
    elif isolated is None and energies.source in ("auto", "isolated") and not energies.values:
        beside = find_isolated_atoms(wanted.train[0])
        if beside is not None:
            console.print(f"energies of isolated atoms are taken from {beside}", highlight=False, soft_wrap=True)
            isolated = read([beside])
    if len(alone) == len(training):
        raise DataError(
            f"{', '.join(training.files())}: all {len(alone)} frames are single atoms; name files with structures, too"
        )
    if alone:
        training = training.subset(sorted(set(range(len(training))) - set(alone)))
    if wanted.limit is not None and wanted.limit < len(training):
        chosen = np.random.default_rng(wanted.split.seed).permutation(len(training))[: wanted.limit]
        training = training.subset(sorted(chosen.tolist()))
    tests = {name: read(paths) for name, paths in wanted.test.items()}
    if wanted.validation:
        return Data(training, read(wanted.validation), tests, isolated, None)
    if wanted.split_file is not None:
        split = Split.read(wanted.split_file)
    else:
        split = make_split(training, wanted.split)
    try:
        first, second, third = split.apply(training)
    except DataError as error:
        raise DataError(f"{wanted.split_file or 'the split'}: {error}") from None
    if len(third):
        tests = {"test": third, **tests}
    return Data(first, second, tests, isolated, split)


def examine_data(data: Data, settings: DoctorSettings) -> list[Complaint]:
    """What the doctor says of training and validation together, and of each test set beside them."""
    seen = data.training + data.validation
    everything = seen if not data.tests else None
    complaints = examine(everything or seen, settings)
    known = {str(complaint) for complaint in complaints}
    if data.split is None:
        training = Duplicates(settings)
        validation = Duplicates(settings, betrays=training, role="validation")
        for check, frames in ((training, data.training), (validation, data.validation)):
            for frame in frames:
                check.see(frame)
        complaints = [c for c in validation.conclude() if c.name == "validation-in-train"] + complaints
    for frames in data.tests.values():
        complaints += [c for c in examine(seen, settings, test=frames) if str(c) not in known]
    return complaints


def check_folder(folder: Path, files: Sequence[str], *, resume: bool, overwrite: bool, console: Console) -> None:
    """Before any work: ``files``, which a run leaves behind, would replace nothing that somebody still wants.

    ``RunFolderError`` says what.
    """
    if resume and overwrite:
        raise RunFolderError("--resume continues a run and --overwrite discards it; give one of them")
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; name a folder for the run")
    there = [name for name in (LAST, *files) if (folder / name).exists()]
    if resume and LAST not in there:
        if there:
            raise RunFolderError(
                f"{folder} holds {', '.join(there)}, but no checkpoint {LAST} to --resume; name another folder, or --overwrite"
            )
        console.print(f"note: there is nothing to resume in {folder}: a new run begins", highlight=False, soft_wrap=True)
    elif there and not resume and not overwrite:
        cure = "continue it with --resume, discard it with --overwrite" if LAST in there else "replace them with --overwrite"
        what = f"a run ({', '.join(there)})" if LAST in there else ", ".join(there)
        raise RunFolderError(f"{folder} holds {what}; {cure}, or name another folder")
