"""Bad inputs for what is done with a model: symmetry, phonons, elastic, eos, import, lammps, dispersion, evaluate, md, train.

    python recipes/bad_inputs_analysis.py --fork                   # all cases; rewrites docs/bad_inputs_analysis.md, minutes
    python recipes/bad_inputs_analysis.py --only phonons --fork    # the cases of one command

What makes a case good is said in bad_input_table.py; bad_inputs.py has the mistakes in data and settings. The model knows
copper and gold; crystals are copper, the molecule is Cu2.
"""

from __future__ import annotations

import collections
import json
import pickle
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import write
from bad_input_table import Bench, Document, Outcome, case, crystals, run_cases

CRYSTAL_COMMANDS = ("phonons", "elastic", "eos")
BUILT = ("mace", "allegro", "equiformer_v2")


def crystal(bench: Bench, name: str = "cu.xyz", **changes: object) -> str:
    """Copper in a file, with arrays of ASE's object replaced."""
    atoms = bulk("Cu", "fcc", a=3.6)
    for key, value in changes.items():
        setattr(atoms, key, value)
    write(bench / name, atoms, format="extxyz")
    return name


def analyse(bench: Bench, command: str, structure: str, *options: object, model: str = "model.safetensors") -> Outcome:
    return bench.run(command, model, structure, "-o", "new", *options)


# Commands for crystals -------------------------------------------------------------------------------------------------------


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


# Symmetry --------------------------------------------------------------------------------------------------------------------


@case("symmetry", "the structure is missing", "refuses", r"absent\.cif", "does not exist")
def _(bench: Bench) -> Outcome:
    return bench.run("symmetry", "absent.cif")


@case("symmetry", "a file that is no structure", "refuses", r"settings\.yaml", "cannot be read")
def _(bench: Bench) -> Outcome:
    return bench.run("symmetry", "settings.yaml")


@case("symmetry", "an empty file", "refuses", r"empty\.cif")
def _(bench: Bench) -> Outcome:
    (bench / "empty.cif").write_text("")
    return bench.run("symmetry", "empty.cif")


@case("symmetry", "a slab, periodic in two directions", "refuses", "periodic", "pbc")
def _(bench: Bench) -> Outcome:
    return bench.run("symmetry", crystal(bench, pbc=[True, True, False]))


@case("symmetry", "--tolerance -1", "refuses", "tolerance", "-1")
def _(bench: Bench) -> Outcome:
    return bench.run("symmetry", crystal(bench), "--tolerance", "-1")


@case("symmetry", "a crystal and a molecule as its target", "refuses", "target", "periodic")
def _(bench: Bench) -> Outcome:
    write(bench / "water.xyz", molecule("H2O"), format="extxyz")
    return bench.run("symmetry", crystal(bench), "--target", "water.xyz")


@case("symmetry", "a target of another composition", "refuses", "target", "Cu")
def _(bench: Bench) -> Outcome:
    write(bench / "au.xyz", bulk("Au", "fcc", a=3.6), format="extxyz")
    return bench.run("symmetry", crystal(bench), "--target", "au.xyz")


@case("symmetry", "an earlier report in the folder", "refuses", r"report\.html", "--overwrite")
def _(bench: Bench) -> Outcome:
    (bench / "new").mkdir()
    (bench / "new/report.html").write_text("mine")
    return bench.run("symmetry", crystal(bench), "-o", "new")


@case("symmetry", "the output folder is a file", "refuses", r"good\.xyz", "folder")
def _(bench: Bench) -> Outcome:
    return bench.run("symmetry", crystal(bench), "-o", "good.xyz")


@case("symmetry", "names with spaces and Greek letters", "works", "Fm-3m")
def _(bench: Bench) -> Outcome:
    (bench / "größe α β").mkdir()
    return bench.run("symmetry", crystal(bench, "größe α β/Kupfer ψ.xyz"), "-o", "größe α β/bericht")


# Import ----------------------------------------------------------------------------------------------------------------------


