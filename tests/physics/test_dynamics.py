"""Dynamics: ensembles reach their temperature, NVE conserves, runs resume, explosions are named, drifts are measured."""

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes

from tesseral.interfaces.ase import Calculator
from tesseral.physics.dynamics import DynamicsError, Run, Settings, drift, order, run, timestep_sweep
from tesseral.physics.trajectory import TrajectoryError
from tests.physics.toys import LennardJones, ManyBody, Morse, PairPotential


def argon(repeat=2, a=1.6):
    atoms = ase.build.bulk("Ar", "fcc", a=a, cubic=True).repeat(repeat)
    atoms.calc = Calculator(LennardJones(epsilon=0.05, cutoff=2.2, smooth=True, species=(18,)))
    return atoms


def hydrogen(r=0.8):
    atoms = ase.Atoms("H2", positions=[(0, 0, 0), (0, 0, r)])
    atoms.calc = Calculator(Morse())
    return atoms


def test_nve_follows_the_morse_oscillation():
    atoms = hydrogen(0.745)
    result = run(atoms, 200, Settings(temperature=0, timestep=0.05, interval=1))
    k, mass = 2 * 4.7 * 1.9**2, 1.008 / 2
    period = 2 * np.pi * np.sqrt(mass / k) / units.fs * 1e-3
    kinetic = np.fft.rfft(result.kinetic - result.kinetic.mean(), 1 << 16)
    frequency = np.fft.rfftfreq(1 << 16, 0.05e-3)[np.argmax(np.abs(kinetic))]
    assert frequency == pytest.approx(2 / period, rel=0.03)  # the kinetic energy beats twice a period
    assert np.ptp(result.total) < 1e-3 * np.ptp(result.kinetic)
    assert result.time[-1] == pytest.approx(0.01)


def test_nve_error_is_of_second_order():
    sweep = timestep_sweep(hydrogen(0.8), [0.1, 0.2, 0.4], 20.0, Settings(temperature=0))
    assert order(sweep) == pytest.approx(2.0, abs=0.1)
    assert list(sweep) == [0.1, 0.2, 0.4]


def test_a_sweep_leaves_the_atoms_alone():
    atoms = hydrogen(0.8)
    timestep_sweep(atoms, [0.5], 2.0)
    assert atoms.positions[1, 2] == 0.8
    assert not atoms.get_momenta().any()


class Einstein(AseCalculator):
    """Atoms on springs to their sites: cheap enough to average over."""

    implemented_properties = ("energy", "forces")

    def __init__(self, sites):
        super().__init__()
        self.sites = sites

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        away = self.atoms.positions - self.sites
        stiffness = np.linspace(1, 9, away.size).reshape(away.shape)  # all alike would swing together, thermostat or not
        self.results = {"energy": float(0.5 * (stiffness * away**2).sum()), "forces": -stiffness * away}


@pytest.mark.parametrize("ensemble", ["nvt", "nvt-bussi"])
def test_thermostats_reach_their_temperature(ensemble):
    atoms = ase.build.bulk("Ar", "fcc", a=3.0, cubic=True) * 2
    atoms.calc = Einstein(atoms.positions.copy())
    result = run(atoms, 600, Settings(ensemble=ensemble, temperature=100, timestep=3, coupling=40, interval=5))
    assert result.temperature[30:].mean() == pytest.approx(100, rel=0.1)


def test_the_barostat_finds_its_volume():
    atoms = argon(a=1.63)
    start = atoms.get_volume()
    settings = Settings(ensemble="npt", temperature=30, timestep=2, coupling=20, interval=5, compressibility=0.02)
    result = run(atoms, 100, settings)
    assert result.volume[0] == pytest.approx(start, rel=1e-3)
    # Stretched by 4 % and pulled back: cheap to see in the volume, which ends below where it began.
    assert result.volume[-1] < 0.99 * start


@pytest.mark.parametrize("suffix", ["traj", "extxyz"])
def test_a_run_resumes_where_it_stopped(tmp_path, suffix):
    settings = Settings(temperature=50, timestep=2, interval=5)
    whole = run(argon(), 40, settings)
    path = tmp_path / f"md.{suffix}"
    first = run(argon(), 23, settings, trajectory=path)
    assert first.step.tolist() == [0, 5, 10, 15, 20, 23]
    second = run(argon(), 40, settings, trajectory=path, resume=True)
    assert second.step.tolist() == [0, 5, 10, 15, 20, 23, 25, 30, 35, 40]
    shared = np.isin(second.step, whole.step)
    tolerance = 0 if suffix == "traj" else 1e-6
    np.testing.assert_allclose(second.total[shared], whole.total, atol=tolerance, rtol=0)
    np.testing.assert_allclose(second.time, second.step * 2e-3)
    frames = ase.io.read(path, ":")
    assert [frame.info["step"] for frame in frames] == second.step.tolist()
    lines = (tmp_path / "md.csv").read_text().splitlines()
    assert lines[0].startswith("step,time_ps,potential_eV")
    assert len(lines) == 1 + len(frames)


def test_what_a_kill_left_behind_does_not_confuse(tmp_path):
    settings = Settings(temperature=50, timestep=2, interval=5)
    path = tmp_path / "md.extxyz"
    run(argon(), 20, settings, trajectory=path)
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size - 100)
    with (tmp_path / "md.csv").open("a") as file:
        file.write("25,0.05,-1")
    result = run(argon(), 30, settings, trajectory=path, resume=True)
    assert result.step.tolist() == [0, 5, 10, 15, 20, 25, 30]
    assert [frame.info["step"] for frame in ase.io.read(path, ":")] == result.step.tolist()
    steps = [line.split(",")[0] for line in (tmp_path / "md.csv").read_text().splitlines()[1:]]
    assert steps == ["0", "5", "10", "15", "20", "25", "30"]


