"""Settings with wrong names, types, numbers or combinations."""

from __future__ import annotations

import shutil

import numpy as np
from bad_input_table import SETTINGS, Bench, Outcome, case, crystals


@case("settings", "a typo (optimiser.lr)", "refuses", "optimiser", "optimizer")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "optimiser.lr=0.001")


@case("settings", "a typo in the file (max_epoch)", "refuses", r"settings\.yaml", "max_epoch", "max_epochs")
def _(bench: Bench) -> Outcome:
    bench.settings(SETTINGS.replace("max_epochs", "max_epoch"))
    return bench.train()


@case("settings", "a wrong type (batch_size: five)", "refuses", "batch_size", "five", "integer|number")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "batch_size=five")


@case("settings", "a negative batch size", "refuses", "batch_size", "-3", "greater|positive|least")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "batch_size=-3")


@case("settings", "a word where an average number of neighbours goes", "refuses", "num_neighbors", "many")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.num_neighbors=many")


@case("settings", "a negative cutoff", "refuses", "cutoff", "-5")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.cutoff=-5")


@case("settings", "learning rate NaN", "refuses", "lr", "nan")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "optimizer.lr=.nan")


@case("settings", "learning rate 1e8: the loss explodes", "refuses", "lr|learning rate", "(?i)nan|finite|diverge")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "optimizer.lr=1e8", "max_epochs=4", "schedule={name: constant}", "clip_gradients=null")


@case("settings", "1e-3 as YAML reads it (a string)", "works")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "optimizer.lr=1e-3")


@case("settings", "a YAML syntax error", "refuses", r"settings\.yaml", "line 1|line 2")
def _(bench: Bench) -> Outcome:
    bench.settings("data: {train: good.xyz\nmodel: ]\n")
    return bench.train()


@case("settings", "a tab in YAML", "refuses", r"settings\.yaml", "tab|line 2")
def _(bench: Bench) -> Outcome:
    bench.settings("data:\n\ttrain: good.xyz\n")
    return bench.train()


@case("settings", "a key given twice", "refuses", r"settings\.yaml", "max_epochs", "twice|duplicate")
def _(bench: Bench) -> Outcome:
    bench.settings(SETTINGS + "max_epochs: 2\n")
    return bench.train()


@case("settings", "an empty settings file", "refuses", r"settings\.yaml", "data", "missing")
def _(bench: Bench) -> Outcome:
    bench.settings("")
    return bench.train()


@case("settings", "a list instead of a mapping", "refuses", r"settings\.yaml", "list|mapping|key")
def _(bench: Bench) -> Outcome:
    bench.settings("- data\n- model\n")
    return bench.train()


@case("settings", "a settings file that is not UTF-8", "refuses", r"settings\.yaml", "UTF-8")
def _(bench: Bench) -> Outcome:
    (bench / "settings.yaml").write_bytes((SETTINGS + "# Größe\n").encode("latin-1"))
    return bench.train()


@case("settings", "binary junk as settings", "refuses", r"settings\.yaml")
def _(bench: Bench) -> Outcome:
    (bench / "settings.yaml").write_bytes(np.random.default_rng(0).bytes(500))
    return bench.train()


@case("settings", "the data file as settings", "refuses", r"good\.xyz", "settings|config|YAML")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "good.xyz", "-o", "new")


@case("settings", "the settings file is not there", "refuses", r"seting\.yaml", "settings|config|no file")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "seting.yaml", "-o", "new")


@case("settings", "an override without =", "refuses", "max_epochs", "=")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "max_epochs")


@case("settings", "an override with spaces round = ('max_epochs', '=', '3')", "refuses", "max_epochs|=", "key=value")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "max_epochs", "=", "3")


@case("settings", "an override into a number (batch_size.x=1)", "refuses", "batch_size")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "batch_size.x=1")


@case("settings", "an override that is no YAML (model.channels=[4,)", "refuses", r"model\.channels", r"\[4,")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.channels=[4,")


@case("settings", "a model that does not exist", "refuses", "model|name", "nequik", "nequip")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.name=nequik")


@case("settings", "species that miss an element of the data", "refuses", "species", "Au|79")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "model.species=[29]")


@case("settings", "validation split larger than the data (valid=100)", "refuses", "valid", "100", "24")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "data.split.valid=100")


@case("settings", "valid=0.7 and test=0.5 of the frames", "refuses", "valid|test", "24|0.7")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "data.split.valid=0.7", "data.split.test=0.5")


@case("settings", "split by group, but no key of groups", "refuses", "group")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "data.split.method=group")


@case("settings", "a split file of other data", "refuses", r"split\.json", "frames|data|file")
def _(bench: Bench) -> Outcome:
    shutil.copy(bench / "run/split.json", bench / "split.json")
    return bench.train(crystals(9), "data.split_file=split.json")


@case("settings", "a split file that is no JSON", "refuses", r"split\.json", "JSON|split")
def _(bench: Bench) -> Outcome:
    (bench / "split.json").write_text("{train: [0, 1")
    return bench.train(None, "data.split_file=split.json")


@case("settings", "atomic energies from a dictionary that misses gold", "refuses", "Au|79", "atomic_energies")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "atomic_energies.source=dictionary", "atomic_energies.values={Cu: -1.0}")


@case("settings", "atomic energies of isolated atoms that are not there", "refuses", "isolated")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "atomic_energies.source=isolated")


@case("settings", "a time limit that is no time", "refuses", "max_time", "soon")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "max_time=soon")


@case("settings", "a graphics processor that is not there", "refuses", "accelerator|CUDA|cuda")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "accelerator=cuda")


@case("settings", "a backend that does not exist", "refuses", "backend|auto", "reference")
def _(bench: Bench) -> Outcome:
    return bench.run("train", "settings.yaml", "-o", "new", "--backend", "cpp")


@case("settings", "no weight in the loss at all", "refuses", "loss", "weight")
def _(bench: Bench) -> Outcome:
    return bench.train(None, "loss.energy.weight=0", "loss.forces.weight=0")


@case("settings", "--keys that are no YAML", "refuses", "keys")
def _(bench: Bench) -> Outcome:
    return bench.run("doctor", "good.xyz", "--keys", "{energy: ")


@case("settings", "--units with an unknown key", "refuses", "enery", "energy")
def _(bench: Bench) -> Outcome:
    return bench.run("evaluate", "model.safetensors", "good.xyz", "--units", "{enery: eV}")
