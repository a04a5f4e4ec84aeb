"""The embedded data against what is known of ethanol, and against itself: units, splits, derivatives."""

from importlib.resources import files

import numpy as np
import pytest
from ase.build import minimize_rotation_and_translation
from ase.units import Debye, _amu, _c, _e

from tesseral.data import embedded


@pytest.fixture(scope="module")
def frames():
    return embedded.load()


@pytest.fixture(scope="module")
def molecules(frames):
    return [frame for frame in frames if frame.info["config_type"] != "isolated_atom"]


@pytest.fixture(scope="module")
def minima(frames):
    return {frame.info["conformer"]: frame for frame in frames if frame.info["config_type"] == "minimum"}


def frequencies(hessian, masses):
    """Harmonic wavenumbers in 1/cm, imaginary ones negative."""
    weights = np.repeat(masses**-0.5, 3)
    squares = np.linalg.eigvalsh(hessian.reshape(27, 27) * weights[:, None] * weights)
    return np.sign(squares) * np.sqrt(np.abs(squares) * _e * 1e20 / _amu) / (2 * np.pi * _c * 100)


def test_small_enough_to_ship():
    folder = files("tesseral.data.embedded")
    assert sum(len(path.read_bytes()) for path in folder.iterdir() if path.name.startswith("ethanol")) < 3e6


def test_whole_trajectories_belong_to_one_split(molecules):
    split = {}
    for frame in molecules:
        if "trajectory" in frame.info:
            split.setdefault(frame.info["trajectory"], set()).add(frame.info["split"])
    assert len(split) == 15
    assert all(len(splits) == 1 for splits in split.values())
    assert {next(iter(splits)) for name, splits in split.items() if name.startswith("700K")} == {"test"}
    for temperature in ("300K", "500K"):
        assert {next(iter(s)) for name, s in split.items() if name.startswith(temperature)} == {"train", "valid", "test"}


def test_frames_of_a_trajectory_are_far_apart(molecules):
    times = {}
    for frame in molecules:
        if "trajectory" in frame.info:
            times.setdefault(frame.info["trajectory"], []).append(frame.info["time_fs"])
    assert min(np.diff(sorted(series)).min() for series in times.values()) >= 50


def test_splits_partition_the_frames(frames):
    parts = [embedded.load(split=split) for split in ("train", "valid", "test")]
    assert sum(map(len, parts)) == len(frames) >= 300
    assert len(parts[0]) >= 150


def test_every_conformer_is_visited(molecules):
    counts = {c: sum(frame.info["conformer"] == c for frame in molecules) for c in ("trans", "gauche+", "gauche-")}
    assert min(counts.values()) >= 60


def test_says_how_it_was_made(frames):
    for frame in frames:
        assert "B3LYP/def2-SVP" in frame.info["method"]
        assert frame.info["units"].startswith("eV, Angstrom; dipole e*Angstrom; polarizability Angstrom^3")
        assert isinstance(frame.info["seed"], (int, np.integer))


def test_atomization_energy_is_that_of_ethanol(frames, minima):
    # Experiment, without zero-point energy: 810 kcal/mol = 35.1 eV.
    atoms = {frame.get_chemical_symbols()[0]: frame.get_potential_energy() for frame in frames if len(frame) == 1}
    energy = sum(atoms[symbol] for symbol in minima["trans"].get_chemical_symbols()) - minima["trans"].get_potential_energy()
    assert 33.5 < energy < 36


def test_geometry_and_moments_are_those_of_ethanol(minima):
    # Microwave structure: C-C 1.51, C-O 1.43 Å. Dipole: 1.44 D trans, 1.68 D gauche. Polarizability: 5.1 Å³ (small basis: less).
    trans, gauche = minima["trans"], minima["gauche+"]
    distances = np.sort(trans.get_all_distances()[:3, :3][np.triu_indices(3, 1)])
    assert distances[:2] == pytest.approx([1.43, 1.51], abs=0.03)
    assert np.linalg.norm(trans.get_dipole_moment()) / Debye == pytest.approx(1.44, abs=0.3)
    assert np.linalg.norm(gauche.get_dipole_moment()) / Debye == pytest.approx(1.68, abs=0.3)
    assert 3.5 < np.trace(trans.info["polarizability"]) / 3 < 5.5
    assert abs(gauche.get_potential_energy() - trans.get_potential_energy()) < 0.05


def test_polarizabilities_are_symmetric_and_positive(molecules):
    polarizabilities = np.array([frame.info["polarizability"] for frame in molecules if "polarizability" in frame.info])
    assert len(polarizabilities) >= 40
    assert np.abs(polarizabilities - polarizabilities.transpose(0, 2, 1)).max() < 1e-7
    assert np.linalg.eigvalsh(polarizabilities).min() > 2


def test_molecules_are_free_and_centred(molecules):
    for frame in molecules:
        assert not frame.pbc.any()
        assert frame.cell.rank == 0
        assert np.abs(frame.get_center_of_mass()).max() < 1e-6


def test_net_force_and_torque_vanish(molecules):
    for frame in molecules:
        forces = frame.get_forces()
        assert np.abs(forces.sum(0)).max() < 1e-5
        assert np.abs(np.cross(frame.positions, forces).sum(0)).max() < 1e-2  # eV: the grid does not turn with the molecule


def test_forces_are_the_slope_of_the_energy(molecules, minima):
    # Near a minimum E - E0 = -F.(r - r0)/2 up to anharmonicity: wrong signs and units fail, wells and torsions scatter.
    ratios = []
    for frame in molecules:
        reference = minima.get(frame.info["conformer"])
        if frame.info["config_type"] == "300K" and reference is not None:
            target = reference.copy()
            minimize_rotation_and_translation(frame, target)
            work = -(frame.get_forces() * (frame.positions - target.positions)).sum() / 2
            ratios.append(work / (frame.get_potential_energy() - reference.get_potential_energy()))
    assert len(ratios) >= 50
    assert np.median(ratios) == pytest.approx(1, abs=0.2)


def test_frames_are_distorted_more_when_hotter(molecules):
    rms = {
        kind: np.sqrt(np.mean([frame.get_forces() ** 2 for frame in molecules if frame.info["config_type"] == kind]))
        for kind in ("300K", "500K", "700K")
    }
    assert 0.5 < rms["300K"] < rms["500K"] < rms["700K"] < 3


@pytest.mark.parametrize("conformer", ["trans", "gauche+"])
def test_hessian(conformer, minima):
    minimum = embedded.hessians()[conformer]
    assert np.allclose(minimum.atoms.positions, minima[conformer].positions, atol=1e-7)
    assert np.abs(minima[conformer].get_forces()).max() < 1e-3
    hessian = minimum.hessian
    assert np.abs(hessian - hessian.transpose(2, 3, 0, 1)).max() < 1e-6
    wavenumbers = frequencies(hessian, minimum.atoms.get_masses())
    assert np.abs(wavenumbers[:6]).max() < 30
    assert 200 < wavenumbers[6] < 350  # torsions
    assert 3700 < wavenumbers[-1] < 4000  # the O-H stretch, harmonic
    assert (wavenumbers > 2850).sum() == 6  # five C-H and one O-H stretch


def test_one_conformer_is_held_out():
    assert {name: minimum.split for name, minimum in embedded.hessians().items()} == {"trans": "train", "gauche+": "test"}


def test_unknown_names_say_what_there_is():
    with pytest.raises(ValueError, match="no embedded data set 'methanol'; the only one is 'ethanol'"):
        embedded.load("methanol")
    with pytest.raises(ValueError, match="split 'dev' is not in 'ethanol'"):
        embedded.load(split="dev")
