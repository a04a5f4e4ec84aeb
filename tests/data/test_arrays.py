"""Arrays of numpy, as MD17, sGDML and DeePMD-kit keep them."""

import numpy as np
import pytest
from ase import units as ase_units

from tesseral.data import DataError, Keys, Units, read_frames

POSITIONS = np.random.default_rng(0).normal(size=(4, 5, 3))
MD17 = {"z": np.array([6, 1, 1, 1, 1]), "R": POSITIONS, "E": np.arange(4.0)[:, None], "F": 2 * POSITIONS}
MD17_KEYS = Keys(energy="E", forces="F")


def refused(path, **arguments) -> str:
    with pytest.raises(DataError) as caught:
        read_frames(path, **arguments)
    return str(caught.value)


def test_molecular_dynamics(tmp_path):
    np.savez(tmp_path / "md17.npz", **MD17, name=np.array("methane"))
    frames = read_frames(tmp_path / "md17.npz", MD17_KEYS, Units(energy="kcal/mol"))
    assert len(frames) == 4
    assert frames[3].formula == "CH4"
    np.testing.assert_allclose(frames[3].positions, POSITIONS[3])
    kcal = ase_units.kcal / ase_units.mol
    assert float(frames[3].labels["energy"]) == pytest.approx(3 * kcal)
    np.testing.assert_allclose(frames[3].labels["forces"], 2 * POSITIONS[3] * kcal)
    assert not frames[3].pbc.any()


def test_molecules_of_different_sizes_and_cells(tmp_path):
    numbers = np.array([[8, 1, 1, 0, 0], [6, 1, 1, 1, 1]])
    np.savez(
        tmp_path / "a.npz", numbers=numbers, positions=POSITIONS[:2], forces=POSITIONS[:2], energy=np.array([1.0, 2.0]),
        cell=5 * np.eye(3), dipole=np.ones((2, 3)),
    )  # fmt: skip
    water, methane = read_frames(tmp_path / "a.npz")
    assert (water.formula, methane.formula) == ("H2O", "CH4")
    assert water.labels["forces"].shape == (3, 3)
    assert water.labels["dipole"].shape == (3,)
    assert water.pbc.all()
    assert water.volume == pytest.approx(125.0)


def test_three_atoms_and_one_structure(tmp_path):
    """A dipole of water is no row of its atoms, forces are; symbols are elements, too."""
    symbols, positions = np.array(["O", "H", "H"]), POSITIONS[0, :3]
    np.savez(tmp_path / "one.npz", species=symbols, positions=positions, energy=-1.0, forces=positions, dipole=positions[0])
    (frame,) = read_frames(tmp_path / "one.npz")
    assert frame.formula == "H2O"
    np.testing.assert_allclose(frame.labels["forces"], positions)
    np.testing.assert_allclose(frame.labels["dipole"], positions[0])


def test_a_file_that_says_its_units_is_believed(tmp_path):
    np.savez(tmp_path / "sgdml.npz", **MD17, e_unit="kcal/mol", r_unit="Ang")
    assert "set data.units.energy=kcal/mol" in refused(tmp_path / "sgdml.npz", keys=MD17_KEYS)
    assert len(read_frames(tmp_path / "sgdml.npz", MD17_KEYS, Units(energy="kcal/mol"))) == 4


def test_mistakes(tmp_path):
    (tmp_path / "half.npz").write_bytes(b"PK\x03\x04 half a file")
    np.savez(tmp_path / "objects.npz", numbers=np.array([1, None]), positions=POSITIONS)
    np.savez(tmp_path / "strange.npz", weights=np.ones(3))
    np.savez(tmp_path / "unfit.npz", **(MD17 | {"z": np.array([6, 1])}))
    np.savez(tmp_path / "element.npz", **(MD17 | {"z": np.array(["C", "H", "H", "H", "Hx"])}))
    assert "is it complete" in refused(tmp_path / "half.npz")
    assert "Python objects" in refused(tmp_path / "objects.npz")
    assert "it has weights, expected one named numbers" in refused(tmp_path / "strange.npz")
    assert "do not fit" in refused(tmp_path / "unfit.npz")
    assert "'Hx' is not a chemical element" in refused(tmp_path / "element.npz")


def deepmd(folder):
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("0\n1\n1\n1\n1\n")
    (folder / "type_map.raw").write_text("C\nH\n")
    for name, values in {"coord": POSITIONS, "force": 2 * POSITIONS, "energy": np.arange(4.0)}.items():
        np.save(folder / "set.000" / f"{name}.npy", values.reshape(4, -1))
    np.save(folder / "set.000" / "box.npy", np.tile((6 * np.eye(3)).ravel(), (4, 1)))
    np.save(folder / "set.000" / "virial.npy", np.tile(np.eye(3).ravel(), (4, 1)))
    return folder


def test_systems_of_deepmd(tmp_path):
    frames = read_frames(deepmd(tmp_path / "methane"), Keys(virial="virial"))
    assert len(frames) == 4
    assert frames[2].formula == "CH4"
    assert float(frames[2].labels["energy"]) == 2.0
    np.testing.assert_allclose(frames[2].labels["forces"], 2 * POSITIONS[2])
    np.testing.assert_allclose(frames[2].labels["stress"], -np.eye(3) / 216)  # a virial that pushes is pressure
    assert frames[2].pbc.all()


def test_mistakes_in_systems_of_deepmd(tmp_path):
    system = deepmd(tmp_path / "methane")
    (system / "type_map.raw").write_text("C")
    assert "expected symbols of elements for types 0 to 1" in refused(system)
    (system / "type_map.raw").unlink()
    assert "has no type_map.raw" in refused(system)
    (system / "type_map.raw").write_text("C H")
    np.save(system / "set.000" / "force.npy", np.zeros((3, 15)))
    assert "do not fit" in refused(system)
    (system / "set.000" / "coord.npy").unlink()
    assert "has no coord.npy" in refused(system)


def test_real_data(external_data):
    frames = read_frames(external_data / "deepmd_hessian" / "H8C4N2O.npz", Keys(extra={"hessian": "hessian"}))
    assert len(frames) == 11
    assert frames[0].formula == "C4H8N2O"
    assert frames[0].labels["forces"].shape == (15, 3)
    assert frames[0].labels["hessian"].shape == (45, 45)
