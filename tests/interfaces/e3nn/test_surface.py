"""Module by module: every name that a module of e3nn 0.6.0 defines is here, with the same parameters and defaults."""

import importlib
import inspect
import pkgutil

import e3nn
import pytest

from tests.interfaces.e3nn.test_models import give_stand_ins

OURS = "tesseral.interfaces.e3nn"
ABSENT = {
    "_conditional_script",  # scripts a function
    "_handle_jit_script_fx_legacy",
    "_validate_and_set_jit_mode",
    "_SoftUnitStep",
    "_codegen_linear",
    "_logging_name",
    "_poly_legendre",
    "_sympy_legendre",
    "_mul_m_lm",
    "_spherical_harmonics",
    "_generate_spherical_harmonics",
    "_so3_clebsch_gordan",
    "_su2_clebsch_gordan",
    "_su2_clebsch_gordan_coeff",
    "_TP",
    "_INPUT",
    "_wigner_nj",
    "_get_ops",
    "_find_peaks_2d",
    "_align_two_irreps",
    "_prepare_inputs",
}
"""Private functions of e3nn's code generators and tables, for which there is nothing here."""
GENERATORS = {"e3nn.o3._tensor_product._codegen", "e3nn.o3._spherical_harmonics_generator"}
MODULES = ["e3nn", *(m.name for m in pkgutil.walk_packages(e3nn.__path__, "e3nn."))]
MODULES += ["e3nn.nn.models.v2203.sparse_voxel_convolution"]  # in a folder that is no package


@pytest.mark.parametrize("name", [name for name in MODULES if name not in GENERATORS])
def test_names_and_parameters(name, monkeypatch):
    give_stand_ins(monkeypatch)  # packages of which some of the example networks want a function
    theirs = importlib.import_module(name)
    ours = importlib.import_module(OURS + name.removeprefix("e3nn"))
    for key, value in vars(theirs).items():
        if getattr(value, "__module__", None) != name or key in ABSENT or key.startswith("__"):
            continue
        if ".models." in name and key.startswith("test"):  # e3nn's tests of that module, ours are in test_models.py
            continue
        assert hasattr(ours, key), f"{name}.{key} is missing"
        assert_same_parameters(getattr(ours, key), value, f"{name}.{key}")
    public = set(getattr(theirs, "__all__", ())) if name != "e3nn.o3.experimental" else set()  # which lists classes
    assert public <= {*vars(ours)}, public - {*vars(ours)}


def assert_same_parameters(ours, theirs, name):
    try:
        expected = inspect.signature(theirs).parameters
        found = inspect.signature(ours).parameters
    except (TypeError, ValueError):
        return
    if any(p.kind == p.VAR_POSITIONAL for p in expected.values()) or name.endswith("CodeGenMixin"):
        return
    for number, (key, parameter) in enumerate(expected.items()):
        if parameter.kind == parameter.VAR_KEYWORD:
            continue
        assert list(found)[number] == key or name.split(".")[-1] in RENAMED, f"{name}: {list(found)} for {list(expected)}"
        if key in found:
            same = found[key].default == parameter.default
            assert same or (name.split(".")[-1], key) in OTHER_DEFAULTS, (
                f"{name}({key}={found[key].default}), not {parameter.default}"
            )


RENAMED = {"_MulIndexSliceHelper"}
OTHER_DEFAULTS = {("radius_graph", "batch")}  # e3nn has one with and one without


def test_methods_of_the_layers():
    for place, name in (("o3", "TensorProduct"), ("o3", "Linear"), ("io", "CartesianTensor"), ("io", "SphericalTensor")):
        theirs = getattr(importlib.import_module(f"e3nn.{place}"), name)
        ours = getattr(importlib.import_module(f"{OURS}.{place}"), name)
        for key in vars(theirs):
            if not key.startswith("_"):
                assert hasattr(ours, key) or key in getattr(theirs, "__annotations__", {}), f"{name}.{key}"
