"""Model files that are broken, foreign, malicious or of another version."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from bad_input_table import Bench, Outcome, case

from bad_input_cases.runs import MALICE, checkpoints


def predict(bench: Bench, model: str) -> Outcome:
    return bench.run("predict", model, "good.xyz", "-o", "new.xyz")


@case("models", "a half-written model file", "refuses", r"half\.safetensors", "not written to the end")
def _(bench: Bench) -> Outcome:
    content = (bench / "model.safetensors").read_bytes()
    (bench / "half.safetensors").write_bytes(content[: len(content) // 2])
    return predict(bench, "half.safetensors")


@case("models", "an empty model file", "refuses", r"none\.safetensors")
def _(bench: Bench) -> Outcome:
    (bench / "none.safetensors").write_bytes(b"")
    return predict(bench, "none.safetensors")


@case("models", "a pickle as a model", "refuses", r"model\.pt", "pickle|safetensors")
def _(bench: Bench) -> Outcome:
    (bench / "model.pt").write_bytes(MALICE)
    outcome = predict(bench, "model.pt")
    if (bench / "owned").exists():
        outcome.changed.append("code of the pickle was run")
    return outcome


@case("models", "a pickle named model.safetensors", "refuses", r"evil\.safetensors")
def _(bench: Bench) -> Outcome:
    (bench / "evil.safetensors").write_bytes(MALICE)
    return predict(bench, "evil.safetensors")


@case("models", "a folder as a model", "refuses", "run", "folder|directory", r"model\.safetensors")
def _(bench: Bench) -> Outcome:
    return predict(bench, "run")


@case("models", "a model file that is not there", "refuses", r"modle\.safetensors")
def _(bench: Bench) -> Outcome:
    return predict(bench, "modle.safetensors")


@case("models", "a checkpoint as a model", "refuses", "pickle", r"run/model\.safetensors")
def _(bench: Bench) -> Outcome:
    return predict(bench, str(checkpoints(bench)[0].relative_to(bench.folder)))


@case("models", "safetensors of another program", "refuses", r"other\.safetensors", "tesseral")
def _(bench: Bench) -> Outcome:
    import torch
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(3)}, bench / "other.safetensors")
    return predict(bench, "other.safetensors")


def rewritten(bench: Bench, name: str, change: Callable[[dict, dict], None]) -> str:
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(bench / "model.safetensors", "pt") as file:
        metadata, tensors = dict(file.metadata()), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    change(metadata, tensors)
    save_file(tensors, bench / name, metadata)
    return name


@case("models", "a model file of a later format", "refuses", r"later\.safetensors", "schema")
def _(bench: Bench) -> Outcome:
    def change(metadata: dict, tensors: dict) -> None:
        for key, value in metadata.items():
            metadata[key] = re.sub(r'("schema_version": *)(\d+)', r"\g<1>99", value)

    return predict(bench, rewritten(bench, "later.safetensors", change))


@case("models", "a model file that lacks a tensor", "refuses", r"lacks\.safetensors")
def _(bench: Bench) -> Outcome:
    return predict(bench, rewritten(bench, "lacks.safetensors", lambda metadata, tensors: tensors.pop(sorted(tensors)[0])))


@case("models", "a model file with NaN in its weights", "refuses", r"nan\.safetensors", "(?i)nan|finite")
def _(bench: Bench) -> Outcome:
    return predict(
        bench,
        rewritten(
            bench,
            "nan.safetensors",
            lambda metadata, tensors: [t.fill_(np.nan) for t in tensors.values() if t.is_floating_point()],
        ),
    )
