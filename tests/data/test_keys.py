"""Keys: strict, and aware of what was asked for."""

import pydantic
import pytest

from tesseral.data.keys import LABELS, SYNONYMS, Keys


def test_labels_that_are_read():
    keys = Keys(energy="REF_energy", stress=None, extra={"gap": "homo_lumo"})
    assert keys.labels() == {
        "energy": "REF_energy",
        "forces": "forces",
        "dipole": "dipole",
        "polarizability": "polarizability",
        "born_charges": "born_charges",
        "gap": "homo_lumo",
    }
    assert keys.asked_for() == {"energy": "REF_energy", "gap": "homo_lumo"}
    assert Keys().asked_for() == {}


@pytest.mark.parametrize("wrong", [{"enregy": "E"}, {"energy": 3}, {"extra": ["gap"]}])
def test_settings_are_strict(wrong):
    with pytest.raises(pydantic.ValidationError):
        Keys(**wrong)


def test_every_label_has_synonyms():
    assert SYNONYMS.keys() == set(LABELS)
