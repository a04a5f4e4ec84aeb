"""What a complaint looks like, and settings that are strict."""

import pydantic
import pytest

from tesseral.data.doctor import Complaint, DoctorSettings
from tesseral.data.doctor.complaint import Tally
from tests.data.doctor.planting import molecules


def test_a_complaint_reads_as_a_sentence():
    assert str(Complaint("warning", "x", "frame 3: look")) == "warning: frame 3: look"


def test_a_tally_remembers_the_first():
    tally = Tally()
    assert not tally
    for frame in molecules()[4:7]:
        tally.add(frame, f"detail {frame.index}")
    assert tally.where == "frame 4 of ethanol.xyz (and 2 more frames)"
    assert tally.detail == "detail 4"
    complaint = tally.complaint("error", "x", "sentence", key="energy")
    assert (complaint.file, complaint.frame, complaint.key) == ("ethanol.xyz", 4, "energy")


@pytest.mark.parametrize("wrong", [{"cut_off": 5.0}, {"cutoff": "5"}, {"required": "energy"}])
def test_settings_are_strict(wrong):
    with pytest.raises(pydantic.ValidationError):
        DoctorSettings(**wrong)
