"""Real clients, where their environments are at hand: the numbers of `python -m benchmarks.clients`."""

import os

import pytest

from benchmarks.clients.__main__ import differences, together, within
from benchmarks.clients.table import CLIENTS, interpreter


@pytest.mark.parametrize(("name", "ours"), [*((name, "tesseral") for name in CLIENTS), ("nequip", "fused"), ("mace", "fused")])
def test_the_same_numbers_on_tesseral_as_on_e3nn(name, ours):
    try:
        python = interpreter(name)
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    worst = differences(name, python, ours=ours)
    assert within(worst), worst


@pytest.mark.parametrize(("conventions", "disagree"), [(("0.4", "0.6"), 0), (("0.6", "0.4"), 2)])
def test_two_conventions_in_one_process(conventions, disagree, capsys):
    """As they should be, and swapped: then both clients give other numbers than on the e3nn that they pin."""
    if "TESSERAL_CLIENT_TOGETHER" not in os.environ:
        pytest.skip("TESSERAL_CLIENT_TOGETHER is not set: give it the python of an environment with mace-torch and nequip")
    for name in ("mace", "nequip"):
        try:
            interpreter(name)
        except FileNotFoundError as missing:
            pytest.skip(str(missing))
    assert together(*conventions) == disagree, capsys.readouterr().out


def test_what_is_too_different_fails():
    assert within({"random_forces": 9e-11, "step_weights": 9e-9})
    assert not within({"random_forces": 2e-10})
    assert not within({"random_forces": 0.0, "step_weights": 2e-8})
