"""One frame: labels from everywhere, converted, and back to ASE."""

import dataclasses

import ase
import ase.build
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa

from tesseral.data import DataError, Frame, Keys, Units, frame_from_atoms
from tests.data.made import crystal


def water(**info):
    atoms = ase.build.molecule("H2O")
    atoms.info |= info
    return atoms


def test_labels_from_calculator_info_and_arrays():
    atoms = water(REF_energy=1.0, E=3.0)
    atoms.arrays["REF_forces"] = np.full((3, 3), 2.0)
    atoms.calc = SinglePointCalculator(atoms, energy=5.0, forces=np.full((3, 3), 7.0))
    assert frame_from_atoms(atoms).labels["energy"] == 5.0
    assert (frame_from_atoms(atoms).labels["forces"] == 7.0).all()
    own = frame_from_atoms(atoms, Keys(energy="REF_energy", forces="REF_forces"))
    assert own.labels["energy"] == 1.0
    assert (own.labels["forces"] == 2.0).all()
    assert {"REF_energy", "REF_forces", "E", "energy", "forces"} == set(own.keys)
    assert frame_from_atoms(atoms, Keys(energy=None)).labels.keys() == {"forces"}


def test_units_of_everything():
    atoms = water(energy=1.0, dipole=[1.0, 0, 0], field=[0, 0, 1.0], polarizability=np.eye(3), gap=1.0)
    atoms.arrays["forces"] = np.ones((3, 3))
    atoms.cell = np.eye(3)
    units = Units(
        energy="Hartree", length="Bohr", dipole="Debye", field="Hartree/Bohr/e", polarizability="Bohr^3", extra={"gap": 3.0}
    )
    frame = frame_from_atoms(atoms, Keys(extra={"gap": "gap"}), units)
    assert frame.labels["energy"] == pytest.approx(27.211386)
    assert frame.labels["forces"][0, 0] == pytest.approx(51.422067)
    assert frame.labels["dipole"][0] == pytest.approx(0.20819434)
    assert frame.labels["polarizability"][1, 1] == pytest.approx(0.1481847)
    assert frame.labels["gap"] == 3.0
    assert frame.field[2] == pytest.approx(51.422067)
    np.testing.assert_allclose(frame.positions, atoms.positions * 0.52917721, rtol=1e-6)
    assert frame.volume == pytest.approx(0.52917721**3)


def test_stress_of_ase_survives():
    atoms = crystal(1)[0]
    stress = atoms.get_stress(voigt=False)
    frame = frame_from_atoms(atoms)
    np.testing.assert_allclose(frame.labels["stress"], stress)
    np.testing.assert_allclose(frame.atoms().get_stress(voigt=False), stress)


def test_virials_and_signs():
    atoms = crystal(1)[0]
    stress, volume = atoms.get_stress(voigt=False), atoms.get_volume()
    bare = ase.Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)

    def read(value, keys, units):
        bare.info = {"label": value}
        return frame_from_atoms(bare, keys, units).labels["stress"]

    as_virial, as_stress = Keys(virial="label", stress=None), Keys(stress="label")
    np.testing.assert_allclose(read(-stress * volume, as_virial, Units()), stress)
    np.testing.assert_allclose(read(stress * volume, as_virial, Units(virial_sign="tension")), stress)
    np.testing.assert_allclose(read(stress / GPa, as_stress, Units(stress="GPa")), stress)
    vasp = -10 * stress[[0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]] / GPa
    units = Units(stress="kbar", stress_sign="compression", voigt="xx yy zz xy yz xz")
    np.testing.assert_allclose(read(vasp, as_stress, units), stress)


def test_virial_needs_a_volume():
    with pytest.raises(DataError, match=r"frame 4 of w.xyz: the key 'virial'.*no volume"):
        frame_from_atoms(water(virial=np.eye(3)), Keys(virial="virial"), file="w.xyz", index=4)


def test_states_weights_and_kinds():
    frame = frame_from_atoms(water(charge=-1, spin=2, config_weight=0.5, config_type="bulk", run="a7"), Keys(group="run"))
    assert (frame.charge, frame.spin, frame.weight, frame.config_type, frame.group) == (-1.0, 2.0, 0.5, "bulk", "a7")
    graph = frame.graph(2.0)
    assert (graph.charge.item(), graph.spin.item(), graph.weight.item()) == (-1, 2, 0.5)
    plain = frame_from_atoms(water())
    assert (plain.charge, plain.spin, plain.weight, plain.config_type, plain.group) == (None, None, 1.0, "", None)


