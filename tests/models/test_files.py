"""Model files: what comes back is what went in; every other file gets a sentence; nothing is lost or executed."""

import errno
import json
import os
import pickle
import struct
import subprocess
import sys

import ase.build
import pytest
import safetensors.torch
import torch

from tesseral.graph import build_graph
from tesseral.models import NequIPSettings, build, cast, files
from tesseral.models.files import KEY, Metadata, ModelFileError, load, read, save
from tesseral.nn.pair import ZBL, Sum

SETTINGS = NequIPSettings(species=(1, 6, 8), num_neighbors=8.0, layers=2, channels=4, cutoff=4.0)


def model(dtype=torch.float32, **changes):
    return build(
        SETTINGS.model_copy(update=changes),
        atomic_energies={1: -13.6, 6: -1029.1234567890123, 8: -2041.8},
        scales=1.7,
        dtype=dtype,
    )


@pytest.fixture
def ethanol():
    return build_graph(ase.build.molecule("CH3CH2OH"), 4.0)


@pytest.mark.parametrize(
    "make",
    [
        model,
        lambda: model(torch.float64),
        lambda: model(zbl=True),
        lambda: ZBL(3.0, (1, 6, 8), 4.0),
        lambda: Sum([model(), ZBL(3.0, (1, 6, 8))]),
    ],
)
def test_what_comes_back_is_what_went_in(tmp_path, ethanol, make):
    original = make()
    written = save(
        original, tmp_path / "m.safetensors", {"level_of_theory": "PBE0/def2-SVP", "errors": {"test": {"forces_rmse": 0.01}}}
    )
    loaded, metadata = load(tmp_path / "m.safetensors")
    assert torch.equal(loaded(ethanol), original(ethanol))
    assert metadata == written
    assert metadata.level_of_theory == "PBE0/def2-SVP"
    assert metadata.errors == {"test": {"forces_rmse": 0.01}}
    assert (metadata.cutoff, metadata.species) == (original.cutoff, original.species)
    assert metadata.dtype == str(original.dtype).removeprefix("torch.")
    assert not any(p.requires_grad for p in loaded.parameters())
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_energies_of_atoms_are_described_to_the_last_digit(tmp_path):
    save(model(), tmp_path / "m")
    _, metadata = load(tmp_path / "m")
    assert metadata.atomic_energies == {1: -13.6, 6: -1029.1234567890123, 8: -2041.8}
    assert metadata.units["stress"] == "eV/Å³"


def test_precision_may_be_chosen(tmp_path, ethanol):
    original = model()
    save(original, tmp_path / "m")
    double, _ = load(tmp_path / "m", dtype=torch.float64)
    assert double.readout.weight.dtype == torch.float64
    assert torch.equal(double(ethanol), cast(original, torch.float64)(ethanol))
    difference = (double(ethanol) - original(ethanol)).abs()
    assert 0 < difference < 1e-4
    back = cast(double, torch.float32)
    assert back.atomic_energies.dtype == torch.float64
    assert torch.equal(back(ethanol), original(ethanol))


def test_any_reader_of_safetensors_sees_the_description(tmp_path):
    save(model(), tmp_path / "m")
    with safetensors.safe_open(tmp_path / "m", "pt") as file:
        described = json.loads(file.metadata()[KEY])
    assert described["settings"]["name"] == "nequip"
    assert described["schema_version"] == files.SCHEMA_VERSION


def test_metadata_survives_a_second_save_and_unknown_entries_too(tmp_path):
    save(model(), tmp_path / "a", {"training": {"seed": 3}, "mood": "good"})
    loaded, metadata = load(tmp_path / "a")
    save(loaded, tmp_path / "b", metadata)
    again = load(tmp_path / "b")[1]
    assert again.training == {"seed": 3}
    assert again.model_extra == {"mood": "good"}


def test_no_length_of_a_header_looks_like_another_format(tmp_path):
    seen = set()
    for padding in range(0, 260, 4):
        save(ZBL(3.0, (1,)), tmp_path / "m", {"notes": "x" * padding})
        seen.add((tmp_path / "m").read_bytes()[0])
        load(tmp_path / "m")
    assert 0x80 in seen  # as pickles begin


def rewrite(path, edit):
    """The same file with its description edited, as another version would have written it."""
    with safetensors.safe_open(path, "pt") as file:
        described = json.loads(file.metadata()[KEY])
    edit(described)
    path.write_bytes(safetensors.torch.save(safetensors.torch.load_file(path), {KEY: json.dumps(described)}))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 0x10
    path.write_bytes(content)


def foreign(path):
    path.write_bytes(safetensors.torch.save({"x": torch.ones(3)}, {"format": "pt"}))


def folder(path):
    path.unlink()
    path.mkdir()


def pickled(path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(path) + ".executed",))

    path.write_bytes(pickle.dumps(Trap()))


