"""Bad inputs tried on the real command, and the table of what it says: the machinery of the recipes ``bad_inputs*.py``.

A recipe registers trials with :func:`case` and ends with :func:`run_cases`. A case is good when the command ends as it should
(it refuses, or it warns and goes on), shows no traceback, says the words that a reader needs (the file, the frame, the key, the
cure), and leaves every file that was there as it was. The exit status of a recipe is the number of cases that are not good.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import re
import resource
import runpy
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

HARTREE, BOHR, KCAL = 27.211386245981, 0.529177210544, 0.0433641153087705
SETTINGS = """\
data: {train: good.xyz}
model: {name: nequip, cutoff: 3.0, layers: 1, channels: 4, radial_channels: 8, num_basis: 4}
max_epochs: 1
tensorboard: false
"""


# The data ------------------------------------------------------------------------------------------------------------------


def labelled(atoms: Atoms, energy: float, forces: np.ndarray, stress: np.ndarray | None) -> Atoms:
    """A copy that carries the labels, and no calculator that could compute others."""
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, energy=energy, forces=forces, **({} if stress is None else {"stress": stress}))
    return copy


def crystals(count: int = 24, seed: int = 0) -> list[Atoms]:
    """Rattled crystals of four atoms, three orders of copper and gold in turn, with energy, forces and stress.

    Every second frame is strained a little; energies are as those of DFT: 3.7 and 3.2 eV below the atoms'.
    """
    random, frames = np.random.default_rng(seed), []
    for index in range(count):
        atoms = bulk("Cu", "fcc", a=3.75 + 0.1 * (index % 3), cubic=True)
        atoms.numbers[: 1 + index % 3] = 79
        if index // 3 % 2:
            strain = 0.01 * random.normal(size=(3, 3))
            atoms.set_cell(atoms.cell @ (np.eye(3) + strain + strain.T), scale_atoms=True)
        atoms.positions += 0.07 * random.normal(size=atoms.positions.shape)
        atoms.calc = EMT()
        below = sum({"Cu": 3.7, "Au": 3.2}[symbol] for symbol in atoms.symbols)
        frames.append(labelled(atoms, atoms.get_potential_energy() - below, atoms.get_forces(), atoms.get_stress()))
    return frames


def crystal(bench: Bench, name: str = "cu.xyz", **changes: object) -> str:
    """Copper in a file, with arrays of ASE's object replaced."""
    atoms = bulk("Cu", "fcc", a=3.6)
    for key, value in changes.items():
        setattr(atoms, key, value)
    write(bench / name, atoms, format="extxyz")
    return name


def molecules(count: int = 24, seed: int = 0) -> list[Atoms]:
    """Distorted ethanol molecules with energy and forces."""
    random, frames = np.random.default_rng(seed), []
    for _ in range(count):
        atoms = molecule("CH3CH2OH")
        atoms.positions += 0.04 * random.normal(size=atoms.positions.shape)
        atoms.calc = EMT()
        frames.append(labelled(atoms, atoms.get_potential_energy() - 40.0, atoms.get_forces(), None))
    return frames


def scaled(frames: Sequence[Atoms], energy: float = 1, forces: float = 1, stress: float = 1, length: float = 1) -> list[Atoms]:
    """The frames with labels and positions multiplied by the factors, as a file in other units or signs has them."""
    changed = []
    for atoms in frames:
        results = atoms.calc.results
        copy = atoms.copy()
        copy.set_cell(copy.cell * length)
        copy.positions = atoms.positions * length
        new = None if "stress" not in results else results["stress"] * stress
        changed.append(labelled(copy, results["energy"] * energy, results["forces"] * forces, new))
    return changed


def with_labels(atoms: Atoms, **changes: object) -> Atoms:
    """A copy with some labels replaced, or removed by None."""
    copy = atoms.copy()
    results = {**atoms.calc.results, **changes}
    copy.calc = SinglePointCalculator(copy, **{key: value for key, value in results.items() if value is not None})
    return copy


# Running the command --------------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What one call of the command did."""

    status: int
    text: str
    changed: list[str] = field(default_factory=list)


