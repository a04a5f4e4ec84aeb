"""docs/e3nn.md is complete, and every name it says is there, is there."""

import importlib
import pathlib
import re

import e3nn.io
import e3nn.math
import e3nn.math.perm
import e3nn.nn
import e3nn.o3
import pytest

TABLE = (pathlib.Path(__file__).parents[1] / "docs" / "e3nn.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines() if line.startswith("| ")]
ROWS = [row for row in ROWS if row[-1] in ("yes", "planned", "not needed")]
PERM = [name for name, value in vars(e3nn.math.perm).items() if callable(value) and value.__module__ == "e3nn.math.perm"]


@pytest.mark.parametrize("module", [e3nn.o3, e3nn.nn, e3nn.io, e3nn.math], ids=lambda m: m.__name__)
def test_no_public_name_of_e3nn_is_left_out(module):
    named = {name.split(".")[-1] for row in ROWS for name in re.findall(r"`([\w.]+)`", row[0])}
    assert not set(module.__all__) - named
    assert not set(PERM) - named


def names(row):
    """The places in tesseral that a row names."""
    if "the same names in" in row[1]:
        (room,) = re.findall(r"the same names in `([\w.]+)`", row[1])
        return [
            f"{room}.{name.split('.')[-1]}"
            for name in re.findall(r"`([\w.]+)`", row[0])
            if name not in ("math.perm", "util.test")
        ]
    return re.findall(r"`([\w.]+)`", row[1])


@pytest.mark.parametrize("row", [row for row in ROWS if row[-1] == "yes"], ids=lambda row: row[0][:60])
def test_what_the_table_promises_is_there(row):
    found = names(row)
    assert found
    for name in found:
        *path, last = name.split(".")
        module = importlib.import_module("torch.nn" if path[0] == "torch" else ".".join(["tesseral", *path]))
        if last == "o2":
            importlib.import_module("tesseral.groups.o2")
        else:
            assert hasattr(module, last), name


def test_nothing_is_left_to_plan():
    assert not [row[0] for row in ROWS if row[-1] == "planned"]
