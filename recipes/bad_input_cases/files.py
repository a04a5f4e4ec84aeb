"""Data files that are absent, broken, of another format or unreadable."""

from __future__ import annotations

import gzip
import os
import shutil

import numpy as np
from bad_input_table import SETTINGS, Bench, Outcome, case


@case("files", "a file that is not there", "refuses", r"god\.xyz", "good|no file|not")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "data.train=god.xyz")


@case("files", "an empty file", "refuses", r"empty\.xyz", "empty|no frames")
def _(bench: Bench) -> Outcome:
    (bench / "empty.xyz").write_text("")
    return bench.train(None, "data.train=empty.xyz")


@case(
    "files",
    "an extended XYZ file that ends in the middle of a frame",
    "refuses",
    r"cut\.xyz",
    "frame 23|23",
    "ends|incomplete|atoms",
)
def _(bench: Bench) -> Outcome:
    text = (bench / "good.xyz").read_text()
    (bench / "cut.xyz").write_text(text[: -len(text) // 60])
    return bench.train(None, "data.train=cut.xyz")


@case(
    "files",
    "an extended XYZ file that ends after whole lines, before the last frame's last atom",
    "refuses",
    r"cut\.xyz",
    "frame 23|23",
    "ends|incomplete|atoms",
)
def _(bench: Bench) -> Outcome:
    lines = (bench / "good.xyz").read_text().splitlines()
    (bench / "cut.xyz").write_text("\n".join(lines[:-1]) + "\n")
    return bench.train(None, "data.train=cut.xyz")


@case("files", "bytes of a program, named .xyz", "refuses", r"junk\.xyz")
def _(bench: Bench) -> Outcome:
    (bench / "junk.xyz").write_bytes(np.random.default_rng(0).bytes(4000))
    return bench.train(None, "data.train=junk.xyz")


@case("files", "a text, named .xyz", "refuses", r"prose\.xyz")
def _(bench: Bench) -> Outcome:
    (bench / "prose.xyz").write_text("Dear reader,\nthis is no structure.\n")
    return bench.train(None, "data.train=prose.xyz")


@case("files", "a folder as data", "refuses", "run", "folder|directory")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "data.train=run")


@case("files", "a broken gzip file", "refuses", r"cut\.xyz\.gz")
def _(bench: Bench) -> Outcome:
    packed = gzip.compress((bench / "good.xyz").read_bytes())
    (bench / "cut.xyz.gz").write_bytes(packed[: len(packed) // 2])
    return bench.train(None, "data.train=cut.xyz.gz")


@case("files", "text, named .db (an ASE database)", "refuses", r"data\.db")
def _(bench: Bench) -> Outcome:
    (bench / "data.db").write_text("not a database\n" * 100)
    return bench.train(None, "data.train=data.db")


@case("files", "junk, named .lmdb", "refuses", r"data\.lmdb")
def _(bench: Bench) -> Outcome:
    (bench / "data.lmdb").write_bytes(b"\1" * 5000)
    return bench.train(None, "data.train=data.lmdb")


@case("files", "a file in Latin-1, not UTF-8", "refuses", r"latin\.xyz", "UTF-8")
def _(bench: Bench) -> Outcome:
    text = (bench / "good.xyz").read_text().replace("Properties=", "author=Schrödinger Properties=", 1)
    (bench / "latin.xyz").write_bytes(text.encode("latin-1"))
    return bench.train(None, "data.train=latin.xyz")


@case("files", "a data file without permission to read it", "refuses", r"secret\.xyz", "permission|read")
def _(bench: Bench) -> Outcome:
    if os.geteuid() == 0:  # root may read everything: a link that points nowhere is the nearest thing
        (bench / "secret.xyz").symlink_to("nowhere.xyz")
        outcome = bench.train(None, "data.train=secret.xyz")
        return Outcome(
            outcome.status, outcome.text + " [as root: a dangling link instead; no permission to read]", outcome.changed
        )
    shutil.copy(bench / "good.xyz", bench / "secret.xyz")
    (bench / "secret.xyz").chmod(0)
    return Outcome(**{**vars(bench.wait(bench.start("train", "settings.yaml", "data.train=secret.xyz", "-o", "new")))})


@case("files", "spaces, umlauts and Greek letters in paths", "works")
def _(bench: Bench) -> Outcome:
    (bench / "größe α β").mkdir()
    shutil.copy(bench / "good.xyz", bench / "größe α β" / "gute Daten ψ.xyz")
    bench.settings(SETTINGS.replace("good.xyz", '"größe α β/gute Daten ψ.xyz"'), "größe α β/set tings.yaml")
    bench.settings(SETTINGS.replace("good.xyz", '"gute Daten ψ.xyz"'), "größe α β/set tings2.yaml")
    outcome = bench.run("train", "größe α β/set tings.yaml", "-o", "größe α β/new run")
    if outcome.status:
        outcome = bench.run("train", "größe α β/set tings2.yaml", "-o", "größe α β/new run 2")
    return outcome
