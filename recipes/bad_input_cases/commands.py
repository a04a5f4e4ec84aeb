"""The commands that use a model: predict, evaluate, relax, md, doctor, demo."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from bad_input_table import Bench, Outcome, case, crystals


@case("commands", "an unknown command (trian)", "refuses", "trian", "train")
def _(bench: Bench) -> Outcome:
    return bench.run("trian", "settings.yaml")


@case("commands", "an unknown option", "refuses", "--epochs")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "--epochs", "3")


@case("commands", "train without settings", "refuses", "config")
def _(bench: Bench) -> Outcome:
    return bench.run("train")


@case("commands", "predict over a file that is there", "refuses", r"mine\.xyz", "--overwrite")
def _(bench: Bench) -> Outcome:
    (bench / "mine.xyz").write_text("precious")
    return bench.run("predict", "model.safetensors", "good.xyz", "-o", "mine.xyz")


@case("commands", "predict --overwrite of its own input", "refuses", r"good\.xyz", "input|same")
def _(bench: Bench) -> Outcome:
    return bench.run("predict", "model.safetensors", "good.xyz", "-o", "good.xyz", "--overwrite")


@case("commands", "relax into its own input with --overwrite", "refuses", r"one\.xyz", "input|same")
def _(bench: Bench) -> Outcome:
    write(bench / "one.xyz", crystals(1)[0].copy())
    return bench.run("relax", "model.safetensors", "one.xyz", "-o", "one.xyz", "--overwrite", "--steps", "1")


@case("commands", "predict into a folder that is not there", "refuses", "nowhere", "folder|directory")
def _(bench: Bench) -> Outcome:
    return bench.run("predict", "model.safetensors", "good.xyz", "-o", "nowhere/new.xyz")


@case("commands", "predict into a folder", "refuses", "run", "folder|directory")
def _(bench: Bench) -> Outcome:
    return bench.run("predict", "model.safetensors", "good.xyz", "-o", "run", "--overwrite")


@case("commands", "predict: an element that the model does not know, in frame 2", "refuses", r"ag\.xyz", "2", "Ag")
def _(bench: Bench) -> Outcome:
    frames = [atoms.copy() for atoms in crystals(4)]
    frames[2].symbols[0] = "Ag"
    write(bench / "ag.xyz", frames)
    outcome = bench.run("predict", "model.safetensors", "ag.xyz", "-o", "new.xyz")
    if (bench / "new.xyz").exists():
        outcome.changed.append("new.xyz holds half of the frames")
    return outcome


@case("commands", "evaluate: an element that the model does not know", "refuses", r"ag\.xyz", "Ag")
def _(bench: Bench) -> Outcome:
    frames = crystals(4)
    frames[2].symbols[0] = "Ag"
    write(bench / "ag.xyz", frames, format="extxyz")
    return bench.run("evaluate", "model.safetensors", "ag.xyz")


@case("commands", "evaluate: frames without labels", "refuses", r"bare\.xyz", "label|energy")
def _(bench: Bench) -> Outcome:
    write(bench / "bare.xyz", [atoms.copy() for atoms in crystals(4)], format="extxyz")
    return bench.run("evaluate", "model.safetensors", "bare.xyz")


@case("commands", "evaluate: model and frames exchanged", "refuses", r"good\.xyz", "model")
def _(bench: Bench) -> Outcome:
    return bench.run("evaluate", "good.xyz", "model.safetensors")


@case("commands", "evaluate --output over the frames", "refuses", r"good\.xyz")
def _(bench: Bench) -> Outcome:
    return bench.run("evaluate", "model.safetensors", "good.xyz", "-o", "good.xyz")


def structure(bench: Bench, symbol: str = "Cu") -> None:
    atoms = bulk(symbol, "fcc", a=3.7, cubic=True)
    write(bench / "one.xyz", atoms, format="extxyz")


def md(bench: Bench, *options: object) -> Outcome:
    if not (bench / "one.xyz").exists():
        structure(bench)
    return bench.run("md", "model.safetensors", "one.xyz", "-o", "traj.xyz", "--time", "0.01", "--every", "1", *options)


@case("commands", "md: an element that the model does not know", "refuses", r"one\.xyz", "Ag")
def _(bench: Bench) -> Outcome:
    structure(bench, "Ag")
    return md(bench)


@case("commands", "md: a timestep of 1000 fs", "refuses", "timestep", "1000", "50")
def _(bench: Bench) -> Outcome:
    return bench.run(
        "md", "model.safetensors", *(structure(bench) or ("one.xyz",)), "-o", "traj.xyz", "--time", "10", "--timestep", "1000"
    )


@case("commands", "md: a timestep of 30 fs", "warns", "timestep", "30.* fs", "Cu")
def _(bench: Bench) -> Outcome:
    return bench.run(
        "md", "model.safetensors", *(structure(bench) or ("one.xyz",)), "-o", "traj.xyz", "--time", "0.3", "--timestep", "30"
    )


@case("commands", "md: a negative timestep", "refuses", "timestep", "-1")
def _(bench: Bench) -> Outcome:
    return md(bench, "--timestep", "-1")


@case("commands", "md: a negative temperature", "refuses", "temperature", "-300")
def _(bench: Bench) -> Outcome:
    return md(bench, "--temperature", "-300")


@case("commands", "md: temperature NaN", "refuses", "temperature", "nan")
def _(bench: Bench) -> Outcome:
    return md(bench, "--temperature", "nan")


@case("commands", "md: an ensemble that does not exist", "refuses", "nev", "nve", "nvt")
def _(bench: Bench) -> Outcome:
    return md(bench, "--ensemble", "nev")


@case("commands", "md: a frame every 0 steps", "refuses", "every", "0")
def _(bench: Bench) -> Outcome:
    return md(bench, "--every", "0")


@case("commands", "md: shorter than a step", "refuses", "time", "step")
def _(bench: Bench) -> Outcome:
    return md(bench, "--time", "0")


@case("commands", "md: over a trajectory that is there", "refuses", r"traj\.xyz", "--overwrite|--resume")
def _(bench: Bench) -> Outcome:
    (bench / "traj.xyz").write_text("precious")
    return md(bench)


@case("commands", "md --overwrite with a bad setting keeps the old trajectory", "refuses", "timestep", "-1")
def _(bench: Bench) -> Outcome:
    (bench / "traj.xyz").write_text("precious")
    (bench / "traj.csv").write_text("precious")
    return md(bench, "--timestep", "-1", "--overwrite")


@case("commands", "md --overwrite of its own input", "refuses", r"one\.xyz", "input")
def _(bench: Bench) -> Outcome:
    structure(bench)
    return bench.run("md", "model.safetensors", "one.xyz", "-o", "one.xyz", "--time", "0.01", "--overwrite")


@case("commands", "md: a table of the user where the energies will go", "refuses", r"traj\.csv", "--overwrite")
def _(bench: Bench) -> Outcome:
    (bench / "traj.csv").write_text("precious")
    return md(bench)


@case("commands", "md --resume of a file of the user without a last line break", "refuses", r"traj\.xyz", "step")
def _(bench: Bench) -> Outcome:
    structure(bench)
    (bench / "traj.xyz").write_text((bench / "one.xyz").read_text().rstrip())
    return md(bench, "--resume")


@case("commands", "md --resume of a file that is no trajectory", "refuses", r"traj\.xyz")
def _(bench: Bench) -> Outcome:
    (bench / "traj.xyz").write_text("precious")
    return md(bench, "--resume")


@case("commands", "md --resume of a trajectory of another structure", "refuses", r"traj\.xyz", "atoms|structure")
def _(bench: Bench) -> Outcome:
    write(bench / "traj.xyz", bulk("Au", "fcc", a=4.0, cubic=True), format="extxyz")
    return md(bench, "--resume")


@case("commands", "md --resume of a trajectory whose last frame is cut", "works", may_change=("traj.xyz", "traj.csv"))
def _(bench: Bench) -> Outcome:
    first = md(bench)
    if first.status:
        return first
    text = (bench / "traj.xyz").read_text()
    (bench / "traj.xyz").write_text(text[:-90])
    outcome = bench.run("md", "model.safetensors", "one.xyz", "-o", "traj.xyz", "--time", "0.02", "--every", "1", "--resume")
    if outcome.status == 0 and len(read(bench / "traj.xyz", ":")) != 41:
        outcome.changed.append(f"{len(read(bench / 'traj.xyz', ':'))} frames instead of 41")
    return outcome


@case("commands", "relax: a negative fmax", "refuses", "fmax", "-1")
def _(bench: Bench) -> Outcome:
    structure(bench)
    return bench.run("relax", "model.safetensors", "one.xyz", "-o", "new.xyz", "--fmax", "-1")


@case("commands", "relax --cell of a molecule without a cell", "refuses", r"one\.xyz", "--cell", "pbc")
def _(bench: Bench) -> Outcome:
    write(bench / "one.xyz", Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.4]]), format="extxyz")
    return bench.run("relax", "model.safetensors", "one.xyz", "-o", "new.xyz", "--cell")


@case("commands", "relax: it does not converge in the steps given", "warns", "not relaxed", "steps")
def _(bench: Bench) -> Outcome:
    write(bench / "one.xyz", crystals(1)[0].copy(), format="extxyz")
    return bench.run("relax", "model.safetensors", "one.xyz", "-o", "new.xyz", "--steps", "1", "--fmax", "1e-9")


@case("commands", "relax: two atoms at the same place", "refuses", r"one\.xyz", "atoms")
def _(bench: Bench) -> Outcome:
    write(bench / "one.xyz", Atoms("Cu2", positions=np.zeros((2, 3))), format="extxyz")
    return bench.run("relax", "model.safetensors", "one.xyz", "-o", "new.xyz")


@case("commands", "precision float16", "refuses", "float16", "float64")
def _(bench: Bench) -> Outcome:
    return bench.run("predict", "model.safetensors", "good.xyz", "-o", "new.xyz", "--precision", "float16")


@case("commands", "selftest on a structure with an unknown element", "refuses", r"one\.xyz", "Ag")
def _(bench: Bench) -> Outcome:
    structure(bench, "Ag")
    return bench.run("selftest", "model.safetensors", "--structure", "one.xyz")


@case("commands", "doctor: a negative cutoff", "refuses", "cutoff", "-1")
def _(bench: Bench) -> Outcome:
    return bench.run("doctor", "good.xyz", "--cutoff", "-1")


@case("commands", "doctor: a file of which frame 3 is bad, among good ones", "refuses", r"bad\.xyz", "3")
def _(bench: Bench) -> Outcome:
    frames = crystals()
    frames[3].calc.results["energy"] = np.nan
    write(bench / "bad.xyz", frames, format="extxyz")
    return bench.run("doctor", "good.xyz", "bad.xyz", "--cutoff", "3")


@case("commands", "demo for minus five minutes", "refuses", "minutes", "-5")
def _(bench: Bench) -> Outcome:
    return bench.run("demo", "--minutes", "-5", "-o", "new")