def test_a_finished_run_is_left_as_it_is(tmp_path):
    settings = Settings(temperature=50, timestep=2, interval=5)
    path = tmp_path / "md.traj"
    run(argon(), 10, settings, trajectory=path)
    again = run(argon(), 10, settings, trajectory=path, resume=True)
    assert again.step.tolist() == [0, 5, 10]
    assert len(ase.io.read(path, ":")) == 3


def test_nothing_is_overwritten(tmp_path):
    path = tmp_path / "md.traj"
    run(argon(1), 1, trajectory=path)
    with pytest.raises(TrajectoryError, match="exists"):
        run(argon(1), 1, trajectory=path)
    with pytest.raises(ValueError, match="ends with Ar4, but the run is of H2"):
        run(hydrogen(), 1, trajectory=path, resume=True)


class Bottomless(PairPotential):
    """Attraction without end: atoms fall into each other."""

    def pair(self, r, graph):
        return -1.0 / r**2


def test_heat_without_limit_is_named(tmp_path):
    atoms = ase.Atoms("H3", positions=[(0, 0, 0), (0.9, 0, 0), (0, 1.1, 0)])
    atoms.calc = Calculator(Bottomless(5.0))
    path = tmp_path / "md.traj"
    with pytest.raises(DynamicsError, match=r"stopped at step \d+ .*temperature is \d+ K, above the limit of 3000 K") as caught:
        run(atoms, 1000, Settings(temperature=10, interval=1), trajectory=path)
    assert len(caught.value.run.step) == len(ase.io.read(path, ":")) > 1


class Poisoned(Calculator):
    """A calculator whose forces become NaN after a while."""

    def calculate(self, *arguments, **keywords):
        super().calculate(*arguments, **keywords)
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls > 5:
            self.results["forces"][:] = np.nan


@pytest.mark.parametrize("interval", [1, 100])
def test_numbers_that_are_not_are_named(interval):
    atoms = hydrogen()
    atoms.calc = Poisoned(Morse())
    with pytest.raises(DynamicsError, match="no longer finite"):
        run(atoms, 100, Settings(temperature=300, interval=interval))


def test_atoms_that_fly_away_are_named():
    atoms = ase.Atoms("H3", positions=[(0, 0, 0), (0, 0, 0.74), (0, 0, 3.0)])
    atoms.calc = Calculator(Morse(cutoff=2.0))
    atoms.set_momenta([(0, 0, 0), (0, 0, 0), (0, 0, 1.0)])
    with pytest.raises(DynamicsError, match=r"H2 is more than 4 Å away"):
        run(atoms, 2000, Settings(temperature=10, max_separation=4.0, max_temperature=1e6))


def test_a_lone_atom_is_not_lost():
    atoms = ase.Atoms("H")
    atoms.calc = Calculator(ManyBody())
    assert isinstance(run(atoms, 20), Run)


def test_the_first_momenta_neither_drift_nor_turn():
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.calc = Calculator(ManyBody())
    run(atoms, 0, Settings(temperature=300))
    assert np.abs(atoms.get_momenta().sum(0)).max() < 1e-10
    assert np.abs(atoms.get_angular_momentum()).max() < 1e-10
    again = ase.build.molecule("CH3CH2OH")
    again.calc = Calculator(ManyBody())
    run(again, 0, Settings(temperature=300))
    np.testing.assert_array_equal(atoms.get_momenta(), again.get_momenta())
    run(again, 0, Settings(temperature=900, seed=1))  # momenta that are there stay
    np.testing.assert_array_equal(atoms.get_momenta(), again.get_momenta())


def test_progress():
    seen = []
    run(argon(1), 20, Settings(interval=10), progress=lambda step, steps, sample: seen.append((step, steps, sorted(sample)[0])))
    assert [(step, steps) for step, steps, _ in seen] == [(0, 20), (10, 20), (20, 20)]


@pytest.mark.parametrize(
    "changes",
    [
        {"timestep": 0},
        {"timestep": 1000.0},
        {"interval": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"ensemble": "nph"},
        {"heat": 3},
    ],
)
def test_settings_are_checked(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        Settings(**changes)


def test_what_cannot_run_is_refused():
    with pytest.raises(ValueError, match="no calculator"):
        run(ase.Atoms("H"), 1)
    with pytest.raises(ValueError, match="barostat needs a cell"):
        run(hydrogen(), 1, Settings(ensemble="npt"))


def test_drift_of_a_known_line():
    rng = np.random.default_rng(0)
    time = np.linspace(0, 50, 1001)
    noise = rng.normal(scale=0.02, size=1001)
    found = drift(time, 9 * (0.5 * time + noise) / 1000, atoms=9)
    assert found.slope == pytest.approx(0.5, abs=3 * found.slope_error)
    assert found.fluctuation == pytest.approx(0.02, rel=0.1)
    assert found.slope_error == pytest.approx(0.02 / np.sqrt(((time - 25) ** 2).sum()), rel=0.5)
    with pytest.raises(ValueError, match="at least three"):
        drift(time[:2], time[:2], 1)


def test_the_error_of_a_drift_knows_of_correlation():
    rng = np.random.default_rng(1)
    time = np.linspace(0, 10, 2000)
    slopes, errors = [], []
    for _ in range(60):
        red = np.convolve(rng.normal(size=2200), np.ones(100) / 100, mode="valid")[:2000]  # correlated over 100 samples
        found = drift(time, red / 1000, atoms=1)
        slopes.append(found.slope)
        errors.append(found.slope_error)
    assert np.mean(errors) == pytest.approx(np.std(slopes), rel=0.35)
