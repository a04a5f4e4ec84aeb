"""The page is whole, escapes what it is given, and asks nothing of a network."""

import json
import re
from html.parser import HTMLParser

import numpy as np

from tesseral.train.prediction import evaluate
from tesseral.train.report import MAX_FRAMES, Movie, Report, installed_versions, render, write_report
from tests.train.test_figures import HISTORY
from tests.train.toy import PairPotential, frames


class Page(HTMLParser):
    """Collects what a browser would fetch, and checks that tags close in order."""

    VOID = ("meta", "input", "br", "link", "img")

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.mistakes = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        self.fetched += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action", "srcset", "data")]

    def handle_startendtag(self, tag, attributes):
        self.fetched += [value for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.mistakes.append(tag)


def full():
    model = PairPotential()
    return Report(
        title="Water & <ice>",
        subtitle="two phases",
        facts={"model": "pair"},
        history=HISTORY,
        predictions={
            "training": evaluate(model, frames(5)),
            "test": evaluate(model, frames(6, seed=1), config_types=["a", "b"] * 3),
        },
        checks=[
            {
                "name": "forces",
                "structure": "H2O",
                "value": 1e-9,
                "threshold": 1e-7,
                "unit": "eV/Å",
                "sentence": "fine",
                "passed": True,
            },
            {
                "name": "drift",
                "structure": "H2O",
                "value": float("nan"),
                "threshold": 1.0,
                "unit": "",
                "sentence": "no",
                "passed": False,
            },
        ],
        complaints=[{"severity": "warning", "sentence": "atoms at 0.31 Å in <frame 3>"}],
        movies=[
            Movie("</script><b>", ["O", "H", "H"], np.random.default_rng(0).normal(size=(3, 3, 3)), notes=["</script>", "b", "c"])
        ],
        atomic_energies={"H": -13.6},
        split={"training": 5, "test": 6},
        speed={"training": "8 ms/step"},
        settings="seed: 0  # <x>",
        versions=installed_versions(),
        extra={"NVE": "<p>drift</p>"},
    )


def test_nothing_is_fetched_and_every_tag_closes():
    text = render(full())
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.mistakes == []
    assert all(value.startswith(("#", "data:")) for value in page.fetched)
    assert page.fetched
    assert not re.search(r"@import|url\(\s*['\"]?(?!#|['\"]?#)|fetch\(|XMLHttpRequest|import\(", text)
    assert "{{" not in text


def test_every_part_is_there_and_escaped():
    text = render(full())
    for heading in (
        "Structure",
        "Errors",
        "Parity",
        "Learning curves",
        "Self-test",
        "NVE",
        "Model and data",
        "Data doctor",
        "Settings",
        "Versions",
    ):
        assert f">{heading}</h2>" in text, heading
    assert "Water &amp; &lt;ice&gt;" in text
    assert "&lt;frame 3&gt;" in text
    assert "</script><b>" not in text
    assert "1/2" in text
    assert "force RMSE, test" in text
    assert "✗ failed" in text


def test_structures_are_data_that_scripts_can_read():
    text = render(full())
    (content,) = re.findall(r'<script type="application/json">(.*?)</script>', text)
    data = json.loads(content)
    assert data["symbols"] == ["O", "H", "H"]
    assert len(data["frames"]) == 3
    assert len(data["frames"][0]) == 9
    assert data["notes"][0] == "</script>"
    assert data["colors"][0] == "#ff0d0d"
    assert data["cell"] is None


def test_long_trajectories_are_thinned_with_their_notes():
    movie = Movie("long", ["He"], np.arange(3 * 1000.0).reshape(1000, 1, 3), np.eye(3), notes=[str(n) for n in range(1000)])
    (content,) = re.findall(r'<script type="application/json">(.*?)</script>', render(Report("t", movies=[movie])))
    data = json.loads(content)
    assert len(data["frames"]) == len(data["notes"]) == MAX_FRAMES
    assert [int(note) * 3 for note in data["notes"]] == [frame[0] for frame in data["frames"]]
    assert data["cell"] == np.eye(3).ravel().tolist()


def test_what_is_empty_is_left_out(tmp_path):
    write_report(Report(title="Bare"), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h2" not in text
    assert "<script></script>" in text
