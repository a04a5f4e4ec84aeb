"""Mistakes on the command line that end before any training: a sentence with the file and the cure, and every file as it was.

The whole table, each mistake in a process of its own, is written by recipes/bad_inputs.py.
"""

import shutil

import ase
import ase.build
import ase.io
import numpy as np
import pytest

from tesseral.models import build, files, parse_settings
from tests.data.made import crystal, ethanol, isolated_atoms
from tests.interfaces.test_cli import command

MODEL = "{name: nequip, cutoff: 3.0, layers: 1, channels: 4}"
SETTINGS = f"data: {{train: good.xyz}}\nmodel: {MODEL}\nmax_epochs: 1\ntensorboard: false\n"
RUN = ("train", "settings.yaml", "--output", "new")
CHANGED = {  # frames spoilt by a function of a frame and its index
    "bohr.xyz": lambda atoms, _: (atoms.set_cell(atoms.cell / 0.529), setattr(atoms, "positions", atoms.positions / 0.529)),
    "hartree.xyz": lambda atoms, _: atoms.calc.results.update(energy=atoms.calc.results["energy"] / 27.2114),
    "gradients.xyz": lambda atoms, _: atoms.calc.results.update(forces=-atoms.calc.results["forces"]),
    "kcal.xyz": lambda atoms, _: atoms.calc.results.update(
        {k: (v - 14.0 * (k == "energy")) * 23.06 for k, v in atoms.calc.results.items()}
    ),
    "pressure.xyz": lambda atoms, _: atoms.calc.results.update(stress=-atoms.calc.results["stress"]),
    "nan.xyz": lambda atoms, index: index == 5 and atoms.calc.results["forces"].__setitem__(0, np.nan),
    "zero.xyz": lambda atoms, _: atoms.calc.results.update(forces=0 * atoms.calc.results["forces"]),
    "one-place.xyz": lambda atoms, index: index == 4 and setattr(atoms, "positions", 0 * atoms.positions),
    "flat.xyz": lambda atoms, index: index == 2 and (atoms.set_cell(np.zeros((3, 3))), setattr(atoms, "pbc", True)),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Good and bad data, settings, an untrained model, and a folder that is not ours."""
    path = tmp_path_factory.mktemp("bad")
    settings = {"name": "nequip", "cutoff": 3.0, "layers": 1, "channels": 4, "species": (29, 79), "num_neighbors": 12.0}
    files.save(build(parse_settings(settings)), path / "model.safetensors")
    content = (path / "model.safetensors").read_bytes()
    (path / "half.safetensors").write_bytes(content[: len(content) // 2])
    (path / "settings.yaml").write_text(SETTINGS)
    ase.io.write(path / "good.xyz", crystal(8))
    for name, change in CHANGED.items():
        frames = ethanol(12) if name in ("hartree.xyz", "gradients.xyz") else crystal(12)
        for index, atoms in enumerate(frames):
            change(atoms, index)
        frames += isolated_atoms("Cu", "Au") if name == "kcal.xyz" else []
        ase.io.write(path / name, frames, format="extxyz")
    ase.io.write(path / "bare.xyz", [atoms.copy() for atoms in crystal(2)])
    ase.io.write(path / "silver.xyz", ase.build.bulk("Ag", cubic=True))
    (path / "latin.xyz").write_bytes(
        (path / "good.xyz").read_text().replace("Properties", "by=Schrödinger Properties", 1).encode("latin-1")
    )
    (path / "none.xyz").write_text('0\nProperties=species:S:1:pos:R:3 pbc="F F F"\n')
    (path / "mine").mkdir()
    (path / "mine" / "model.safetensors").write_text("precious")
    (path / "traj.xyz").write_text("precious")
    (path / "table.csv").write_text("precious")
    return path


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(prepared, copy)
    monkeypatch.chdir(copy)
    return copy


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((*RUN, "data.train=bohr.xyz"), ["bohr.xyz", "units.length to 'Bohr'"]),
        ((*RUN, "data.train=hartree.xyz"), ["hartree.xyz", "as if energies were in Hartree"]),
        ((*RUN, "data.train=kcal.xyz"), ["kcal.xyz", "kcal/mol", "units.energy"]),
        ((*RUN, "data.train=gradients.xyz"), ["gradients.xyz", "wrong sign"]),
        ((*RUN, "data.train=pressure.xyz"), ["pressure.xyz", "units.stress_sign"]),
        ((*RUN, "data.train=nan.xyz"), ["frame 5 of nan.xyz", "hold NaN"]),
        ((*RUN, "data.train=zero.xyz"), ["zero.xyz", "forces", "exactly zero"]),
        ((*RUN, "data.train=one-place.xyz"), ["frame 4 of one-place.xyz", "0.000 Å apart"]),
        ((*RUN, "data.train=flat.xyz"), ["frame 2 of flat.xyz", "pbc"]),
        ((*RUN, "data.train=bare.xyz"), ["bare.xyz", "no frame has energy"]),
        ((*RUN, "data.train=latin.xyz"), ["frame 0 of latin.xyz", "UTF-8"]),
        ((*RUN, "data.validation=good.xyz"), ["frame 0 of good.xyz", "is a validation frame"]),
        ((*RUN, "data.units.energy=ev2"), ["energy: unknown unit 'ev2'", "'eV'"]),
        ((*RUN, "data.split.valid=100"), ["good.xyz", "data.split.valid"]),
        ((*RUN, "--resume", "--overwrite"), ["--resume", "--overwrite"]),
        (("train", "settings.yaml", "--output", "mine"), ["mine holds", "model.safetensors", "--overwrite"]),
        (("train", "settings.yaml", "--output", "mine", "--resume"), ["mine holds", "no checkpoint"]),
        (("train", "settings.yaml", "--output", "table.csv"), ["table.csv is a file"]),
        (("train", "good.xyz"), ["good.xyz holds no settings", "tesseral config"]),
        (("predict", "half.safetensors", "good.xyz", "--output", "new.xyz"), ["half.safetensors", "not written to the end"]),
        (("predict", "model.safetensors", "none.xyz", "--output", "new.xyz"), ["frame 0 of none.xyz has no atoms"]),
        (("predict", "model.safetensors", "good.xyz", "--output", "good.xyz", "--overwrite"), ["good.xyz is the input"]),
        (("evaluate", "model.safetensors", "bare.xyz"), ["bare.xyz", "no frame has energy", "--keys"]),
        (("evaluate", "model.safetensors", "good.xyz", "--output", "table.csv"), ["table.csv exists", "--overwrite"]),
        (("relax", "model.safetensors", "good.xyz", "--output", "new.xyz", "--fmax", "-1"), ["--fmax is -1"]),
        (("relax", "model.safetensors", "one-place.xyz", "--output", "new.xyz"), ["frame 4 of one-place.xyz", "Å apart"]),
        (("selftest", "model.safetensors", "--structure", "silver.xyz"), ["silver.xyz", "not trained on Ag"]),
        (("md", "model.safetensors", "silver.xyz", "--output", "new.xyz"), ["silver.xyz", "not trained on Ag"]),
        (("md", "model.safetensors", "good.xyz", "--output", "new.xyz", "--timestep", "1000"), ["'timestep' is 1000", "50"]),
        (("md", "model.safetensors", "good.xyz", "--output", "new.xyz", "--every", "0"), ["'every' is 0"]),
        (("md", "model.safetensors", "good.xyz", "--output", "new.xyz", "--time", "inf"), ["--time"]),
        (("md", "model.safetensors", "good.xyz", "--output", "traj.xyz", "--overwrite", "--timestep", "-1"), ["timestep"]),
        (("md", "model.safetensors", "good.xyz", "--output", "good.xyz", "--overwrite"), ["good.xyz is the input"]),
        (("md", "model.safetensors", "good.xyz", "--output", "traj.xyz", "--resume"), ["traj.xyz is no extxyz file"]),
        (("md", "model.safetensors", "good.xyz", "--output", "table.xyz"), ["table.csv exists", "--overwrite"]),
        (("demo", "--minutes", "-5", "--output", "new"), ["--minutes is -5"]),
    ],
)  # fmt: skip
def test_nothing_is_lost_and_the_sentence_says_what_to_do(folder, capsys, words, says) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert command(*words) == 1
    printed = capsys.readouterr()
    text = " ".join((printed.out + printed.err).split())
    assert [part for part in says if part not in text] == [], text
    assert "Traceback" not in text
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_long_timestep_is_warned_of(folder, capsys) -> None:
    assert command("md", "model.safetensors", "good.xyz", "--output", "new.xyz", "--time", "0.06", "--timestep", "30") in (0, 1)
    assert "a timestep of 30.0 fs is long for Cu" in " ".join(capsys.readouterr().err.split())