@pytest.mark.parametrize(
    ("info", "keys", "sentence"),
    [
        ({"energy": "failed"}, Keys(), "frame 2 of x.xyz: the key 'energy' holds 'failed', which is not a number"),
        ({"charge": [1, 2]}, Keys(), "the key 'charge' has shape"),
        ({}, Keys(group="run"), "no key 'run' to tell its group"),
    ],
)
def test_errors_name_place_and_key(info, keys, sentence):
    with pytest.raises(DataError, match=sentence):
        frame_from_atoms(water(**info), keys, file="x.xyz", index=2)


def test_wrong_shapes_are_kept_for_the_doctor_and_refused_by_the_graph():
    atoms = water()
    atoms.arrays["forces"] = np.ones((3, 2))
    frame = frame_from_atoms(atoms, file="x.xyz", index=1)
    assert frame.labels["forces"].shape == (3, 2)
    with pytest.raises(DataError, match=r"frame 1 of x.xyz: the label 'forces' has shape \(3, 2\), expected \(3, 3\)"):
        frame.graph(2.0)


def test_graph_errors_name_the_frame():
    with pytest.raises(DataError, match=r"frame 0 of x.xyz: pbc is"):
        frame_from_atoms(ase.Atoms("H", pbc=True), file="x.xyz").graph(3.0)


def test_graph_has_the_labels():
    frame = frame_from_atoms(crystal(1)[0])
    graph = frame.graph(3.0).check()
    assert graph.labels["energy"].item() == frame.labels["energy"]
    np.testing.assert_array_equal(graph.labels["forces"].numpy(), frame.labels["forces"])
    np.testing.assert_array_equal(graph.labels["stress"][0].numpy(), frame.labels["stress"])
    assert all(mask.all() for mask in graph.masks.values())


def test_atoms_round_trip():
    frame = frame_from_atoms(crystal(1)[0])
    again = frame_from_atoms(frame.atoms())
    assert again.digest() == frame.digest()


def test_digest_sees_every_change():
    frame = frame_from_atoms(crystal(1)[0])
    changes = [
        {"positions": frame.positions + 1e-12},
        {"numbers": frame.numbers + 1},
        {"cell": frame.cell * 1.0000001},
        {"pbc": ~frame.pbc},
        {"labels": frame.labels | {"energy": np.array(frame.labels["energy"] + 1e-9)}},
        {"labels": {name: value for name, value in frame.labels.items() if name != "stress"}},
        {"charge": 1.0},
        {"weight": 2.0},
        {"group": "a"},
    ]
    digests = {frame.digest(), *(dataclasses.replace(frame, **change).digest() for change in changes)}
    assert len(digests) == len(changes) + 1


@pytest.mark.parametrize(
    ("atoms", "isolated"),
    [
        (ase.Atoms("H"), True),
        (ase.Atoms("H", cell=np.eye(3) * 20, pbc=True), True),
        (ase.Atoms("H", cell=np.diag([20, 20, 4]), pbc=True), False),
        (ase.Atoms("H2", positions=[(0, 0, 0), (0, 0, 9)]), False),
        (ase.build.bulk("Cu"), False),
    ],
)
def test_isolated_atoms(atoms, isolated):
    assert frame_from_atoms(atoms).is_isolated_atom is isolated


def test_formula_of_impossible_elements():
    assert Frame(positions=np.zeros((2, 3)), numbers=np.array([1, 300])).formula == "HX"


def test_born_charges_have_the_displaced_axis_first():
    atoms, charges = water(), np.arange(27.0).reshape(3, 3, 3)
    atoms.arrays["born_charges"] = charges.reshape(3, 9)
    assert (frame_from_atoms(atoms).labels["born_charges"] == charges).all()
    atoms.arrays["born_charges"] = charges.transpose(0, 2, 1).reshape(3, 9)
    frame = frame_from_atoms(atoms, units=Units(born_axes="field displacement"))
    assert (frame.labels["born_charges"] == charges).all()
    assert (frame_from_atoms(frame.atoms()).labels["born_charges"] == charges).all()


def test_a_dielectric_tensor_is_a_polarizability():
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6)
    atoms.info["epsilon"] = 2.5 * np.eye(3)
    keys = Keys(dielectric="epsilon")
    # Clausius and Mossotti without the local field: (ε - 1) V / 4π.
    expected = 1.5 * (5.6**3 / 4) / (4 * np.pi) * np.eye(3)
    np.testing.assert_allclose(frame_from_atoms(atoms, keys).labels["polarizability"], expected)
    atoms.pbc = False
    with pytest.raises(DataError, match="belongs to a crystal"):
        frame_from_atoms(atoms, keys)
