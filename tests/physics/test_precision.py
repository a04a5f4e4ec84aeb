"""Products in bfloat16: as far from float32 as 8 bits are, sums of energies exact, training that learns, combinations refused."""

import ase.build
import pytest
import torch

from tesseral.graph import build_graph
from tesseral.interfaces.ase import Calculator
from tesseral.models.mace import MACE, MACESettings
from tesseral.models.nequip import NequIP, NequIPSettings
from tesseral.models.painn import PaiNN, PaiNNSettings
from tesseral.physics.forces import energy_and_forces
from tesseral.physics.precision import BFloat16Products, dtype_of
from tesseral.train.energies import EnergyTask
from tesseral.train.loop import fit
from tesseral.train.settings import FitSettings
from tests.train import toy

COMMON = {"cutoff": 4.0, "species": (14,), "num_neighbors": 10.0}


def nequip(knots=0):
    return NequIP(NequIPSettings(layers=2, lmax=1, channels=16, radial_knots=knots, **COMMON))


MODELS = {
    "nequip": nequip,
    "nequip with splines": lambda: nequip(knots=128),
    "mace": lambda: MACE(MACESettings(hidden="8x0e+8x1o", lmax=1, correlation=2, radial_widths=(8,), **COMMON)),
    "painn": lambda: PaiNN(PaiNNSettings(**COMMON)),
}


def silicon():
    atoms = ase.build.bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=0)
    return atoms


@pytest.mark.parametrize("name", MODELS)
def test_forces_are_as_far_from_float32_as_eight_bits_are(name):
    torch.manual_seed(0)
    model, graph = MODELS[name](), build_graph(silicon(), 4.0)
    exact, rounded = (energy_and_forces(f, graph).forces for f in (model, BFloat16Products(model)))
    error = float((rounded - exact).norm() / exact.norm())
    assert 1e-5 < error < 0.03  # more where splines are made from rounded values
    assert rounded.dtype == exact.dtype


def test_energies_are_summed_in_float64():
    torch.manual_seed(0)
    model = NequIP(NequIPSettings(layers=1, lmax=1, channels=8, **COMMON), atomic_energies={14: -7891.2345678})
    graph = build_graph(silicon(), 4.0)
    function = BFloat16Products(model)
    energy, atoms = function(graph), function.node_energies(graph)
    assert energy.dtype == atoms.dtype == torch.float64
    torch.testing.assert_close(energy, atoms.sum()[None], rtol=0, atol=1e-8)
    assert abs(float((energy - model(graph)).detach())) < 0.05  # of 63,130 eV: bfloat16 would be off by hundreds


def test_a_model_in_double_precision_is_refused():
    with pytest.raises(ValueError, match=r"load it with dtype=torch\.float32"):
        BFloat16Products(NequIP(NequIPSettings(**COMMON), dtype=torch.float64))


def test_the_calculator_has_it():
    torch.manual_seed(0)
    model, results = nequip(), []
    for rounded in (False, True):
        atoms = silicon()
        atoms.calc = Calculator(model, bf16_products=rounded)
        assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        results.append(atoms.get_forces())
    assert 1e-5 < abs(results[1] - results[0]).max() / abs(results[0]).max() < 0.05


def test_training_learns_as_it_does_in_float32(tmp_path):
    settings = FitSettings(max_epochs=6, batch_size=4, tensorboard=False, ema_decay=0.0)
    first, last = {}, {}
    for name, energy in {"float32": None, "bf16-products": BFloat16Products}.items():
        torch.manual_seed(0)
        model = NequIP(NequIPSettings(layers=2, lmax=1, channels=8, cutoff=4.0, species=(1, 6, 8), num_neighbors=4.0))
        task = EnergyTask(settings, energy=energy)
        result = fit(model, toy.frames(8), toy.frames(4, seed=1), settings, tmp_path / name, task=task, show_progress=False)
        first[name], last[name] = (result.history[n]["train_loss"] for n in (0, -1))
        assert last[name] < 0.9 * first[name]
        assert all(p.dtype in (torch.float32, torch.float64) for p in model.parameters())
    assert first["bf16-products"] == pytest.approx(first["float32"], rel=0.05)
    assert last["bf16-products"] == pytest.approx(last["float32"], rel=0.1)
    assert first["bf16-products"] != first["float32"]


def test_the_type_of_the_weights():
    assert [dtype_of(p) for p in ("float32", "float64", "bf16-products")] == [torch.float32, torch.float64, torch.float32]