def imported(bench: Bench, source: str, file: str, *options: object) -> Outcome:
    return bench.run("import", source, file, "-o", "new.safetensors", *options)


@case("import", "an unknown program", "refuses", "schnet", "mace", "nequip")
def _(bench: Bench) -> Outcome:
    return imported(bench, "schnet", "good.xyz")


@case("import", "the file is missing", "refuses", r"absent\.model")
def _(bench: Bench) -> Outcome:
    return imported(bench, "mace", "absent.model")


@case("import", "a file of frames", "refuses", r"good\.xyz", "torch.save")
def _(bench: Bench) -> Outcome:
    return imported(bench, "mace", "good.xyz")


@case("import", "an empty file", "refuses", r"empty\.model")
def _(bench: Bench) -> Outcome:
    (bench / "empty.model").write_bytes(b"")
    return imported(bench, "mace", "empty.model")


@case("import", "a pickle that torch did not write", "refuses", r"some\.pkl", "torch.save")
def _(bench: Bench) -> Outcome:
    (bench / "some.pkl").write_bytes(pickle.dumps({"a": 1}))
    return imported(bench, "mace", "some.pkl")


class Malice:
    """A pickle that would write a file when it is loaded."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("owned"),)


@case("import", "a pickle that would run a program", "refuses", r"evil\.model")
def _(bench: Bench) -> Outcome:
    torch.save(Malice(), bench / "evil.model")
    outcome = imported(bench, "mace", "evil.model")
    outcome.changed += ["owned"] if (bench / "owned").exists() else []
    return outcome


@case("import", "weights without the model, for mace", "refuses", r"weights\.model", "architecture|mace")
def _(bench: Bench) -> Outcome:
    torch.save(collections.OrderedDict(a=torch.ones(3)), bench / "weights.model")
    return imported(bench, "mace", "weights.model")


@case("import", "weights without settings, for nequip", "refuses", r"weights\.ckpt", "nequip")
def _(bench: Bench) -> Outcome:
    torch.save({"state_dict": {"a": torch.ones(3)}}, bench / "weights.ckpt")
    return imported(bench, "nequip", "weights.ckpt")


@case("import", "a checkpoint cut short", "refuses", r"half\.ckpt")
def _(bench: Bench) -> Outcome:
    torch.save({"state_dict": {"a": torch.ones(3000)}}, bench / "half.ckpt")
    data = (bench / "half.ckpt").read_bytes()
    (bench / "half.ckpt").write_bytes(data[: len(data) // 2])
    return imported(bench, "nequip", "half.ckpt")


@case("import", "the checkpoint of a run of tesseral", "refuses", r"last\.ckpt")
def _(bench: Bench) -> Outcome:
    return imported(bench, "nequip", "run/last.ckpt")


@case("import", "the output exists", "refuses", r"model\.safetensors", "--overwrite")
def _(bench: Bench) -> Outcome:
    return bench.run("import", "mace", "good.xyz", "-o", "model.safetensors")


# LAMMPS ----------------------------------------------------------------------------------------------------------------------


def script(bench: Bench, text: str, *options: object) -> Outcome:
    (bench / "in.script").write_text(text)
    return bench.run("lammps", "in.script", *options)


@case("lammps", "the script is missing", "refuses", r"absent\.script")
def _(bench: Bench) -> Outcome:
    return bench.run("lammps", "absent.script")


@case("lammps", "no pair_style", "refuses", "pair_style tesseral MODEL")
def _(bench: Bench) -> Outcome:
    return script(bench, "units metal\nrun 1\n")


@case("lammps", "two lines pair_style", "refuses", "2 lines", "expected one")
def _(bench: Bench) -> Outcome:
    return script(bench, 2 * "pair_style tesseral model.safetensors\npair_coeff * * Cu\n")


@case("lammps", "no pair_coeff", "refuses", r"pair_coeff \* \*", "element")
def _(bench: Bench) -> Outcome:
    return script(bench, "pair_style tesseral model.safetensors\nrun 1\n")


@case("lammps", "pair_coeff with an element that is none", "refuses", "Qq", "elements")
def _(bench: Bench) -> Outcome:
    return script(bench, "pair_style tesseral model.safetensors\npair_coeff * * Qq\n")


@case("lammps", "the model of the script is missing", "refuses", r"absent\.safetensors")
def _(bench: Bench) -> Outcome:
    return script(bench, "pair_style tesseral absent.safetensors\npair_coeff * * Cu\n")


@case("lammps", "--ranks 0", "refuses", "--ranks is 0", "positive")
def _(bench: Bench) -> Outcome:
    return script(bench, "pair_style tesseral model.safetensors\npair_coeff * * Cu\n", "--ranks", "0")


@case("lammps", "a script that is not UTF-8", "refuses", r"in\.script", "UTF-8")
def _(bench: Bench) -> Outcome:
    (bench / "in.script").write_bytes("# Größe\nrun 1\n".encode("latin-1"))
    return bench.run("lammps", "in.script")


# Dispersion ------------------------------------------------------------------------------------------------------------------


def dispersed(bench: Bench, *options: object, model: str = "model.safetensors", output: str = "d3.safetensors") -> Outcome:
    return bench.run("dispersion", model, "-o", output, *options)


@case("dispersion", "a model that does not say what its labels are", "refuses", "level-of-theory|dftd3")
def _(bench: Bench) -> Outcome:
    return dispersed(bench, "--functional", "pbe")


@case("dispersion", "no functional", "refuses", "functional")
def _(bench: Bench) -> Outcome:
    return dispersed(bench)


@case("dispersion", "a functional that does not exist", "refuses", "pbee|dftd3")
def _(bench: Bench) -> Outcome:
    return dispersed(bench, "--functional", "pbee", "--data-without-dispersion")


@case("dispersion", "the output is the model", "refuses", "is the input")
def _(bench: Bench) -> Outcome:
    return dispersed(bench, "--functional", "pbe", "--overwrite", output="model.safetensors")


@case("dispersion", "the folder of the output is missing", "refuses", "no folder")
def _(bench: Bench) -> Outcome:
    return dispersed(bench, "--functional", "pbe", output="nowhere/d3.safetensors")


# Evaluate, md ------------------------------------------------------------------------------------------------------------------


@case("evaluate", "the frames are missing", "refuses", r"absent\.xyz")
def _(bench: Bench) -> Outcome:
    return bench.run("evaluate", "model.safetensors", "absent.xyz")


@case("evaluate", "frames without labels", "refuses", r"bare\.xyz|energy", "keys")
def _(bench: Bench) -> Outcome:
    write(bench / "bare.xyz", [atoms.copy() for atoms in crystals(3)], format="extxyz")
    return bench.run("evaluate", "model.safetensors", "bare.xyz")


@case("evaluate", "the output is the frames", "refuses", "is the input")
def _(bench: Bench) -> Outcome:
    return bench.run("evaluate", "model.safetensors", "good.xyz", "-o", "good.xyz", "--overwrite")


@case("evaluate", "two files of one name in two folders: both are reported", "works", "a/same", "b/same")
def _(bench: Bench) -> Outcome:
    for folder in "ab":
        (bench / folder).mkdir()
        write(bench / f"{folder}/same.xyz", crystals(2, ord(folder)), format="extxyz")
    outcome = bench.run("evaluate", "model.safetensors", "a/same.xyz", "b/same.xyz", "--no-uncertainty", "-o", "errors.json")
    if (bench / "errors.json").exists():
        outcome.text += " ".join(json.loads((bench / "errors.json").read_text()))
    return outcome


def watched(bench: Bench, model: str, limit: str) -> Outcome:
    options = ("-o", "new.extxyz", "--max-uncertainty", limit, "--time", "0.001")
    return bench.run("md", model, crystal(bench), *options)


@case("md", "--max-uncertainty -1", "refuses", "uncertainty", "-1")
def _(bench: Bench) -> Outcome:
    return watched(bench, "model.safetensors", "-1")


@case("md", "--max-uncertainty nan", "refuses", "uncertainty", "nan")
def _(bench: Bench) -> Outcome:
    return watched(bench, "model.safetensors", "nan")


@case("md", "--max-uncertainty for a file that has lost its uncertainty", "refuses", "uncertainty", r"train|file")
def _(bench: Bench) -> Outcome:
    from tesseral.models import files

    model, _ = files.load(bench / "model.safetensors")
    files.save(model, bench / "unsure.safetensors")
    return watched(bench, "unsure.safetensors", "0.3")


# Train -------------------------------------------------------------------------------------------------------------------------


@case("train", "a model section without a name", "refuses", "model.name", "nequip", "mace")
def _(bench: Bench) -> Outcome:
    bench.settings("data: {train: good.xyz}\nmodel: {cutoff: 3.0}\n")
    return bench.run("train", "settings.yaml", "-o", "new")


@case("train", "a misspelt architecture (nequipp)", "refuses", "nequipp", "did you mean 'nequip'")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.name=nequipp")


for _name in BUILT:

    @case("train", f"settings of nequip for {_name}", "refuses", "unknown key", "model")
    def _(bench: Bench, name: str = _name) -> Outcome:
        bench.settings(f"data: {{train: good.xyz}}\nmodel: {{name: {name}, cutoff: 3.0, radial_chanels: 4}}\n")
        return bench.run("train", "settings.yaml", "-o", "new")


@case("train", "radial_knots -5", "refuses", "radial_knots", "-5")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.radial_knots=-5")


@case("train", "radial_knots 1", "refuses", "radial_knots", "1")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.radial_knots=1")


@case("train", "a misspelt optimizer (mun)", "refuses", "mun", "did you mean 'muon'")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "optimizer.name=mun")


@case("train", "muon with a negative rate", "refuses", r"optimizer\.lr", "-1")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "optimizer.name=muon", "optimizer.lr=-1")


@case("train", "mace with correlation 0", "refuses", "correlation", "0")
def _(bench: Bench) -> Outcome:
    bench.settings("data: {train: good.xyz}\nmodel: {name: mace, cutoff: 3.0, correlation: 0}\n")
    return bench.run("train", "settings.yaml", "-o", "new")


@case("train", "mace with a hidden that is no irreps", "refuses", "hidden", "16x")
def _(bench: Bench) -> Outcome:
    bench.settings("data: {train: good.xyz}\nmodel: {name: mace, cutoff: 3.0, hidden: 16x0e+16x}\n")
    return bench.run("train", "settings.yaml", "-o", "new")


@case("train", "equiformer_v2 with mmax larger than lmax", "refuses", "mmax", "lmax")
def _(bench: Bench) -> Outcome:
    bench.settings("data: {train: good.xyz}\nmodel: {name: equiformer_v2, cutoff: 3.0, lmax: 1, mmax: 3}\n")
    return bench.run("train", "settings.yaml", "-o", "new")


@case("train", "another run goes on in the folder", "refuses", "run", "in use|another")
def _(bench: Bench) -> Outcome:
    import fcntl

    with (bench / "run/run.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return bench.run("train", "settings.yaml", "-o", "run", "--resume")


def introduction(tried: int, good: int) -> str:
    return (
        f"{tried} mistakes, each tried on the command; {good} end as they should, in the sense of `bad_inputs.md`. Written by\n"
        "`python recipes/bad_inputs_analysis.py`, which says how each input is made and which words the message must contain."
    )


DOCUMENT = Document(
    Path(__file__).parents[1] / "docs/bad_inputs_analysis.md",
    "Bad inputs: analyses, imports, LAMMPS",
    introduction,
    tuple(f"tesseral.interfaces.{name}" for name in ("cli", "elastic", "import_weights", "phonons", "symmetry", "training")),
)


if __name__ == "__main__":
    raise SystemExit(run_cases(__doc__, DOCUMENT))
