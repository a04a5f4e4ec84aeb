"""The union of settings and what is built from them."""

import pytest
import torch
from pydantic import ValidationError

from tesseral.models import NequIPSettings, SumSettings, build, cast, parse_settings, settings_of
from tesseral.nn.pair import ZBL, Sum, ZBLSettings

NEQUIP = {"name": "nequip", "species": [1, 8], "num_neighbors": 3.0, "layers": 1, "channels": 4, "lmax": 1}


def test_the_name_chooses_the_settings():
    assert isinstance(parse_settings(NEQUIP), NequIPSettings)
    assert isinstance(parse_settings({"name": "zbl"}), ZBLSettings)
    both = parse_settings({"name": "sum", "terms": [NEQUIP, {"name": "zbl", "species": [1, 8]}]})
    assert isinstance(both, SumSettings)
    assert [term.name for term in both.terms] == ["nequip", "zbl"]


@pytest.mark.parametrize("values", [{"name": "oracle"}, {}, {"name": "zbl", "magic": 1}, {"name": "sum", "terms": []}])
def test_anything_else_is_refused(values):
    with pytest.raises(ValidationError):
        parse_settings(values)


def test_settings_make_the_model_they_came_from():
    both = {"name": "sum", "terms": [{"name": "zbl", "species": [1, 8]}, NEQUIP]}
    for values in (NEQUIP, {"name": "zbl", "species": [1, 8]}, both):
        settings = parse_settings(values)
        assert settings_of(build(settings)) == settings
        assert parse_settings(settings.model_dump(mode="json")) == settings


def test_the_learned_term_of_a_sum_carries_the_energies():
    settings = parse_settings({"name": "sum", "terms": [{"name": "zbl", "species": [1, 8]}, NEQUIP, NEQUIP]})
    model = build(settings, atomic_energies={1: -13.6, 8: -2041.0})
    assert model.terms[1].atomic_energies.tolist() == [-13.6, -2041.0]
    assert model.terms[2].atomic_energies.tolist() == [0.0, 0.0]


def test_casting_copies():
    model = build(parse_settings(NEQUIP), dtype=torch.float32).eval()
    double = cast(model, torch.float64)
    assert double.readout.weight.dtype == torch.float64
    assert not double.training
    with torch.no_grad():
        double.readout.weight.zero_()
    assert model.readout.weight.abs().sum() > 0
    assert cast(Sum([ZBL(3.0, (1,)), ZBL(2.0, (1,))]), torch.float32).cutoff == 3.0