BAD = {
    "absent": (lambda path: path.unlink(), "there is no file"),
    "empty": (lambda path: path.write_bytes(b""), "not written to the end"),
    "a few bytes": (lambda path: path.write_bytes(b"\x10\x00"), "not written to the end"),
    "half-written": (truncate, "not written to the end"),
    "half a header": (lambda path: path.write_bytes(path.read_bytes()[:200]), "not written to the end"),
    "flipped bit": (flip, "do not match their checksum"),
    "text": (lambda path: path.write_text("cutoff: 5.0\nmodel: nequip\n" * 30), "no model file of tesseral"),
    "huge header": (lambda path: path.write_bytes(struct.pack("<Q", 2**62) + b"{}"), "not written to the end"),
    "broken header": (lambda path: path.write_bytes(struct.pack("<Q", 9) + b'{"a": 1}}'), "damaged"),
    "other program": (foreign, "another program"),
    "torch.save": (lambda path: torch.save({"x": 1}, path), "pickle"),
    "pickle": (pickled, "pickle"),
    "folder": (folder, "is a folder"),
    "newer schema": (
        lambda path: rewrite(path, lambda d: d.update(schema_version=99, tesseral_version="9.9")),
        r"tesseral 9.9.*update",
    ),
    "schema no number": (lambda path: rewrite(path, lambda d: d.update(schema_version="one")), "another program"),
    "unknown architecture": (
        lambda path: rewrite(path, lambda d: d["settings"].update(name="oracle")),
        "does not know.*'oracle'",
    ),
    "unknown setting": (lambda path: rewrite(path, lambda d: d["settings"].update(magic=1)), "does not know.*magic"),
    "other shapes": (lambda path: rewrite(path, lambda d: d["settings"].update(channels=8)), "has shape"),
    "missing tensors": (lambda path: rewrite(path, lambda d: d["settings"].update(layers=3)), "tensors are missing"),
    "broken description": (lambda path: rewrite(path, lambda d: d.update(cutoff="far")), "cannot be read"),
    "unknown precision": (lambda path: rewrite(path, lambda d: d.update(dtype="float8_imaginary")), "precision"),
}


@pytest.mark.parametrize("fault", BAD)
def test_other_files_get_a_sentence(tmp_path, fault):
    path = tmp_path / "m.safetensors"
    save(model(), path)
    spoil, sentence = BAD[fault]
    spoil(path)
    with pytest.raises(ModelFileError, match=sentence) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.safetensors.executed").exists()


def test_older_schemas_are_migrated(tmp_path, monkeypatch, ethanol):
    original = model()
    save(original, tmp_path / "m")
    with safetensors.safe_open(tmp_path / "m", "pt") as file:
        described = json.loads(file.metadata()[KEY])
    tensors = safetensors.torch.load_file(tmp_path / "m")
    tensors["output.weight"] = tensors.pop("readout.weight")  # as if schema 1 had other names
    described["settings"]["reach"] = described["settings"].pop("cutoff")
    described["checksum"] = files._checksum(tensors)
    (tmp_path / "m").write_bytes(safetensors.torch.save(tensors, {KEY: json.dumps(described)}))

    def migrate(metadata, tensors):
        metadata["settings"]["cutoff"] = metadata["settings"].pop("reach")
        tensors["readout.weight"] = tensors.pop("output.weight")

    monkeypatch.setattr(files, "SCHEMA_VERSION", 2)
    monkeypatch.setitem(files.MIGRATIONS, 1, migrate)
    loaded, metadata = load(tmp_path / "m")
    assert metadata.schema_version == 2
    assert torch.equal(loaded(ethanol), original(ethanol))


def test_every_older_schema_has_a_migration():
    assert set(files.MIGRATIONS) == set(range(1, files.SCHEMA_VERSION))


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m"
    save(model(), path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelFileError, match=r"disk is full.*untouched"):
        save(model(torch.float64), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m"]


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(ModelFileError, match="there is no folder"):
        save(model(), tmp_path / "nowhere" / "m")
    with pytest.raises(ModelFileError, match="cannot write"):
        save(model(), tmp_path)


def test_a_model_of_another_library_is_refused(tmp_path):
    with pytest.raises(TypeError, match="no model of tesseral"):
        save(torch.nn.Linear(1, 1), tmp_path / "m")


def test_reading_the_description_builds_no_model(tmp_path):
    save(model(), tmp_path / "m", Metadata(notes="hello"))
    metadata, tensors = read(tmp_path / "m")
    assert metadata.notes == "hello"
    assert "readout.weight" in tensors


@pytest.mark.slow
def test_killed_while_writing(tmp_path):
    path = tmp_path / "m"
    save(model(), path)
    before = path.read_bytes()
    program = (
        "import os, signal; from tesseral.models import files; from tesseral.nn.pair import ZBL\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"files.save(ZBL(3.0, (1,)), {str(path)!r})"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert path.read_bytes() == before
    load(path)
