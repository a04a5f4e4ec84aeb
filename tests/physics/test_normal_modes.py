"""Irreps, activities and intensities: textbook molecules by symmetry alone, water and ethanol beside DFT, Crawford's sum rule."""

import importlib.resources

import ase
import ase.build
import numpy as np
import pytest
import torch
from ase import units

from tesseral.data import embedded
from tesseral.graph import build_graph
from tesseral.physics.electric import position_derivatives
from tesseral.physics.hessian import hessian
from tesseral.physics.normal_modes import KM_PER_MOL, normal_modes, selection_rules, symmetry_of
from tesseral.physics.vibrations import vibrations


def sulphur_hexafluoride():
    return ase.Atoms("SF6", positions=[(0, 0, 0), *(1.56 * s * np.eye(3)[a] for a in range(3) for s in (1, -1))])


MOLECULES = {
    "CH4": ase.build.molecule("CH4"),
    "C6H6": ase.build.molecule("C6H6"),
    "H2O": ase.build.molecule("H2O"),
    "CO2": ase.build.molecule("CO2"),
    "SF6": sulphur_hexafluoride(),
    "trans ethanol": embedded.hessians()["trans"].atoms,
    "gauche ethanol": embedded.hessians()["gauche+"].atoms,
}
# Herzberg, Infrared and Raman Spectra (1945): vibrations, infrared active, Raman active.
TEXTBOOK = {
    "CH4": ("Td", {"A1": 1, "E": 1, "T2": 2}, {"T2"}, {"A1", "E", "T2"}),
    "C6H6": (
        "D6h", {"A1g": 2, "A2g": 1, "B2g": 2, "E1g": 1, "E2g": 4, "A2u": 1, "B1u": 2, "B2u": 2, "E1u": 3, "E2u": 2},
        {"A2u", "E1u"}, {"A1g", "E1g", "E2g"},
    ),
    "H2O": ("C2v", {"A1": 2, "B1": 1}, {"A1", "B1"}, {"A1", "B1"}),
    "CO2": ("D∞h", {"Σg+": 1, "Σu+": 1, "Πu": 1}, {"Σu+", "Πu"}, {"Σg+"}),
    "SF6": ("Oh", {"A1g": 1, "Eg": 1, "T2g": 1, "T1u": 2, "T2u": 1}, {"T1u"}, {"A1g", "Eg", "T2g"}),
    "trans ethanol": ("Cs", {"A'": 13, "A''": 8}, {"A'", "A''"}, {"A'", "A''"}),
    "gauche ethanol": ("C1", {"A": 21}, {"A"}, {"A"}),
}  # fmt: skip


def springs(atoms):
    """The Hessian of springs at rest between all atoms, stiffer between heavier ones: as symmetric as the molecule."""
    rest = torch.as_tensor(atoms.get_all_distances())
    mass = torch.as_tensor(atoms.get_masses())
    stiffness = torch.outer(mass, mass).sqrt() / rest.clamp(min=0.5) ** 3

    def energy(graph):
        d = graph.positions[:, None] - graph.positions[None]
        away = torch.eye(len(d), dtype=d.dtype)
        length = (d.square().sum(-1) + away).sqrt() - away
        return (0.25 * stiffness * (length - rest) ** 2).sum().reshape(1)

    graph = build_graph(atoms, 1.0)
    return hessian(energy, graph, chunk=1).numpy(), graph


def bond_polarizability(graph):
    """Each pair is polarised along its axis: α = Σ exp(-r) d d."""
    d = graph.positions[:, None] - graph.positions[None]
    return torch.einsum("ij,ija,ijb->ab", torch.exp(-(d.square().sum(-1))), d, d)[None]


def point_charges(graph):
    charges = graph.species.to(torch.float64)
    return ((charges - charges.mean())[:, None] * graph.positions * 0.01).sum(0)[None]


@pytest.mark.parametrize("name", TEXTBOOK)
def test_by_symmetry_alone(name):
    atoms, (group, vibrating, infrared, raman) = MOLECULES[name], TEXTBOOK[name]
    turned = atoms.copy()
    turned.rotate(37, (1, 2, 3))
    symmetry = symmetry_of(turned.numbers, turned.positions)
    turned.positions = symmetry.symmetrized
    matrix, graph = springs(turned)
    result = normal_modes(
        matrix, turned.numbers, symmetry, dipole_derivatives=position_derivatives(point_charges, graph).numpy(),
        polarizability_derivatives=position_derivatives(bond_polarizability, graph).numpy(),
    )  # fmt: skip
    assert symmetry.name == group
    counts = {}
    for mode in result.modes:
        counts[mode.irrep] = counts.get(mode.irrep, 0) + 1
    # Which of B1 and B2 is which depends on the axes.
    assert merged(counts) == merged(vibrating)
    assert {merge(m.irrep) for m in result.modes if m.infrared} == {merge(label) for label in infrared}
    assert {merge(m.irrep) for m in result.modes if m.raman} == {merge(label) for label in raman}
    assert len(result.frequencies) == 3 * len(turned) - (5 if name == "CO2" else 6)
    if name in ("CO2", "SF6", "C6H6"):  # a centre of inversion: mutual exclusion
        assert not any(m.infrared and m.raman for m in result.modes)
    strongest = max(m.infrared_intensity for m in result.modes), max(m.raman_activity for m in result.modes)
    for mode in result.modes:
        assert mode.infrared or mode.infrared_intensity < 1e-12 * strongest[0]
        assert mode.raman or mode.raman_activity < 1e-12 * strongest[1]
        totally = mode.irrep in ("A", "A'", "A1", "A1g", "Σg+")
        if mode.depolarization is not None:
            assert mode.depolarization < 0.75 if totally else mode.depolarization == pytest.approx(0.75)
        if totally and group in ("Td", "Oh"):
            assert mode.depolarization == pytest.approx(0, abs=1e-12)
    assert result.asymmetry < 1e-10
    allowed, active = selection_rules(symmetry)
    assert {m.irrep for m in result.modes if m.infrared} <= allowed
    assert {m.irrep for m in result.modes if m.raman} <= active


