"""Every architecture that can be trained, traced for compiled training and exported: none is left out by mistake."""

from typing import get_args

import pytest
import torch

from tesseral.models import ModelSettings, build, parse_settings
from tests.models.contract import COMPILED_CHECKS

COMMON = {"cutoff": 3.5, "species": [1, 6, 8], "num_neighbors": 8.0}
EQUIFORMER = {
    "name": "equiformer_v2", "layers": 1, "lmax": 1, "mmax": 1, "channels": 4, "hidden_channels": 4, "heads": 1,
    "value_channels": 4, "attention_channels": 4, "radial_channels": 8,
}  # fmt: skip
CASES = {
    "nequip": {"layers": 2, "lmax": 1, "channels": 4, "radial_channels": 8},
    "mace": {"layers": 2, "hidden": "4x0e+4x1o", "lmax": 1, "correlation": 2, "radial_widths": [8]},
    "allegro": {"layers": 1, "lmax": 1, "scalar_channels": 8, "tensor_channels": 4, "latent_widths": [8]},
    "equiformer_v2": EQUIFORMER | {"activation": "s2"},
    "equiformer_v2, gate": EQUIFORMER | {"activation": "gate"},
    "field_energy": {"layers": 2, "lmax": 1, "channels": 4, "radial_channels": 8},
    "egnn": {"layers": 2, "channels": 8},
    "painn": {"layers": 2, "channels": 8},
    "tensor_field": {"layers": 2, "channels": 8},
    "se3_transformer": {"layers": 2, "channels": 8, "heads": 2},
}
NOT_TRACED = {"charges": "its electrostatics need other tables for every cell, and the sum over images is that of torch-pme"}


def test_every_architecture_has_a_case() -> None:
    (union, *_) = get_args(ModelSettings)
    names = {settings.model_fields["name"].default for settings in get_args(union)}
    assert names == {name.partition(",")[0] for name in CASES} | set(NOT_TRACED)


@pytest.mark.compile
@pytest.mark.parametrize("check", COMPILED_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("case", CASES)
def test_contract(case: str, check, tmp_path) -> None:
    torch.manual_seed(0)
    model = build(parse_settings({"name": case.partition(",")[0]} | COMMON | CASES[case]), dtype=torch.float64)
    check(model, tmp_path)
