"""Mistakes with the commands that take a model and a crystal: phonons, elastic, eos."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from bad_input_table import Bench, Outcome, case, crystal

CRYSTAL_COMMANDS = ("phonons", "elastic", "eos")


def analyse(bench: Bench, command: str, structure: str, *options: object, model: str = "model.safetensors") -> Outcome:
    return bench.run(command, model, structure, "-o", "new", *options)


def each_crystal_command(title: str, *words: str, commands: tuple[str, ...] = CRYSTAL_COMMANDS):
    """The same mistake with every command that wants a model and a crystal; it is always refused."""

    def register(trial):
        for command in commands:
            case(command, title, "refuses", *words)(lambda bench, command=command: trial(bench, command))
        return trial

    return register


@each_crystal_command("the structure is missing", r"absent\.xyz", "does not exist")
def _(bench: Bench, command: str) -> Outcome:
    return analyse(bench, command, "absent.xyz")


@each_crystal_command("a molecule", r"molecule\.xyz", "pbc", "crystal")
def _(bench: Bench, command: str) -> Outcome:
    write(bench / "molecule.xyz", Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]]), format="extxyz")
    return analyse(bench, command, "molecule.xyz")


@each_crystal_command("an empty structure file", r"empty\.xyz")
def _(bench: Bench, command: str) -> Outcome:
    (bench / "empty.xyz").write_text("")
    return analyse(bench, command, "empty.xyz")


@each_crystal_command("an element that the model does not know", r"si\.xyz", "Si", "Cu")
def _(bench: Bench, command: str) -> Outcome:
    write(bench / "si.xyz", bulk("Si"), format="extxyz")
    return analyse(bench, command, "si.xyz")


@each_crystal_command("the output folder is a file", "good", "folder")
def _(bench: Bench, command: str) -> Outcome:
    return bench.run(command, "model.safetensors", crystal(bench), "-o", "good.xyz")


@each_crystal_command("--fmax -1", "fmax", "-1", "positive")
def _(bench: Bench, command: str) -> Outcome:
    return analyse(bench, command, crystal(bench), "--fmax", "-1")


@case("phonons", "a position is NaN", "refuses", r"cu\.xyz", "NaN")
def _(bench: Bench) -> Outcome:
    return analyse(bench, "phonons", crystal(bench, positions=np.full((1, 3), np.nan)))


@case("phonons", "periodic in two directions", "refuses", r"cu\.xyz", "pbc", "crystal")
def _(bench: Bench) -> Outcome:
    return analyse(bench, "phonons", crystal(bench, pbc=[True, True, False]))


@case("phonons", "the model file is missing", "refuses", r"absent\.safetensors")
def _(bench: Bench) -> Outcome:
    return analyse(bench, "phonons", crystal(bench), model="absent.safetensors")


@case("phonons", "the model is a checkpoint of the run", "refuses", r"last\.ckpt", "safetensors")
def _(bench: Bench) -> Outcome:
    return analyse(bench, "phonons", crystal(bench), model="run/last.ckpt")


@case("phonons", "half a model file", "refuses", r"half\.safetensors", "truncated|incomplete|cut|copy")
def _(bench: Bench) -> Outcome:
    data = (bench / "model.safetensors").read_bytes()
    (bench / "half.safetensors").write_bytes(data[: len(data) // 2])
    return analyse(bench, "phonons", crystal(bench), model="half.safetensors")


@case("phonons", "an earlier result in the folder", "refuses", "new", "--resume", "--overwrite")
def _(bench: Bench) -> Outcome:
    (bench / "new").mkdir()
    (bench / "new/bands.csv").write_text("mine")
    return analyse(bench, "phonons", crystal(bench))


@case("phonons", "--resume in a folder whose force constants are no archive", "refuses", r"force_constants\.npz", "--overwrite")
def _(bench: Bench) -> Outcome:
    (bench / "new").mkdir()
    (bench / "new/force_constants.npz").write_text("nonsense")
    crystal(bench, "new/relaxed.xyz")
    return analyse(bench, "phonons", crystal(bench), "--resume")


@case("phonons", "--resume in a folder whose relaxed.xyz is empty", "refuses", r"relaxed\.xyz", "--overwrite")
def _(bench: Bench) -> Outcome:
    (bench / "new").mkdir()
    (bench / "new/relaxed.xyz").write_text("")
    return analyse(bench, "phonons", crystal(bench), "--resume")


@case("phonons", "--resume and --overwrite", "refuses", "one of them")
def _(bench: Bench) -> Outcome:
    return analyse(bench, "phonons", crystal(bench), "--resume", "--overwrite")


@case("phonons", "--supercell '2 2'", "refuses", "supercell", "three")
def _(bench: Bench) -> Outcome:
    return analyse(bench, "phonons", crystal(bench), "--supercell", "2 2")


@case("phonons", "--supercell '0 2 2'", "refuses", "supercell", "positive")
def _(bench: Bench) -> Outcome:
    return analyse(bench, "phonons", crystal(bench), "--supercell", "0 2 2")


@case("phonons", "--temperature nan", "refuses", "temperature", "positive")
def _(bench: Bench) -> Outcome:
    return analyse(bench, "phonons", crystal(bench), "--temperature", "nan")


@case("phonons", "no BORN file at --born", "refuses", "BORN", "--born")
def _(bench: Bench) -> Outcome:
    return analyse(bench, "phonons", crystal(bench), "--born", "BORN")


@case("elastic", "an earlier result in the folder", "refuses", "new", "--overwrite")
def _(bench: Bench) -> Outcome:
    (bench / "new").mkdir()
    (bench / "new/elastic.json").write_text("{}")
    return analyse(bench, "elastic", crystal(bench))


@case("elastic", "--overwrite with a crystal that cannot be read: the earlier result stays", "refuses", r"bad\.cif")
def _(bench: Bench) -> Outcome:
    (bench / "new").mkdir()
    (bench / "new/elastic.json").write_text("{}")
    (bench / "bad.cif").write_text("no crystal")
    return analyse(bench, "elastic", "bad.cif", "--overwrite")


@case("elastic", "--precision float16", "refuses", "float16", "float64")
def _(bench: Bench) -> Outcome:
    return analyse(bench, "elastic", crystal(bench), "--precision", "float16")


@case("eos", "--points 2", "refuses", "points", "2", "four|4")
def _(bench: Bench) -> Outcome:
    return analyse(bench, "eos", crystal(bench), "--points", "2")


@case("eos", "--width -0.1", "refuses", "width", r"-0\.1")
def _(bench: Bench) -> Outcome:
    return analyse(bench, "eos", crystal(bench), "--width", "-0.1")


@case("eos", "--width 2", "refuses", "width", "2")
def _(bench: Bench) -> Outcome:
    return analyse(bench, "eos", crystal(bench), "--width", "2")


def equation(bench: Bench, model_energy: bool) -> None:
    """A run that was interrupted before its first point, with the energy of this model or of another."""
    from tesseral.interfaces.ase import Calculator
    from tesseral.interfaces.simulation import write_structure
    from tesseral.models import files

    (bench / "new").mkdir()
    atoms = bulk("Cu", "fcc", a=3.6)
    atoms.calc = Calculator(files.load(bench / "model.safetensors", dtype=torch.float64)[0])
    if not model_energy:
        atoms.calc = EMT()
    write_structure(atoms, bench / "new/relaxed.xyz")
    (bench / "new/points.csv").write_text("volume_A3,energy_eV\n")


@case("eos", "--resume with another model", "refuses", r"relaxed\.xyz", "another model", "--overwrite")
def _(bench: Bench) -> Outcome:
    equation(bench, False)
    return analyse(bench, "eos", crystal(bench), "--resume")


@case("eos", "--resume where points.csv is another table", "refuses", r"points\.csv", "--overwrite")
def _(bench: Bench) -> Outcome:
    equation(bench, True)
    (bench / "new/points.csv").write_text("a,b\n1,2\n")
    return analyse(bench, "eos", crystal(bench), "--resume")
