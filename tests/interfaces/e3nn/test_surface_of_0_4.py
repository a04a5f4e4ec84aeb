"""Every name of e3nn 0.4.4 is here and takes the same arguments, with that version's convention installed.

``surface_0.4.4.json`` was written by ``write_surface.py`` in an environment with e3nn 0.4.4.
"""

import importlib
import inspect
import json
from pathlib import Path

import pytest

from tesseral.interfaces.e3nn import nn, using
from tests.interfaces.e3nn import test_surface
from tests.interfaces.e3nn.write_surface import default

OURS = "tesseral.interfaces.e3nn"
SURFACE = json.loads(Path(__file__).with_name("surface_0.4.4.json").read_text())
ABSENT = test_surface.ABSENT | {
    "_OPT_DEFAULTS",  # the table behind set_optimization_defaults
    "_generate_wigner_3j",
    "_z_rot_mat",
    "_MAKE_TRACING_INPUTS",  # util.test imports it from util.jit, where it is here, too
}
"""Private tables and parts of e3nn's code generators, for which there is nothing here."""
OTHERWISE = {
    "wigner_3j lacks the argument flat_src": "the table of coefficients, an argument for TorchScript",
    "wigner_3j: dtype is not argument 4": "as in e3nn 0.6: no flat_src before it",
    "wigner_3j: device is not argument 5": "the same",
    "BatchNorm: normalization is not argument 6": "as in e3nn 0.6: include_bias before it, see below",
    "Gate.irreps_in is missing": "an attribute of the instances, see below",
    "Gate.irreps_out is missing": "the same",
}
"""What is not as in e3nn 0.4.4, and why."""


@pytest.mark.parametrize("name", sorted(SURFACE.keys() - test_surface.GENERATORS))
def test_names_and_arguments(name):
    with using("0.4"):
        module = importlib.import_module(OURS + name.removeprefix("e3nn"))
        wrong = []
        for key, entry in SURFACE[name].items():
            if key in ABSENT or (".models." in name and key.startswith("test")):
                continue
            if not hasattr(module, key):
                wrong.append(f"{key} is missing")
                continue
            value = getattr(module, key)
            wrong += differences(key, value, entry["parameters"])
            for method, parameters in entry.get("methods", {}).items():
                if not hasattr(value, method):
                    wrong.append(f"{key}.{method} is missing")
                else:
                    wrong += differences(f"{key}.{method}", inspect.getattr_static(value, method), parameters)
    wrong = [line for line in wrong if line not in OTHERWISE]
    assert not wrong, "\n".join(wrong)


def test_where_attributes_and_orders_differ():
    gate = nn.Gate("2x0e", [None], "1x0e", [None], "1x1o")
    assert (str(gate.irreps_in), str(gate.irreps_out)) == ("3x0e+1x1o", "2x0e+1x1o")
    norm = nn.BatchNorm("2x0e+1x1o", 1e-5, 0.1, True, "mean", False, "norm")
    assert (norm.normalization, norm.include_bias) == ("norm", True)


def test_another_surface_is_seen():
    expected = [["a", "POSITIONAL_OR_KEYWORD", None], ["b", "POSITIONAL_OR_KEYWORD", "2"]]
    assert differences("f", lambda a, b=2, c=3: None, expected) == []
    assert differences("f", lambda a, b=3: None, expected) == ["f(b=3), not 2"]
    assert differences("f", lambda b=2, a=1: None, expected) == ["f: a is not argument 0", "f: b is not argument 1"]
    assert differences("f", lambda a, c, b=2: None, expected) == ["f: b is not argument 1", "f needs c"]


def differences(name, ours, parameters):
    """What a call that is right for e3nn's function would find otherwise here."""
    ours = ours.__func__ if isinstance(ours, staticmethod | classmethod) else ours
    try:
        found = list(inspect.signature(ours).parameters.values())
    except (TypeError, ValueError):
        return []
    if parameters is None or any(kind.startswith("VAR") for _, kind, _ in parameters):
        return []
    any_name = any(p.kind == p.VAR_KEYWORD for p in found)
    wrong = []
    for place, (key, kind, expected) in enumerate(parameters):
        mine = next((p for p in found if p.name == key), None)
        if key.startswith("_") and place < len(found):  # given by place only
            continue
        if mine is None:
            wrong += [] if any_name else [f"{name} lacks the argument {key}"]
            continue
        if kind == "POSITIONAL_OR_KEYWORD" and (place >= len(found) or found[place].name != key):
            wrong.append(f"{name}: {key} is not argument {place}")
        if expected is not None and (mine.default is mine.empty or default(mine.default) != expected):
            wrong.append(f"{name}({key}={mine.default}), not {expected}")
    known = {key for key, _, _ in parameters}
    more = [p for place, p in enumerate(found) if p.name not in known and not _by_place(parameters, place)]
    wrong += [f"{name} needs {p.name}" for p in more if _is_needed(p)]
    return wrong


def _is_needed(parameter):
    named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY, parameter.POSITIONAL_ONLY)
    return named and parameter.default is parameter.empty


def _by_place(parameters, place):
    return place < len(parameters) and parameters[place][0].startswith("_")
