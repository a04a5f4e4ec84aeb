"""The recipes of this room in smoke mode: their figures, at lower accuracy."""

import pathlib
import runpy

FOLDER = pathlib.Path(__file__).parents[2] / "recipes"


def smoke(name, *arguments):
    return runpy.run_path(str(FOLDER / f"{name}.py"))["main"](["--smoke", *arguments])


def test_relaxed_fields():
    results = smoke("relaxed_fields")
    assert results["cube"]["kept"] <= {"0e", "4e"}
    assert {"0e", "2e", "4e"} >= results["prism"]["kept"] >= {"0e", "2e"}
    assert min(results["prism"]["cosines"]) > 0.99
    assert max(results["prism"]["beyond"]) > 1e-3
    assert max(results["cube"]["beyond"]) < 1e-6
    for found in results["charge"]:
        assert found["E"] >= 0.998
        assert found["B"] >= 0.998


def test_barium_titanate():
    results = smoke("barium_titanate")
    expected = {"P4mm": "A1g Eg T1u", "Amm2": "A1g Eg T2g T1u T2u", "R3m": "A1g T2g T1u A2u"}
    for phase, labels in expected.items():
        parts = results[phase]["parts"]
        assert {label for label, part in parts.items() if part.strength > 1e-9} == set(labels.split())
        assert parts["T1u"].stabilizer == results[phase]["kept"]


def test_order_parameters():
    results = smoke("order_parameters")
    for square in results["square"]:
        assert set(square["kept"]) <= {"2e", "4e"}
        assert square["outside"] < 1e-8
        assert square["cosine"] > 1 - 1e-8
        assert square["found"].stuck > 0.03 > 10 * square["found"].loss
    perovskite = results["perovskite"]
    assert perovskite["outside"] < 1e-8
    assert perovskite["numbers"] == [221, 62]
    assert [[part.label for part in wave.parts] for wave in perovskite["waves"][:2]] == [["T1g"], ["A2g"]]


def test_breaking_sets():
    results = smoke("breaking_sets")
    for row in results["rows"]:
        assert row["complement"] is None or row["complement"] == row["set"].ideal
    assert results["without"] > 0.05
    assert results["loss"] < 1e-8
    assert results["error"] < 1e-3


def test_super_resolution(tmp_path):
    results = smoke("super_resolution", "--output", str(tmp_path / "results.json"))
    assert set(results["flows"]) == {"isotropic", "sheared"}
    assert (tmp_path / "results.json").exists()
