"""The command `tesseral symmetry` on crystals and molecules."""

import json

import ase.build
import numpy as np
import pytest
from ase import Atoms
from rich.console import Console
from typer.testing import CliRunner

from tesseral.interfaces.cli import app
from tesseral.interfaces.symmetry import analyse, page, say
from tests.groups.test_crystal import distorted_batio3, perovskite, rhombohedral


def table(analysis, title):
    return next(t for t in analysis.tables if t.title == title)


def test_perovskite_to_its_rhombohedral_form():
    analysis = analyse(perovskite(3.79, "LaAlO3"), rhombohedral())
    assert analysis.title == "AlLaO3: Pm-3m → R-3c" or analysis.title.endswith("Pm-3m → R-3c")
    (row,) = table(analysis, "Order parameters").rows
    assert row[0] == "R (1/2 1/2 1/2)"
    assert row[1] == "T1g (R4+)"
    assert row[-1] == "primary"
    assert "at Al" in table(analysis, "Order parameters").note
    about_la = analyse(perovskite(3.79, "LaAlO3", "A"), rhombohedral())
    assert table(about_la, "Order parameters").rows[0][1] == "T2u (R5-)"


def test_report_and_files(tmp_path):
    perovskite(4.0, "BaTiO3").write(tmp_path / "cubic.vasp")
    distorted_batio3().write(tmp_path / "tetragonal.cif")
    arguments = [
        "symmetry",
        str(tmp_path / "cubic.vasp"),
        "--target",
        str(tmp_path / "tetragonal.cif"),
        "-o",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "T1u" in result.stdout
    found = json.loads((tmp_path / "out" / "symmetry.json").read_text())
    assert found["facts"]["target"].startswith("P4mm")
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count("<svg") == 1  # one mode, three views in one picture
    assert "http://" not in html.replace("http://www.w3.org", "")
    with pytest.raises(ValueError, match="give --overwrite"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert CliRunner().invoke(app, [*arguments, "--overwrite"], catch_exceptions=False).exit_code == 0


def test_molecule_and_target(capsys):
    methane = ase.build.molecule("CH4")
    stretched = methane.copy()
    stretched.positions[1] *= 1.1
    analysis = analyse(methane, stretched)
    rows = {row[0]: row for row in table(analysis, "Order parameters").rows}
    assert set(rows) == {"A1", "T2"}
    assert rows["T2"][3:] == ("C3v", "primary")
    assert table(analysis, "Irreps").rows[2] == ("infrared active", "2T2")
    say(Console(width=200), analysis)
    assert "Order parameters" in capsys.readouterr().out
    assert page(analysis, "methane").title == "CH4: Td → C3v"


def test_linear_molecule_and_plain_crystal():
    carbon_dioxide = analyse(ase.build.molecule("CO2"))
    assert carbon_dioxide.facts["point group"] == "D∞h"
    assert dict(table(carbon_dioxide, "Irreps").rows)["vibrations"] == "Σg+ + Σu+ + Πu"
    silicon = analyse(ase.build.bulk("Si", cubic=True))
    assert silicon.facts["space group"] == "Fd-3m (number 227)"
    assert dict(table(silicon, "Irreps at Γ").rows)["Raman active"] == "T2g"
    assert table(silicon, "Tensor: elasticity").rows[0] == ("xx", "C11", "C12", "C12", "0", "0", "0")


def test_sentences_for_bad_input(tmp_path):
    slab = Atoms("H", cell=np.eye(3) * 4, pbc=[True, True, False])
    with pytest.raises(ValueError, match="periodic along 2 of 3 directions"):
        analyse(slab)
    with pytest.raises(ValueError, match="give two crystals or two molecules"):
        analyse(ase.build.bulk("Si"), ase.build.molecule("H2O"))
    with pytest.raises(ValueError, match="the same atoms in the same order"):
        analyse(ase.build.molecule("H2O"), ase.build.molecule("CH4"))
    ase.build.molecule("H2O").write(tmp_path / "water.xyz")
    with pytest.raises(ValueError, match="--tolerance is -1"):
        CliRunner().invoke(app, ["symmetry", str(tmp_path / "water.xyz"), "--tolerance", "-1"], catch_exceptions=False)
