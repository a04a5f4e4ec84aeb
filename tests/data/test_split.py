"""Splits: reproducible, disjoint, whole by group, written down and held to."""

import dataclasses
import json

import numpy as np
import pydantic
import pytest

from tesseral.data import DataError, Frame, FramesInMemory, Split, SplitSettings, make_split, split_or_read


def frames(count=50, groups=None):
    rng = np.random.default_rng(0)
    return FramesInMemory(
        Frame(
            positions=rng.normal(size=(2, 3)),
            numbers=np.array([1, 1]),
            labels={"energy": np.array(rng.normal())},
            group=None if groups is None else f"run {i * groups // count}",
            file=f"{'ab'[i >= 30]}.xyz",
            index=i,
        )
        for i in range(count)
    )


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        (SplitSettings(), (45, 5, 0)),
        (SplitSettings(valid=0.2, test=0.1), (35, 10, 5)),
        (SplitSettings(valid=7, test=3), (40, 7, 3)),
        (SplitSettings(valid=0), (50, 0, 0)),
        (SplitSettings(valid=1, test=0.5), (24, 1, 25)),
        (SplitSettings(valid=0.001), (49, 1, 0)),
    ],
)
def test_sizes(settings, sizes):
    split = make_split(frames(), settings)
    assert (len(split.train), len(split.valid), len(split.test)) == sizes
    assert sorted(split.train + split.valid + split.test) == list(range(50))


def test_seeds():
    one, same, other = (make_split(frames(), SplitSettings(seed=seed)) for seed in (1, 1, 2))
    assert one == same
    assert one.valid != other.valid
    # A drawing, not the head or the tail of the file.
    assert max(one.valid) - min(one.valid) > 10


def test_groups_stay_together():
    data = frames(50, groups=10)
    split = make_split(data, SplitSettings(method="group", valid=0.2, test=0.1))
    parts = [{data[i].group for i in part} for part in (split.train, split.valid, split.test)]
    assert [len(part) for part in parts] == [7, 2, 1]
    assert len(set.union(*parts)) == 10


def test_every_part_gets_a_group():
    data = frames(50, groups=3)
    split = make_split(data, SplitSettings(method="group", valid=1, test=1))
    assert all(len({data[i].group for i in part}) == 1 for part in (split.train, split.valid, split.test))
    with pytest.raises(DataError, match="only 2 groups"):
        make_split(frames(50, groups=2), SplitSettings(method="group", valid=1, test=1))


def test_files_stay_together():
    data = frames()
    split = make_split(data, SplitSettings(method="file", valid=0.4))
    assert {data[i].file for i in split.train}.isdisjoint({data[i].file for i in split.valid})
    assert split.files == ("a.xyz", "b.xyz")


def test_groups_must_exist():
    with pytest.raises(DataError, match=r"frame 0 of a.xyz has no group.*keys.group"):
        make_split(frames(), SplitSettings(method="group"))


def test_something_must_be_left():
    with pytest.raises(DataError, match="50 frames cannot give 50 to validation"):
        make_split(frames(), SplitSettings(valid=50))


@pytest.mark.parametrize("wrong", [{"valid": 1.0}, {"valid": 0.6, "test": 0.5}, {"valid": -1}, {"method": "tail"}, {"sed": 1}])
def test_settings_are_strict(wrong):
    with pytest.raises(pydantic.ValidationError):
        SplitSettings(**wrong)


def test_written_and_read(tmp_path):
    data = frames()
    split = make_split(data, SplitSettings(test=5))
    split.write(tmp_path / "split.json")
    assert Split.read(tmp_path / "split.json") == split
    train, valid, test = Split.read(tmp_path / "split.json").apply(data)
    assert [len(part) for part in (train, valid, test)] == [40, 5, 5]
    assert [frame.index for frame in valid] == list(split.valid)
    assert [path.name for path in tmp_path.iterdir()] == ["split.json"]


def test_changed_data_are_refused(tmp_path):
    data = list(frames())
    split = make_split(FramesInMemory(data))
    changed = dataclasses.replace(data[7], positions=data[7].positions + 1e-9)
    for other in (data[:-1], data[::-1], [*data[:7], changed, *data[8:]]):
        with pytest.raises(DataError, match=r"have changed since they were split: 50 frames of a.xyz, b.xyz"):
            split.apply(FramesInMemory(other))


def test_drawn_once(tmp_path):
    data, path = frames(), tmp_path / "split.json"
    first = split_or_read(data, path, SplitSettings(seed=1))
    assert split_or_read(data, path, SplitSettings(seed=2)) == first
    with pytest.raises(DataError, match="have changed"):
        split_or_read(data[:40], path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not JSON"),
        ('{"train": [1, 2', "is not JSON"),
        ("[1, 2]", "is no split"),
        ('{"format": "tesseral split", "train": []}', "is no split"),
    ],
)
def test_damaged_files(tmp_path, text, sentence):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(DataError, match=sentence):
        Split.read(tmp_path / "split.json")


def test_edited_files(tmp_path):
    path = tmp_path / "split.json"
    with pytest.raises(DataError, match="does not exist"):
        Split.read(path)
    make_split(frames()).write(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"valid": content["train"][:2]}))
    with pytest.raises(DataError, match="same frame in two parts"):
        Split.read(path)
    path.write_text(json.dumps(content | {"version": 2}))
    with pytest.raises(DataError, match="version 2"):
        Split.read(path)
