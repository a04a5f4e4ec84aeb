"""Runs that were stopped, spoilt, moved or started twice, and their checkpoints."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import time
from pathlib import Path

from ase.io import write
from bad_input_table import Bench, Outcome, case, crystals


class Malice:
    def __reduce__(self) -> tuple:
        return os.system, ("touch owned",)


MALICE = pickle.dumps(Malice())


def checkpoints(bench: Bench) -> list[Path]:
    found = [
        path for path in (bench / "run").rglob("*") if path.is_file() and re.search(r"checkpoint|last|\.ckpt|\.pt$", path.name)
    ]
    if not found:
        raise FileNotFoundError(f"no checkpoint among {sorted(p.name for p in (bench / 'run').rglob('*'))}")
    return found


@case("runs", "the output folder holds a run", "refuses", "run", "--resume", "--overwrite")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "-o", "run")


@case("runs", "the output folder holds other files of the user", "refuses", "mine")
def _(bench: Bench) -> Outcome:
    (bench / "mine").mkdir()
    (bench / "mine/model.safetensors").write_text("precious")
    (bench / "mine/thesis.tex").write_text("precious")
    return bench.run("train", "settings.yaml", "-o", "mine")


@case("runs", "--overwrite of a folder with other files of the user", "works", may_change=("run/",))
def _(bench: Bench) -> Outcome:
    (bench / "run/thesis.tex").write_text("precious")
    outcome = bench.run("train", "settings.yaml", "-o", "run", "--overwrite")
    if not (bench / "run/thesis.tex").exists():
        outcome.changed.append("thesis.tex")
    return outcome


@case("runs", "--overwrite with bad data keeps the old run", "refuses", r"god\.xyz")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "data.train=god.xyz", "-o", "run", "--overwrite")


@case("runs", "--resume and --overwrite together", "refuses", "--resume", "--overwrite")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "-o", "run", "--resume", "--overwrite")


@case("runs", "--resume where there is no run: a new one begins", "warns", "nothing to resume", "new")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "-o", "new", "--resume")


@case("runs", "--resume with another model (channels 8)", "refuses", r"model\.channels", "8", "4")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "model.channels=8", "max_epochs=2", "-o", "run", "--resume")


@case("runs", "--resume with another batch size", "refuses", "batch_size")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "batch_size=2", "max_epochs=2", "-o", "run", "--resume")


@case("runs", "--resume after the data changed", "refuses", "run", "other training frames")
def _(bench: Bench) -> Outcome:
    write(bench / "good.xyz", crystals(20, seed=5), format="extxyz")
    return bench.run("train", "settings.yaml", "max_epochs=2", "-o", "run", "--resume")


@case("runs", "--resume of a finished run", "works", may_change=("run/",))
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "-o", "run", "--resume")


@case("runs", "a half-written checkpoint", "refuses", "run", "checkpoint")
def _(bench: Bench) -> Outcome:
    for path in checkpoints(bench):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return bench.run("train", "settings.yaml", "max_epochs=2", "-o", "run", "--resume")


@case("runs", "an empty checkpoint", "refuses", "run", "checkpoint")
def _(bench: Bench) -> Outcome:
    for path in checkpoints(bench):
        path.write_bytes(b"")
    return bench.run("train", "settings.yaml", "max_epochs=2", "-o", "run", "--resume")


@case("runs", "a checkpoint of another version", "refuses", "run", "checkpoint", "version|format")
def _(bench: Bench) -> Outcome:
    import torch

    for path in checkpoints(bench):
        if path.suffix != ".json":
            content = torch.load(path, weights_only=False)
            content["format"] = 99
            torch.save(content, path)
    return bench.run("train", "settings.yaml", "max_epochs=2", "-o", "run", "--resume")


@case("runs", "a pickle that would run code, as a checkpoint", "refuses", "run", "checkpoint")
def _(bench: Bench) -> Outcome:
    for path in checkpoints(bench):
        path.write_bytes(MALICE)
    outcome = bench.run("train", "settings.yaml", "max_epochs=2", "-o", "run", "--resume")
    if (bench / "owned").exists():
        outcome.changed.append("code of the pickle was run")
    return outcome


@case("runs", "two runs into one folder at the same time", "refuses", "new", "another|running|process|already")
def _(bench: Bench) -> Outcome:
    first = bench.start("train", "settings.yaml", "max_epochs=400", "max_time=40", "-o", "new")
    until = time.monotonic() + 120
    while not list(bench.folder.glob("new/*.csv")) and time.monotonic() < until:
        time.sleep(0.2)
    second = bench.wait(bench.start("train", "settings.yaml", "-o", "new", "--overwrite"))
    finished = bench.wait(first)
    if finished.status:
        second.changed.append("the first run failed: " + message(finished.text))
    return second


@case("runs", "kill -9, then --resume", "works")
def _(bench: Bench) -> Outcome:
    first = bench.start("train", "settings.yaml", "max_epochs=8", "-o", "new")
    until = time.monotonic() + 120
    while not (bench / "new/last.ckpt").exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(first[0], signal.SIGKILL)
    bench.wait(first)
    outcome = bench.run("train", "settings.yaml", "max_epochs=8", "-o", "new", "--resume")
    outcome.changed = ["the run began anew"] if "nothing to resume" in outcome.text else []
    return outcome


@case("runs", "Ctrl-C while training", "refuses", "--resume|resume")
def _(bench: Bench) -> Outcome:
    first = bench.start("train", "settings.yaml", "max_epochs=10000", "-o", "new")
    until = time.monotonic() + 120
    while not list(bench.folder.glob("new/*.csv")) and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(first[0], signal.SIGINT)
    return bench.wait(first)


@case(
    "runs",
    "a full disk (a file system of 48 kB; without the right to mount one, files of at most 20 kB)",
    "refuses",
    "space|large|disk",
    "new",
)
def _(bench: Bench) -> Outcome:
    disk = bench / "new"
    disk.mkdir()
    if (
        os.geteuid() == 0
        and not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk], check=False).returncode
    ):
        try:
            return bench.run("train", "settings.yaml", "model.channels=32", "max_epochs=3", "-o", "new")
        finally:
            subprocess.run(["umount", "-l", disk], check=True)
    return bench.train(None, limit=20_000)


@case("runs", "files may not grow beyond 20 kB", "refuses", "large|space|disk", "new")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.channels=32", limit=20_000)


@case("runs", "a full disk while resuming keeps the last checkpoint", "refuses", "large|space|disk")
def _(bench: Bench) -> Outcome:
    outcome = bench.run("train", "settings.yaml", "max_epochs=3", "-o", "run", "--resume", limit=5_000)
    kept = bench.run("train", "settings.yaml", "max_epochs=3", "-o", "run", "--resume")
    outcome.changed = [] if kept.status == 0 else ["no longer resumes: " + message(kept.text)]
    return outcome


@case("runs", "the output folder is a file", "refuses", "taken", "file|folder")
def _(bench: Bench) -> Outcome:
    (bench / "taken").write_text("precious")
    return bench.run("train", "settings.yaml", "-o", "taken")


@case("runs", "the output folder cannot be written", "refuses", "permission|cannot be used", "proc|locked")
def _(bench: Bench) -> Outcome:
    if os.geteuid() == 0:
        return bench.run("train", "settings.yaml", "-o", "/proc/locked")
    (bench / "locked").mkdir(mode=0o500)
    return bench.run("train", "settings.yaml", "-o", "locked")