def merge(label):
    return label.replace("B1", "B").replace("B2", "B")


def merged(counts):
    result = {}
    for label, n in counts.items():
        result[merge(label)] = result.get(merge(label), 0) + n
    return result


def test_water_of_another_program(external_data):
    path = external_data / "pyscf_water" / "water_b3lyp_631gs.npz"
    if not path.is_file():
        pytest.skip(f"{path} is absent (see docs/data.md)")
    data = np.load(path)
    result = normal_modes(
        data["hessian"].reshape(3, 3, 3, 3) * units.Hartree / units.Bohr**2,
        data["Z"],
        symmetry_of(data["Z"], data["positions_bohr"] * units.Bohr),
        dipole_derivatives=data["dmu_dR"].reshape(3, 3, 3),
        polarizability_derivatives=data["dalpha_dR"].reshape(3, 3, 3, 3) * units.Bohr**2,
    )
    np.testing.assert_allclose(result.frequencies, data["frequencies"][-3:], atol=0.01)
    np.testing.assert_allclose([m.infrared_intensity for m in result.modes], data["ir_km_mol"], rtol=1e-4)
    np.testing.assert_allclose([m.raman_activity for m in result.modes], data["raman_A4_amu"], rtol=1e-3)


@pytest.fixture(scope="module", params=["trans", "gauche+"])
def minimum(request):
    return embedded.hessians()[request.param]


def spectrum_of(minimum):
    return normal_modes(
        minimum.hessian, minimum.atoms.numbers, symmetry_of(minimum.atoms.numbers, minimum.atoms.positions),
        dipole_derivatives=minimum.dipole_derivatives, polarizability_derivatives=minimum.polarizability_derivatives,
    )  # fmt: skip


def test_same_frequencies_as_without_symmetry(minimum):
    plain = vibrations(torch.as_tensor(minimum.hessian), build_graph(minimum.atoms, 2.0))
    result = spectrum_of(minimum)
    np.testing.assert_allclose(result.frequencies, plain.frequencies.numpy(), atol=0.01)
    assert result.zero_point_energy == pytest.approx(plain.zero_point_energy, rel=1e-6)


def test_crawford_sum_rule(minimum):
    # Σ A = const. × (Σ_i |Z*_i|²/m_i - Σ_axes |e × μ|²/I): what vibrates not, turns. Crawford, J. Chem. Phys. 20, 977 (1952).
    conformer = "trans" if minimum.split == "train" else "gauche+"
    with np.load(importlib.resources.files(embedded) / "ethanol_minima.npz") as arrays:
        dipole = arrays[f"{conformer}/dipole"]
    mass = minimum.atoms.get_masses()
    total = (np.square(minimum.dipole_derivatives).sum(axis=(1, 2)) / mass).sum()
    moments, axes = minimum.atoms.get_moments_of_inertia(vectors=True)
    turning = sum(np.square(np.cross(axis, dipole)).sum() / moment for axis, moment in zip(axes, moments, strict=True))
    absorbed = sum(mode.infrared_intensity for mode in spectrum_of(minimum).modes)
    assert turning > 1e-3 * total  # the rule tells
    assert absorbed == pytest.approx(KM_PER_MOL * (total - turning), rel=1e-4)


def test_isotopes_lower_the_symmetry():
    atoms = MOLECULES["CH4"]
    mass = atoms.get_masses()
    mass[1] = 2.014
    symmetry = symmetry_of(atoms.numbers, atoms.positions, mass)
    assert symmetry.name == "C3v"
    result = normal_modes(springs(atoms)[0], atoms.numbers, symmetry, mass=mass)
    assert len(result.frequencies) == 9
    assert result.modes[0].infrared_intensity is None


def test_wrong_shapes():
    atoms = MOLECULES["H2O"]
    symmetry = symmetry_of(atoms.numbers, atoms.positions)
    with pytest.raises(ValueError, match="the Hessian has shape"):
        normal_modes(np.zeros((2, 3, 2, 3)), atoms.numbers, symmetry)
    with pytest.raises(ValueError, match="displaced coordinate first"):
        normal_modes(np.zeros((3, 3, 3, 3)), atoms.numbers, symmetry, dipole_derivatives=np.zeros((3, 9)))