class Bench:
    """A folder for one case, with good data, settings, a model and a finished run to spoil; and the command to run in it."""

    def __init__(self, folder: Path, fork: bool) -> None:
        self.folder, self.fork = folder, fork
        self.copiers: dict[int, Thread] = {}

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def start(self, *arguments: object, limit: int | None = None) -> tuple[int, Path]:
        """Start the command in the folder, with at most ``limit`` bytes to a file; its process id and the file of its output."""
        log = Path(tempfile.mkstemp(prefix="output")[1])
        reading, writing = os.pipe()  # not a file: the limit on files is for those of the command
        process = os.fork()
        if process:
            os.close(writing)
            self.copiers[process] = Thread(target=lambda: log.write_bytes(open(reading, "rb").read()))  # noqa: SIM115
            self.copiers[process].start()
            return process, log
        try:
            os.setsid()
            os.chdir(self.folder)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os.environ.update(OMP_NUM_THREADS="1", COLUMNS="4000", TERM="dumb", NO_COLOR="1", HOME=str(self.folder.parent))
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            words = [str(argument) for argument in arguments]
            if not self.fork:
                os.execv(sys.executable, [sys.executable, "-m", "tesseral", *words])
            sys.argv = ["tesseral", *words]
            runpy.run_module("tesseral", run_name="__main__", alter_sys=True)
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
            status = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def wait(self, started: tuple[int, Path]) -> Outcome:
        process, log = started
        _, status = os.waitpid(process, 0)
        self.copiers[process].join()
        text = log.read_bytes().decode("utf-8", "replace")
        log.unlink()
        return Outcome(os.waitstatus_to_exitcode(status), text)

    def run(self, *arguments: object, limit: int | None = None) -> Outcome:
        """Run the command to its end; every file that was there and is not the same afterwards is noted."""
        before = self.state()
        outcome = self.wait(self.start(*arguments, limit=limit))
        after = self.state()
        outcome.changed = [name for name, digest in before.items() if after.get(name) != digest]
        return outcome

    def state(self) -> dict[str, str]:
        files = (path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())
        return {str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def settings(self, text: str = SETTINGS, name: str = "settings.yaml") -> Path:
        (self / name).write_text(text)
        return self / name

    def train(self, frames: Sequence[Atoms] | None = None, *overrides: str, limit: int | None = None) -> Outcome:
        """Train on the frames, written to bad.xyz."""
        if frames is not None:
            write(self / "bad.xyz", list(frames), format="extxyz")
            overrides = ("data.train=bad.xyz", *overrides)
        return self.run("train", "settings.yaml", *overrides, "-o", "new", limit=limit)


@dataclass(frozen=True)
class Case:
    """One bad input: what is tried, how the command should end, the words that it must say."""

    group: str
    title: str
    ends: str
    words: tuple[str, ...]
    trial: Callable[[Bench], Outcome]
    may_change: tuple[str, ...] = ()


CASES: list[Case] = []


def case(group: str, title: str, ends: str, *words: str, may_change: tuple[str, ...] = ()) -> Callable[[Callable], Callable]:
    """Register a trial. ``ends``: "refuses" (status not 0), "warns" (status 0, and says it), "works"."""

    def register(trial: Callable[[Bench], Outcome]) -> Callable[[Bench], Outcome]:
        CASES.append(Case(group, title, ends, words, trial, may_change))
        return trial

    return register


# The table ------------------------------------------------------------------------------------------------------------------


def message(text: str) -> str:
    """What the output says of the mistake, without progress, tables and rules; its last line where it says nothing."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = [re.sub(r"^[│╭╰─\s]+|[│╮╯─\s]+$", "", line.split("\r")[-1]) for line in text.splitlines()]
    lines = [line for line in lines if line and not re.search(r"it/s|%\||━|Usage:|^Try '|Tip: ", line)]
    said = [
        line for line in lines if re.match(r"error:|warning:|failed:|Error |Traceback|not relaxed|note: there is nothing", line)
    ]
    return " ".join(said or lines[-1:])


@dataclass
class Row:
    """A line of the table."""

    case: Case
    outcome: Outcome
    seconds: float

    @property
    def faults(self) -> list[str]:
        faults, outcome = [], self.outcome
        if "Traceback (most recent call last)" in outcome.text or re.search(r"╭─+ Traceback", outcome.text):
            faults.append("traceback")
        if outcome.status < 0:
            faults.append(f"killed by signal {-outcome.status}")
        if self.case.ends == "refuses" and outcome.status == 0:
            faults.append("accepted")
        if self.case.ends != "refuses" and outcome.status != 0:
            faults.append(f"status {outcome.status}")
        changed = [name for name in outcome.changed if not name.startswith(self.case.may_change or ("\0",))]
        if changed:
            faults.append("changed: " + ", ".join(changed[:3]))
        said = re.sub(r"\s+", " ", outcome.text)
        missing = [word for word in self.case.words if not re.search(word, said)]
        if missing:
            faults.append("does not say: " + ", ".join(missing))
        return faults


@dataclass(frozen=True)
class Document:
    """What one recipe writes: where, under which title, with which words before the tables."""

    path: Path
    title: str
    introduction: Callable[[int, int], str]
    warm: tuple[str, ...]
    """Modules that --fork imports once."""


def prepare(folder: Path, fork: bool) -> None:
    """Good data, settings, a finished run of one epoch and its model, to be copied for each case."""
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder, fork)
    write(folder / "good.xyz", crystals(), format="extxyz")
    bench.settings()
    outcome = bench.run("train", "settings.yaml", "-o", "run")
    if outcome.status:
        raise SystemExit(f"The good data do not train:\n{outcome.text}")
    shutil.copy(folder / "run/model.safetensors", folder / "model.safetensors")


def table(document: Document, rows: list[Row]) -> str:
    """The document."""
    good = sum(not row.faults for row in rows)
    text = [f"# {document.title}", "", document.introduction(len(rows), good)]
    for group in dict.fromkeys(row.case.group for row in rows):
        text += ["", f"## {group.capitalize()}", "", "| tried | what the command says | status | verdict |", "|---|---|---|---|"]
        for row in (row for row in rows if row.case.group == group):
            said = re.sub(r"\s+", " ", message(row.outcome.text))
            said = said if len(said) <= 420 else said[:400].rsplit(" ", 1)[0] + " …"
            said = said.replace("|", "\\|").replace("<", "&lt;")
            verdict = f"{row.case.ends}" if not row.faults else "**" + "; ".join(row.faults).replace("|", "\\|") + "**"
            text.append(f"| {row.case.title} | {said or '(nothing to say)'} | {row.outcome.status} | {verdict} |")
    return "\n".join(text) + "\n"


def run_cases(description: str | None, document: Document, prepare: Callable[[Path, bool], None] = prepare) -> int:
    """The command line of a recipe: try its cases, each in a copy of what ``prepare`` makes, and write the document."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose group or title contains this regular expression")
    parser.add_argument("--fork", action="store_true", help="fork this process for each case instead of starting Python anew")
    parser.add_argument("--output", type=Path, help=f"the document; docs/{document.path.name} when all cases are tried")
    parser.add_argument("--keep", type=Path, help="keep the good run in this folder, and use it again")
    arguments = parser.parse_args()
    chosen = [case for case in CASES if re.search(arguments.only, f"{case.group}: {case.title}")]
    if arguments.fork:
        import torch

        for name in document.warm:
            importlib.import_module(name)
        torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bad_inputs") as root:
        good = arguments.keep or Path(root) / "good"
        if not (good / "model.safetensors").exists():
            prepare(good, arguments.fork)
        for number, trial in enumerate(chosen):
            folder = Path(root) / f"case{number}"
            shutil.copytree(good, folder)
            begin = time.monotonic()
            outcome = trial.trial(Bench(folder, arguments.fork))
            outcome.text = outcome.text.replace(str(folder.resolve()) + "/", "").replace(str(folder.resolve()), "the folder")
            rows.append(Row(trial, outcome, time.monotonic() - begin))
            verdict = "; ".join(rows[-1].faults) or "good"
            print(f"[{number + 1}/{len(chosen)}] {trial.title} ({rows[-1].seconds:.0f} s)\n    {verdict}", flush=True)
            print(f"    {message(outcome.text)[:700]}", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
    target = arguments.output or (None if arguments.only else document.path)
    if target:
        target.write_text(table(document, rows))
    print(json.dumps({"tried": len(rows), "good": sum(not row.faults for row in rows)}))
    return min(99, sum(bool(row.faults) for row in rows))
