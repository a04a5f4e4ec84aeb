"""Units against CODATA numbers written out by hand."""

import numpy as np
import pydantic
import pytest

from tesseral.data.units import ENERGY, POLARIZABILITY, STRESS, Dimension, Units, conversion, parse_unit, symmetric_matrix


@pytest.mark.parametrize(
    ("unit", "value", "dimension"),
    [
        ("eV", 1.0, Dimension(1)),
        ("meV", 1e-3, Dimension(1)),
        ("Hartree", 27.211386, Dimension(1)),
        ("Ry", 13.605693, Dimension(1)),
        ("kcal/mol", 0.0433641, Dimension(1)),
        ("kJ/mol", 0.01036427, Dimension(1)),
        ("kcal/mol/Å", 0.0433641, Dimension(1, -1)),
        ("Hartree/Bohr", 51.422067, Dimension(1, -1)),
        ("eV/Å^3", 1.0, Dimension(1, -3)),
        ("eV/Å³", 1.0, Dimension(1, -3)),
        ("eV*Å^-3", 1.0, Dimension(1, -3)),
        ("GPa", 1 / 160.21766, Dimension(1, -3)),
        ("kbar", 1 / 1602.1766, Dimension(1, -3)),
        ("Debye", 0.20819434, Dimension(0, 1, 1)),
        ("e*Bohr", 0.52917721, Dimension(0, 1, 1)),
        ("e·Å", 1.0, Dimension(0, 1, 1)),
        ("Hartree/Bohr/e", 51.422067, Dimension(1, -1, -1)),
        ("V/nm", 0.1, Dimension(1, -1, -1)),
    ],
)
def test_values(unit, value, dimension):
    found, powers = parse_unit(unit)
    assert found == pytest.approx(value, rel=1e-6)
    assert powers == dimension


@pytest.mark.parametrize("unit", ["hartree", "ev", "eV/", "Ångström^2.5", "", "electronvolt"])
def test_unknown_units(unit):
    with pytest.raises(ValueError, match="unit"):
        conversion(unit, ENERGY)


def test_dimension_must_fit():
    with pytest.raises(ValueError, match="expected a unit of energy·length\\^-3"):
        conversion("eV", STRESS)


def test_polarizability_of_atomic_units():
    # 1 a.u. is 0.1481847 Å³.
    assert conversion("Bohr^3", POLARIZABILITY) == pytest.approx(0.1481847, rel=1e-6)
    assert conversion("e^2*Bohr^2/Hartree", POLARIZABILITY) == pytest.approx(0.1481847, rel=1e-6)


def test_defaults_follow_energy_and_length():
    units = Units(energy="kcal/mol", length="Bohr")
    assert units.factor("forces") == pytest.approx(0.0433641 / 0.52917721, rel=1e-6)
    assert units.factor("stress") == pytest.approx(0.0433641 / 0.52917721**3, rel=1e-6)
    assert units.factor("virial") == pytest.approx(0.0433641, rel=1e-6)
    assert Units(energy="Hartree", forces="eV/Å").factor("forces") == 1.0
    assert Units(extra={"gap": 2.0}).factor("gap") == 2.0
    assert Units().factor("config_type") == 1.0


@pytest.mark.parametrize(
    "wrong", [{"energy": "Å"}, {"forces": "GPa"}, {"stress": "eV"}, {"enrgy": "eV"}, {"stress_sign": "vasp"}]
)
def test_settings_are_strict(wrong):
    with pytest.raises(pydantic.ValidationError):
        Units(**wrong)


def test_voigt_orders():
    matrix = symmetric_matrix(np.arange(1.0, 7.0), "xx yy zz xy yz xz")
    np.testing.assert_array_equal(matrix, [[1, 4, 6], [4, 2, 5], [6, 5, 3]])
    np.testing.assert_array_equal(symmetric_matrix(np.arange(9)), np.arange(9).reshape(3, 3))
    assert symmetric_matrix(np.zeros(5)) is None
