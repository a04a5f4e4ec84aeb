"""The command `tesseral symmetry` on crystals and molecules."""

import json

import ase.build
import ase.spacegroup
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


def test_tilts_lead_to_pnma_in_pairs():
    sites = [(0.035, 0.25, -0.007), (0, 0, 0.5), (0.484, 0.25, 0.071), (0.289, 0.037, -0.289)]
    target = ase.spacegroup.crystal(["Ca", "Ti", "O", "O"], sites, spacegroup=62, cellpar=[5.44, 7.64, 5.38, 90, 90, 90])
    analysis = analyse(perovskite(3.82, "CaTiO3"), target)
    found = table(analysis, "Order parameters")
    assert not any(row[-1] for row in found.rows)
    assert "No mode alone gives Pnma; these pairs do: R T1g with M A2g, " in found.note


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


def test_tensors_are_written_in_axes_in_which_they_can_be_read():
    """Ammonia's axes are off by 1e-8 in ASE's table; turned arbitrarily, its tensors are given along its own axes."""
    ammonia = ase.build.molecule("NH3")
    tables = [t for t in analyse(ammonia).tables if t.title.startswith("Tensor: ")]
    assert [t.title for t in tables] == ["Tensor: dipole, polarization", "Tensor: polarizability, permittivity",
                                         "Tensor: first hyperpolarizability"]  # fmt: skip
    assert tables[0].rows == (("", "0", "0", "pz"),)
    assert "frame of the file" in tables[0].note
    assert tables[1].rows == (("x", "αxx", "0", "0"), ("y", "0", "αxx", "0"), ("z", "0", "0", "αzz"))
    ammonia.rotate(40, (1, 2, 3))
    turned = [t for t in analyse(ammonia).tables if t.title.startswith("Tensor: ")]
    assert turned[1].rows == tables[1].rows
    assert "the axes of the group: z = (" in turned[1].note
    assert analyse(ammonia).facts["zero by symmetry"] == "axial vector; gyration (optical activity)"


def test_names_what_a_structure_is_nearly():
    benzene = ase.build.molecule("C6H6")
    benzene.positions += 0.004 * np.random.default_rng(1).normal(size=benzene.positions.shape)
    assert analyse(benzene).facts["at larger tolerances"] == "D6h at 0.03 Å"
    assert "at larger tolerances" not in analyse(ase.build.molecule("H2O")).facts
    crystal = ase.build.bulk("NaCl", "rocksalt", a=5.6)
    crystal.positions[0, 2] += 0.002
    assert analyse(crystal).facts["at larger tolerances"] == "Fm-3m at 0.01 Å"


def test_titles_and_atoms_are_short():
    titles = [analyse(ase.build.molecule(name)).title for name in ("H2O", "NH3", "C2H6", "CO2", "LiF")]
    assert titles == ["H2O: C2v", "NH3: C3v", "C2H6: D3d", "CO2: D∞h", "LiF: C∞v"]
    assert table(analyse(ase.build.molecule("C6H6")), "Sites").rows[0] == ("C", "0-5", "6", "C2v")


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
