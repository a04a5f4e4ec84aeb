"""Mistakes with weights of other programs."""

from __future__ import annotations

import collections
import pickle
from pathlib import Path

import torch
from bad_input_table import Bench, Outcome, case


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
