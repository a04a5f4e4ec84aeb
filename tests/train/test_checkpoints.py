"""What happens to files when disks fill, processes die, and two runs want one folder."""

import errno
import json
import os
import subprocess
import sys
import zipfile

import pytest
import torch

from tesseral.train import checkpoints
from tesseral.train.checkpoints import (
    CheckpointError,
    RunFolderError,
    load_checkpoint,
    locked,
    prepare_folder,
    save_checkpoint,
    write_atomically,
)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize(("code", "sentence"), [(errno.ENOSPC, "no space left"), (errno.EACCES, "cannot be written")])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, failing, code, sentence):
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, {"epoch": 1})

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(checkpoints.os, failing, fail)
    with pytest.raises(CheckpointError, match=f"{sentence}.*the previous last.ckpt is intact"):
        save_checkpoint(path, {"epoch": 2})
    monkeypatch.undo()
    assert load_checkpoint(path)["epoch"] == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full to stand for a full disk")
def test_a_full_disk_is_told_in_a_sentence(tmp_path, monkeypatch):
    import builtins

    real = builtins.open
    monkeypatch.setattr(builtins, "open", lambda path, *rest: real("/dev/full" if str(path).endswith(".tmp") else path, *rest))
    with pytest.raises(CheckpointError, match=r"no space left to write .*free some space and continue with --resume"):
        write_atomically(tmp_path / "last.ckpt", b"x" * 10**6)


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, {"epoch": 1})
    script = (
        "import os, signal, pathlib, tesseral.train.checkpoints as c\n"
        "c.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"c.write_atomically(pathlib.Path({str(path)!r}), b'half')\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert load_checkpoint(path)["epoch"] == 1


def test_the_content_comes_back(tmp_path):
    state = {"weights": {"a": torch.rand(3)}, "history": [{"epoch": 1}], "best": None, "text": "Å"}
    save_checkpoint(tmp_path / "a.ckpt", state)
    loaded = load_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(loaded["weights"]["a"], state["weights"]["a"])
    assert (loaded["history"], loaded["best"], loaded["text"]) == ([{"epoch": 1}], None, "Å")


def test_damaged_files_are_recognised(tmp_path):
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, {"weights": torch.arange(1000.0)})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="only half of one"):
        load_checkpoint(path)
    with zipfile.ZipFile(tmp_path / "good.zip", "w"):
        pass
    flipped = bytearray(content)
    position = content.index(torch.arange(1000.0).numpy().tobytes()) + 40
    flipped[position] ^= 1
    path.write_bytes(bytes(flipped))
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="a folder"):
        load_checkpoint(tmp_path)


def test_other_versions_and_other_programs(tmp_path):
    torch.save({"format": 99}, tmp_path / "new.ckpt")
    with pytest.raises(CheckpointError, match="format 99, this version of tesseral reads format 1"):
        load_checkpoint(tmp_path / "new.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="not a checkpoint of tesseral"):
        load_checkpoint(tmp_path / "other.ckpt")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "pickle.ckpt")  # would execute code
    with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
        load_checkpoint(tmp_path / "pickle.ckpt")


HOLD = """
import pathlib, sys, time, tesseral.train.checkpoints as c
with c.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_runs_in_one_folder(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match=rf"in use by a run \(process {holder.pid} on "), locked(tmp_path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    # The lock of a dead process binds nobody.
    assert json.loads((tmp_path / "run.lock").read_text())["pid"] == holder.pid
    with locked(tmp_path):
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunFolderError, match="is a file, or lies in one"), locked(path):
            pass


def test_an_earlier_run_is_neither_lost_nor_mixed(tmp_path):
    save_checkpoint(tmp_path / "last.ckpt", {"epoch": 3})
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(
        RunFolderError, match=r"holds a run \(last.ckpt\); continue it with --resume, discard it with --overwrite"
    ):
        prepare_folder(tmp_path, resume=False, overwrite=False)
    with pytest.raises(RunFolderError, match="one of them"):
        prepare_folder(tmp_path, resume=True, overwrite=True)
    assert prepare_folder(tmp_path, resume=True, overwrite=False)["epoch"] == 3
    assert prepare_folder(tmp_path, resume=False, overwrite=True) is None
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
    assert prepare_folder(tmp_path, resume=True, overwrite=False) is None
